"""Files are predicted in order, whatever their number and faults, a few batches ahead of what is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from inference_kit import Brightness, picture, png_of_size

from study.inference.prediction_stream import BATCH, predict_files


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = []
    for level in range(0, 250, 10):
        paths.append(tmp_path / f"{level:03d}.png")
        paths[-1].write_bytes(picture(level))
    return paths


@pytest.mark.parametrize("threads", [1, 3])
def test_predictions_come_in_the_order_of_the_files(files: list[Path], threads: int) -> None:
    predictions = list(predict_files(Brightness(), files, threads=threads, batch=4))
    assert [each.label for each in predictions] == [int(level / 255 > 0.25) for level in range(0, 250, 10)]
    assert [round(each.probability * 255) for each in predictions] == list(range(0, 250, 10))
    assert all(sum(each.probabilities) == pytest.approx(1) for each in predictions)


def test_of_three_classes_the_probability_is_that_of_the_predicted(files: list[Path]) -> None:
    predictions = list(predict_files(Brightness(("low", "middle", "high"), None), files))
    assert [each.label for each in predictions] == [min(2, level * 3 // 255) for level in range(0, 250, 10)]
    assert {round(each.probability, 6) for each in predictions} == {0.8}


def test_a_file_that_cannot_be_read_has_the_reason(tmp_path: Path) -> None:
    contents = {
        "good.png": picture(200), "svg.jpg": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "empty.png": b"",
        "html.jpg": b"<!DOCTYPE html><script>alert(1)</script>", "cut.jpg": picture(9, "JPEG", (64, 64))[:-200],
        "bomb.png": png_of_size(50_000, 50_000),
    }  # fmt: skip
    for name, each in contents.items():
        (tmp_path / name).write_bytes(each)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    for name, size, start in (("huge.jpg", 2**31, picture(9, "JPEG")), ("zeros.jpg", 2**28, b"")):
        (tmp_path / name).write_bytes(start)
        os.truncate(tmp_path / name, size)
    named = ("missing.png", "", "pipe.png", "device.png", "huge.jpg", "zeros.jpg")
    more = [tmp_path / name for name in named]
    paths = [*(tmp_path / name for name in contents), *more]
    predictions = list(predict_files(Brightness(), paths))
    assert predictions[0].label == 1
    reasons = [each.reason for each in predictions[1:]]
    assert all(each.label is None and not each.probabilities for each in predictions[1:])
    laws = [
        "formats",
        "empty",
        "formats",
        "damaged",
        "bomb",
        "No such",
        *["pipe or device"] * 3,
        "at most 536 MB, but has",
    ]
    laws.append("formats")
    for reason, law in zip(reasons, laws, strict=True):
        assert law in reason


def test_no_more_files_are_opened_than_a_few_batches_ahead(files: list[Path]) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield files[taken % len(files)]

    predictions = predict_files(Brightness(), endless(), threads=2)
    for _ in range(10 * BATCH):
        next(predictions)
    assert taken <= (10 + 2 * 2 + 1) * BATCH
    predictions.close()  # type: ignore[attr-defined]


def test_no_files_are_no_predictions() -> None:
    assert list(predict_files(Brightness(), [])) == []


def test_a_fault_of_the_classifier_is_raised(files: list[Path]) -> None:
    with pytest.raises(RuntimeError, match="no memory left"):
        list(predict_files(Brightness(fails=True), files))
