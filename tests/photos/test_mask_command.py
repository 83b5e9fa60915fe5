"""`study data mask`: faces with and without a drawn mask, which train as they are."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from commands import ONLY_WEIGHTS, study, study_error, study_json, study_stdout
from photo_kit import Placed, photograph, pixels, portrait, save, table

from study.checkpoint_card import read_card
from study.data.framing import Framing, read_framing

pytestmark = pytest.mark.usefixtures("formats_checked_here")
Picture = npt.NDArray[np.int64]
CLASSES = ("improper", "not_wearing_mask", "wearing_mask")


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in sorted(folder.rglob("*-*.jpg")) if path.parent.name != "contact_sheets"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten portraits, a photograph of three faces and one of none."""
    folder = tmp_path_factory.mktemp("source") / "photos"
    for face in range(10):
        save(portrait(face, 160), folder / f"person_{face}.png")
    save(photograph(640, 300, [Placed(face, 200 * face, 40, 200) for face in range(3)]), folder / "group.png")
    save(np.full((100, 100, 3), 60, np.uint8), folder / "wall.png")
    return folder


@pytest.fixture(scope="module")
def masked(photos: Path) -> Path:
    out = photos.parent / "masked"
    done = study_stdout("data", "mask", photos, out, "--fit", "proper=0.5,nose=0.25,chin=0.25", "--size", 64)
    assert "no face      1: left out\n  wall.png" in done
    assert "use it with  data: {source: folder" in done
    assert "these masks are drawn" in done
    return out


def test_every_face_is_written_with_and_without_a_mask(masked: Path) -> None:
    rows = [row for row in table(masked) if row["status"] == "face"]
    counts = Counter(row["class"] for row in rows)
    assert counts["not_wearing_mask"] == 13 == counts["wearing_mask"] + counts["improper"]
    assert counts["improper"] > 0 < counts["wearing_mask"]
    assert {row["fit"] for row in rows if row["class"] == "improper"} == {"nose", "chin"}
    assert {row["fit"] for row in rows if row["class"] == "wearing_mask"} == {"proper"}
    assert {row["kind"] for row in rows if row["class"] == "not_wearing_mask"} == {""}
    assert len({row["kind"] for row in rows} - {""}) >= 3
    assert sorted(row["file"] for row in rows) == sorted(contents(masked))
    assert [row["status"] for row in table(masked) if row["source"] == "wall.png"] == ["no face"]
    assert read_framing(masked) == Framing(masks="drawn")
    kinds = {path.name.rpartition("_")[0] for path in (masked / "contact_sheets").iterdir()}
    assert kinds == {row["kind"] for row in rows} - {""}


def test_a_mask_changes_the_lower_face_and_nothing_above_the_eyes(masked: Path) -> None:
    for row in table(masked):
        if row["fit"]:
            plain = pixels(masked / "not_wearing_mask" / Path(row["file"]).name)
            change = np.abs(pixels(masked / row["file"]) - plain).mean(axis=2)
            assert change[:20].mean() < 2, row["file"]
            below = {"proper": change[36:54, 24:40], "nose": change[46:56, 26:38], "chin": change[52:60, 26:38]}
            assert below[row["fit"]].mean() > 12, row["file"]


def test_the_nose_is_free_where_the_mask_is_below_it(masked: Path) -> None:
    free = {"proper": [], "nose": [], "chin": []}  # type: dict[str, list[float]]
    for row in table(masked):
        if row["fit"]:
            plain = pixels(masked / "not_wearing_mask" / Path(row["file"]).name)
            free[row["fit"]].append(float(np.abs(pixels(masked / row["file"]) - plain)[33:38, 29:35].mean()))
    assert np.median(free["proper"]) > 15 > np.median(free["nose"] + free["chin"])


def test_the_same_seed_draws_the_same_masks_and_another_one_others(photos: Path, masked: Path, tmp_path: Path) -> None:
    options = ("--fit", "proper=0.5,nose=0.25,chin=0.25", "--size", 64)
    for name, seed in (("same", 0), ("other", 1)):
        assert study("data", "mask", photos, tmp_path / name, *options, "--seed", seed).returncode == 0
    assert contents(tmp_path / "same") == contents(masked)
    assert (tmp_path / "same" / "faces.csv").read_bytes() == (masked / "faces.csv").read_bytes()
    other = contents(tmp_path / "other")
    assert len(other) == len(contents(masked))
    plain = [name for name in other if name.startswith("not_")]
    assert all(other[name] == contents(masked)[name] for name in plain)
    assert any(other[name] != contents(masked).get(name) for name in other if name not in plain)


def test_a_discarded_picture_is_left_out_and_changes_no_other(photos: Path, masked: Path, tmp_path: Path) -> None:
    bad = sorted(name for name in contents(masked) if not name.startswith("not_"))
    (tmp_path / "bad.txt").write_text(f"{bad[0]}\n\n  {bad[1].removesuffix('.jpg')} \n")
    options = ("--fit", "proper=0.5,nose=0.25,chin=0.25", "--size", 64, "--discard", tmp_path / "bad.txt")
    done = study_json("data", "mask", photos, tmp_path / "out", *options)
    assert done["discarded"] == 2
    kept = contents(tmp_path / "out")
    assert kept == {name: data for name, data in contents(masked).items() if name not in bad[:2]}
    assert [row["reason"] for row in table(tmp_path / "out") if row["status"] == "discarded"] == bad[:2]
    (tmp_path / "bad.txt").write_text("nobody-1.jpg\n")
    assert "nobody-1.jpg" in study_error("data", "mask", photos, tmp_path / "again", *options)
    assert not (tmp_path / "again").exists()


def test_a_name_of_several_pictures_discards_none(photos: Path, masked: Path, tmp_path: Path) -> None:
    both = sorted(name for name in contents(masked) if name.endswith("/person_0-1.jpg"))
    assert len(both) == 2
    for line in ("person_0-1.jpg", "person_0-1"):
        (tmp_path / "bad.txt").write_text(line)
        error = study_error("data", "mask", photos, tmp_path / "out", "--discard", tmp_path / "bad.txt", "--size", 64,
                            "--fit", "proper=0.5,nose=0.25,chin=0.25")  # fmt: skip
        assert f"must name one file, but {line} is {both[0]}, {both[1]}; name the one with its folder" in error
        assert not (tmp_path / "out").exists()


def test_splits_stay_above_the_classes(tmp_path: Path) -> None:
    for split in ("train", "val"):
        save(portrait(0), tmp_path / "photos" / split / "anna" / "1.png")
    assert study("data", "mask", tmp_path / "photos", tmp_path / "out", "--fit", "proper=1").returncode == 0
    assert sorted(contents(tmp_path / "out")) == [
        "train/not_wearing_mask/anna/1-1.jpg", "train/wearing_mask/anna/1-1.jpg",
        "val/not_wearing_mask/anna/1-1.jpg", "val/wearing_mask/anna/1-1.jpg",
    ]  # fmt: skip


def test_a_grey_photograph_gets_a_grey_mask(tmp_path: Path) -> None:
    for face in range(6):
        grey = portrait(face).mean(axis=2).astype(np.uint8)
        save(np.repeat(grey[..., None], 3, axis=2), tmp_path / "photos" / f"{face}.png")
    options = ("--kinds", "cloth", "--fit", "proper=1")
    assert study("data", "mask", tmp_path / "photos", tmp_path / "out", *options).returncode == 0
    pictures = list((tmp_path / "out" / "wearing_mask").iterdir())
    assert len(pictures) == 6
    assert all(np.ptp(pixels(path), axis=2).max() <= 4 for path in pictures)


def test_a_coarse_face_gets_a_coarse_mask(tmp_path: Path) -> None:
    save(photograph(200, 160, [Placed(0, 60, 40, 60)]), tmp_path / "photos" / "small.png")
    options = ("--kinds", "cloth", "--fit", "proper=1", "--size", 224)
    assert study("data", "mask", tmp_path / "photos", tmp_path / "out", *options).returncode == 0
    plain, mask = (pixels(tmp_path / "out" / name / "small-1.jpg") for name in ("not_wearing_mask", "wearing_mask"))

    def steepest(picture: Picture) -> float:
        return float(np.percentile(np.abs(np.diff(picture.mean(axis=2), axis=0))[112:], 99))

    assert steepest(mask) < 1.6 * steepest(plain)


@pytest.mark.parametrize(
    "options",
    [
        ("--kinds", "surgical,paper"), ("--kinds", ""), ("--fit", "proper=0.5"), ("--fit", "proper=2,nose=-1"),
        ("--fit", "ears=1"), ("--fit", "proper"), ("--discard", "nowhere.txt"),
    ],
)  # fmt: skip
def test_wrong_options_are_usage_errors(photos: Path, tmp_path: Path, options: tuple[str, str]) -> None:
    done = study_error("data", "mask", photos, tmp_path / "out", *options, code=2)
    assert options[0] in done
    assert not (tmp_path / "out").exists()


def test_a_folder_that_nothing_was_written_into_is_not_recommended(tmp_path: Path) -> None:
    save(np.full((100, 100, 3), 60, np.uint8), tmp_path / "photos" / "wall.png")
    shown = study_stdout("data", "mask", tmp_path / "photos", tmp_path / "out")
    assert "no face      1: left out" in shown
    assert "use it with" not in shown


STUDY = """\
name: drawn
data:
  source: folder
  path: MASKED
  image_size_px: 32
  fractions: [0.6, 0.4, 0.0]
  classes: {improper: not_wearing_mask}
  group_by: 'GROUP'
trial: {depth: 10, max_epochs: 1, batch_size: 8}
space: {learning_rate: {loguniform: [1e-3, 2e-3]}}
search: {sampler: random, trials: 1, seed: 0, pruner: none}
resources: {cpus_per_trial: 1, gpus_per_trial: 0, max_concurrent_trials: 1}
"""


def test_a_folder_of_masks_trains_as_it_is_and_its_framing_goes_into_the_card(
    photos: Path, tmp_path: Path, shared_cluster: None
) -> None:
    done = study("data", "mask", photos, tmp_path / "out", "--fit", "proper=0.6,nose=0.4", "--json")
    group_by = json.loads(done.stdout)["group_by"]
    text = STUDY.replace("MASKED", str(tmp_path / "out")).replace("GROUP", group_by)
    (tmp_path / "study.yaml").write_text(text)
    ran = study("run", tmp_path / "study.yaml", "--results", tmp_path / "results", "--json")
    assert ran.returncode == 0, ran.stderr + study("show", "drawn/0", "--results", tmp_path / "results").stdout
    assert "contact" not in ran.stderr
    checkpoint = study("best", "drawn", "--results", tmp_path / "results", "--path").stdout.strip()
    card = read_card(Path(checkpoint))
    assert card.classes == ("not_wearing_mask", "wearing_mask")
    assert card.preprocessing["framing"] == Framing(masks="drawn").as_dict()
    bundle = tmp_path / "bundle"
    study_stdout("export-best", *ONLY_WEIGHTS, "drawn", "--results", tmp_path / "results", "--out", bundle)
    assert json.loads((bundle / "config.json").read_text())["preprocessing"]["framing"]["masks"] == "drawn"
