"""Tune's trainable: runs trials in a Ray worker that is reused from one trial to the next."""

from __future__ import annotations

import gc
import os
import sys
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
from study.data.splits import image_groups, image_ids
from study.engine.files.working_directory import FolderInUseError, WorkingDirectory
from study.engine.ray.cluster import TRIAL_NICENESS
from study.engine.trial_result import TrialResult, describe_failure, is_gpu_lost
from study.engine.weights.initial_weights import WeightsKey
from study.training.training_data import LabelledImages, TrainingData, pixel_statistics

if TYPE_CHECKING:
    from study.training.progress import TrainingProgress


@dataclass(frozen=True)
class SharedObjects:
    """What all trials of a study share; stored once per node in Ray's object store.

    ``weights`` holds the state dicts that trials begin with, by init, family and depth.
    """

    data: TrainingData
    objective: Objective
    threads: int
    gpus: float
    weights: Mapping[WeightsKey, Mapping[str, NDArray[Any]]]


class TrialTrainable(tune.Trainable):
    """One trial at a time, one epoch per step; an error of the trial is reported, never raised."""

    _epochs: Generator[TrainingProgress] | None = None
    _directory: WorkingDirectory | None = None
    _pruned: int | None = None
    _is_warm = False

    def setup(self, config: dict[str, Any], shared: SharedObjects | None = None) -> None:
        """Start the first trial."""
        assert shared is not None
        self._shared = shared
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start another trial in the same process, after freeing the memory of the last one."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch, or report what is already on disk.

        Raises:
            FolderInUseError: not the trial's fault; Tune starts it again.
            RuntimeError: this process lost its GPU; Tune starts the trial in another one.
        """
        try:
            result = self._advance()
        except FolderInUseError:
            raise
        except Exception as error:
            if is_gpu_lost(error):  # for this process only
                raise
            result = TrialResult(failure=describe_failure(error), busy_s=self._busy_s())
        if result.failure or result.ended:
            self._close_trial()
        return {"trial_result": result}

    def cleanup(self) -> None:
        """Close the trial."""
        self._close_trial()

    def _begin(self, config: dict[str, Any]) -> None:
        """Store the configuration; everything that can fail happens in ``step``, which reports failures.

        A pruned trial is handed out again to be evaluated, usually to the worker that still has it.
        """
        self._pruned = config["pruned"]
        if self._pruned is not None and self._epochs is not None and config["number"] == self._assignment["number"]:
            return
        self._close_trial()
        self._assignment: dict[str, Any] = config
        self._taken_at_s = time.monotonic()
        self._sent = 0

    def _close_trial(self) -> None:
        """End the training where it is, free its memory and unlock its folder."""
        if self._epochs is not None:
            self._epochs.close()
            self._epochs = None
            _free_memory()
        if self._directory is not None:
            self._directory.close()
            self._directory = None

    def _advance(self) -> TrialResult:
        if "torch" not in sys.modules:
            # A joined cluster did not import it beforehand; as the collector rests meanwhile, this saves a second.
            import study.engine.ray.preload  # noqa: F401
        from study.training.checkpoint import best_folder

        if self._directory is None or self._epochs is None:
            self._config = TrialConfig.model_validate(self._assignment["trial"])
            self._directory = WorkingDirectory(self._assignment["directory"])
            self._epochs = self._start(self._directory)
        progress = next(self._epochs)
        self._directory.upload_changes()
        new, self._sent = progress.history[self._sent :], len(progress.history)
        assert progress.best_epoch is not None
        return TrialResult(
            epochs=new,
            checkpoint=self._directory.location_of(best_folder(self._directory.folder, progress.best_epoch)),
            ended=progress.ended,
            evaluation=progress.evaluation,
            busy_s=self._busy_s(),
        )

    def _busy_s(self) -> float:
        return time.monotonic() - self._taken_at_s

    def _start(self, directory: WorkingDirectory) -> Generator[TrainingProgress]:
        import torch

        from study.training.trainer import train

        if not self._is_warm:
            # What the libraries made by now stays: looking through it takes 0.2 s after every trial.
            gc.freeze()
            _lower_priority()
            self._is_warm = True
        if torch.get_num_threads() != self._shared.threads:
            torch.set_num_threads(self._shared.threads)
        key = WeightsKey(self._config.init, self._config.family, self._config.depth)
        arrays = self._shared.weights.get(key)
        weights = None if arrays is None else {name: torch.tensor(array) for name, array in arrays.items()}
        # Ray leaves every GPU visible to a worker that requested none.
        device = None if self._shared.gpus else torch.device("cpu")
        return train(
            self._config,
            self._shared.data,
            self._shared.objective,
            directory.folder,
            weights=weights,
            device=device,
            pruned=lambda epoch: self._pruned is not None and epoch >= self._pruned,
        )


def _lower_priority() -> None:
    """Let the driver and other programs go first from now on, unless this cluster's user decided otherwise."""
    niceness = int(os.environ.get(TRIAL_NICENESS, "0"))
    if niceness > os.getpriority(os.PRIO_PROCESS, 0):
        os.setpriority(os.PRIO_PROCESS, 0, niceness)


def _free_memory() -> None:
    """Free memory; the cached memory of a GPU would be missing to other trials on it."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        with suppress(RuntimeError):  # the GPU is lost
            torch.cuda.empty_cache()


def training_data(data: DataBundle, resize: str, group_by: str | None = None) -> TrainingData:
    """Return the data of trials: training, validation and shifted images, but not the test images.

    Args:
        data: the study's images.
        resize: how pictures were made square: crop, stretch or pad.
        group_by: what images that belong together have in common in their names, a regular expression.
    """
    mean, std = pixel_statistics(data.train.images)
    return TrainingData(
        train_images=data.train.images,
        train_labels=data.train.labels,
        val_images=data.val.images,
        val_labels=data.val.labels,
        classes=data.classes,
        fingerprint=data.summary.fingerprint,
        shifted={
            name: LabelledImages(
                images.images, images.labels, image_ids(images.names), image_groups(images.names, group_by)
            )
            for name, images in data.shifted.items()
        },
        mean=mean,
        std=std,
        resize=resize,
        framing=None if data.framing is None else data.framing.as_dict(),
        val_ids=image_ids(data.val.names),
        val_groups=image_groups(data.val.names, group_by),
    )
