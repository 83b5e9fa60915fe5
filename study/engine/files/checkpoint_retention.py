"""Delete checkpoints that a study no longer needs, when a trial ended and when a study is resumed.

While a trial runs, ``study.training.checkpoint`` replaces its previous best epoch, and ``working_directory`` repeats
that in a remote store; everything else of a study is deleted here, and what MLflow keeps in `tracking.models`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from study.engine.files.trial_files import TrialFiles, is_obsolete_after_end
from study.errors import EngineError
from study.paths import WEIGHTS, StudyLayout
from study.records import TrialRecord

if TYPE_CHECKING:
    from study.storage.study_storage import StudyStorage


class CheckpointRetention:
    """Keeps the weights of a study's best trials only, as ``keep.per_study`` says.

    Cards, scores and figures of all trials stay. When a trial ends, only it and the trial it displaced are looked at;
    what a killed driver did not delete is deleted when the study is resumed.
    """

    def __init__(
        self, storage: StudyStorage, trial_files: TrialFiles, layout: StudyLayout, per_study: Literal["all"] | int
    ) -> None:
        self._storage, self._trial_files, self._layout = storage, trial_files, layout
        self._per_study = per_study
        self._kept: set[int] = set()  # trials whose weights are there

    @property
    def root(self) -> str:
        """Where the trials keep their files."""
        return self._trial_files.root

    def sweep(self) -> tuple[int, ...]:
        """Clean up after all trials that ended; return those whose weights were deleted.

        Raises:
            EngineError: the files cannot be read or deleted.
        """
        with self._translated("tidy"):
            files = self._trial_files.files()
            ended = [record for record in self._storage.records() if record.state.is_finished]
            return self._clean_up(ended, lambda trial: files.get(trial, []))

    def on_trial_end(self, trial: int) -> tuple[int, ...]:
        """Clean up after one trial; return the trials whose weights were deleted.

        Raises:
            EngineError: the files cannot be read or deleted.
        """
        with self._translated("tidy"):
            return self._clean_up([self._storage.record(trial)], self._trial_files.files_of)

    def has_checkpoint(self, trial: int, checkpoint: str | None) -> bool:
        """Return whether the checkpoint reported last of a trial is still there.

        A worker that was killed after it wrote a better one and before it reported it has replaced it.

        Raises:
            EngineError: the files cannot be read.
        """
        with self._translated("read"):
            return checkpoint is None or self._trial_files.holds(trial, checkpoint)

    def _clean_up(self, ended: Sequence[TrialRecord], files_of: Callable[[int], list[str]]) -> tuple[int, ...]:
        for record in ended:
            files = files_of(record.trial)
            self._trial_files.store.remove(name for name in files if is_obsolete_after_end(name))
            if record.checkpoint is not None:
                self._trial_files.download(record.trial, record.checkpoint, self._layout)
            if any(map(_is_weights, files)):
                self._kept.add(record.trial)
        if self._per_study == "all":
            return ()
        obsolete = tuple(sorted(self._kept.difference(self._storage.best_trials(self._per_study))))
        if not_yet_stored := tuple(trial for trial in obsolete if self._storage.record(trial).kept):
            self._storage.note_dropped(not_yet_stored)
        for trial in obsolete:
            self._trial_files.store.remove(name for name in files_of(trial) if _is_weights(name))
        self._kept.difference_update(obsolete)
        return obsolete

    @contextmanager
    def _translated(self, action: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EngineError(
                f"cannot {action} {self.root}: {error}; go on with `{self._layout.command('resume')}`"
            ) from error


def _is_weights(name: str) -> bool:
    return name.endswith(f"/{WEIGHTS}") and not is_obsolete_after_end(name)
