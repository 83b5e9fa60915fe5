"""Run a finished trial once more under the conditions it had, and compare; needs no cluster."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from study.config.hyperparameters import TrialConfig
from study.engine.environment import (
    describe_environment,
    device_reasons,
    load_initial_weights,
    matching_environment,
    read_checkpoint_card,
    select_device,
    torch_threads,
)
from study.engine.ray.trainable import training_data
from study.errors import StudyError, StudyStorageError
from study.metrics import is_machine_metric
from study.records import EpochMetrics, TrialRecord, TrialState
from study.training.progress import TrainingProgress

if TYPE_CHECKING:
    import torch

    from study.data.dataset import DataBundle
    from study.paths import StudyLayout
    from study.storage.study_storage import StudyStorage
    from study.training.checkpoint import CheckpointCard


Pair = tuple[int | None, float | None, float | None]
"""An epoch with a metric's value then and now."""
WORDS: Mapping[str, str] = {
    "cpu": "CPU", "instructions": "CPU instructions", "machine": "architecture", "cores": "number of cores",
    "gpu": "GPU", "libc": "C library", "python": "Python", "ray-study": "this package", "commit": "code's commit",
}  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """A metric that did not come out the same.

    ``epoch`` is the first one that differs, None where only the selected checkpoint has the metric; ``then`` and
    ``now`` are its values there, None where there is none; ``largest`` is the largest difference of all epochs.
    """

    metric: str
    epoch: int | None
    then: float | None
    now: float | None
    largest: float


def compared_metrics(history: tuple[EpochMetrics, ...]) -> list[str]:
    """Return the metrics of a trial's epochs that the same trial must have again, in the order reported."""
    return list(dict.fromkeys(name for one in history for name in one.values if not is_machine_metric(name)))


def find_differences(
    record: TrialRecord, history: tuple[EpochMetrics, ...], evaluation: Mapping[str, float]
) -> list[Difference]:
    """Compare every metric of every epoch, then those of the selected checkpoint on images it was not selected on.

    Args:
        record: the trial as the study remembers it.
        history: every epoch as it came out now.
        evaluation: the selected checkpoint's metrics, as they came out now.
    """
    now = {one.epoch: one.values for one in history}
    found = []
    for name in compared_metrics(record.history):
        pairs = [(one.epoch, one.values.get(name), now.get(one.epoch, {}).get(name)) for one in record.history]
        found += list(_difference(name, pairs))
    in_epochs = {name for one in record.history for name in one.values}
    for name in sorted(set(record.metrics) - in_epochs):
        found += list(_difference(name, [(None, record.metrics[name], evaluation.get(name))]))
    return found


def _difference(name: str, pairs: Sequence[Pair]) -> Iterator[Difference]:
    differing = [(epoch, then, now) for epoch, then, now in pairs if then != now]
    if differing:
        sizes = [abs(then - now) for _, then, now in differing if then is not None and now is not None]
        yield Difference(name, *differing[0], largest=max(sizes, default=float("nan")))


def changed_environment(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Say what differs between where a study ran and here; nothing where a study did not say where it ran."""
    if not then:
        return []
    found = []
    for name in dict.fromkeys((*then, *now)):
        before, after = then.get(name, "none"), now.get(name, "none")
        if before != after:
            found.append(f"{WORDS.get(name, name)}: {before} then, {after} now")
    if then.get("commit") == now.get("commit") and str(now.get("commit")).endswith("with changes"):
        found.append("the code has changes that are in no commit, then and now: they may not be the same")
    return found


@dataclass(frozen=True)
class RerunResult:
    """How a trial came out the second time.

    ``metrics`` counts those compared in each of the ``epochs``; ``epochs_now`` is how many it had this time;
    ``same_weights`` is None where the first run's were not kept; ``reasons`` say what may have made the difference;
    ``saved`` is where the selected checkpoint was put.
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
        """Whether everything came out the same to the last bit."""
        return not self.differences and self.epochs_now == self.record.epochs_run and self.same_weights is not False


def require_rerunnable(record: TrialRecord) -> None:
    """Make sure that a trial ended with metrics that can be compared.

    Raises:
        StudyError: it failed, has not ended, or ended before its first epoch.
    """
    what = f"trial {record.trial} of `{record.study}`"
    if record.state is TrialState.FAILED:
        raise StudyError(f"only a trial that ended with metrics can be run again, but {what} failed: {record.error}")
    if not record.state.is_finished:
        raise StudyError(
            f"only a finished trial can be run again, but {what} is {record.state}; wait, or `study resume`"
        )
    if not record.history:
        raise StudyError(f"only a trial with a finished epoch can be run again, but {what} ended before its first")


def rerun(
    storage: StudyStorage,
    layout: StudyLayout,
    record: TrialRecord,
    data: DataBundle,
    *,
    save: Path | None = None,
    on_epoch: Callable[[EpochMetrics], object] = lambda metrics: None,
) -> RerunResult:
    """Train a trial again in this process; of the study's folder nothing is changed.

    Args:
        storage: the study's.
        layout: its paths.
        record: one of its trials.
        data: the images as they are now.
        save: a new or empty folder for the selected checkpoint.
        on_epoch: called after every epoch.

    Raises:
        StudyError: the trial has nothing to compare, its data changed, its weights are gone, or ``save`` holds files.
    """
    require_rerunnable(record)
    _require_data(storage, data)
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


def _other_conditions(storage: StudyStorage) -> list[str]:
    if not storage.environment:
        return ["the study does not say what it ran on: it is older than that, so CPU and versions are not known"]
    return changed_environment(storage.environment, describe_environment())


def _train(
    storage: StudyStorage,
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
        training_data(data, storage.spec.data.resize),
        storage.spec.objective,
        directory,
        weights=load_initial_weights(config, layout),
        device=device,
        pruned=lambda epoch: epoch >= record.epochs_run,
    )


def _require_data(storage: StudyStorage, data: DataBundle) -> None:
    known, found = storage.data.fingerprint, data.summary.fingerprint
    if known != found:
        raise StudyStorageError(
            f"a trial can be run again on the same images only, but `{storage.name}` ran on {known[:12]} and the data "
            f"is now {found[:12]}; put the pictures back"
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
    return then.keys() == again.keys() and all(torch.equal(one, again[name]) for name, one in then.items())


def _save(directory: Path, now: TrainingProgress, out: Path) -> Path:
    """Put the selected checkpoint where somebody asked for it, whole or not at all."""
    from study.training.checkpoint import best_folder

    assert now.best_epoch is not None
    out = out.resolve()
    staging = out.with_name(f".{out.name}.part")
    try:
        shutil.rmtree(staging, ignore_errors=True)
        shutil.copytree(best_folder(directory, now.best_epoch), staging)
        if out.exists():
            out.rmdir()
        os.replace(staging, out)
    except OSError as error:
        raise StudyError(f"cannot write {out}: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return out
