"""A short trial learns to tell real photographs of faces from photographs of other things."""

from __future__ import annotations

from pathlib import Path

import pytest
from lfw import write_lfw_folder
from training_kit import run, short_trial

from study.data import load_data
from study.spec import DataSpec
from study.training.batches import TrainingData


def test_real_photographs_of_faces_are_told_from_other_things(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    folder = write_lfw_folder(tmp_path / "photos")
    bundle = load_data(DataSpec(source="folder", path=str(folder), image_size_px=32))
    data = TrainingData(
        bundle.train.images, bundle.train.labels, bundle.val.images, bundle.val.labels,
        classes=bundle.classes, fingerprint=bundle.summary.fingerprint,
    )  # fmt: skip
    config = short_trial(max_epochs=5, batch_size=20, augmentation="flip", precision="auto", channels_last="auto")
    best = run(config, data, tmp_path / "trial").best_value
    assert best is not None
    assert best >= 0.95
