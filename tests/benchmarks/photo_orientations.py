"""How far the eight EXIF orientations of a photograph move boxes and probabilities of `study predict --detect auto`.

DIR holds photographs as for `face_detection.py`. Each that has faces is saved in the eight orientations, its pixels
turned and the tag set, as JPEG with its colours at half the resolution (4:2:0) at two qualities, and as PNG. The eight
differ in what JPEG lost only. With `jpegtran` (Debian's libjpeg-turbo-progs) on the path there is also a JPEG that is
compressed once and turned without loss, as a camera's or a viewer's turn is. A difference is that between the largest
and the smallest of the eight.

    .venv/bin/python tests/benchmarks/photo_orientations.py DIR BUNDLE... --out FILE.json
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine
from PIL import Image

from study.bundles import OnnxClassifier
from study.data.decode import TO_UPRIGHT, read_photo
from study.inference.face_predictions import FacePrediction, framing_for, predict_faces

UNDONE = {5: 5, 6: 8, 7: 7, 8: 6}
ORIENTATION = 0x0112
FORMS: Mapping[str, Mapping[str, Any]] = {
    "jpeg_95": {"format": "JPEG", "quality": 95, "subsampling": "4:2:0"},
    "jpeg_85": {"format": "JPEG", "quality": 85, "subsampling": "4:2:0"},
    "png": {"format": "PNG", "compress_level": 1},
}
TURNED = "jpeg_95_turned_without_loss"
TURNS = {
    2: ("-flip", "horizontal"), 3: ("-rotate", "180"), 4: ("-flip", "vertical"), 5: ("-transpose",),
    6: ("-rotate", "270"), 7: ("-transverse",), 8: ("-rotate", "90"),
}  # fmt: skip
"""How `jpegtran` turns a picture into what a tag of this orientation undoes."""
BLOCK_PX = 16
"""Sides of a multiple of this are turned whole."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("bundles", type=Path, nargs="+")
    every = [*FORMS, TURNED] if shutil.which("jpegtran") else list(FORMS)
    parser.add_argument("--forms", nargs="+", choices=every, default=every)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with (options.photos / "truth.csv").open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file) if int(row["faces"])]
    figures: dict[str, Any] = {"machine": describe_machine(), "saved_as": FORMS, "bundles": []}
    with tempfile.TemporaryDirectory() as scratch:
        saved = {form: save_all(options.photos, names, Path(scratch) / form, form) for form in options.forms}
        for bundle in options.bundles:
            forms = {form: compare_answers(bundle, paths) for form, paths in saved.items()}
            figures["bundles"].append(describe_bundle(bundle) | forms)
    text = json.dumps(figures, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


def save_all(photos: Path, names: Sequence[str], folder: Path, form: str) -> dict[str, list[Path]]:
    """Save photographs in the eight orientations and return the eight files of each."""
    folder.mkdir()
    saved = {}
    for name in names:
        upright = Image.fromarray(read_photo(photos / name))
        saved[name] = [folder / f"{Path(name).stem}-{orientation}" for orientation in range(1, 9)]
        for orientation, path in enumerate(saved[name], 1):
            method = TO_UPRIGHT.get(UNDONE.get(orientation, orientation))
            exif = Image.Exif()
            exif[ORIENTATION] = orientation
            if form == TURNED:
                save_turned(upright, orientation, exif, path)
            else:
                (upright if method is None else upright.transpose(method)).save(path, exif=exif, **FORMS[form])
    return saved


def save_turned(upright: Image.Image, orientation: int, exif: Image.Exif, path: Path) -> None:
    """Save a picture, cut to whole blocks, as JPEG, and turn its coefficients; tags are kept."""
    whole = (upright.width // BLOCK_PX * BLOCK_PX, upright.height // BLOCK_PX * BLOCK_PX)
    upright.crop((0, 0, *whole)).save(path, exif=exif, **FORMS["jpeg_95"])
    if orientation in TURNS:
        command = ["jpegtran", "-copy", "all", "-perfect", *TURNS[orientation], str(path)]
        path.write_bytes(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def compare_answers(bundle: Path, saved: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    """Predict all files and return the differences of each photograph and the largest of all."""
    classifier = OnnxClassifier.open(bundle, threads=1)
    framing, _ = framing_for(classifier.preprocessing)
    size_px, resize = classifier.config.image_size_px, classifier.config.resize
    rows: list[dict[str, Any]] = []
    for name, paths in saved.items():
        answers = list(predict_faces(classifier, paths, size_px, framing, detect="auto", resize=resize))
        rows.append({"file": name, "faces": len(answers[0])} | differences(answers))
    alike = [row for row in rows if row["box_px"] is not None]
    return {
        "photographs": len(rows),
        "other_number_of_faces": len(rows) - len(alike),
        "largest_box_px": max(row["box_px"] for row in alike),
        "largest_probability": max(row["probability"] for row in alike),
        "over_0.01": sum(row["probability"] > 0.01 for row in alike),
        "each": rows,
    }


def differences(answers: Sequence[Sequence[FacePrediction]]) -> dict[str, Any]:
    """Compare the faces of the eight, from left to right; a picture that is taken as it is has no box."""
    if len({len(faces) for faces in answers}) > 1:
        return {"box_px": None, "probability": None}
    ordered = [sorted(faces, key=lambda each: each.face.box if each.face else ()) for faces in answers]
    boxes = np.array([[each.face.box for each in faces if each.face] for faces in ordered])
    probabilities = np.array([[each.prediction.probabilities for each in faces] for faces in ordered])
    spread = np.ptp(probabilities, axis=0).max(axis=-1)  # [8, faces, classes] -> [faces]
    return {
        "box_px": round(float(np.ptp(boxes, axis=0).max()), 2) if boxes.size else 0.0,
        "probability": round(float(spread.max()), 4),
        "of": [round(float(value), 3) for value in probabilities[0, :, -1]],
    }


def describe_bundle(bundle: Path) -> dict[str, Any]:
    """Return what a bundle was trained as and how well it did on its validation images."""
    config = json.loads((bundle / "config.json").read_text())
    validation = json.loads((bundle / "metrics.json").read_text())["validation"]
    return {
        "architecture": config["architecture"],
        "image_size_px": config["preprocessing"]["image_size_px"],
        "temperature": config["temperature"],
        "validation_images": validation["images"],
        "validation_auc": validation["metrics"]["auc"],
    }


if __name__ == "__main__":
    main()
