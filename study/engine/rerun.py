"""Run a finished trial again under the same conditions, and compare the results; needs no cluster."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from study.config.hyperparameters import TrialConfig
from study.engine.environment import describe_environment
from study.engine.ray.trainable import training_data
from study.engine.rerun_comparison import Difference, changed_environment, compared_metrics, find_differences
from study.errors import StudyError, WeightsError
from study.files import staged_folder
from study.records import EpochMetrics, TrialRecord, TrialState
from study.storage.data_changes import require_same_data
from study.training.progress import TrainingProgress

if TYPE_CHECKING:
    import torch

    from study.checkpoint_card import CheckpointCard
    from study.data.dataset import DataBundle
    from study.paths import StudyLayout
    from study.storage.study_attributes import StudyAttributes
    from study.training.models.initialization import Weights


FAST_BF16 = ("avx512_bf16", "amx_bf16")
NOT_RANDOM = ("imagenet", "rotation", "checkpoint:", "run:")


@dataclass(frozen=True)
class RerunResult:
    """Result of running a trial again.

    ``epochs_now`` is the number of epochs this time, ``metrics`` the number of metrics compared in each;
    ``same_weights`` is None if the weights of the first run were not kept; ``reasons`` are what may have caused a
    difference; ``saved`` is where the selected checkpoint was saved.
    """

    record: TrialRecord
    epochs_now: int
    metrics: int
    differences: tuple[Difference, ...]
    same_weights: bool | None
    reasons: tuple[str, ...]
    saved: Path | None = None

    @property
    def same(self) -> bool:
        """Whether everything is equal to the last bit."""
        return not self.differences and self.epochs_now == self.record.epochs_run and self.same_weights is not False


def require_rerunnable(record: TrialRecord, layout: StudyLayout) -> None:
    """Raise an error unless a trial of the study there ended with metrics that can be compared.

    Raises:
        StudyError: it failed, has not ended, or ended before its first epoch.
    """
    what = f"trial {record.trial} of `{record.study}`"
    if record.state is TrialState.FAILED:
        raise StudyError(f"only a trial that ended with metrics can be run again, but {what} failed: {record.error}")
    if not record.state.is_finished:
        raise StudyError(
            f"only a finished trial can be run again, but {what} is {record.state}; wait, or "
            f"`{layout.command('resume')}`"
        )
    if not record.history:
        raise StudyError(f"only a trial with a finished epoch can be run again, but {what} ended before its first")


def rerun(
    storage: StudyAttributes,
    layout: StudyLayout,
    record: TrialRecord,
    data: DataBundle,
    *,
    save: Path | None = None,
    on_epoch: Callable[[EpochMetrics], object] = lambda metrics: None,
) -> RerunResult:
    """Train a trial again in this process; nothing in the study's folder changes.

    Args:
        storage: the study's durable state.
        layout: the study's paths.
        record: the trial.
        data: the images as they are now.
        save: a new or empty folder for the selected checkpoint.
        on_epoch: called after every epoch.

    Raises:
        StudyError: the trial has nothing to compare, its data changed, its weights are gone, or ``save`` holds files.
    """
    require_rerunnable(record, layout)
    require_same_data(storage, layout, data)
    if save is not None:
        _require_empty(save)
    card = read_checkpoint_card(record)
    on_gpu = card is not None and card.device == "cuda"
    device = select_device(on_gpu)
    with (
        tempfile.TemporaryDirectory(prefix="study-rerun-") as scratch,
        torch_threads(storage.spec.resources.cpus_per_trial),
    ):
        directory = Path(scratch)
        now = TrainingProgress()
        for reported in _train(storage, layout, record, data, card, device, directory):
            if reported.epoch > now.epoch:
                on_epoch(reported.history[-1])
            now = reported
        return RerunResult(
            record=record,
            epochs_now=now.epoch,
            metrics=len(compared_metrics(record.history)),
            differences=tuple(find_differences(record, now.history, now.evaluation)),
            same_weights=_same_weights(record, directory, now),
            reasons=(*device_reasons(on_gpu, device), *_other_conditions(storage)),
            saved=None if save is None else _save(directory, now, save),
        )


def _other_conditions(storage: StudyAttributes) -> list[str]:
    if not storage.environment:
        return ["the study does not say what it ran on: it is older than that, so CPU and versions are not known"]
    return changed_environment(storage.environment, describe_environment())


def _train(
    storage: StudyAttributes,
    layout: StudyLayout,
    record: TrialRecord,
    data: DataBundle,
    card: CheckpointCard | None,
    device: torch.device,
    directory: Path,
) -> Iterator[TrainingProgress]:
    from study.training.trainer import train

    config = matching_environment(TrialConfig.model_validate(dict(record.config)), card, storage.environment, device)
    return train(
        config,
        training_data(data, storage.spec.data.resize, storage.spec.data.group_by),
        storage.spec.objective,
        directory,
        weights=load_initial_weights(config, layout),
        device=device,
        pruned=lambda epoch: epoch >= record.epochs_run,
    )


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StudyError(f"--save needs a new or empty folder, but {folder} is not; name another")


def _same_weights(record: TrialRecord, directory: Path, now: TrainingProgress) -> bool | None:
    import torch

    from study.training.checkpoint import best_folder, load_weights

    if record.checkpoint is None or now.best_epoch is None:
        return None
    try:
        then = load_weights(Path(record.checkpoint))
    except (OSError, ValueError):
        return None
    again = load_weights(best_folder(directory, now.best_epoch))
    return then.keys() == again.keys() and all(torch.equal(tensor, again[name]) for name, tensor in then.items())


def _save(directory: Path, now: TrainingProgress, out: Path) -> Path:
    """Copy the selected checkpoint to ``out``, whole or not at all."""
    from study.training.checkpoint import best_folder

    assert now.best_epoch is not None
    try:
        with staged_folder(out) as staging:
            shutil.copytree(best_folder(directory, now.best_epoch), staging, dirs_exist_ok=True)
    except OSError as error:
        raise StudyError(f"cannot write {out}: {error}") from error
    return out.resolve()


def read_checkpoint_card(record: TrialRecord) -> CheckpointCard | None:
    """Return the card of a trial's selected checkpoint, None if it cannot be read."""
    from study.checkpoint_card import read_card

    try:
        return read_card(Path(record.checkpoint)) if record.checkpoint else None
    except (OSError, ValueError):
        return None


def select_device(on_gpu: bool) -> torch.device:
    """Return a GPU if the trial ran on one and there is one here, else the CPU."""
    import torch

    return torch.device("cuda" if on_gpu and torch.cuda.is_available() else "cpu")


def device_reasons(on_gpu: bool, device: torch.device) -> list[str]:
    """Return why the device may change a trial's last bits; nothing for a trial that ran on the CPU."""
    if not on_gpu:
        return []
    here = "" if device.type == "cuda" else ", and there is none here: this ran on the CPU"
    return [f"the trial ran on a GPU, whose kernels add up in an order that changes from run to run{here}"]


def matching_environment(
    config: TrialConfig, card: CheckpointCard | None, environment: Mapping[str, str], device: torch.device
) -> TrialConfig:
    """Set precision and memory layout explicitly if this machine would resolve "auto" differently."""
    from study.training.device import has_fast_bf16

    if config.precision == "auto" and card is not None:
        fast = card.precision == "bf16"
    elif "instructions" in environment and (card is None or card.device == "cpu"):
        fast = any(name in environment["instructions"].split() for name in FAST_BF16)
    else:
        return config
    if fast == has_fast_bf16(device):
        return config
    precision = ("bf16" if fast else "fp32") if config.precision == "auto" else config.precision
    layout = (fast or device.type == "cpu") if config.channels_last == "auto" else config.channels_last
    return config.model_copy(update={"precision": precision, "channels_last": layout})


def load_initial_weights(config: TrialConfig, layout: StudyLayout) -> Weights | None:
    """Return the weights that a trial begins with, None if they are drawn at random.

    Raises:
        WeightsError: the weights are gone.
    """
    import torch

    from study.engine.weights.initial_weights import WeightsKey, load_stored_weights
    from study.training.models.pretrained_weights import imagenet_weights

    if not config.init.startswith(NOT_RANDOM):
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
    """Compute with as many threads as a trial has inside the block, because sums depend on the number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
