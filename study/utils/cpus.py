"""The CPUs that this process may use, which are often fewer than the machine has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_PROCESS_GROUPS = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")


def available_cores() -> int:
    """Return how many CPUs this process may use, at least 1.

    Its affinity counts (``taskset``, a batch system's cpuset) and the quotas of its cgroups (a container's limit), of
    which a part of a CPU is left out.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *map(int, cpu_quotas())]))


def cpu_quotas(process_groups: Path = _PROCESS_GROUPS, mount: Path = _MOUNT) -> Iterator[float]:
    """Yield every limit, in CPUs, that the cgroups of this process and those around them set.

    A container sees its own cgroup at the root of ``mount``, whatever its path is called outside.

    Args:
        process_groups: the kernel's list of this process's cgroups.
        mount: where cgroups are mounted.
    """
    for line in _text(process_groups).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if "cpu" in controllers.split(","):  # version 1
            mounts = [mount / "cpu", mount / controllers]
        elif not controllers:  # version 2
            mounts = [mount, mount / "unified"]
        else:
            continue
        place = Path(path.lstrip("/"))
        folders = [root / part for root in mounts for part in (place, *place.parents)]
        yield from (quota for folder in dict.fromkeys(folders) if (quota := _quota(folder)) is not None)


def _quota(folder: Path) -> float | None:
    both = _text(folder / "cpu.max").split() or [
        _text(folder / "cpu.cfs_quota_us").strip(),
        _text(folder / "cpu.cfs_period_us").strip(),
    ]
    try:
        quota, period = map(float, both)
    except ValueError:  # "max", or no such file
        return None
    return quota / period if quota > 0 and period > 0 else None  # version 1 writes -1 for none


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
