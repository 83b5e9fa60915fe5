"""Say on what a wall-clock figure was measured; Linux only."""

import os
import platform
import re
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("ray", "torch", "torchvision", "optuna", "mlflow")


def describe_machine() -> dict[str, Any]:
    """Return the cores, the memory, the CPU's matrix instructions and the versions in use."""
    cpu_info = Path("/proc/cpuinfo").read_text()
    flags_line = re.search(r"^flags\s*:(.*)$", cpu_info, re.MULTILINE)
    model_line = re.search(r"^model name\s*:\s*(.*)$", cpu_info, re.MULTILINE)
    flags = set(flags_line[1].split()) if flags_line else set()
    return {
        "cpu": model_line[1] if model_line else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "avx512f": "avx512f" in flags,
        "avx512_bf16": "avx512_bf16" in flags,
        "amx": any(flag.startswith("amx") for flag in flags),
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
    }


def commit_of(folder: Path) -> str:
    """Return the git commit of a folder, marked "-dirty" where files differ from it, or "unknown"."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def cpu_clock_s() -> tuple[float, float]:
    """Return the core-seconds this machine was busy, and those a hypervisor took away, since it started."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / ticks_per_s, steal / ticks_per_s


def busy_cores(interval_s: float = 2.0) -> float:
    """Watch the machine for a moment; return how many cores other programs keep busy."""
    before_s, start_s = cpu_clock_s()[0], time.perf_counter()
    time.sleep(interval_s)
    return (cpu_clock_s()[0] - before_s) / (time.perf_counter() - start_s)


def processes_of_session(session_id: int) -> list[int]:
    """Return the processes of a session that `subprocess.Popen(start_new_session=True)` opened."""
    pids = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The command name may hold spaces and brackets; the fields after it are state, parent, group, session.
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(session) == session_id and state != "Z":
            pids.append(int(stat.parent.name))
    return pids


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
