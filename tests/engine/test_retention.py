"""Only the best trials keep their weights, and the disk never holds more than it must."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
from training_kit import (
    CPU,
    MAX_AUC,
    SMALL_DATA,
    Killed,
    Killer,
    count_checkpoints,
    count_unfinished,
    short_trial,
    use_small_net,
)

from study.engine.files.checkpoint_retention import CheckpointRetention
from study.engine.files.trial_files import TrialFiles, default_trial_files
from study.errors import EngineError
from study.paths import CARD, LAST_CHECKPOINT, SCORES, WEIGHTS, StudyLayout
from study.records import TrialRecord, TrialState
from study.training.trainer import train


@dataclass
class Book:
    """A storage's answers; counts how often all trials are asked for."""

    trials: dict[int, TrialRecord] = field(default_factory=dict)
    dropped: list[int] = field(default_factory=list)
    looked_through: int = 0

    def records(self) -> list[TrialRecord]:
        self.looked_through += 1
        return list(self.trials.values())

    def record(self, number: int) -> TrialRecord:
        return self.trials[number]

    def best_trials(self, count: int) -> tuple[int, ...]:
        good = [record for record in self.trials.values() if record.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        return tuple(record.trial for record in sorted(good, key=lambda record: -(record.value or 0))[:count])

    def note_dropped(self, numbers: tuple[int, ...]) -> None:
        self.dropped += numbers
        for number in numbers:
            self.trials[number] = replace(self.trials[number], kept=False)

    def end(self, number: int, value: float | None, checkpoint: str | None = None) -> None:
        state = TrialState.FAILED if value is None else TrialState.COMPLETE
        self.trials[number] = TrialRecord("s", number, state, {}, {}, value=value, checkpoint=checkpoint)


def put(layout: StudyLayout, number: int) -> str:
    """Write the files of a trial that was killed while it ended."""
    folder = layout.trial(number) / "epoch-0002"
    folder.mkdir(parents=True)
    for name in (WEIGHTS, CARD, SCORES):
        (folder / name).write_text("held")
    layout.last_checkpoint(number).write_text("held")
    layout.trial_pictures(number).write_text("held")
    (layout.trial(number) / ".epoch-0003.part").mkdir()
    (layout.trial(number) / ".epoch-0003.part" / WEIGHTS).write_text("half")
    (layout.trial(number) / f".{LAST_CHECKPOINT}.12.part").write_text("half")
    return str(folder.absolute())


def retain(book: Book, layout: StudyLayout, per_study: Literal["all"] | int) -> CheckpointRetention:
    return CheckpointRetention(book, default_trial_files(layout), layout, per_study)


def with_weights(layout: StudyLayout) -> list[int]:
    return sorted(int(path.parts[-3]) for path in layout.root.glob(f"trials/*/epoch-*/{WEIGHTS}"))


def test_each_trial_that_ends_displaces_one_at_most(tmp_path: Path) -> None:
    layout, book = StudyLayout(tmp_path), Book()
    retention = retain(book, layout, 2)
    assert retention.sweep() == ()
    values = [0.5, 0.7, 0.6, 0.4, None, 0.9]
    gone = []
    for number, value in enumerate(values):
        book.end(number, value, put(layout, number))
        gone.append(retention.on_trial_end(number))
    assert gone == [(), (), (0,), (3,), (4,), (2,)]
    assert with_weights(layout) == [1, 5]
    assert book.dropped == [0, 3, 4, 2]
    assert book.looked_through == 1, "a trial that ends must not cost a look at all of them"
    for number in range(6):
        left = {path.relative_to(layout.trial(number)).as_posix() for path in layout.trial(number).rglob("*")}
        kept = {f"epoch-0002/{WEIGHTS}"} if number in (1, 5) else set()
        assert left == kept | {"epoch-0002", f"epoch-0002/{CARD}", f"epoch-0002/{SCORES}", "pictures.html"}


def test_all_are_kept_if_asked(tmp_path: Path) -> None:
    layout, book = StudyLayout(tmp_path), Book()
    retention = retain(book, layout, "all")
    for number in range(4):
        book.end(number, 0.5, put(layout, number))
        assert retention.on_trial_end(number) == ()
    assert retention.sweep() == ()
    assert with_weights(layout) == [0, 1, 2, 3]
    assert book.dropped == []
    assert not list(layout.root.rglob(LAST_CHECKPOINT))


def test_a_resume_deletes_what_a_kill_left_and_never_promises_what_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, book = StudyLayout(tmp_path / "counted"), Book()
    killer = Killer(watch=partial(_nothing_promised_is_gone, layout, book))
    for number in range(3):
        book.end(number, number / 10, put(layout, number))
    with monkeypatch.context() as patch:
        killer.install(patch)
        assert retain(book, layout, 1).sweep() == (0, 1)
    assert killer.changes >= 8
    for at in range(1, killer.changes + 1):
        layout, book = StudyLayout(tmp_path / f"{at}"), Book()
        for number in range(3):
            book.end(number, number / 10, put(layout, number))
        with monkeypatch.context() as patch:
            Killer(at, watch=partial(_nothing_promised_is_gone, layout, book)).install(patch)
            with pytest.raises(Killed):
                retain(book, layout, 1).sweep()
        retain(book, layout, 1).sweep()
        assert with_weights(layout) == [2]
        assert [record.kept for record in book.records()] == [False, False, True]
        assert book.dropped == [0, 1], "each is told once"


def _nothing_promised_is_gone(layout: StudyLayout, book: Book) -> None:
    there = with_weights(layout)
    assert all(record.trial in there for record in book.trials.values() if record.kept)


def test_another_folder_is_tidied_too(tmp_path: Path) -> None:
    layout, book = StudyLayout(tmp_path / "results"), Book()
    elsewhere = StudyLayout(tmp_path / "elsewhere")
    storage = TrialFiles(str(tmp_path / "elsewhere" / "trials"))
    for number in range(2):
        book.end(number, number / 10, put(elsewhere, number))
    assert CheckpointRetention(book, storage, layout, 1).sweep() == (0,)
    assert with_weights(elsewhere) == [1]
    assert count_unfinished(elsewhere.root) == 0


def test_a_folder_that_cannot_be_tidied_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, book = StudyLayout(tmp_path), Book()
    book.end(0, None, put(layout, 0))

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("os.unlink", refuse)
    with pytest.raises(EngineError, match=r"cannot tidy .*trials: .*Read-only file system.*study resume"):
        retain(book, layout, 1).sweep()


@pytest.mark.parametrize(("concurrent", "best"), [(1, 1), (2, 2), (3, 1)])
def test_the_disk_never_holds_more_than_it_must(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, concurrent: int, best: int
) -> None:
    use_small_net(monkeypatch)
    layout, book, most = StudyLayout(tmp_path), Book(), [0]
    retention = retain(book, layout, best)

    def watch() -> None:
        assert count_checkpoints(layout.root) <= concurrent * 2 + best
        assert count_unfinished(layout.root) <= 1, "trials take turns here, and write one file at a time"
        most[0] = max(most[0], count_checkpoints(layout.root))

    waiting = iter(range(7))
    with monkeypatch.context() as patch:
        Killer(watch=watch).install(patch)
        running = {}
        while True:
            while len(running) < concurrent and (number := next(waiting, None)) is not None:
                config = short_trial(seed=number, max_epochs=4, batch_size=8, learning_rate=0.02)
                running[number] = train(config, SMALL_DATA, MAX_AUC, layout.trial(number), device=CPU)
            if not running:
                break
            for number, epochs in list(running.items()):
                progress = next(epochs)
                if progress.ended or (number % 2 and progress.epoch == 2):
                    book.end(number, progress.best_value, str(layout.trial(number)))
                    running.pop(number).close()
                    retention.on_trial_end(number)
    assert most[0] >= concurrent * 2 + best - 1, "the bound is no wider than it must be"
    assert count_checkpoints(layout.root) == best
    assert with_weights(layout) == sorted(book.best_trials(best))
