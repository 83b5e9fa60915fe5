"""How GPUs are divided by measured memory: what is measured, for whom, and how many then share one."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from test_cluster import nodes

from study.config.hyperparameters import Hyperparameters
from study.config.search_config import Objective, ResourceSpec
from study.config.search_space import Choice, Condition, Integer, Parameter, Uniform
from study.config.study_config import DataSpec, StudySpec
from study.data.dataset import DataBundle, ImageSet, make_bundle
from study.engine.gpu import memory_probe as probe
from study.engine.gpu import memory_probe as probe_cache
from study.engine.gpu.memory_key import MemoryKey, memory_key, memory_keys, range_ceilings
from study.engine.gpu.packing import GIB, GpuModel, MemoryNeed, Packing, ProbeResult, pack_trials, share_of
from study.engine.ray.cluster import Slots, plan_slots
from study.engine.trial_result import is_gpu_lost, is_out_of_memory
from study.errors import EngineError
from study.search.space import trial_config
from study.training import memory_estimate

H100 = GpuModel("NVIDIA H100", "2.9", 80 * GIB)
SMALL = GpuModel("NVIDIA L4", "2.9", 20 * GIB)


def study(*space: Parameter, **trial: object) -> StudySpec:
    fixed = Hyperparameters.model_validate({"depth": 18, "batch_size": 64, **trial})
    return StudySpec(name="a", data=DataSpec(image_size_px=32), trial=fixed, space=space)


def choice(name: str, *values: Any, when: dict[str, Any] | None = None) -> Parameter:
    conditions = [Condition(parameter=parent, values=(value,)) for parent, value in (when or {}).items()]
    return Parameter(name=name, domain=Choice(values=values), when=tuple(conditions))


def config(spec: StudySpec, alone: bool = False, **params: Any) -> dict[str, Any]:
    return {"number": 0, "trial": trial_config(spec, params, point=0).model_dump(), "alone": alone}


@pytest.fixture
def data() -> DataBundle:
    return few_images()


def few_images() -> DataBundle:
    half = ImageSet(np.zeros((4, 32, 32, 3), np.uint8), np.array([0, 1, 0, 1], np.int64), ("a", "b", "c", "d"))
    return make_bundle("folder", 32, ("no", "yes"), {"train": half, "val": half})


def measured(spec: StudySpec, gib: float | dict[int, float], card: GpuModel = H100) -> ProbeResult:
    """Give every key so many GiB, or by batch size."""
    keys = memory_keys(spec)
    taken = {key: gib[key.batch_size] if isinstance(gib, dict) else gib for key in keys}
    needs = {key: MemoryNeed(int((taken[key] - 0.5) * GIB), int((taken[key] - 0.7) * GIB), GIB // 2) for key in keys}
    return ProbeResult(card, needs, {key: key for key in keys})


def test_a_key_has_what_decides_memory_and_nothing_else() -> None:
    space = (
        choice("augmentation", "none", "flip", "trivial"),
        choice("optimizer", "sgd", "adam"),
        Parameter(name="learning_rate", domain=Uniform(low=1e-4, high=1e-1, log=True)),
        Parameter(
            name="momentum", domain=Uniform(low=0, high=0.9), when=choice("x", 1, when={"optimizer": "sgd"}).when
        ),
    )
    keys = memory_keys(study(*space))
    assert [(key.optimizer, key.batch_size, key.averaged, key.head_width) for key in keys] == [
        ("sgd", 64, False, 0),
        ("adam", 64, False, 0),
    ]
    assert [key.hyperparameters.optimizer for key in keys] == ["sgd", "adam"]


def test_what_conditions_rule_out_is_not_measured() -> None:
    spec = study(
        choice("depth", 18, 152),
        choice("batch_size", 512, when={"depth": 18}),
        choice("head", "linear", "mlp"),
        choice("head_width", 256, 512, when={"head": "mlp"}),
        choice("family", "resnet", "resnext"),
    )
    keys = memory_keys(spec)
    assert {(key.depth, key.batch_size) for key in keys} == {(18, 512), (152, 64)}
    assert {(key.head, key.head_width) for key in keys} == {("linear", 0), ("mlp", 256), ("mlp", 512)}
    assert {key.family for key in keys} == {"resnet"}, "there is no ResNeXt of these depths"


def test_a_range_of_batch_sizes_is_measured_at_its_upper_end(monkeypatch: pytest.MonkeyPatch, data: DataBundle) -> None:
    nodes(monkeypatch, {"CPU": 64.0, "GPU": 1.0})
    spec = study(
        choice("depth", 18, 50),
        Parameter(
            name="batch_size", domain=Integer(low=16, high=250, step=16), when=choice("x", 1, when={"depth": 18}).when
        ),
        choice("ema_decay", 0.9, 0.99),
    )
    assert {(key.depth, key.batch_size, key.averaged) for key in memory_keys(spec)} == {(18, 240, True), (50, 64, True)}
    assert range_ceilings(spec) == {"batch_size": 240}
    packing = pack_trials(spec, Slots(1, 1.0, 1), (measured(spec, {240: 40.0, 64: 20.0}),), data, trials=99)
    shares = [
        packing.gpus_for(config(spec, depth=18, batch_size=32, ema_decay=0.9)["trial"]),
        packing.gpus_for(config(spec, depth=50, ema_decay=0.99)["trial"]),
    ]
    assert shares == [1.0, share_of(3)]


@pytest.mark.parametrize(
    ("gib", "node", "trials", "expected"),
    [
        (10.0, {"CPU": 64.0, "GPU": 1.0}, 99, 7),  # 80 / 11 = 7.3
        (7.2, {"CPU": 64.0, "GPU": 1.0}, 99, 8),  # 10 would fit
        (70.0, {"CPU": 64.0, "GPU": 1.0}, 99, 1),
        (79.0, {"CPU": 64.0, "GPU": 1.0}, 99, 1),  # not even with the margin, but alone
        (5.0, {"CPU": 6.0, "GPU": 2.0}, 99, 3),  # three CPUs for each GPU
        (5.0, {"CPU": 1.0, "GPU": 2.0}, 99, 1),
        (5.0, {"CPU": 64.0, "GPU": 4.0}, 8, 2),  # each GPU gets two of the eight
    ],
)
def test_as_many_share_a_gpu_as_memory_cpus_and_trials_admit(
    monkeypatch: pytest.MonkeyPatch, data: DataBundle, gib: float, node: dict[str, float], trials: int, expected: int
) -> None:
    nodes(monkeypatch, node)
    spec = study()
    packing = pack_trials(spec, plan_slots(spec.resources, trials), (measured(spec, gib),), data, trials)
    assert packing.slots.gpus == share_of(expected)
    assert packing.slots.count == min(trials, int(node["CPU"]), expected * int(node["GPU"]))
    assert packing.gpus_for(config(spec)["trial"]) == share_of(expected)
    assert packing.notices[0].endswith(f"NVIDIA H100: {expected} at once on a GPU")


def test_a_limit_of_concurrent_trials_spreads_them_over_the_gpus(
    monkeypatch: pytest.MonkeyPatch, data: DataBundle
) -> None:
    nodes(monkeypatch, {"CPU": 64.0, "GPU": 2.0})
    spec = study().model_copy(update={"resources": ResourceSpec(max_concurrent_trials=4)})
    assert pack_trials(spec, Slots(1, 1.0, 2), (measured(spec, 1.0),), data, 99).slots == Slots(1, 0.5, 4)


@pytest.mark.parametrize("count", range(1, 9))
def test_so_many_shares_fit_on_a_gpu_in_rays_numbers(count: int) -> None:
    in_ten_thousandths = round(share_of(count) * 10_000)
    assert in_ten_thousandths * count <= 10_000 < in_ten_thousandths * (count + 1)


def test_each_kind_of_trial_has_its_share_and_the_smallest_counts(
    monkeypatch: pytest.MonkeyPatch, data: DataBundle
) -> None:
    nodes(monkeypatch, {"CPU": 64.0, "GPU": 2.0})
    spec = study(choice("batch_size", 64, 128))
    packing = pack_trials(spec, Slots(1, 1.0, 2), (measured(spec, {64: 15.0, 128: 30.0}),), data, 99)
    assert packing.slots == Slots(1, 0.25, 8)
    asked = [packing.resources_for(config(spec, batch_size=size)) for size in (64, 128)]
    assert [request.required_resources for request in asked] == [{"CPU": 1, "GPU": 0.25}, {"CPU": 1, "GPU": 0.5}]
    unforeseen = {**config(spec)["trial"], "depth": 152}
    assert packing.gpus_for(unforeseen) == 1.0
    assert asked[0] == packing.resources_for(config(spec, batch_size=64)), "Tune keeps workers by what they reserve"
    assert pickle.loads(pickle.dumps(packing)) == packing


def test_of_two_kinds_of_gpu_the_smaller_counts(monkeypatch: pytest.MonkeyPatch, data: DataBundle) -> None:
    nodes(monkeypatch, {"CPU": 64.0, "GPU": 1.0}, {"CPU": 64.0, "GPU": 1.0})
    spec = study()
    both = (measured(spec, 9.0), measured(spec, 9.0, SMALL))
    for order in (both, both[::-1]):
        assert pack_trials(spec, Slots(1, 1.0, 2), order, data, 99).slots == Slots(1, 0.5, 4)


def test_the_images_of_a_trial_count(monkeypatch: pytest.MonkeyPatch, data: DataBundle) -> None:
    nodes(monkeypatch, {"CPU": 64.0, "GPU": 1.0})
    spec = study()
    tiny = replace(H100, usable_bytes=20 * 32 * 32 * 3)
    need = MemoryNeed(2 * 32 * 32 * 3, 2 * 32 * 32 * 3, 0)
    keys = memory_keys(spec)
    room = ProbeResult(tiny, {keys[0]: need}, {keys[0]: keys[0]})
    assert (
        pack_trials(spec, Slots(1, 1.0, 1), (room,), data, 99).slots.gpus == 1.0
    )  # 8 images and 2 more: 20 / 11 = 1.8
    with pytest.raises(EngineError, match=r"and 0\.0 GiB of images"):
        pack_trials(
            spec, Slots(1, 1.0, 1), (replace(room, card=replace(tiny, usable_bytes=9 * 32 * 32 * 3)),), data, 99
        )


def test_a_trial_alone_gets_a_whole_gpu_and_one_without_gpu_stays_without() -> None:
    spec = study()
    for gpus, alone in ((0.25, 1.0), (1.0, 1.0), (2.0, 2.0)):
        asked = Packing(Slots(2, gpus, 4)).resources_for(config(spec, alone=True))
        assert asked.required_resources == {"CPU": 2, "GPU": alone}
        assert Packing(Slots(2, gpus, 4)).resources_for(config(spec)).required_resources == {"CPU": 2, "GPU": gpus}
    assert Packing(Slots(2, 0.0, 4)).resources_for(config(spec, alone=True)).required_resources == {"CPU": 2}


@pytest.mark.parametrize(
    ("results", "said"),
    [
        (
            (ProbeResult(fault="no GPU was free within 300 s"),),
            "could not be measured: no GPU was free within 300 s",
        ),
        ((ProbeResult(),), "torch can use none of them"),
    ],
)
def test_where_nothing_is_known_each_trial_has_a_whole_gpu_and_that_is_said(
    data: DataBundle, results: tuple[ProbeResult, ...], said: str
) -> None:
    packing = pack_trials(study(), Slots(1, 1.0, 2), results, data, 99)
    assert packing.slots == Slots(1, 1.0, 2)
    assert len(packing.notices) == 1
    assert said in packing.notices[0]


def test_gpus_beyond_the_first_are_said_to_be_idle(data: DataBundle) -> None:
    assert (
        "reserves 2 GPUs, but a trial trains on one" in pack_trials(study(), Slots(1, 2.0, 1), (), data, 9).notices[0]
    )
    assert pack_trials(study(), Slots(1, 1.0, 1), (), data, 9).notices == ()


class FakeGpu:
    """CUDA's own numbers, where a rehearsal only says what it would take."""

    def __init__(self, patch: pytest.MonkeyPatch, takes_gib: dict[int, float], total_gib: float = 80.0) -> None:
        self.taken, self.peak, self.outside, self.probed = 0.0, 0.0, 0.5, list[MemoryKey]()
        self.takes, self.total = takes_gib, total_gib
        for name, value in {
            "mem_get_info": lambda device: (int((self.total - self.outside - self.taken) * GIB), int(self.total * GIB)),
            "get_device_name": lambda device: "Fake GPU",
            "empty_cache": self._empty,
            "reset_peak_memory_stats": lambda device: None,
            "synchronize": lambda device: None,
            "memory_reserved": lambda device: int(self.taken * GIB),
            "max_memory_reserved": lambda device: int(self.peak * GIB),
            "max_memory_allocated": lambda device: int(self.peak * GIB) - 1,
        }.items():
            patch.setattr(torch.cuda, name, value)
        patch.setattr(memory_estimate, "run_sample_steps", self._run_sample_steps)

    def _empty(self) -> None:
        self.taken = 0.0

    def _run_sample_steps(self, config: Hyperparameters, image_size_px: int, device: torch.device) -> None:
        self.probed.append(memory_key(config.model_dump(), image_size_px))
        self.taken = self.peak = self.takes[config.batch_size]
        self.outside = max(self.outside, 0.75)  # kernels are loaded when they are first used
        if self.taken > self.total - self.outside:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


CUDA = torch.device("cuda")


def test_a_survey_measures_torchs_memory_and_cudas_own(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeGpu(monkeypatch, {64: 3.0, 128: 5.0})
    spec = study(choice("batch_size", 64, 128))
    seen = probe.probe_memory(memory_keys(spec), {}, CUDA)
    assert seen.card == GpuModel("Fake GPU", torch.__version__, 80 * GIB)
    assert seen.too_large is None
    by_batch = {key.batch_size: need for key, need in seen.needs.items()}
    assert by_batch[64] == MemoryNeed(3 * GIB, 3 * GIB - 1, GIB // 2 + GIB // 4)
    assert (by_batch[128].reserved_bytes, by_batch[128].context_bytes) == (5 * GIB, GIB // 2)


def test_memory_that_others_hold_is_not_there_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeGpu(monkeypatch, {64: 3.0}).outside = 30.0
    seen = probe.probe_memory(memory_keys(study()), {}, CUDA)
    assert seen.card is not None
    assert seen.card.usable_bytes == 51 * GIB  # all but 29, if this process takes one of the 30
    assert [need.context_bytes for need in seen.needs.values()] == [GIB]


def test_a_trial_that_does_not_fit_alone_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu(monkeypatch, {64: 3.0, 128: 90.0, 256: 3.0})
    seen = probe.probe_memory(memory_keys(study(choice("batch_size", 64, 128, 256))), {}, CUDA)
    assert seen.too_large is not None
    assert [key.batch_size for key in gpu.probed] == [64, 128]
    monkeypatch.setattr(ray, "wait", lambda refs, **options: (refs, []))
    monkeypatch.setattr(ray, "get", lambda ref: ref)
    law = r"resnet 18 with batch_size 128 and image_size_px 32 needs more than the 80\.0 GiB .* Fake GPU; lower batch"
    with pytest.raises(EngineError, match=law):
        probe.wait_for_probe([seen], lambda line: None)


def test_another_fault_of_sample_steps_is_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeGpu(monkeypatch, {})
    with pytest.raises(KeyError):
        probe.probe_memory(memory_keys(study()), {}, CUDA)


def test_what_was_measured_is_remembered_by_gpu_and_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path))
    gpu = FakeGpu(monkeypatch, {64: 3.0, 128: 5.0})
    first = probe.probe_memory(memory_keys(study()), probe_cache.known_needs(), CUDA)
    assert first.card is not None
    probe_cache.store_needs(first.card.name, first.card.torch_version, first.needs)
    wider = memory_keys(study(choice("batch_size", 64, 128)))
    again = probe.probe_memory(wider, probe_cache.known_needs(), CUDA)
    assert [key.batch_size for key in gpu.probed] == [64, 128]
    assert first.needs.items() <= again.needs.items()
    probe_cache.store_needs("Fake GPU", "another", again.needs)
    assert sorted(map(len, probe_cache.known_needs().values())) == [1, 2]
    before = (tmp_path / "gpu_memory.json").stat().st_mtime_ns
    probe_cache.store_needs(first.card.name, first.card.torch_version, first.needs)
    assert (tmp_path / "gpu_memory.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("text", ["", "[]", '{"a": {"[1]": [1, 2, 3]}}', '{"a": 1}', '{"a": {"x": [1]}}'])
def test_a_damaged_memory_is_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path))
    (tmp_path / "gpu_memory.json").write_text(text)
    assert probe_cache.known_needs() == {}


def test_a_memory_that_cannot_be_written_costs_no_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "file"))
    key = memory_keys(study())[0]
    probe_cache.store_needs("Fake GPU", "1", {key: MemoryNeed(1, 2, 3)})
    assert probe_cache.known_needs() == {}


def test_of_many_kinds_few_are_measured_and_the_rest_take_the_next_heavier(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [2**power for power in range(1, 13)]
    gpu = FakeGpu(monkeypatch, {size: size / 100 for size in sizes})
    keys = memory_keys(study(choice("batch_size", *sizes), choice("depth", 18, 34)))
    assert len(keys) == 24
    seen = probe.probe_memory(keys, {}, CUDA)
    assert len(gpu.probed) == probe.MOST_PROBES
    bounds = {key: memory_estimate.estimate_memory_bytes(key.hyperparameters, 32) for key in keys}
    assert max(bounds, key=lambda key: bounds[key]) in gpu.probed
    assert set(seen.stand_ins) == set(keys)
    for key, measured in seen.stand_ins.items():
        assert bounds[measured] >= bounds[key]
        assert not any(bounds[key] <= bounds[other] < bounds[measured] for other in seen.needs)


def test_the_order_of_memory_knows_what_makes_trials_heavy() -> None:
    def bound(image_size_px: int = 64, **changes: object) -> int:
        config = Hyperparameters.model_validate({"depth": 18, "batch_size": 32, **changes})
        return memory_estimate.estimate_memory_bytes(config, image_size_px)

    assert bound() < bound(depth=50) < bound(depth=152)
    assert bound() < bound(batch_size=64) < bound(batch_size=64, image_size_px=128)
    assert bound(precision="bf16") < bound() < bound(ema_decay=0.9)
    assert bound() < bound(head="mlp", head_width=4096)


def test_sample_steps_trains_and_validates_as_a_trial_does(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, int]] = []
    logits = memory_estimate.Network.logits

    def spy(network: memory_estimate.Network, images: torch.Tensor) -> torch.Tensor:
        seen.append((network.model.training, len(images)))
        return logits(network, images)

    monkeypatch.setattr(memory_estimate.Network, "logits", spy)
    monkeypatch.setattr(memory_estimate, "EVAL_BATCH_SIZE", 6)
    config = Hyperparameters(depth=10, batch_size=4, head="mlp", ema_decay=0.9, optimizer="sgd", freeze="stages<=1")
    memory_estimate.run_sample_steps(config, 16, torch.device("cpu"))
    assert seen == [(True, 4), (True, 4), (True, 2), (False, 6), (False, 6)]


@pytest.mark.parametrize(
    ("error", "memory", "lost"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), True, False),
        (RuntimeError("CUDA error: out of memory"), True, False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True, False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True, False),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), False, True),
        (RuntimeError("CUDA error: device-side assert triggered"), False, True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False, False),
        (MemoryError(), False, False),
        (ValueError("CUDA out of memory"), False, False),
    ],
)
def test_a_gpus_faults_are_known_by_their_words(error: Exception, memory: bool, lost: bool) -> None:
    assert (is_out_of_memory(error), is_gpu_lost(error)) == (memory, lost)


def test_only_auto_on_gpus_is_measured() -> None:
    fixed = study().model_copy(update={"resources": ResourceSpec(gpus_per_trial=0.5)})
    assert probe.start_probe(fixed, Slots(1, 0.5, 1)) == ()
    assert probe.start_probe(study(), Slots(1, 0.0, 1)) == ()
    timed = study().model_copy(update={"objectives": (study().objective, Objective(metric="latency_ms", mode="min"))})
    assert probe.start_probe(timed, Slots(1, 1.0, 1)) == (), "neighbours on a GPU would change what is measured"
    assert probe.wait_for_probe((), lambda line: pytest.fail("nothing is measured, so nothing is said")) == ()
