"""The built-in faces become the sets of a study, rendered once."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from study.config.study_config import DataSpec
from study.data import load_data
from study.data import sources as rendered
from study.data.dataset import all_sets

FACES = DataSpec(count=40, image_size_px=24, seed=3)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path))


def test_faces_are_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []
    first = load_data(FACES, workers=1, on_progress=lambda *what: told.append(what))
    assert first.classes == ("not_wearing_mask", "wearing_mask")
    expected = {"train": 24, "val": 8, "test": 8} | {
        f"shifted/{name}": 40 for name in ("lowlight", "offcentre", "patterns")
    }
    assert first.summary.sizes == expected
    assert first.summary.source == "faces"
    assert told[-1] == ("rendering", 160, 160)
    for name, images in all_sets(first).items():
        assert images.images.shape == (len(images), 24, 24, 3)
        assert images.names[0].startswith(f"{name}/00000_")
        masked = [file.endswith("_masked") for file in images.names]
        assert images.labels.tolist() == masked
    monkeypatch.setattr(rendered.faces, "render_splits", lambda *a, **k: pytest.fail("rendered again"))
    again = load_data(FACES)
    assert again.summary == first.summary
    assert again.train.names == first.train.names
    assert np.array_equal(again.train.images, first.train.images)


@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"image_size_px": 25}, {"count": 41}, {"fractions": (0.5, 0.25, 0.25)}]
)
def test_other_faces_are_another_entry(change: dict[str, object]) -> None:
    assert rendered.face_key(FACES) != rendered.face_key(FACES.model_copy(update=change))


def test_another_renderer_is_another_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    known = rendered.face_key(FACES)
    monkeypatch.setattr(rendered.cv2, "__version__", "0.0")
    other = rendered.face_key(FACES)
    monkeypatch.setattr(rendered.faces, "RENDERER_VERSION", -1)
    assert len({known, other, rendered.face_key(FACES)}) == 3


def test_every_source_of_a_study_file_can_be_loaded() -> None:
    assert set(rendered.SOURCES) == set(get_args(DataSpec.model_fields["source"].annotation))


def test_faces_without_a_test_split() -> None:
    bundle = load_data(FACES.model_copy(update={"fractions": (0.75, 0.25, 0.0)}), workers=1)
    assert len(bundle.test) == 0
    assert bundle.summary.class_counts["test"] == {"not_wearing_mask": 0, "wearing_mask": 0}


def test_many_faces_have_larger_shifted_sets() -> None:
    assert rendered.face_counts(DataSpec(count=2000)) == {
        "train": 1200,
        "val": 400,
        "test": 400,
        "offcentre": 200,
        "lowlight": 200,
        "patterns": 200,
    }
