"""`predict --detect` classifies every face of a photograph and draws boxes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from commands import study
from model_kit import IMAGES, real_checkpoint
from photo_kit import Placed, photograph, portrait, save
from PIL import Image

from study.bundles import OnnxClassifier
from study.data.decode import FORMATS, TO_UPRIGHT
from study.data.framing import Framing
from study.errors import DataError
from study.export import ExportOptions, Provenance, export_checkpoint
from study.inference.face_predictions import bundle_framing
from study.photos.detector import FaceDetector
from study.photos.faces import read_faces

pytestmark = pytest.mark.usefixtures("formats_checked_here")
ORIGIN = Provenance(study="masks", study_id="ab12", trial=3, run_id=None, ranked_by="val_auc", candidates=5)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    out = folder / "bundle"
    checkpoint = real_checkpoint(folder / "seed", 0, ("off", "on"))
    card = json.loads((checkpoint / "checkpoint.json").read_text())
    card["preprocessing"]["framing"] = Framing(span=0.3).as_dict()
    (checkpoint / "checkpoint.json").write_text(json.dumps(card))
    export_checkpoint(checkpoint, out, IMAGES, ORIGIN, options=ExportOptions(formats=("onnx",)))
    return out


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    save(photograph(640, 480, [Placed(1, 10, 60, 200), Placed(2, 300, 60, 260)]), folder / "two.png")
    save(np.full((90, 150, 3), 60, np.uint8), folder / "wall.png")
    save(portrait(0)[:20, :20], folder / "small.png")
    (folder / "cut.png").write_bytes((folder / "two.png").read_bytes()[:400])
    return folder


def test_every_face_has_a_row_in_the_bundles_own_framing(bundle: Path, photos: Path, tmp_path: Path) -> None:
    done = study("predict", bundle, photos, "--detect", "auto", "--draw", tmp_path / "drawn", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["pictures"]
    assert [(Path(row["picture"]).name, row.get("face"), row["how"]) for row in rows] == [
        ("cut.png", None, "unreadable"), ("small.png", None, "small"), ("two.png", 1, "faces"), ("two.png", 2, "faces"),
        ("wall.png", None, "no face"),
    ]  # fmt: skip
    assert "1 of 4 pictures cannot be read" in done.stderr
    classifier = OnnxClassifier.open(bundle)
    size = classifier.config.image_size_px
    crops = read_faces(photos / "two.png", size, Framing(span=0.3), FaceDetector()).images
    assert [row["probability"] for row in rows[2:4]] == pytest.approx(
        classifier.probabilities(crops).tolist(), abs=1e-6
    )
    whole = classifier.probabilities(classifier.preprocess(photos / "wall.png")[None])
    assert rows[4]["probability"] == pytest.approx(float(whole[0]), abs=1e-6)
    assert rows[2]["left"] > 300 > rows[3]["right"]
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == {
        "0002-small.jpg", "0003-two.jpg", "0004-wall.jpg",
    }  # fmt: skip
    with Image.open(tmp_path / "drawn/0003-two.jpg") as drawn, Image.open(photos / "two.png") as plain:
        assert drawn.size == plain.size
        assert (np.abs(np.asarray(drawn).astype(int) - np.asarray(plain)).max(axis=2) > 60).mean() > 0.005


def test_lines_and_csv_name_faces_and_why_a_photograph_was_taken_whole(bundle: Path, photos: Path) -> None:
    lines = study("predict", bundle, photos, "--detect", "auto").stdout.splitlines()
    assert any(line.endswith("two.png face 2") for line in lines)
    assert any(line.endswith("wall.png: no face, taken whole") for line in lines)
    assert any(line.endswith("small.png: small, taken whole") for line in lines)
    text = study("predict", bundle, photos / "two.png", "--detect", "always", "--csv").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["face"] for row in rows] == ["1", "2"]
    assert all(float(row["left"]) < float(row["right"]) for row in rows)


def test_a_name_with_line_breaks_stays_one_line(bundle: Path, tmp_path: Path) -> None:
    for name in ("a\nb\x1b[31m.png", "c\td.png", "\u202egnp.cut.png"):
        save(portrait(0), tmp_path / name)
    (tmp_path / "\u202egnp.cut.png").write_bytes(b"nothing")
    _, *lines = study("predict", bundle, tmp_path).stdout.splitlines()
    assert [line.rpartition("/")[2] for line in lines] == [
        r"a\nb\x1b[31m.png", r"c\td.png",
        r"\u202egnp.cut.png: not a picture in one of the formats " + ", ".join(FORMATS),
    ]  # fmt: skip


def test_eight_orientations_have_one_probability(bundle: Path, tmp_path: Path) -> None:
    upright, undone = Image.fromarray(portrait(3)), {5: 5, 6: 8, 7: 7, 8: 6}
    for orientation in range(1, 9):
        method = TO_UPRIGHT.get(undone.get(orientation, orientation))
        exif = Image.Exif()
        exif[0x0112] = orientation
        (upright if method is None else upright.transpose(method)).save(
            tmp_path / f"{orientation}.jpg", exif=exif, quality=95
        )
    rows = json.loads(study("predict", bundle, tmp_path, "--detect", "auto", "--json").stdout)["pictures"]
    assert [row["face"] for row in rows] == [1] * 8
    assert np.ptp([row["probability"] for row in rows]) < 0.01
    assert max(np.ptp([row[side] for row in rows]) for side in ("left", "top", "right", "bottom")) < 2


def test_contradictory_options_and_full_folders_are_refused(bundle: Path, photos: Path, tmp_path: Path) -> None:
    alone = study("predict", bundle, photos, "--draw", tmp_path / "drawn")
    full = study("predict", bundle, photos, "--detect", "auto", "--draw", photos)
    assert (alone.returncode, full.returncode) == (2, 2)
    assert "add --detect auto" in alone.stderr
    assert "must be a new or empty folder" in full.stderr


def test_a_bundle_without_a_framing_is_told(bundle: Path) -> None:
    assert bundle_framing({}) is None
    assert bundle_framing(OnnxClassifier.open(bundle).preprocessing) == Framing(span=0.3)
    with pytest.raises(DataError, match=r"preprocessing\.framing"):
        bundle_framing({"framing": {"format": 9}})
