"""`evaluate --detect` and `--compare-crop` measure by the largest face of each photograph."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import study, study_error, study_json, study_stdout
from inference_kit import SIZE, FramedBrightness
from photo_kit import Placed, photograph, save
from scipy.stats import binom, binomtest

from study.bundles import OnnxClassifier
from study.data.framing import Framing
from study.photos.detector import FaceDetector
from study.photos.faces import read_faces

FRAMING = Framing(span=0.3)
FACES = 6
CLASSIFIER = FramedBrightness(FRAMING)


@pytest.fixture(autouse=True)
def bundle(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let any bundle be a classifier of brightness, which needs no export."""
    monkeypatch.setattr(OnnxClassifier, "open", lambda folder, **_: CLASSIFIER)
    return Path("bundle")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of faces beside their middle; the label is what the framed face is called, save for the first two.

    So the faces found are nearly always right, and what stands in the middle of the photographs is not.
    """
    folder, detector = tmp_path_factory.mktemp("photos"), FaceDetector()
    for at in range(2 * FACES):
        placed = [Placed(at % FACES, 8, 20, 200)]
        if at == 5:
            placed.append(Placed(7, 400, 60, 120))
        path = save(photograph(560, 300, placed, ground=(30, 225)[at // FACES]), folder / f"{at}.png")
        called = int(CLASSIFIER.decide(CLASSIFIER.probabilities(largest(path, detector)[None]))[0])
        label = CLASSIFIER.classes[called if at >= 2 else 1 - called]
        (folder / label).mkdir(exist_ok=True)
        path.rename(folder / label / path.name)
    save(np.full((90, 150, 3), 60, np.uint8), folder / "bright" / "wall.png")
    (folder / "dark" / "cut.png").write_bytes(b"\x89PNG\r\n")
    return folder


def test_pictures_of_one_photograph_count_once(bundle: Path, tmp_path: Path) -> None:
    rows = []
    for at in range(20):
        for name, level in (("dark", 30), ("bright", (60, 220)[at % 5 > 0])):
            save(np.full((SIZE, SIZE, 3), level + at, np.uint8), tmp_path / "all" / name / f"{at:02d}-1.png")
            rows.append(f"{at:02d}.jpg,{name}/{at:02d}-1.png\n")
    page = ("--out", tmp_path / "page.html")
    alone = study_json("evaluate", bundle, tmp_path / "all", *page)
    assert alone["groups"] is None
    assert "groups" not in (tmp_path / "page.html").read_text().partition("<script")[0]
    (tmp_path / "all" / "faces.csv").write_text("source,file\n" + "".join(rows))
    grouped = study_json("evaluate", bundle, tmp_path / "all", *page)
    assert (grouped["groups"], grouped["pictures"]) == (20, 40)
    assert grouped["metrics"]["accuracy"]["value"] == alone["metrics"]["accuracy"]["value"] == 0.9
    wide = grouped["metrics"]["recall.dark"]
    assert wide == alone["metrics"]["recall.dark"]  # each photograph has one dark picture
    note = "intervals count 20 groups, not 40 pictures: those of one photograph, as faces.csv names it, belong together"
    assert note in grouped["notes"]
    assert "by how 20 groups of pictures vary" in (tmp_path / "page.html").read_text()
    assert note in study_stdout("evaluate", bundle, tmp_path / "all", *page)
    named = study_json("evaluate", bundle, tmp_path / "all", *page, "--group-by", r"/(\d)")
    assert named["groups"] == 2
    assert r"those that --group-by /(\d) finds alike" in " ".join(named["notes"])
    error = study_error("evaluate", bundle, tmp_path / "all", *page, "--group-by", "nobody")
    assert "--group-by must find a group in every file's path, but 'nobody' finds none in 40 of 40" in error
    (tmp_path / "all" / "faces.csv").write_text("no,table\n1,2\n")
    assert study_json("evaluate", bundle, tmp_path / "all", *page)["groups"] is None
    (tmp_path / "all").rename(tmp_path / "val")
    (tmp_path / "faces.csv").write_text("source,file\n" + "".join(row.replace(",", ",val/") for row in rows))
    assert study_json("evaluate", bundle, tmp_path / "val", *page)["groups"] == 20


def largest(path: Path, detector: FaceDetector) -> np.ndarray:
    return read_faces(path, SIZE, FRAMING, detector).images[0]


def test_both_ways_are_measured_on_the_same_photographs(bundle: Path, photos: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = study_json("evaluate", bundle, photos, "--compare-crop", "--out", page)
    detector = FaceDetector()
    paths = [path for path in sorted(photos.rglob("*.png")) if path.name != "cut.png"]
    labels = np.array([CLASSIFIER.classes.index(path.parent.name) for path in paths])
    images = [[largest(path, detector) for path in paths], [CLASSIFIER.preprocess(path) for path in paths]]
    by_faces, by_centre = (CLASSIFIER.decide(CLASSIFIER.probabilities(np.stack(each))) == labels for each in images)
    assert by_faces.sum() > by_centre.sum(), "else the photographs show no difference"
    for metrics, right in ((result["metrics"], by_faces), (result["centre_crop"]["metrics"], by_centre)):
        accuracy, exact = metrics["accuracy"], binomtest(int(right.sum()), 13).proportion_ci(method="exact")
        assert (accuracy["hits"], accuracy["images"]) == (right.sum(), 13)
        assert (accuracy["low"], accuracy["high"]) == pytest.approx((exact.low, exact.high))
    row = result["centre_crop"]["differences"]["accuracy"]
    alone = int((by_faces & ~by_centre).sum()), int((by_centre & ~by_faces).sum())
    assert (row["only_first"], row["only_second"]) == alone
    fewer, together = min(alone), sum(alone)
    mid_p = 2 * (binom.cdf(fewer, together, 0.5) - binom.pmf(fewer, together, 0.5) / 2)
    assert row["difference"]["p"] == pytest.approx(mid_p)
    assert (result["without_face"], result["small"], result["detect"]) == (["bright/wall.png"], [], "auto")
    assert [Path(name).name for name in result["several_faces"]] == ["5.png"]
    assert [each["picture"] for each in result["unreadable"]] == ["dark/cut.png"]
    text = page.read_text()
    assert "faces found against centre crop" in text
    assert "taken whole, as no face was found: 1 of 14 pictures: bright/wall.png" in text
    assert "What the model saw, above: faces found, below: centre crop." in text
    assert f"<h1>bundle on {photos.name}, faces found</h1>" in text


def test_lines_tell_both_ways_and_what_was_taken_whole(bundle: Path, photos: Path, tmp_path: Path) -> None:
    text = study_stdout("evaluate", bundle, photos, "--compare-crop", "--out", tmp_path / "page.html")
    heads = [line for line in text.splitlines() if " of 13 right" in line]
    assert [head.partition(":")[0] for head in heads] == [
        f"{bundle.name} on {photos.name}, faces found", f"{bundle.name} on {photos.name}, centre crop",
    ]  # fmt: skip
    assert "right by faces found alone" in text
    assert "note: more than one face, of which the largest counts: 1 of 14 pictures: " in text


def test_faces_alone_are_measured_with_detect(bundle: Path, photos: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "page.html")
    both = study_json("evaluate", bundle, photos, "--compare-crop", *out)
    by_faces = study_json("evaluate", bundle, photos, "--detect", "auto", *out)
    whole = study_json("evaluate", bundle, photos, *out)
    assert by_faces["metrics"] == both["metrics"]
    assert whole["metrics"] == both["centre_crop"]["metrics"]
    assert "centre_crop" not in by_faces
    assert not {"detect", "without_face"} & set(whole)
    against = study_json("evaluate", bundle, photos, "--detect", "auto", "--against", bundle, *out)["against"]
    assert (against["metrics"], against["differences"]["accuracy"]["only_first"]) == (by_faces["metrics"], 0)


def test_options_that_contradict_are_refused(bundle: Path, photos: Path) -> None:
    never = study_error("evaluate", bundle, photos, "--compare-crop", "--detect", "never", code=2)
    two = study_error("evaluate", bundle, photos, "--compare-crop", "--against", bundle, code=2)
    assert "--compare-crop needs faces" in never
    assert "exclude each other" in two


def test_a_bundle_without_a_framing_says_what_is_assumed(
    bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OnnxClassifier, "open", lambda folder, **_: FramedBrightness(None))
    done = study("evaluate", bundle, photos, "--compare-crop", "--out", tmp_path / "page.html", "--json")
    assert "does not say how faces lay" in done.stderr
    assert json.loads(done.stdout)["pictures"] == 13
