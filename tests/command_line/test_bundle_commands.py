"""`predict`, `evaluate` and `serve` with a real bundle, from the command line."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, study
from model_kit import IMAGES, real_checkpoint
from PIL import Image

from cli.output import spreadsheet_text
from study.bundles import OnnxClassifier
from study.export import ExportOptions, Provenance, export_checkpoint

pytestmark = pytest.mark.usefixtures("formats_checked_here")
ORIGIN = Provenance(study="masks", study_id="ab12", trial=3, run_id=None, ranked_by="val_auc", candidates=5)


def exported(folder: Path, classes: tuple[str, ...] = ("off", "on"), seed: int = 0) -> Path:
    checkpoint = real_checkpoint(folder / f"seed-{seed}", seed, classes)
    out = folder / f"bundle-{seed}"
    export_checkpoint(checkpoint, out, IMAGES, ORIGIN, options=ExportOptions(formats=("onnx",)))
    return out


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for at, pixels in enumerate(np.random.default_rng(1).integers(0, 256, (12, 40, 50, 3), np.uint8)):
        place = folder / ("off", "on")[at % 2] / f"{at}.png"
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(place)
    return folder


def test_predict_gives_what_the_bundles_own_script_gives(bundle: Path, photos: Path, tmp_path: Path) -> None:
    script = tmp_path / "bundle"
    shutil.copytree(bundle, script)
    pictures = sorted(photos.rglob("*.png"))
    own = subprocess.run(
        [sys.executable, script / "predict.py", *pictures], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    rows = json.loads(study("predict", bundle, photos, "--json").stdout)["pictures"]
    assert [row["picture"] for row in rows] == [str(path) for path in pictures]
    for line, row in zip(own, rows, strict=True):
        name, label, probability = line.split("\t")
        assert (row["picture"], row["class"]) == (name, label)
        assert row["probability"] == pytest.approx(float(probability), abs=1e-6)


def test_predict_prints_lines_csv_and_json(bundle: Path, photos: Path, tmp_path: Path) -> None:
    broken = tmp_path / "bro\nken,\x1b[31m.jpg"
    broken.write_text("<svg/>")
    arguments = ("predict", bundle, photos / "on", broken, "missing.png")
    done = study(*arguments)
    assert done.returncode == 0
    head, *lines = done.stdout.splitlines()
    assert head == "probability of on; above 0.5 it is the class"
    assert len(lines) == 8
    assert r"bro\nken" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stderr == "2 of 8 pictures cannot be read\n"
    as_json = json.loads(study(*arguments, "--json").stdout)
    assert (as_json["classes"], as_json["threshold"]) == (["off", "on"], 0.5)
    rows = list(csv.DictReader(io.StringIO(study(*arguments, "--csv").stdout)))
    assert list(rows[0]) == ["picture", "class", "probability", "threshold", "reason"]
    for row, same in zip(rows, as_json["pictures"], strict=True):
        assert row["class"] == same.get("class", "")
        assert float(row["probability"] or -1) == same.get("probability", -1)
        assert row["reason"] == same.get("reason", "")
    assert as_json["pictures"][-2]["picture"] == str(broken)
    assert as_json["pictures"][-1] == {"picture": "missing.png", "reason": "No such file or directory"}


def test_no_cell_of_csv_is_computed_by_a_spreadsheet(bundle: Path, photos: Path, tmp_path: Path) -> None:
    names = ["=1+1.jpg", "+A1.jpg", "@SUM(A1).jpg", "-2+3.jpg", "plain=.jpg"]
    for name in names:
        shutil.copy(next((photos / "on").iterdir()), tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-m", "cli", "predict", bundle, "--csv", "--", *names], capture_output=True, text=True,
        check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert all(row["class"] for row in rows)
    assert [row["picture"] for row in rows] == [*(f"./{name}" for name in names[:4]), names[4]]
    assert all((tmp_path / row["picture"]).is_file() for row in rows)
    assert spreadsheet_text("=cmd") == "'=cmd"
    assert [spreadsheet_text(text) for text in ("-0.5", "+1e3", "-", "a=b", "")] == ["-0.5", "+1e3", "-", "a=b", ""]


@pytest.mark.parametrize(
    ("out", "words"),
    [("folder", "folder is a folder; name a file in it"),
     ("file/page.html", "--out must be in a folder that can be written"),
     ("/proc/page.html", "/proc/page.html must be a file that can be written, but")],
)  # fmt: skip
def test_evaluate_names_a_place_it_cannot_write_to(
    bundle: Path, photos: Path, tmp_path: Path, out: str, words: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    done = study("evaluate", bundle, photos, "--out", tmp_path / out)
    assert (done.returncode, done.stdout) in ((1, ""), (2, ""))
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


_WATCHED = """
import sys
from cli.main import main
sys.argv[0] = "study"
try:
    main()
finally:
    (peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
    print(peak, *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def test_predict_needs_little_memory_and_no_torch(bundle: Path, tmp_path: Path) -> None:
    contents = io.BytesIO()
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (1200, 1600, 3), np.uint8)).save(contents, "JPEG")
    for at in range(120):  # 690 MB as pixels
        (tmp_path / f"{at}.jpg").write_bytes(contents.getvalue())
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED, "predict", bundle, tmp_path, "--csv"], capture_output=True, text=True,
        check=True, cwd=ROOT,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == 121
    peak_kib, *modules = done.stderr.split()
    assert int(peak_kib) < 400 * 1024
    assert not {"torch", "ray", "mlflow", "optuna"} & set(modules)


def test_predict_refuses_what_makes_no_sense(bundle: Path, tmp_path: Path) -> None:
    both = study("predict", bundle, "a.png", "--json", "--csv")
    assert (both.returncode, both.stdout) == (2, "")
    none = study("predict", bundle, "a.png")
    assert none.returncode == 1
    assert "at least one picture must be readable" in none.stderr
    empty = study("predict", bundle, tmp_path)
    assert (empty.returncode, "has none" in empty.stderr) == (1, True)


@pytest.mark.parametrize("name", ["model.onnx", "config.json", "MODEL_CARD.md"])
@pytest.mark.parametrize("command", ["predict", "evaluate", "serve"])
def test_a_bundle_that_was_changed_is_refused_by_name(
    bundle: Path, photos: Path, tmp_path: Path, command: str, name: str
) -> None:
    damaged = shutil.copytree(bundle, tmp_path / "bundle")
    contents = bytearray((damaged / name).read_bytes())
    contents[len(contents) // 2] ^= 1
    (damaged / name).write_bytes(contents)
    done = study(command, damaged, *([] if command == "serve" else [photos]))
    assert done.returncode == 1
    assert re.search(rf"error: .*{name} must be as it was exported", done.stderr)
    assert not done.stdout


def test_evaluate_measures_and_writes_a_page(bundle: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    result = json.loads(study("evaluate", bundle, photos, "--out", out, "--json").stdout)
    classifier = OnnxClassifier.open(bundle)
    right = 0
    for label, name in enumerate(("off", "on")):
        images = np.stack([classifier.preprocess(path) for path in sorted((photos / name).iterdir())])
        right += int((classifier.decide(classifier.probabilities(images)) == label).sum())
    accuracy = result["metrics"]["accuracy"]
    assert (accuracy["hits"], accuracy["images"], result["pictures"]) == (right, 12, 12)
    assert np.sum(result["confusion"]) == 12
    assert result["notes"] == []
    assert f"{right} of 12 pictures right" in out.read_text()
    text = study("evaluate", bundle, photos, "--out", tmp_path / out).stdout
    assert text.startswith(f"{bundle.name} on {photos.name}: {right} of 12 right")
    assert text.rstrip().endswith("page.html")


def test_evaluate_says_which_classes_and_pictures_do_not_count(bundle: Path, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos / "on", folder / "on")
    shutil.copytree(photos / "off", folder / "improper")
    (folder / "on" / "x.jpg").write_text("<html>")
    arguments = ("evaluate", bundle, folder, "--out", tmp_path / "page.html", "--json")
    result = json.loads(study(*arguments).stdout)
    assert result["notes"] == [
        "no picture of off, so there is no AUC, no precision and no mean over classes",
        "improper is no class of the bundle: 6 pictures in it are not counted; --classes improper=CLASS counts them",
        "not counted, as they cannot be read: 1 of 7 pictures",
    ]
    assert sum(result["other_folders"]["improper"].values()) == 6
    assert [each["picture"] for each in result["unreadable"]] == ["on/x.jpg"]
    assert "auc" not in result["metrics"]
    named = json.loads(study(*arguments, "--classes", "improper=off").stdout)
    assert named["pictures"] == 12
    assert "auc" in named["metrics"]


def test_evaluate_compares_bundles_whose_classes_stand_in_another_order(
    bundle: Path, photos: Path, tmp_path: Path
) -> None:
    turned = exported(tmp_path, ("on", "off"), seed=0)
    out = tmp_path / "page.html"
    same = json.loads(study("evaluate", bundle, photos, "--against", bundle, "--out", out, "--json").stdout)
    row = same["against"]["differences"]["accuracy"]
    assert (row["difference"]["value"], row["difference"]["p"], row["only_first"]) == (0, 1, 0)
    other = json.loads(study("evaluate", bundle, photos, "--against", turned, "--out", out, "--json").stdout)
    # The same network, which takes the one class for the other: right where the first is wrong.
    row = other["against"]["differences"]["accuracy"]
    assert f"{row['only_first']} pictures are right by {bundle} alone" in other["against"]["words"]
    assert row["only_first"] + row["only_second"] == 12
    assert row["first"] + row["second"] == pytest.approx(1)
    assert "Pictures that the two call differently: 12" in out.read_text()
    assert f"{bundle} against {turned}" in out.read_text()  # both are called bundle-0
    table = study("evaluate", bundle, photos, "--against", turned, "--out", out).stdout
    assert re.search(r"difference +95 % of that +p +right alone", table)
    three = exported(tmp_path, ("a", "b", "c"), seed=2)
    refused = study("evaluate", bundle, photos, "--against", three, "--out", out)
    assert refused.returncode == 2
    assert "must be a bundle of the same classes" in refused.stderr


def test_serve_answers_and_ends_within_ten_seconds(bundle: Path, photos: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "serve", bundle, "--port", "0"],
        stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert address, line
        contents = (photos / "on" / "1.png").read_bytes()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{address[0]}/predict", contents, timeout=20) as response:
            answer = json.loads(response.read())
        (row,) = json.loads(study("predict", bundle, photos / "on" / "1.png", "--json").stdout)["pictures"]
        for key, value in answer.items():
            assert row[key] == (value if key in ("class", "threshold") else pytest.approx(value))
        process.send_signal(signal.SIGTERM)
        started_s = time.monotonic()
        assert process.wait(15) == 0
        assert time.monotonic() - started_s < 10
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
