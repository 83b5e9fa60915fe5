"""Say what a study runs on, as far as it can change the last bit of a metric; loads neither torch nor a GPU."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from study.config.hyperparameters import TrialConfig
from study.errors import WeightsError
from study.records import TrialRecord
from study.utils.git import run_git

if TYPE_CHECKING:
    import torch

    from study.paths import StudyLayout
    from study.training.checkpoint import CheckpointCard
    from study.training.models.initialization import Weights


FAST_BF16 = ("avx512_bf16", "amx_bf16")
DRAWN_ELSEWHERE = ("imagenet", "rotation", "checkpoint:", "run:")


def read_checkpoint_card(record: TrialRecord) -> CheckpointCard | None:
    """Return what a trial's selected checkpoint says of itself, None where it cannot be read."""
    from study.training.checkpoint import read_card

    try:
        return read_card(Path(record.checkpoint)) if record.checkpoint else None
    except (OSError, ValueError):
        return None


def select_device(on_gpu: bool) -> torch.device:
    """Return a GPU for a trial that ran on one, where there is one here, else the CPU."""
    import torch

    return torch.device("cuda" if on_gpu and torch.cuda.is_available() else "cpu")


def device_reasons(on_gpu: bool, device: torch.device) -> list[str]:
    """Say what the device does to a trial's last bits; nothing for the CPU, where they stay."""
    if not on_gpu:
        return []
    here = "" if device.type == "cuda" else ", and there is none here: this ran on the CPU"
    return [f"the trial ran on a GPU, whose kernels add up in an order that changes from run to run{here}"]


def matching_environment(
    config: TrialConfig, card: CheckpointCard | None, environment: Mapping[str, str], device: torch.device
) -> TrialConfig:
    """Spell out precision and memory layout where this machine would decide an "auto" otherwise."""
    from study.training.device import has_fast_bf16

    if config.precision == "auto" and card is not None:
        fast = card.precision == "bf16"
    elif "instructions" in environment and (card is None or card.device == "cpu"):
        fast = any(one in environment["instructions"].split() for one in FAST_BF16)
    else:
        return config
    if fast == has_fast_bf16(device):
        return config
    precision = ("bf16" if fast else "fp32") if config.precision == "auto" else config.precision
    layout = fast if config.channels_last == "auto" else config.channels_last
    return config.model_copy(update={"precision": precision, "channels_last": layout})


def load_initial_weights(config: TrialConfig, layout: StudyLayout) -> Weights | None:
    """Return the weights a trial begins with, None where they are drawn.

    Raises:
        WeightsError: they are gone.
    """
    import torch

    from study.engine.model_key import WeightsKey
    from study.engine.weights.initial_weights import load_stored_weights
    from study.training.models.pretrained_weights import imagenet_weights

    if not config.init.startswith(DRAWN_ELSEWHERE):
        return None
    if config.init == "imagenet":
        return imagenet_weights(config.family, config.depth)
    key = WeightsKey(config.init, config.family, config.depth)
    arrays = load_stored_weights(layout, [key]).get(key)
    if arrays is None:
        raise WeightsError(
            f"a trial can be run again from the same weights only, but those of init {config.init} for {config.family} "
            f"{config.depth} are gone from {layout.pretrained}; put the folder back"
        )
    return {name: torch.tensor(array) for name, array in arrays.items()}


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Compute with as many threads as a trial has: sums are split by them, and come out otherwise with others."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
    """Return what may make the same trial come out otherwise elsewhere; what cannot be found out is left out.

    It is about this machine: workers on other nodes of a cluster may have something else.
    """
    cpu = _cpu_info()
    found = {
        "cpu": _cpu_name(cpu),
        "instructions": " ".join(one for one in INSTRUCTIONS if one in _flags(cpu)),
        "machine": platform.machine(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1),
        "gpu": _gpus(),
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        **dict(_versions()),
        "commit": _commit(Path(__file__).parent.parent),
        **{name: os.environ[name] for name in SWITCHES if name in os.environ},
    }
    return {name: value for name, value in found.items() if value}


def _cpu_info() -> Mapping[str, str]:
    """Return what Linux says of the first processor."""
    found: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, colon, value = line.partition(":")
            if not colon:
                break
            found[key.strip()] = value.strip()
    return found


def _cpu_name(cpu: Mapping[str, str]) -> str:
    """Name the processor; a virtual machine's name alone would fit several generations."""
    name = cpu.get("model name") or platform.processor() or platform.machine()
    identity = " ".join(f"{key} {cpu[key]}" for key in _CPU_IDENTITY if key in cpu)
    return f"{name} ({identity})" if identity else name


def _flags(cpu: Mapping[str, str]) -> frozenset[str]:
    return frozenset((cpu.get("flags") or cpu.get("Features") or "").split())


def _gpus() -> str:
    """Name the GPUs and their driver, from files that need no driver call."""
    found: list[str] = []
    with suppress(OSError):
        for information in sorted((_NVIDIA / "gpus").glob("*/information")):
            lines = information.read_text(encoding="utf-8").splitlines()
            found += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    if not found:
        return ""
    version = ""
    with suppress(OSError):
        words = (_NVIDIA / "version").read_text(encoding="utf-8").splitlines()[0].split()
        version = next((word for word in words if word[:1].isdigit()), "")
    return ", ".join(found) + (f", driver {version}" if version else "")


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            yield name, metadata.version(name)


def _commit(package: Path) -> str:
    """Return the commit of a package that is a checkout of its own, and whether its code was changed since."""
    if run_git(package, "ls-files", "--error-unmatch", "errors.py") is None:
        return ""
    commit = run_git(package, "rev-parse", "HEAD")
    changed = run_git(package, "status", "--porcelain", "--", ".")
    return f"{commit} with changes" if commit and changed else commit or ""
