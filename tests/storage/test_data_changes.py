"""A study finds its pictures wherever they lie, and says which of them changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reading_kit import begin

from study.config.study_config import DataSpec, StudySpec
from study.data import load_data
from study.data.dataset import DataBundle
from study.designs.changes import changes
from study.errors import StudyStorageError
from study.paths import Layout, StudyLayout
from study.storage.data_changes import note_pictures, require_same_data
from study.storage.study_storage import StudyStorage


def pictures(folder: Path, count: int = 12) -> Path:
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02d}.png")
    return folder


def load(folder: Path) -> DataBundle:
    return load_data(DataSpec(source="folder", path=str(folder), image_size_px=16, fractions=(0.5, 0.25, 0.25)))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return pictures(tmp_path / "photos")


@pytest.fixture
def begun(photos: Path, tmp_path: Path) -> tuple[StudyLayout, StudyStorage]:
    layout, data = Layout(tmp_path / "results").study("s"), load(photos)
    storage = begin(layout, data=data.summary)
    note_pictures(layout, data)
    return layout, storage


def test_the_same_pictures_in_another_folder_are_the_same_data(
    begun: tuple[StudyLayout, StudyStorage], photos: Path, tmp_path: Path
) -> None:
    layout, storage = begun
    require_same_data(storage, layout, load(Path(shutil.move(photos, tmp_path / "elsewhere"))))


def test_pictures_that_are_gone_new_or_changed_are_named(begun: tuple[StudyLayout, StudyStorage], photos: Path) -> None:
    layout, storage = begun
    Image.new("RGB", (16, 16)).save(photos / "cat" / "00.png")
    with pytest.raises(StudyStorageError, match=r"changed: cat/00\.png \((train|val|test)\)\); put it back"):
        require_same_data(storage, layout, load(photos))
    for number in range(3, 12):
        (photos / "dog" / f"{number:02d}.png").unlink()
    with pytest.raises(StudyStorageError, match=r"gone: dog/\d\d\.png .* and \d+ more\)"):
        require_same_data(storage, layout, load(photos))


def test_a_study_of_an_earlier_version_says_that_the_data_changed(
    begun: tuple[StudyLayout, StudyStorage], photos: Path
) -> None:
    layout, storage = begun
    layout.pictures.unlink()
    Image.new("RGB", (16, 16)).save(photos / "cat" / "00.png")
    with pytest.raises(StudyStorageError, match=r"the data is now [0-9a-f]{12}; put it back"):
        require_same_data(storage, layout, load(photos))


def test_another_place_of_the_pictures_is_no_other_study() -> None:
    spec = StudySpec(name="s", data=DataSpec(source="folder", path="/a", shifted={"dark": "/a/dark"}))
    moved = spec.model_copy(
        update={"data": spec.data.model_copy(update={"path": "/b", "shifted": {"dark": "/b/dark"}})}
    )
    assert [(change.field, change.extends) for change in changes(spec, moved)] == [
        ("data.path", True),
        ("data.shifted.dark", True),
    ]
    fewer = spec.model_copy(update={"data": spec.data.model_copy(update={"shifted": {}})})
    assert not all(change.extends for change in changes(spec, fewer))
