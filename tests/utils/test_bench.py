"""`make bench` and `make bench-gpu`: what they gather, leave out and refuse; no time is asserted."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from threading import Barrier

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import bench
import bench_gpu

from study.engine.gpu.memory_key import memory_key
from study.engine.gpu.packing import GIB, GpuModel, MemoryNeed, ProbeResult

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_look_at_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "busy_cores", lambda: 0.0)


def row(folder: Path, code: str, limit_s: float = 60) -> bench.Row:
    script = folder / "script.py"
    script.write_text(f"import json, sys, time\nout = sys.argv[-1]\n{code}\n")
    return bench.Row(str(script), ["--out-of", "x"], "nothing", limit_s, lambda report: report["ratios"])


def test_every_row_has_a_script_that_takes_its_options() -> None:
    for entry in bench.ROWS.values():
        source = (bench.HERE / entry.script).read_text() + (bench.HERE / "compare_ways.py").read_text()
        assert all(f'"{option}"' in source for option in entry.options if option.startswith("--")), entry.script
    assert sum(entry.limit_s for entry in bench.ROWS.values()) <= 1.1 * bench.LIMIT_S


def test_ratios_and_reports_are_gathered(tmp_path: Path) -> None:
    good = row(tmp_path, 'open(out, "w").write(json.dumps({"ratios": [2.0, 4.0, 3.0], "machine": {}, "more": 1}))')
    report = bench.run_rows({"good": good}, limit_s=60)
    assert report["left_out"] == {}
    gathered = report["rows"]["good"]
    assert (gathered["ratio"], gathered["ratios"]) == (3.0, [2.0, 4.0, 3.0])
    assert gathered["report"] == {"ratios": [2.0, 4.0, 3.0], "more": 1}
    assert report["machine"]["torch"] == version("torch")
    text = bench.render(report)
    assert "3.00 x against nothing" in text
    assert report["commit"] in text
    bench.draw(report, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("code", "limit_s", "why"),
    [
        ('raise SystemExit("it broke")', 60, "it broke"),
        ("pass", 60, "FileNotFoundError"),
        ('open(out, "w").write(json.dumps({"ratios": []}))', 60, "no round"),
        ("time.sleep(60)", 0.5, "not done within"),
        ("pass", -1, "no time was left"),
    ],
)
def test_a_row_that_fails_is_named(tmp_path: Path, code: str, limit_s: float, why: str) -> None:
    report = bench.run_rows({"bad": row(tmp_path, code, limit_s)}, limit_s=60)
    assert report["rows"] == {}
    assert why in report["left_out"]["bad"]
    assert why in bench.render(report)


def test_the_ratios_of_each_kind_of_report() -> None:
    runs = [
        {"way": way, "wall_s": wall_s}
        for way, wall_s in (("plain", 6.0), ("study", 2.0), ("study", 4.0), ("plain", 4.0))
    ]
    assert bench.of_runs({"runs": runs}) == [3.0, 1.0]
    figures = [{"way": "plain fp32", "ratios": (1, 1, 1)}, {"way": "ours fp32", "ratios": (1.5, 1.25, 2.0)}]
    assert bench.of_steps({"figures": figures}) == [1.25, 1.5, 2.0]
    assert bench.of_copies({"trials": 8, "copies": 1.25}) == [6.4]


def test_without_a_gpu_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["bench_gpu.py", "--out", str(tmp_path / "gpu.json")])
    with pytest.raises(SystemExit) as refused:
        bench_gpu.main()
    assert refused.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "needs a GPU" in said.err
    assert not (tmp_path / "gpu.json").exists()


def test_the_parts_of_the_gpu_benchmark_run_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_gpu, "SHARED_BATCH", 4)
    monkeypatch.setattr(bench_gpu, "SHARED_S", 0.2)
    rate = bench_gpu.throughput(CPU, 4, depth=10, size_px=16, steps=2, rounds=2)
    assert rate["batch_size"] == 4
    assert len(rate["rounds"]) == 2
    assert min(rate["rounds"]) <= rate["images_per_s"] <= max(rate["rounds"])
    between = bench_gpu.memory_between_trials(CPU, depth=10, size_px=16, trials=2)
    assert between == {"trials": [{"during_mib": 0, "after_mib": 0}] * 2, "grows_mib": 0}
    alone = bench_gpu.at_once(CPU, depth=10, size_px=16, until=time.monotonic() + 0.01)
    assert list(alone["images_per_s_together"]) == ["1"]
    assert len(bench_gpu.throughput(CPU, 4, depth=10, size_px=16, steps=1, until=0)["rounds"]) == 1


def test_trials_on_one_device_begin_together(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[float] = []
    monkeypatch.setattr(bench_gpu, "_start", Barrier(2, action=lambda: begun.append(time.perf_counter())))
    with ThreadPoolExecutor(2) as pool:  # as processes do
        parts = [pool.submit(bench_gpu._rate_beside_others, CPU, 4, 10, 16, 0.1) for _ in range(2)]
    assert min(part.result() for part in parts) > 0
    assert len(begun) == 1


def test_parts_for_which_no_time_or_memory_is_left_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    report = bench_gpu.run_parts(CPU, limit_s=0)
    parts = ("packing", "throughput", "memory_between_trials", "at_once")
    assert all(report[name] == {"left_out": "no time was left"} for name in parts)

    def run_out(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory\nmore")

    for name in parts:
        monkeypatch.setattr(bench_gpu, name, run_out)
    report = bench_gpu.run_parts(CPU, limit_s=60)
    assert all(report[name] == {"left_out": "CUDA out of memory"} for name in parts)
    json.dumps(report)


def test_packing_says_how_many_trials_fit_by_measured_memory() -> None:
    key = memory_key(bench_gpu.trial(64, 50).model_dump(), 112)
    need = MemoryNeed(reserved_bytes=4 * GIB, allocated_bytes=3 * GIB, context_bytes=GIB)
    result = ProbeResult(GpuModel("a GPU", "2", 23 * GIB), {key: need}, {key: key})
    assert bench_gpu.fitting(result, key) == {"batch_size": 64, "reserved_mib": 4096, "context_mib": 1024, "fit": 4}
