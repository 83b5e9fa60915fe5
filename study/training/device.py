"""The device a trial runs on: its name, what it computes fast, how much memory was used."""

from __future__ import annotations

import ctypes
import os
import resource
from contextlib import suppress
from pathlib import Path

import torch

from study.config.hyperparameters import Hyperparameters


def pick_device() -> torch.device:
    """Return the first visible GPU, else the CPU; Ray shows a worker only the GPUs it was given."""
    return torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is computed in hardware: Ampere and later GPUs, AVX512-BF16 and AMX processors."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = _cpu_info("flags").split()
    in_hardware = "avx512_bf16" in flags or "amx_bf16" in flags
    return torch.backends.mkldnn.is_available() and in_hardware and not _is_bf16_switched_off()


def _is_bf16_switched_off() -> bool:
    """Whether oneDNN was told by its environment variable to use older instructions, which makes bfloat16 very slow."""
    most = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "DEFAULT"
    return not any(part in most.upper() for part in ("DEFAULT", "ALL", "BF16", "FP16", "AMX", "AVX10"))


def _cpu_info(field: str) -> str:
    """Return a field of the first processor in /proc/cpuinfo, empty where there is none."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(field):
                return line.split(":", 1)[1].strip()
    return ""


def resolve_precision(config: Hyperparameters, device: torch.device) -> tuple[str, bool]:
    """Return (precision, channels_last) with every "auto" decided; on a CPU channels last is always faster."""
    fast = has_fast_bf16(device)
    precision = config.precision if config.precision != "auto" else ("bf16" if fast else "fp32")
    channels_last = config.channels_last if config.channels_last != "auto" else (fast or device.type == "cpu")
    return precision, channels_last


def describe(device: torch.device) -> str:
    """Name the device for records: the GPU's name or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return _cpu_info("model name") or "cpu"


def reset_peak_memory(device: torch.device) -> None:
    """Return freed memory to the system and start a new peak; a reused worker must not report the last trial's."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError, AttributeError):  # only glibc has it; it keeps hundreds of megabytes of a freed model
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):  # only Linux has it, and a container may refuse
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_bytes(device: torch.device) -> int:
    """Return the peak since ``reset_peak_memory``: allocated on a GPU, resident of the process on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
