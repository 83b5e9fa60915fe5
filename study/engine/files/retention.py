"""Delete what a study no longer needs of trials that ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from study.engine.files.trial_files import TrialStorage, is_obsolete_after_end
from study.errors import EngineError
from study.paths import WEIGHTS, StudyLayout
from study.records import TrialRecord


class TrialSource(Protocol):
    """What retention asks of a storage."""

    def records(self) -> Sequence[TrialRecord]:
        """Return every trial."""

    def record(self, number: int) -> TrialRecord:
        """Return one trial."""

    def best_trials(self, count: int) -> Sequence[int]:
        """Return the finished trials with the best values."""

    def note_dropped(self, numbers: tuple[int, ...]) -> None:
        """Remember, before it happens, that weights are deleted."""


class Retention:
    """Keeps the weights of a study's best trials only; cards, scores and figures of all stay.

    After a trial ended, only it and the one it displaced are looked at. What a kill kept from being deleted is
    deleted when the study is resumed.
    """

    def __init__(
        self, storage: TrialSource, trial_files: TrialStorage, layout: StudyLayout, per_study: Literal["all"] | int
    ) -> None:
        self._storage, self._trial_files, self._layout = storage, trial_files, layout
        self._per_study = per_study
        self._kept: set[int] = set()

    def __call__(self, trial: int | None = None) -> tuple[int, ...]:
        """Look after a trial that ended, or after all that ended before this run.

        Returns:
            The trials whose weights were deleted.

        Raises:
            EngineError: the trials' files cannot be read or deleted.
        """
        try:
            return self._sweep() if trial is None else self._end(trial)
        except OSError as error:
            raise EngineError(f"cannot tidy {self._trial_files.root}: {error}; go on with `study resume`") from error

    def holds(self, trial: int, checkpoint: str | None) -> bool:
        """Whether the checkpoint that was reported last of a trial is still there.

        A worker killed after it wrote a better one and before it said so has replaced it.
        """
        try:
            return checkpoint is None or self._trial_files.holds(trial, checkpoint)
        except OSError as error:
            raise EngineError(f"cannot read {self._trial_files.root}: {error}; go on with `study resume`") from error

    @property
    def root(self) -> str:
        """Where the trials keep their files."""
        return self._trial_files.root

    def _sweep(self) -> tuple[int, ...]:
        files = self._trial_files.files()
        ended = [one for one in self._storage.records() if one.state.is_finished]
        for record in ended:
            self._tidy(record, files.get(record.trial, []))
        if self._per_study == "all":
            return ()
        self._kept = {one.trial for one in ended if any(map(_is_weights, files.get(one.trial, [])))}
        return self._drop(
            {one: files[one] for one in self._kept.difference(self._storage.best_trials(self._per_study))}
        )

    def _end(self, trial: int) -> tuple[int, ...]:
        files = self._trial_files.files_of(trial)
        self._tidy(self._storage.record(trial), files)
        if self._per_study == "all":
            return ()
        if any(map(_is_weights, files)):
            self._kept.add(trial)
        obsolete = self._kept.difference(self._storage.best_trials(self._per_study))
        return self._drop({one: self._trial_files.files_of(one) for one in obsolete})

    def _drop(self, files: dict[int, list[str]]) -> tuple[int, ...]:
        gone = tuple(sorted(files))
        news = tuple(one for one in gone if self._storage.record(one).kept)
        if news:
            self._storage.note_dropped(news)
        for number in gone:
            self._trial_files.place.remove(name for name in files[number] if _is_weights(name))
        self._kept -= set(gone)
        return gone

    def _tidy(self, record: TrialRecord, files: list[str]) -> None:
        self._trial_files.place.remove(name for name in files if is_obsolete_after_end(name))
        if record.checkpoint is not None:
            self._trial_files.download(record.trial, record.checkpoint, self._layout)


def _is_weights(name: str) -> bool:
    return name.endswith(f"/{WEIGHTS}") and not is_obsolete_after_end(name)
