"""Give a trial the conditions it had when it ran first: device, precision, threads, initial weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from study.errors import WeightsError
from study.hyperparameters import TrialConfig
from study.records import TrialRecord

if TYPE_CHECKING:
    import torch

    from study.layout import StudyLayout
    from study.training.checkpoint import CheckpointCard
    from study.training.initializers import Weights

FAST_BF16 = ("avx512_bf16", "amx_bf16")
DRAWN_ELSEWHERE = ("imagenet", "rotation", "checkpoint:", "run:")


def card_of(record: TrialRecord) -> CheckpointCard | None:
    """Return what a trial's selected checkpoint says of itself, None where it cannot be read."""
    from study.training.checkpoint import read_card

    try:
        return read_card(Path(record.checkpoint)) if record.checkpoint else None
    except (OSError, ValueError):
        return None


def device_for(on_gpu: bool) -> torch.device:
    """Return a GPU for a trial that ran on one, where there is one here, else the CPU."""
    import torch

    return torch.device("cuda" if on_gpu and torch.cuda.is_available() else "cpu")


def device_reasons(on_gpu: bool, device: torch.device) -> list[str]:
    """Say what the device does to a trial's last bits; nothing for the CPU, where they stay."""
    if not on_gpu:
        return []
    here = "" if device.type == "cuda" else ", and there is none here: this ran on the CPU"
    return [f"the trial ran on a GPU, whose kernels add up in an order that changes from run to run{here}"]


def as_then(
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


def initial_weights(config: TrialConfig, layout: StudyLayout) -> Weights | None:
    """Return the weights a trial begins with, None where they are drawn.

    Raises:
        WeightsError: they are gone.
    """
    import torch

    from study.engine.model_key import ModelKey
    from study.engine.stored_weights import stored
    from study.training.weights import imagenet_weights

    if not config.init.startswith(DRAWN_ELSEWHERE):
        return None
    if config.init == "imagenet":
        return imagenet_weights(config.family, config.depth)
    key = ModelKey(config.init, config.family, config.depth)
    arrays = stored(layout, [key]).get(key)
    if arrays is None:
        raise WeightsError(
            f"a trial can be run again from the same weights only, but those of init {config.init} for {config.family} "
            f"{config.depth} are gone from {layout.pretrained}; put the folder back"
        )
    return {name: torch.tensor(array) for name, array in arrays.items()}


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with as many threads as a trial has: sums are split by them, and come out otherwise with others."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
