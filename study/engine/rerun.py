"""Run a finished trial once more under the conditions it had, and compare; needs no cluster."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from study.engine.comparison import Difference, compared_metrics, find_differences, other_conditions
from study.engine.conditions import as_then, card_of, device_for, device_reasons, initial_weights, threads
from study.engine.environment import describe_environment
from study.engine.training_data import training_data
from study.errors import LedgerError, StudyError
from study.hyperparameters import TrialConfig
from study.records import EpochMetrics, TrialRecord, TrialState
from study.training.progress import Progress

if TYPE_CHECKING:
    import torch

    from study.data.bundle import DataBundle
    from study.layout import StudyLayout
    from study.ledger import Ledger
    from study.training.checkpoint import CheckpointCard


@dataclass(frozen=True)
class Rerun:
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
    ledger: Ledger,
    layout: StudyLayout,
    record: TrialRecord,
    data: DataBundle,
    *,
    save: Path | None = None,
    on_epoch: Callable[[EpochMetrics], object] = lambda metrics: None,
) -> Rerun:
    """Train a trial again in this process; of the study's folder nothing is changed.

    Args:
        ledger: the study's.
        layout: its paths.
        record: one of its trials.
        data: the images as they are now.
        save: a new or empty folder for the selected checkpoint.
        on_epoch: called after every epoch.

    Raises:
        StudyError: the trial has nothing to compare, its data changed, its weights are gone, or ``save`` holds files.
    """
    require_rerunnable(record)
    _require_data(ledger, data)
    if save is not None:
        _require_empty(save)
    card = card_of(record)
    on_gpu = card is not None and card.device == "cuda"
    device = device_for(on_gpu)
    with tempfile.TemporaryDirectory(prefix="study-rerun-") as scratch, threads(ledger.spec.resources.cpus_per_trial):
        directory = Path(scratch)
        now = Progress()
        for reported in _train(ledger, layout, record, data, card, device, directory):
            if reported.epoch > now.epoch:
                on_epoch(reported.history[-1])
            now = reported
        return Rerun(
            record=record,
            epochs_now=now.epoch,
            metrics=len(compared_metrics(record.history)),
            differences=tuple(find_differences(record, now.history, now.evaluation)),
            same_weights=_same_weights(record, directory, now),
            reasons=(*device_reasons(on_gpu, device), *_other_conditions(ledger)),
            saved=None if save is None else _save(directory, now, save),
        )


def _other_conditions(ledger: Ledger) -> list[str]:
    if not ledger.environment:
        return ["the study does not say what it ran on: it is older than that, so CPU and versions are not known"]
    return other_conditions(ledger.environment, describe_environment())


def _train(
    ledger: Ledger,
    layout: StudyLayout,
    record: TrialRecord,
    data: DataBundle,
    card: CheckpointCard | None,
    device: torch.device,
    directory: Path,
) -> Iterator[Progress]:
    from study.training.loop import train

    config = as_then(TrialConfig.model_validate(dict(record.config)), card, ledger.environment, device)
    return train(
        config,
        training_data(data, ledger.spec.data.resize),
        ledger.spec.objective,
        directory,
        weights=initial_weights(config, layout),
        device=device,
        pruned=lambda epoch: epoch >= record.epochs_run,
    )


def _require_data(ledger: Ledger, data: DataBundle) -> None:
    known, found = ledger.data.fingerprint, data.summary.fingerprint
    if known != found:
        raise LedgerError(
            f"a trial can be run again on the same images only, but `{ledger.name}` ran on {known[:12]} and the data "
            f"is now {found[:12]}; put the pictures back"
        )


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StudyError(f"--save needs a new or empty folder, but {folder} is not; name another")


def _same_weights(record: TrialRecord, directory: Path, now: Progress) -> bool | None:
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


def _save(directory: Path, now: Progress, out: Path) -> Path:
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
