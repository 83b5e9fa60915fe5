"""Run trials inside a Ray worker that stays warm from one trial to the next."""

from __future__ import annotations

import gc
import time
from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from ray import tune

from study.config.hyperparameters import TrialConfig
from study.config.search_config import Objective
from study.data.dataset import DataBundle
from study.engine.files.working_directory import FolderInUseError, WorkingDirectory
from study.engine.trial_result import TrialResult, describe_failure, is_gpu_lost
from study.engine.weights.initial_weights import WeightsKey
from study.training.dataset import LabelledImages, TrainingData, pixel_statistics

if TYPE_CHECKING:
    from study.training.progress import TrainingProgress


@dataclass(frozen=True)
class SharedObjects:
    """What all trials of a study have in common; it lies once per node in Ray's object store.

    ``weights`` holds the state dicts that trials begin with, by init, family and depth.
    """

    data: TrainingData
    objective: Objective
    threads: int
    gpus: float
    weights: Mapping[WeightsKey, Mapping[str, NDArray[Any]]]


class TrialTrainable(tune.Trainable):
    """One trial at a time, one epoch a step; a fault of the trial is a report, never an exception."""

    _epochs: Generator[TrainingProgress] | None = None
    _workplace: WorkingDirectory | None = None
    _pruned: int | None = None

    def setup(self, config: dict[str, Any], shared: SharedObjects | None = None) -> None:
        """Take the first trial."""
        assert shared is not None
        self._shared = shared
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another trial on the same process, with the last one's memory given back."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch, or hand over what is already on disk.

        Raises:
            FolderInUseError: no fault of the trial; Tune places it again.
            RuntimeError: this process can use its GPU no more; Tune places the trial on another.
        """
        try:
            report = self._advance()
        except FolderInUseError:
            raise
        except Exception as error:
            if is_gpu_lost(error):  # for this process; another one may go on
                raise
            report = TrialResult(failure=describe_failure(error), busy_s=self._busy_s())
        if report.failure or report.ended:
            self._let_go()
        return {"trial_result": report}

    def cleanup(self) -> None:
        """Let go of the trial."""
        self._let_go()

    def _begin(self, config: dict[str, Any]) -> None:
        """Note the trial; all that can fail happens in ``step``, which knows how to say so.

        A pruned trial comes back to be evaluated, as a rule to the worker that has it still.
        """
        self._pruned = config["pruned"]
        if self._pruned is not None and self._epochs is not None and config["number"] == self._given["number"]:
            return
        self._let_go()
        self._given: dict[str, Any] = config
        self._taken_at_s = time.monotonic()
        self._sent = 0

    def _let_go(self) -> None:
        """End the training where it stands, with all its memory given back, and leave the folder to others."""
        if self._epochs is not None:
            self._epochs.close()
            self._epochs = None
            _free_memory()
        if self._workplace is not None:
            self._workplace.close()
            self._workplace = None

    def _advance(self) -> TrialResult:
        from study.training.checkpoint import best_folder

        if self._workplace is None or self._epochs is None:
            self._config = TrialConfig.model_validate(self._given["trial"])
            self._workplace = WorkingDirectory(self._given["directory"])
            self._epochs = self._start(self._workplace)
        progress = next(self._epochs)
        self._workplace.upload_changes()
        new, self._sent = progress.history[self._sent :], len(progress.history)
        assert progress.best_epoch is not None
        return TrialResult(
            epochs=new,
            checkpoint=self._workplace.name(best_folder(self._workplace.folder, progress.best_epoch)),
            ended=progress.ended,
            evaluation=progress.evaluation,
            busy_s=self._busy_s(),
        )

    def _busy_s(self) -> float:
        return time.monotonic() - self._taken_at_s

    def _start(self, workplace: WorkingDirectory) -> Generator[TrainingProgress]:
        import torch

        from study.training.trainer import train

        if torch.get_num_threads() != self._shared.threads:
            torch.set_num_threads(self._shared.threads)
        key = WeightsKey(self._config.init, self._config.family, self._config.depth)
        arrays = self._shared.weights.get(key)
        weights = None if arrays is None else {name: torch.tensor(array) for name, array in arrays.items()}
        # Ray leaves every GPU visible to a worker that asked for none.
        device = None if self._shared.gpus else torch.device("cpu")
        return train(
            self._config,
            self._shared.data,
            self._shared.objective,
            workplace.folder,
            weights=weights,
            device=device,
            pruned=lambda epoch: self._pruned is not None and epoch >= self._pruned,
        )


def _free_memory() -> None:
    """Give memory back; a GPU's cache would count against its neighbours."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        with suppress(RuntimeError):  # a GPU that is lost
            torch.cuda.empty_cache()


def training_data(data: DataBundle, resize: str) -> TrainingData:
    """Return what trials learn from and are judged on; the test images are not among it.

    Args:
        data: the study's images.
        resize: how pictures were made square: crop, stretch or pad.
    """
    mean, std = pixel_statistics(data.train.images)
    return TrainingData(
        train_images=data.train.images,
        train_labels=data.train.labels,
        val_images=data.val.images,
        val_labels=data.val.labels,
        classes=data.classes,
        fingerprint=data.summary.fingerprint,
        shifted={name: LabelledImages(one.images, one.labels) for name, one in data.shifted.items()},
        mean=mean,
        std=std,
        resize=resize,
    )
