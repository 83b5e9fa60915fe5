"""The CPUs that a process may use: its affinity, and the quotas of its cgroups in both versions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from study.utils import cpus
from study.utils.cpus import available_cores, cpu_quotas


def version_1(folder: str, quota: int) -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": "100000\n"}


@pytest.mark.parametrize(
    ("groups", "files", "quotas"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, [1.5]),
        ("0::/\n", {"cpu.max": "max 100000\n"}, []),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "400000 100000\n"}, [4.0]),
        ("0::/outside/name\n", {"cpu.max": "50000 100000\n"}, [0.5]),
        ("0::/\n", {"unified/cpu.max": "200000 100000\n"}, [2.0]),
        ("4:cpu,cpuacct:/docker/1\n3:cpuset:/\n", version_1("cpu", 250000), [2.5]),
        ("4:cpu,cpuacct:/x\n", version_1("cpu,cpuacct/x", -1), []),
        ("3:cpuset:/\n9:name=systemd:/\n", {"cpu.max": "100000 100000"}, []),
        ("nonsense\n", {"cpu.max": "100000 100000"}, [1.0]),
        ("0::/\n", {"cpu.max": "what\n"}, []),
        ("", {}, []),
    ],
)  # fmt: skip
def test_every_quota_around_a_process_counts(
    tmp_path: Path, groups: str, files: dict[str, str], quotas: list[float]
) -> None:
    (tmp_path / "groups").write_text(groups)
    for name, text in files.items():
        (tmp_path / "mount" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mount" / name).write_text(text)
    assert list(cpu_quotas(tmp_path / "groups", tmp_path / "mount")) == quotas


@pytest.mark.parametrize(
    ("affinity", "quotas", "cores"),
    [(range(8), [], 8), (range(8), [2.9, 5.0], 2), (range(8), [0.5], 1), (range(2), [4.0], 2)],
)
def test_the_smallest_limit_counts_and_one_core_is_always_there(
    monkeypatch: pytest.MonkeyPatch, affinity: range, quotas: list[float], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(affinity))
    monkeypatch.setattr(cpus, "cpu_quotas", lambda: iter(quotas))
    assert available_cores() == cores
