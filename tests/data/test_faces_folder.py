"""The folder of rendered faces: its layout, its counts and what it refuses."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from study.data.synthetic_faces import (
    CLASSES,
    ORDINARY_SPLITS,
    SHIFTED_SETS,
    FolderSummary,
    batch,
    write_folder,
)
from study.data.synthetic_faces import folder_writer as folder
from study.errors import DataError


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> FolderSummary:
    out = tmp_path_factory.mktemp("faces") / "out"
    out.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        # Fewer images than pay for processes, but processes are what is to be tested.
        patch.setattr(batch, "_IN_PROCESS_BELOW", 0)
        return write_folder(out, 48, size_px=32, workers=2)


def files_below(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.jpg")}


def test_images_lie_by_split_and_class(written: FolderSummary) -> None:
    places = [Path(split) for split in ORDINARY_SPLITS] + [Path("shifted") / name for name in SHIFTED_SETS]
    assert {path.parent.parent for path in map(Path, files_below(written.root))} == set(places)
    for place, count in zip(places, (28, 10, 10, 40, 40, 40), strict=True):
        by_class = {name: len(list((written.root / place / name).glob("*.jpg"))) for name in CLASSES}
        assert sum(by_class.values()) == count
        assert by_class == written.counts[place.name]
        assert by_class["wearing_mask"] == pytest.approx(3 / 8 * count, abs=2.5)
    assert sum(sum(by_class.values()) for by_class in written.counts.values()) == 168


def test_names_tell_the_kind_and_the_class_follows(written: FolderSummary) -> None:
    for name in files_below(written.root):
        path = Path(name)
        number, kind = path.stem.split("_")
        assert len(number) == 5
        assert path.parent.name == CLASSES[kind == "masked"]


def test_images_have_the_asked_size_and_the_rendered_colours(written: FolderSummary) -> None:
    for path in sorted((written.root / "val").rglob("*.jpg")):
        number, _ = path.stem.split("_")
        picture = cv2.imread(str(path))
        assert picture is not None
        assert picture.shape == (32, 32, 3)
        rendered = batch.render_face(0, "val", int(number), 32).image
        assert np.abs(picture[..., ::-1].astype(int) - rendered.astype(int)).mean() < 12


def test_the_contact_sheet_is_a_picture_of_every_row(written: FolderSummary) -> None:
    assert written.contact_sheet == written.root / "contact_sheet.png"
    assert written.contact_sheet.read_bytes().startswith(b"\x89PNG\r\n")
    sheet = cv2.imread(str(written.contact_sheet))
    assert sheet is not None
    height, width = sheet.shape[:2]
    # Unmasked and masked once, nose, chin and three shifted sets: 48 images fill no second row.
    assert height >= 7 * 112
    assert width >= 12 * 100
    for top in range(0, height - 100, 114):
        assert sheet[top : top + 100, :110].min() < 120, "every row has its label"
        assert sheet[top : top + 100, 120:330].std() > 1


def test_a_folder_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"must be new or empty.*empty it or name another"):
        write_folder(tmp_path, 40)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(DataError, match="is a file"):
        write_folder(tmp_path / "out", 40)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"count": 39}, "`count` must be >= 40, got 39"),
        ({"count": 40, "seed": -1}, "`seed` must be >= 0"),
        ({"count": 40, "size_px": 4}, "`size_px` must be >= 16"),
    ],
)
def test_bad_numbers_are_named_and_nothing_is_written(tmp_path: Path, wrong: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_folder(tmp_path / "out", **wrong)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no more")

    monkeypatch.setattr(folder, "_write_chunk", fail)
    with pytest.raises(RuntimeError, match="no more"):
        write_folder(tmp_path / "out", 40, size_px=16)
    assert list(tmp_path.iterdir()) == []


def test_counts_are_split_60_20_20() -> None:
    assert folder.split_counts(2000) == {
        "train": 1200, "val": 400, "test": 400, "offcentre": 200, "lowlight": 200, "patterns": 200,
    }  # fmt: skip
    assert sum(folder.split_counts(41)[split] for split in ORDINARY_SPLITS) == 41
