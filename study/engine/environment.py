"""Describe the machine and software of a run as far as they can change the last bit of a metric, without torch."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from study.utils.cpus import available_cores
from study.utils.git import run_git

PACKAGES = ("ray-study", "torch", "torchvision", "timm", "numpy")
SWITCHES = (
    "ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS",
    "NVIDIA_TF32_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG",
)  # fmt: skip
"""Environment variables that let torch's libraries choose other kernels."""
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "asimd", "sve", "bf16")
_CPU_IDENTITY = ("cpu family", "model", "stepping")
_NVIDIA = Path("/proc/driver/nvidia")


def describe_environment() -> dict[str, str]:
    """Return what may make the same trial give other metrics elsewhere; unknown entries are left out.

    It describes this machine; workers on other nodes of a cluster may differ.
    """
    cpu = _cpu_info()
    entries = {
        "cpu": _cpu_name(cpu),
        "instructions": " ".join(name for name in INSTRUCTIONS if name in _flags(cpu)),
        "machine": platform.machine(),
        "cores": str(available_cores()),
        "gpu": _gpus(),
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        **dict(_versions()),
        "commit": _commit(Path(__file__).parent.parent),
        **{name: os.environ[name] for name in SWITCHES if name in os.environ},
    }
    return {name: value for name, value in entries.items() if value}


def _cpu_info() -> Mapping[str, str]:
    """Return Linux's description of the first processor."""
    fields: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, colon, value = line.partition(":")
            if not colon:
                break
            fields[key.strip()] = value.strip()
    return fields


def _cpu_name(cpu: Mapping[str, str]) -> str:
    """Return the processor's name and its family, model and stepping: the name alone may fit several generations."""
    name = cpu.get("model name") or platform.processor() or platform.machine()
    identity = " ".join(f"{key} {cpu[key]}" for key in _CPU_IDENTITY if key in cpu)
    return f"{name} ({identity})" if identity else name


def _flags(cpu: Mapping[str, str]) -> frozenset[str]:
    return frozenset((cpu.get("flags") or cpu.get("Features") or "").split())


def _gpus() -> str:
    """Return the GPUs and the driver version, read from files without a driver call."""
    models: list[str] = []
    with suppress(OSError):
        for information in sorted((_NVIDIA / "gpus").glob("*/information")):
            lines = information.read_text(encoding="utf-8").splitlines()
            models += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    if not models:
        return ""
    version = ""
    with suppress(OSError):
        words = (_NVIDIA / "version").read_text(encoding="utf-8").splitlines()[0].split()
        version = next((word for word in words if word[:1].isdigit()), "")
    return ", ".join(models) + (f", driver {version}" if version else "")


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            yield name, metadata.version(name)


def _commit(package: Path) -> str:
    """Return the commit of a package inside a git checkout, and whether its code was changed since."""
    if run_git(package, "ls-files", "--error-unmatch", "errors.py") is None:
        return ""
    commit = run_git(package, "rev-parse", "HEAD")
    changed = run_git(package, "status", "--porcelain", "--", ".")
    return f"{commit} with changes" if commit and changed else commit or ""
