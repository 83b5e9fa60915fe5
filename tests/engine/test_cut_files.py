"""Cut the files of a study anywhere: it goes on with what is whole, or is refused with a clear message."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_fakes import DATA, Listener, drive, make_spec, stories

from study.errors import StudyStorageError
from study.paths import StudyLayout
from study.storage.lock import driver_lock
from study.storage.study_storage import StudyStorage
from tracking.outbox.outbox import Outbox, Position, load_position, read_lines, save_position

pytestmark = pytest.mark.usefixtures("no_flushing")
SPEC = make_spec(trials=3, epochs=2, seed=1)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> StudyLayout:
    """Return a whole study that is cut in copies only."""
    layout = StudyLayout(tmp_path_factory.mktemp("small") / "study")
    layout.root.mkdir()
    with driver_lock(layout):
        StudyStorage.create(layout, SPEC, "name: crash\n", data=DATA)
    listener = Listener()
    drive(layout, listener, evaluates=True)
    outbox = Outbox(layout.outbox)
    for event in listener.events:
        outbox.append(event)
    outbox.close()
    return layout


def test_a_journal_cut_anywhere_is_gone_on_with_or_refused(small: StudyLayout, tmp_path: Path) -> None:
    whole, layout = small.journal.read_bytes(), StudyLayout(tmp_path / "study")
    layout.root.mkdir()
    ends = {0, *(at + 1 for at, byte in enumerate(whole) if byte == ord("\n"))}
    edges = {end + shift for end in ends for shift in (-2, -1, 0, 1) if 0 <= end + shift <= len(whole)}
    opens = 0
    for cut in sorted(edges | set(range(0, len(whole), 97))):
        layout.journal.write_bytes(whole[:cut])
        refusal = opened(layout)
        assert refusal is None or f"{layout.journal} must be a whole journal" in refusal, cut
        assert refusal is None or not opens, "once there is enough to open, more cannot be too little"
        left = layout.journal.read_bytes()
        assert whole.startswith(left), cut
        assert cut == len(whole) or len(left) <= cut
        opens += refusal is None
    assert opens > len(ends) / 2


def opened(layout: StudyLayout) -> str | None:
    """Read all there is of a study; return what is said against it, if it is refused."""
    try:
        with driver_lock(layout):
            storage = StudyStorage.open(layout)
    except StudyStorageError as refusal:
        return str(refusal)
    assert storage.name
    assert storage.study_id
    assert storage.study_file
    assert storage.created_at_s
    assert storage.data == DATA
    assert len(storage.records()) <= storage.planned
    return None


def test_a_journal_cut_after_any_line_comes_to_the_same_end(small: StudyLayout, tmp_path: Path) -> None:
    whole = stories(StudyStorage.open(small).records())
    lines = small.journal.read_bytes().splitlines(keepends=True)
    first = next(at for at, line in enumerate(lines) if b"trial_id" in line or b'"op_code":4' in line)
    for count in range(first, len(lines)):
        layout = StudyLayout(tmp_path / f"{count}")
        layout.root.mkdir()
        layout.journal.write_bytes(b"".join(lines[:count]))
        drive(layout, Listener(), evaluates=True)
        assert stories(StudyStorage.open(layout).records()) == whole, count


def test_an_outbox_cut_anywhere_keeps_its_whole_lines(small: StudyLayout, tmp_path: Path) -> None:
    whole, path = small.outbox.read_bytes(), tmp_path / "outbox.jsonl"
    lines = list(read_lines(small.outbox))
    edges = {line.end + shift for line in lines for shift in (-2, -1, 0, 1) if line.end + shift <= len(whole)}
    for cut in sorted(edges | set(range(0, len(whole), 31))):
        path.write_bytes(whole[:cut])
        kept = [line for line in lines if line.end <= cut]
        outbox = Outbox(path)
        assert outbox.append(lines[0].event) == len(kept) + 1, cut
        outbox.close()
        read = list(read_lines(path))
        assert [line.number for line in read] == list(range(1, len(kept) + 2)), cut
        assert path.read_bytes()[: kept[-1].end if kept else 0] == whole[: kept[-1].end if kept else 0]


def test_a_position_cut_anywhere_means_the_beginning(small: StudyLayout, tmp_path: Path) -> None:
    lines, path = list(read_lines(small.outbox)), tmp_path / "position.json"
    there = Position("sqlite:///x.db", lines[7].number, lines[7].end)
    save_position(path, there)
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert load_position(path, "sqlite:///x.db", small.outbox) == Position("sqlite:///x.db"), cut
    path.write_bytes(whole)
    assert load_position(path, "sqlite:///x.db", small.outbox) == there


def test_a_position_is_not_taken_for_an_outbox_that_was_cut_and_grew_again(small: StudyLayout, tmp_path: Path) -> None:
    lines, path = list(read_lines(small.outbox)), tmp_path / "outbox.jsonl"
    acknowledged = Position("sqlite:///x.db", lines[7].number, lines[7].end)
    save_position(tmp_path / "position.json", acknowledged)
    for cut in (lines[4].end, lines[6].end - 9, lines[6].end):
        path.write_bytes(small.outbox.read_bytes()[:cut])
        outbox = Outbox(path)
        for line in lines[8:]:
            outbox.append(line.event)
        outbox.close()
        assert path.stat().st_size > acknowledged.offset
        assert load_position(tmp_path / "position.json", "sqlite:///x.db", path).offset == 0, cut
