"""The rendered faces: repeatable, balanced, and different where a mask is and nowhere else."""

from __future__ import annotations

import os
import pickle
from collections import Counter
from dataclasses import replace
from operator import attrgetter

import numpy as np
import numpy.typing as npt
import pytest

from study.data.synthetic_faces import (
    CLASSES,
    ORDINARY_SPLITS,
    SHIFTED_SETS,
    batch,
    render_face,
    render_split,
    render_splits,
    sampling,
)
from study.data.synthetic_faces.render import draw, frame_of, paint
from study.data.synthetic_faces.sampling import describe
from study.data.synthetic_faces.vocabulary import FaceDescription, MaskLook
from study.errors import DataError

ALL_SPLITS = ORDINARY_SPLITS + SHIFTED_SETS
SIZE_PX = 32
BLUE_MASK = MaskLook("surgical", "proper", "solid", (60, 130, 230), (0, 0, 0), 3.0, 0.0, 0.0, 1.0, 5)


def die(chunk: batch.Chunk) -> None:
    os._exit(3)


def described(split: str, kind: str, count: int) -> list[FaceDescription]:
    """Return the first descriptions of a kind, without distractors."""
    faces = (describe(0, split, index) for index in range(16 * count))
    chosen = [face for face in faces if face.kind == kind and face.distractor is None]
    return chosen[:count]


def masked_area(face: FaceDescription, size_px: int) -> npt.NDArray[np.bool_]:
    """Return where the mask changes the clean picture."""
    bare = paint(replace(face, mask=None), size_px)
    return np.abs(paint(face, size_px) - bare).max(axis=2) > 2.0


def test_a_face_depends_on_its_arguments_only() -> None:
    first = render_face(3, "val", 7, SIZE_PX)
    render_face(4, "train", 1, SIZE_PX)
    again = render_face(3, "val", 7, SIZE_PX)
    assert np.array_equal(first.image, again.image)
    assert (first.label, first.kind) == (again.label, again.kind)
    assert not np.array_equal(first.image, render_face(5, "val", 7, SIZE_PX).image)


def test_processes_render_what_one_process_renders(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"train": 40, "lowlight": 9}
    alone = render_splits(1, counts, 24, workers=1)
    monkeypatch.setattr(batch, "_IN_PROCESS_BELOW", 0)
    progress: list[tuple[int, int]] = []
    together = render_splits(1, counts, 24, workers=2, on_progress=lambda done, wanted: progress.append((done, wanted)))
    for split in counts:
        assert np.array_equal(alone[split].images, together[split].images)
        assert alone[split].kinds == together[split].kinds
    assert progress[-1] == (49, 49)
    assert [done for done, _ in progress] == sorted(done for done, _ in progress)


def test_an_exception_in_a_worker_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_IN_PROCESS_BELOW", 0)
    chunks = list(batch.chunked(0, {"train": 33}, SIZE_PX))
    with pytest.raises(AttributeError, match="no_such_field"):
        list(batch.run_chunks(attrgetter("no_such_field"), chunks, workers=2))


def test_a_dying_worker_or_work_that_cannot_be_sent_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_IN_PROCESS_BELOW", 0)
    chunks = list(batch.chunked(0, {"train": 200}, SIZE_PX))
    with pytest.raises(DataError, match=r"ended from outside, with 2 at work.*use fewer workers"):
        list(batch.run_chunks(die, chunks, workers=2))
    with pytest.raises((AttributeError, pickle.PicklingError)):
        list(batch.run_chunks(lambda chunk: chunk, chunks, workers=2))


def test_a_set_holds_the_single_faces_in_order() -> None:
    faces = render_split(2, "test", 11, SIZE_PX)
    assert faces.images.shape == (11, SIZE_PX, SIZE_PX, 3)
    assert faces.images.dtype == np.uint8
    assert faces.labels.dtype == np.int64
    for index in (0, 5, 10):
        single = render_face(2, "test", index, SIZE_PX)
        assert np.array_equal(faces.images[index], single.image)
        assert (faces.labels[index], faces.kinds[index]) == (single.label, single.kind)


def test_an_empty_split_is_an_empty_set() -> None:
    faces = render_split(0, "val", 0, SIZE_PX)
    assert faces.images.shape == (0, SIZE_PX, SIZE_PX, 3)
    assert faces.kinds == ()


@pytest.mark.parametrize("split", ALL_SPLITS)
def test_every_block_of_eight_holds_the_same_mix(split: str) -> None:
    kinds = [sampling.kind_at(9, split, index) for index in range(80)]
    for start in range(0, 80, 8):
        assert Counter(kinds[start : start + 8]) == {"masked": 3, "unmasked": 3, "nose": 1, "chin": 1}
    # A fixed order would let the place in the split tell the class.
    assert len({tuple(kinds[start : start + 8]) for start in range(0, 80, 8)}) > 5


def test_only_properly_worn_masks_count_as_wearing() -> None:
    faces = render_split(0, "train", 16, SIZE_PX)
    assert CLASSES == ("not_wearing_mask", "wearing_mask")
    assert [bool(label) for label in faces.labels] == [kind == "masked" for kind in faces.kinds]


def test_splits_share_no_image() -> None:
    sets = render_splits(0, dict.fromkeys(ALL_SPLITS, 16), SIZE_PX, workers=1)
    images = [image.tobytes() for faces in sets.values() for image in faces.images]
    assert len(set(images)) == 16 * len(ALL_SPLITS)


def test_nothing_but_mask_and_distractor_depends_on_the_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(20):
        seen = []
        for kind in ("masked", "unmasked", "nose", "chin"):
            monkeypatch.setattr(sampling, "kind_at", lambda *_, kind=kind: kind)
            face = describe(0, "train", index)
            assert (face.mask is None) == (kind == "unmasked")
            seen.append((face.pose, face.person, face.scene, face.camera, face.seed))
        assert len(set(seen)) == 1


def test_a_mask_changes_the_mouth_and_leaves_the_rest() -> None:
    for face in described("train", "masked", 6):
        frame = frame_of(face, 96)
        changed = masked_area(face, 96)
        rows, columns = np.nonzero(changed)
        mouth_x, mouth_y = frame.spot(0.0, 1.0, 0.1)
        assert changed[round(mouth_y), round(mouth_x)]
        # Head units above the eye line and beside the head stay as they were.
        reach = np.hypot(columns - mouth_x, rows - mouth_y) / frame.unit_px
        assert reach.max() < 2.1
        assert 0.02 < changed.mean() < 0.5


def test_the_camera_treats_masked_and_bare_faces_alike() -> None:
    for face in described("train", "masked", 6):
        top_masked, top_bare = (draw(each, 96)[:16].astype(float) for each in (face, replace(face, mask=None)))
        assert np.abs(top_masked - top_bare).mean() < 1.0


def test_kinds_differ_in_what_stays_bare() -> None:
    for kind, nose_covered, mouth_covered in (("masked", True, True), ("nose", False, True), ("chin", False, False)):
        for face in described("train", kind, 3):
            frame = frame_of(face, 112)
            assert face.mask is not None
            look = replace(face.mask, drop=0.0)
            hair_free = replace(face.person, style="bald", glasses="none", beard=0.0)
            changed = masked_area(replace(face, mask=look, person=hair_free), 112)

            spots = [frame.spot(0.0, height) for height in (0.55, 1.0, frame.chin - 0.05)]
            covered = [bool(changed[min(111, round(y)), round(x)]) for x, y in spots]
            assert covered == [nose_covered, mouth_covered, True]


def test_colours_are_red_green_blue() -> None:
    face = described("train", "masked", 1)[0]
    plain = replace(face.camera, gain=1.0, cast=(1.0, 1.0, 1.0), grey=False, noise=0.0)
    face = replace(face, mask=BLUE_MASK, camera=plain)
    x, y = frame_of(face, 96).spot(0.0, 1.0, 0.1)
    red, _, blue = draw(face, 96)[round(y), round(x)].astype(int)
    assert blue > red + 30


def test_low_light_is_darker() -> None:
    ordinary = render_split(0, "val", 24, SIZE_PX).images.mean()
    assert render_split(0, "lowlight", 24, SIZE_PX).images.mean() < 0.5 * ordinary


def test_offcentre_faces_are_small_and_anywhere() -> None:
    small = [masked_area(face, 64) for face in described("offcentre", "masked", 8)]
    large = [masked_area(face, 64) for face in described("val", "masked", 8)]
    assert np.mean([area.mean() for area in small]) < 0.4 * np.mean([area.mean() for area in large])
    centres = np.array([np.argwhere(area).mean(axis=0) / 64 for area in small])
    usual = np.array([np.argwhere(area).mean(axis=0) / 64 for area in large])
    assert np.all(centres.std(axis=0) > 2 * usual.std(axis=0))
    assert all(area.any() for area in small)


def test_held_out_patterns_are_held_out() -> None:
    patterns = {
        split: {mask.pattern for index in range(160) if (mask := describe(0, split, index).mask) is not None}
        for split in ALL_SPLITS
    }
    assert patterns.pop("patterns") == {"plaid", "floral"}
    for split, seen in patterns.items():
        assert seen == {"solid", "stripes", "dots", "blotch"}, split


def test_distractors_hide_bare_faces_and_a_few_masked_ones() -> None:
    faces = [describe(0, "train", index) for index in range(1600)]
    bare = [face.distractor for face in faces if face.kind == "unmasked"]
    assert np.mean([thing is not None for thing in bare]) == pytest.approx(0.30, abs=0.06)
    assert {thing.kind for thing in bare if thing is not None} == {"hand", "book", "scarf", "cup"}
    masked = [face.distractor for face in faces if face.kind == "masked"]
    assert np.mean([thing is not None for thing in masked]) == pytest.approx(0.05, abs=0.03)
    assert {thing.kind for thing in masked if thing is not None} == {"hand"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, "valid", 0, 32), "no such split: 'valid'; there are train, val"),
        ((-1, "val", 0, 32), "`seed` must be >= 0, got -1"),
        ((0, "val", -2, 32), "`index` must be >= 0, got -2"),
        ((0, "val", 0, 8), "`size_px` must be >= 16, got 8"),
    ],
)
def test_bad_arguments_are_named(arguments: tuple[int, str, int, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        render_face(*arguments)


def test_bad_counts_and_workers_are_named() -> None:
    with pytest.raises(DataError, match="count of split 'val' must be >= 0, got -1"):
        render_splits(0, {"val": -1}, SIZE_PX)
    with pytest.raises(DataError, match="`workers` must be >= 1, got 0"):
        render_split(0, "val", 1, SIZE_PX, workers=0)
