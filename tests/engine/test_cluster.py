"""How many trials a cluster holds at once, and what it cannot hold; the cluster's nodes are made up."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import pytest
import ray

from study.config.search_config import BudgetSpec, ResourceSpec
from study.config.study_config import StudySpec
from study.engine.ray import cluster as module
from study.engine.ray.cluster import (
    Slots,
    accelerator_types,
    cluster,
    leave_cluster,
    plan_slots,
    require_accelerators,
)
from study.engine.ray.forked_workers import SWITCH
from study.errors import EngineError
from study.files import ensure_home


def nodes(patch: pytest.MonkeyPatch, *resources: dict[str, float], dead: tuple[dict[str, float], ...] = ()) -> None:
    alive = [{"Alive": True, "Resources": node} for node in resources]
    patch.setattr(ray, "nodes", lambda: alive + [{"Alive": False, "Resources": node} for node in dead])


@pytest.mark.parametrize(
    ("asked", "cluster", "slots"),
    [
        (ResourceSpec(), [{"CPU": 4.0}], Slots(1, 0.0, 4)),
        (ResourceSpec(cpus_per_trial=3), [{"CPU": 4.0}, {"CPU": 8.0}], Slots(3, 0.0, 3)),
        (ResourceSpec(max_concurrent_trials=2), [{"CPU": 4.0}], Slots(1, 0.0, 2)),
        (ResourceSpec(), [{"CPU": 16.0, "GPU": 2.0}, {"CPU": 16.0}], Slots(1, 1.0, 2)),
        (ResourceSpec(gpus_per_trial=0), [{"CPU": 4.0, "GPU": 2.0}], Slots(1, 0.0, 4)),
        (ResourceSpec(gpus_per_trial=2), [{"CPU": 16.0, "GPU": 3.0}, {"CPU": 16.0, "GPU": 2.0}], Slots(1, 2.0, 2)),
        (ResourceSpec(gpus_per_trial=0.25), [{"CPU": 16.0, "GPU": 2.0}], Slots(1, 0.25, 8)),
        (ResourceSpec(gpus_per_trial=0.25, cpus_per_trial=4), [{"CPU": 16.0, "GPU": 2.0}], Slots(4, 0.25, 4)),
        (ResourceSpec(gpus_per_trial=0.4), [{"CPU": 16.0, "GPU": 2.0}], Slots(1, 0.4, 4)),  # not 5: one lies on one GPU
        (ResourceSpec(gpus_per_trial=0.3333), [{"CPU": 16.0, "GPU": 1.0}], Slots(1, 0.3333, 3)),
        (ResourceSpec(gpus_per_trial=0.07), [{"CPU": 16.0, "GPU": 1.0}], Slots(1, 0.07, 14)),
    ],
)
def test_the_places_of_a_cluster_are_counted(
    monkeypatch: pytest.MonkeyPatch, asked: ResourceSpec, cluster: list[dict[str, float]], slots: Slots
) -> None:
    nodes(monkeypatch, *cluster, dead=({"CPU": 64.0, "GPU": 8.0},))
    assert plan_slots(asked, trials=100) == slots


def test_no_more_places_than_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes(monkeypatch, {"CPU": 16.0})
    assert plan_slots(ResourceSpec(), trials=3).count == 3


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (ResourceSpec(cpus_per_trial=9), "9 CPUs and 0 GPUs and the largest node has 8 CPUs and 0 GPUs"),
        (ResourceSpec(gpus_per_trial=1), "1 CPUs and 1 GPUs and the largest node has 8 CPUs and 0 GPUs"),
        (ResourceSpec(gpus_per_trial=0.5), "1 CPUs and 0.5 GPUs"),
    ],
)
def test_a_trial_that_no_node_holds_is_refused(monkeypatch: pytest.MonkeyPatch, asked: ResourceSpec, said: str) -> None:
    nodes(monkeypatch, {"CPU": 8.0}, {"CPU": 4.0})
    with pytest.raises(EngineError, match=said):
        plan_slots(asked, trials=1)


def test_two_small_nodes_are_not_one_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes(monkeypatch, {"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 1.0})
    with pytest.raises(EngineError, match="2 GPUs and the largest node has 8 CPUs and 1 GPUs"):
        plan_slots(ResourceSpec(gpus_per_trial=2), trials=1)


@pytest.mark.parametrize(
    ("node", "gpus", "why"),
    [({"CPU": 8.0}, "auto", "the cluster has none"), ({"CPU": 8.0, "GPU": 1.0}, 0, "resources.gpus_per_trial is 0")],
)
def test_accelerator_hours_need_accelerators(
    monkeypatch: pytest.MonkeyPatch, node: dict[str, float], gpus: str | int, why: str
) -> None:
    nodes(monkeypatch, node)
    resources = ResourceSpec.model_validate({"gpus_per_trial": gpus})
    spec = StudySpec(name="a", budget=BudgetSpec(accelerator_hours=2.5), resources=resources)
    with pytest.raises(EngineError, match=f"it is 2.5 and {why}; budget.wall_clock limits a study on CPUs"):
        require_accelerators(spec, plan_slots(resources, trials=1))


def test_accelerator_hours_are_taken_where_trials_have_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes(monkeypatch, {"CPU": 8.0, "GPU": 1.0})
    spec = StudySpec(name="a", budget=BudgetSpec(accelerator_hours=2.5))
    require_accelerators(spec, plan_slots(spec.resources, trials=1))
    require_accelerators(StudySpec(name="a"), Slots(1, 0.0, 1))


def test_kinds_of_gpus_are_known_by_rays_names(monkeypatch: pytest.MonkeyPatch) -> None:
    large = {"CPU": 8.0, "GPU": 8.0, "accelerator_type:H100": 1.0}
    nodes(monkeypatch, large, large, {"CPU": 8.0, "GPU": 1.0, "accelerator_type:L4": 1.0}, {"CPU": 8.0})
    assert accelerator_types() == ("H100", "L4")
    nodes(monkeypatch, {"CPU": 8.0, "GPU": 2.0})
    assert accelerator_types() == ()


def test_a_worker_that_only_imports_does_not_look_for_gpus() -> None:
    """CUDA reads CUDA_VISIBLE_DEVICES once, at the first call; Ray sets it when a waiting worker is given a trial."""
    code = """
import os, torch, torch._C
def never(*args, **kwargs):
    raise AssertionError("CUDA was asked before Ray could say which GPU is whose")
torch.cuda.is_available = torch.cuda.device_count = torch.cuda._lazy_init = never
for name in ("_cuda_getDeviceCount", "_cuda_init"):
    if hasattr(torch._C, name):
        setattr(torch._C, name, never)
import gc, timm
looked = []
gc.callbacks.append(lambda phase, info: looked.append(info["generation"]))
import study.engine.ray.preload
assert gc.isenabled() and gc.get_freeze_count() > 100_000, "from now on, but not at what is there"
assert 2 not in looked, "nor while it was made"
import study.engine.gpu.memory_probe
print("quiet", flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "quiet\n", done.stderr


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What Ray was started with; nothing is really started."""
    asked: list[dict[str, object]] = []
    monkeypatch.setattr(ray, "init", lambda **options: asked.append(options))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(module, "available_cores", lambda: 3)
    monkeypatch.setenv(SWITCH, "0")
    for name in ("RAY_ADDRESS", "RAY_TMPDIR", "TMPDIR"):
        monkeypatch.setenv(name, "")
    return asked


def test_ray_gets_the_cpus_that_this_process_may_use(started: list[dict[str, object]]) -> None:
    with cluster(None):
        pass
    assert (started[0]["address"], started[0]["num_cpus"]) == ("local", 3)


def test_modules_are_imported_while_ray_starts(
    started: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "needed_later.py").write_text("")
    (tmp_path / "damaged_module.py").write_text("raise RuntimeError('whoever needs it is told')")
    monkeypatch.syspath_prepend(tmp_path)
    with cluster(None, ["needed_later", "damaged_module"]):
        assert len(started) == 1
        assert "needed_later" in sys.modules
        with pytest.raises(RuntimeError, match="whoever needs it"):
            import_module("damaged_module")


@pytest.mark.parametrize("asked", [None, "7"])
def test_workers_start_as_fast_as_the_driver_unless_somebody_decided_otherwise(
    started: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch, asked: str | None
) -> None:
    for name, value in ((module.WORKER_NICENESS, asked), (module.TRIAL_NICENESS, None)):
        monkeypatch.setenv(name, value or "")  # so that it is as before afterwards
        if value is None:
            del os.environ[name]
    with cluster(None):
        given = os.environ[module.WORKER_NICENESS], os.environ.get(module.TRIAL_NICENESS)
    assert given == (("0", "15") if asked is None else ("7", None))


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
@pytest.mark.parametrize("kind", ["long", "missing", "file", "relative", "usable"])
def test_ray_keeps_its_files_where_its_sockets_fit(
    started: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, kind: str
) -> None:
    short = Path(tempfile.mkdtemp(prefix="s", dir="/tmp"))
    file = tmp_path / "file"
    file.write_text("in the way")
    place = {
        "long": str(tmp_path / ("x" * 60)), "missing": str(file / "in"), "file": str(file), "relative": "tmp",
        "usable": str(short),
    }[kind]  # fmt: skip
    monkeypatch.setenv(variable, place)
    with cluster(None):
        assert os.environ["RAY_TMPDIR"] == (place if kind == "usable" else "/tmp")
    shutil.rmtree(short)
    assert len(started) == 1


def test_where_ray_has_no_place_for_its_files_every_place_is_named(
    started: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 80)
    long.mkdir()
    monkeypatch.chdir(long)
    monkeypatch.setattr(module, "OTHER_FOLDERS", ("/proc/nowhere",))
    monkeypatch.setattr(os, "getuid", lambda: 10**9)
    monkeypatch.setattr(
        module, "_unfit", lambda folder, real=module._unfit: "is full" if folder.match("/run/*/*") else real(folder)
    )
    monkeypatch.setenv("TMPDIR", str(long))
    told = "is too long for the names of sockets; /proc/nowhere cannot be written .*; /run/user/1000000000 is full"
    with pytest.raises(EngineError, match=told), cluster(None):
        raise AssertionError("there is no place")
    assert started == []


@pytest.mark.parametrize("address", ["nonsense", "host:", ":6379", "host:0", "host:99999", "foo://x", "ray://", " "])
@pytest.mark.parametrize("named", ["--address", "RAY_ADDRESS"])
def test_an_address_of_another_form_is_refused_and_who_named_it_is_said(
    started: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch, address: str, named: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address if named == "RAY_ADDRESS" else "")
    way_out = "unset RAY_ADDRESS" if named == "RAY_ADDRESS" else "leave --address out"
    with pytest.raises(EngineError) as refused, cluster(address if named == "--address" else None):
        raise AssertionError("it is no address")
    told = str(refused.value)
    assert told.startswith(f"a Ray cluster must answer at {address}, which {named}")
    assert "an address is HOST:PORT, such as 10.0.0.1:6379, ray://HOST:PORT or auto; start one there with" in told
    assert told.endswith(f"or {way_out} to run on this machine alone")
    assert started == []


def test_local_in_the_environment_starts_a_cluster_here(
    started: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")
    with cluster(None):
        pass
    assert started[0]["address"] == "local"


def test_a_fault_of_ray_at_its_start_is_one_line(
    started: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**options: object) -> None:
        raise RuntimeError("\nThe node died.\nTraceback of 30 lines")

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(EngineError, match=r"^cannot start Ray on this machine: The node died; its logs"), cluster(None):
        raise AssertionError("Ray did not start")


@pytest.mark.parametrize("kind", ["writable", "missing", "file", "own token"])
def test_ray_has_a_token_where_the_home_takes_none(
    started: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    home = {"missing": Path("/proc/1/nowhere"), "file": tmp_path / "file"}.get(kind, tmp_path)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")  # so that it is as before afterwards, whatever the code sets
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    if kind == "own token":
        monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    with cluster(None):
        token = os.environ.get("RAY_AUTH_TOKEN")
    expected = {"writable": None, "own token": "mine"}
    assert token == expected[kind] if kind in expected else len(token or "") == 64


def test_a_user_whom_the_system_does_not_know_gets_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", "")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: fail()))

    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    ensure_home()
    first = os.environ["HOME"]
    assert Path(first).stat().st_mode & 0o777 == 0o700
    ensure_home()
    assert os.environ["HOME"] == first
    Path(first).rmdir()
    Path(first).symlink_to("/etc")
    ensure_home()
    assert os.environ["HOME"] != first, "the folder of that name may be somebody else's trap"
    assert Path(os.environ["HOME"]).is_dir()


@pytest.mark.parametrize("was_enabled", [True, False])
def test_no_thread_collects_garbage_while_ray_shuts_down(was_enabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference to a Ray object that another thread frees just then ends the process: 8 of 24 times when tried."""
    seen: list[bool] = []

    def shut_down() -> None:
        seen.append(gc.isenabled())
        raise RuntimeError("it failed")

    monkeypatch.setattr(ray, "shutdown", shut_down)
    if not was_enabled:
        gc.disable()
    try:
        with pytest.raises(RuntimeError, match="it failed"):
            leave_cluster()
        assert (seen, gc.isenabled()) == ([False], was_enabled)
    finally:
        gc.enable()
