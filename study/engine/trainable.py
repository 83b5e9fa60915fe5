"""Run trials inside a Ray worker that stays warm from one trial to the next."""

from __future__ import annotations

import fcntl
import gc
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from ray import tune

from study.engine.faults import describe
from study.engine.model_key import ModelKey
from study.engine.report import TrialReport
from study.hyperparameters import TrialConfig
from study.spec import Objective
from study.training.data import TrainingData

if TYPE_CHECKING:
    from study.training.progress import Progress

FOLDER_WAIT_S = 60.0


@dataclass(frozen=True)
class Shared:
    """What all trials of a study have in common; it lies once per node in Ray's object store.

    ``weights`` holds the state dicts that trials begin with, by init, family and depth.
    """

    data: TrainingData
    objective: Objective
    threads: int
    gpus: float
    weights: Mapping[ModelKey, Mapping[str, NDArray[Any]]]


class TrialWorker(tune.Trainable):
    """One trial at a time, one epoch a step; a fault of the trial is a report, never an exception."""

    _epochs: Iterator[Progress] | None = None
    _folder: int | None = None
    _pruned: int | None = None

    def setup(self, config: dict[str, Any], shared: Shared | None = None) -> None:
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
        """
        try:
            return {"report": self._advance()}
        except FolderInUseError:
            raise
        except Exception as error:
            failure = describe(error)
            self._let_go()
            return {"report": TrialReport(failure=failure)}

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
        self._sent = 0

    def _let_go(self) -> None:
        self._epochs = None
        if self._folder is not None:
            os.close(self._folder)  # and with it the lock
            self._folder = None

    def _advance(self) -> TrialReport:
        if self._epochs is None:
            self._config = TrialConfig.model_validate(self._given["trial"])
            self._directory = Path(self._given["directory"])
            _free_memory()
            self._folder = self._folder or hold_folder(self._directory)
            self._epochs = self._start()
        progress = next(self._epochs)
        new, self._sent = progress.history[self._sent :], len(progress.history)
        from study.training.checkpoint import best_folder

        assert progress.best_epoch is not None
        return TrialReport(
            epochs=new,
            checkpoint=str(best_folder(self._directory, progress.best_epoch)),
            ended=progress.ended,
            evaluation=progress.evaluation,
        )

    def _start(self) -> Iterator[Progress]:
        import torch

        from study.training.loop import train

        if torch.get_num_threads() != self._shared.threads:
            torch.set_num_threads(self._shared.threads)
        key = ModelKey(self._config.init, self._config.family, self._config.depth)
        arrays = self._shared.weights.get(key)
        weights = None if arrays is None else {name: torch.tensor(array) for name, array in arrays.items()}
        # Ray leaves every GPU visible to a worker that asked for none.
        device = None if self._shared.gpus else torch.device("cpu")
        return train(
            self._config,
            self._shared.data,
            self._shared.objective,
            self._directory,
            weights=weights,
            device=device,
            pruned=lambda epoch: self._pruned is not None and epoch >= self._pruned,
        )


class FolderInUseError(Exception):
    """Another process still works in the trial's folder."""


def hold_folder(directory: Path, wait_s: float = FOLDER_WAIT_S) -> int:
    """Make this process the only one that trains in a trial's folder, until it closes the handle or dies.

    A worker that was taken for dead, or whose driver was killed, may still be at work for a moment.
    On a file system without locks there is nothing to wait for.

    Raises:
        FolderInUseError: another process works there all the time.
    """
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY)
    until = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                os.close(handle)
                raise FolderInUseError(f"another process has been at work in {directory} for {wait_s:g} s") from None
            time.sleep(0.1)
        except OSError:
            return handle
        else:
            return handle


def _free_memory() -> None:
    """Give memory back before the next trial; a GPU's cache would count against its neighbours."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
