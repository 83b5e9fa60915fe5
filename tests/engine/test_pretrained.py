"""Weights that trials begin with: which are wanted, where they lie, what is left when some are missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from training_kit import noisy_halves, run, short_trial

from study.config.hyperparameters import Hyperparameters
from study.config.search_space import Choice, Parameter
from study.config.study_config import StudySpec
from study.engine.weights.initial_weights import (
    WeightsKey,
    _read,
    load_stored_weights,
    locate_weights,
    required_weights,
    store_weights,
    without_missing,
)
from study.errors import WeightsError
from study.paths import StudyLayout
from study.training.checkpoint import best_folder, load_weights
from study.training.models.architectures import build_model
from study.training.models.initialization import initialize
from study.training.models.weights_file import read_weights

INIT = Parameter(name="init", domain=Choice(values=("kaiming", "imagenet")))
DEPTH = Parameter(name="depth", domain=Choice(values=(10, 18)))
FAMILY = Parameter(name="family", domain=Choice(values=("resnet", "resnet_v2")))
WHY = "no such weights"


def spec_of(*space: Parameter, **trial: object) -> StudySpec:
    return StudySpec(name="s", space=space, trial=Hyperparameters.model_validate(trial))


def key(depth: int, family: str = "resnet", init: str = "imagenet") -> WeightsKey:
    return WeightsKey(init, family, depth)


def test_only_weights_some_trial_begins_with_are_wanted() -> None:
    assert required_weights(spec_of(INIT, DEPTH)) == (key(10), key(18))
    assert required_weights(spec_of(DEPTH)) == ()
    inits = Parameter(name="init", domain=Choice(values=("xavier", "rotation", "checkpoint:a", "run:7")))
    wanted = required_weights(spec_of(inits, depth=34))
    assert wanted == tuple(key(34, init=init) for init in ("rotation", "checkpoint:a", "run:7"))


def test_a_family_is_wanted_only_in_its_depths() -> None:
    depths = Parameter(name="depth", domain=Choice(values=(18, 50)))
    assert required_weights(spec_of(INIT, FAMILY, depths)) == (key(18), key(50), key(50, "resnet_v2"))


def test_missing_weights_are_dropped_with_a_line_or_refused() -> None:
    spec = spec_of(INIT, DEPTH)
    left, lines = without_missing(spec, {key(10): WHY})
    assert lines == (f"init: imagenet is left out for depth 10, weights are missing: depth 10: {WHY}",)
    assert without_missing(left, {key(10): WHY})[0] == left  # as a resume finds it
    assert without_missing(spec, {}) == (spec, ())
    with pytest.raises(WeightsError, match=f"on_missing_weights is `fail`: depth 10: {WHY}"):
        without_missing(spec.model_copy(update={"on_missing_weights": "fail"}), {key(10): WHY})
    with pytest.raises(WeightsError, match="must keep"):
        without_missing(spec_of(DEPTH, init="imagenet", depth=18), {key(10): WHY, key(18): WHY})


def test_a_family_without_weights_loses_imagenet_and_the_others_keep_it() -> None:
    depths = Parameter(name="depth", domain=Choice(values=(50, 152)))
    left, (line,) = without_missing(spec_of(INIT, FAMILY, depths), {key(152, "resnet_v2"): WHY})
    excluded = next(parameter for parameter in left.space if parameter.name == "init").excluded
    assert [(value.value, value.beside.parameter, value.beside.values) for value in excluded] == [
        ("imagenet", "family", ("resnet_v2",))
    ]
    assert "family resnet_v2, depth 152" in line


def test_paths_and_runs_are_located_before_any_work(tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    torch.save({"fc.bias": torch.zeros(1)}, file)
    wanted = [key(18, init=f"checkpoint:{file}"), key(18, init="run:abc")]
    with pytest.raises(
        WeightsError, match=r"init run:abc .* weights were kept, .*`study rerun abc --save DIR` makes them again"
    ):
        locate_weights(wanted, {"abc": str(tmp_path)})
    (tmp_path / "model.safetensors").touch()
    assert locate_weights(wanted, {"abc": str(tmp_path)}) == {f"checkpoint:{file}": file, "run:abc": tmp_path}
    with pytest.raises(WeightsError, match="init run:abc must be the run of a trial"):
        locate_weights(wanted, {})
    with pytest.raises(WeightsError, match=r"must be an existing file or folder, but .*nothing does not exist"):
        locate_weights([key(18, init="checkpoint:nothing")], {})


def test_what_nobody_publishes_is_kept_with_the_study(tmp_path: Path) -> None:
    layout = StudyLayout(tmp_path)
    arrays = {"conv1.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
    keys = [key(18, init="rotation"), key(18, init="checkpoint:/a/b.pt"), key(18)]
    store_weights(layout, dict.fromkeys(keys, arrays))
    stored = load_stored_weights(layout, [*keys, key(34, init="rotation")])
    assert set(stored) == set(keys[:2]), "published weights are fetched again, not copied"
    assert np.array_equal(stored[keys[0]]["conv1.weight"], arrays["conv1.weight"])
    next(layout.pretrained.glob("rotation-*")).write_bytes(b"half")
    with pytest.raises(WeightsError, match="is damaged"):
        load_stored_weights(layout, keys)


def test_arrays_that_lie_otherwise_in_memory_come_back_as_they_were(tmp_path: Path) -> None:
    layout, wanted = StudyLayout(tmp_path), key(18, init="checkpoint:w.pt")
    arrays = {
        "fc.weight": np.arange(6.0, dtype=np.float32).reshape(2, 3).T,
        "conv1.weight": np.arange(24.0, dtype=np.float32).reshape(2, 3, 2, 2).transpose(0, 3, 1, 2),
        "bn1.num_batches_tracked": np.array(7),
    }
    store_weights(layout, {wanted: arrays})
    stored = load_stored_weights(layout, [wanted])[wanted]
    assert all(np.array_equal(array, stored[name]) for name, array in arrays.items())
    assert stored["bn1.num_batches_tracked"].shape == ()


@pytest.fixture(scope="module")
def trial_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trial")
    run(short_trial(max_epochs=1), noisy_halves(train=32, val=16), folder)
    return folder


@pytest.mark.parametrize("form", ["checkpoint", "trial", "safetensors", "pt", "wrapped"])
def test_a_warm_start_takes_every_weight_head_included(tmp_path: Path, trial_folder: Path, form: str) -> None:
    weights = load_weights(best_folder(trial_folder, 1))
    path = {"checkpoint": best_folder(trial_folder, 1), "trial": trial_folder}.get(form, tmp_path / f"w.{form[:2]}")
    if form == "safetensors":
        path = tmp_path / "w.safetensors"
        save_file(weights, path)
    elif form == "pt":
        torch.save(weights, path)
    elif form == "wrapped":
        path = tmp_path / "w.pth"
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}}, path)
    model = build_model(short_trial())
    initialize(model, f"checkpoint:{path}", 1, read_weights(path).tensors)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_a_worker_reads_half_precision_parameters_and_turned_tensors(tmp_path: Path, trial_folder: Path) -> None:
    weights = load_weights(best_folder(trial_folder, 1))
    given = {name: tensor.bfloat16() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    given["fc.weight"] = torch.nn.Parameter(weights["fc.weight"].t().contiguous().t())
    torch.save(given, tmp_path / "w.pt")
    wanted = key(10, init="checkpoint:w.pt")
    read, note = _read(wanted, {wanted.init: tmp_path / "w.pt"})
    assert note == "bfloat16 becomes float32"
    assert np.array_equal(read["fc.weight"], weights["fc.weight"].numpy())
    assert read["fc.weight"].flags.c_contiguous
    assert np.array_equal(read["conv1.weight"], weights["conv1.weight"].bfloat16().float().numpy())


def test_a_head_that_does_not_fit_is_drawn_anew_and_nothing_else(trial_folder: Path) -> None:
    weights = read_weights(trial_folder).tensors
    model, drawn = (build_model(short_trial(), outputs=3) for _ in range(2))
    initialize(model, "run:abc", 1, weights)
    initialize(drawn, "kaiming", 1)
    assert torch.equal(model.get_parameter("conv1.weight"), weights["conv1.weight"])
    assert torch.equal(model.get_parameter("layer4.0.bn2.weight"), weights["layer4.0.bn2.weight"])
    assert model.get_parameter("fc.weight").shape == (3, 512)


def test_a_folder_that_holds_no_weights_is_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"there is no model.safetensors in it"):
        read_weights(tmp_path)
