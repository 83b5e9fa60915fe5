"""How many faces are found on your own photographs, without and with drawn masks, and how fast.

DIR holds the photographs and `truth.csv` with the columns file, faces, the number of faces in each (0 where there is
none), and source, where it comes from. Nothing of the photographs is written, figures alone. How much a photograph that
is saved in another orientation differs is measured by `photo_orientations.py`.

    .venv/bin/python tests/benchmarks/face_detection.py DIR --out FILE.json
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from machine import describe_machine
from PIL import Image

from study.config.study_config import stable_seed
from study.data.decode import decode_image, read_photo
from study.data.framing import Framing
from study.data.synthetic_faces.drawing import stream
from study.data.synthetic_faces.sampling import sample_mask_look
from study.data.synthetic_faces.vocabulary import MASK_KINDS, ORDINARY_PATTERNS, MaskKind
from study.photos.alignment import FaceSquare, cut_square, face_square
from study.photos.detector import DetectedFace, FaceDetector, Photo
from study.photos.mask_folder import MaskWish, mask_folder
from study.photos.masks import draw_mask, landmarks_in

SAME_FACE = 0.3
SPEED_PICTURES = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with (options.photos / "truth.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    truth = {row["file"]: int(row["faces"]) for row in rows}
    photos = {name: read_photo(options.photos / name) for name in truth}
    detector = FaceDetector()
    faces = {name: detector.detect(photo) for name, photo in photos.items()}
    with_faces = {name: photos[name] for name, count in truth.items() if count}
    figures = {
        "machine": describe_machine(),
        "opencv": cv2.__version__,
        "photographs": [{"file": row["file"], "faces": int(row["faces"]), "source": row["source"]} for row in rows],
        "unmasked": count_unmasked(faces, truth),
        "masked": {kind: count_masked(detector, with_faces, faces, [kind], 1) for kind in MASK_KINDS},
        "mixed_groups": count_mixed(detector, with_faces, faces),
        "no_face": {
            "pictures": list(truth.values()).count(0),
            "boxes": sum(len(faces[n]) for n in truth if not truth[n]),
        },
        "forms": count_forms(detector, with_faces, faces),
        "small_in_24_megapixels": count_small(detector, with_faces, faces),
        "two_hundred": count_crowd(detector, with_faces, faces),
        "speed": measure_speed(detector, with_faces),
    }
    text = json.dumps(figures, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


def count_unmasked(faces: Mapping[str, Sequence[DetectedFace]], truth: Mapping[str, int]) -> dict[str, int]:
    """Count by number: a picture with as many boxes as faces has them all."""
    pairs = [(len(faces[name]), count) for name, count in truth.items() if count]
    return {
        "pictures": len(pairs),
        "faces": sum(count for _, count in pairs),
        "found": sum(min(pair) for pair in pairs),
        "extra": sum(max(0, detected - count) for detected, count in pairs),
    }


def count_masked(
    detector: FaceDetector,
    photos: Mapping[str, Photo],
    faces: Mapping[str, Sequence[DetectedFace]],
    kinds: Sequence[MaskKind],
    every: int,
) -> dict[str, int]:
    """Mask every ``every``-th face of each photograph and count those found where they were found without masks."""
    total = detected = extra = 0
    for name, photo in photos.items():
        masked = photo.copy()
        for number, face in enumerate(faces[name]):
            if number % every == 0:
                kind = kinds[number // every % len(kinds)]
                rng = stream(0, stable_seed(name, number, kind))
                masked = draw_on_photo(masked, face, rng, kind)
        boxes = detector.detect(masked)
        matched = sum(any(overlap(face, box) > SAME_FACE for box in boxes) for face in faces[name])
        total, detected, extra = total + len(faces[name]), detected + matched, extra + max(0, len(boxes) - matched)
    return {"faces": total, "found": detected, "extra": extra}


def count_mixed(
    detector: FaceDetector, photos: Mapping[str, Photo], faces: Mapping[str, Sequence[DetectedFace]]
) -> dict[str, int]:
    """Mask every other face of the photographs of several people."""
    groups = {name: photo for name, photo in photos.items() if len(faces[name]) > 1}
    return count_masked(detector, groups, faces, MASK_KINDS, 2)


def draw_on_photo(photo: Photo, face: DetectedFace, rng: np.random.Generator, kind: MaskKind) -> Photo:
    """Draw a mask in a photograph: in an upright block around the face, at its own scale up to 224 px."""
    wide = face_square(face, Framing(kind="box", margin=0.6))
    block = FaceSquare((round(wide.centre[0]), round(wide.centre[1])), 2 * round(wide.side_px / 2))
    side = round(block.side_px)
    left, top = round(block.centre[0] - side / 2), round(block.centre[1] - side / 2)
    size_px = min(side, 420)
    plain = cut_square(photo, block, size_px)
    look = sample_mask_look(rng, "proper", ORDINARY_PATTERNS, kinds=(kind,))
    change = draw_mask(plain, landmarks_in(block, face, size_px), look).astype(np.float32) - plain
    change = cv2.resize(change, (side, side), interpolation=cv2.INTER_LINEAR)
    result = photo.copy()
    rows, columns = slice(max(0, top), top + side), slice(max(0, left), left + side)
    part = result[rows, columns]
    inside = change[max(0, -top) :, max(0, -left) :][: part.shape[0], : part.shape[1]]
    result[rows, columns] = np.clip(part + inside + 0.5, 0, 255).astype(np.uint8)
    return result


def overlap(first: DetectedFace, second: DetectedFace) -> float:
    wide = min(first.box.right, second.box.right) - max(first.box.left, second.box.left)
    tall = min(first.box.bottom, second.box.bottom) - max(first.box.top, second.box.top)
    shared = max(0.0, wide) * max(0.0, tall)
    areas = sum((f.box.right - f.box.left) * (f.box.bottom - f.box.top) for f in (first, second))
    return shared / (areas - shared)


def count_forms(
    detector: FaceDetector, photos: Mapping[str, Photo], faces: Mapping[str, Sequence[DetectedFace]]
) -> dict[str, dict[str, int]]:
    """Save each photograph in other forms and count the faces that are found again."""
    results = {}
    for form in ("grey", "alpha", "wide", "cmyk"):
        total = detected = 0
        for name, photo in photos.items():
            file = io.BytesIO()
            image = Image.fromarray(photo)
            if form == "wide":
                Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(file, "PNG")
            else:
                mode = {"grey": "L", "alpha": "RGBA", "cmyk": "CMYK"}[form]
                image.convert(mode).save(file, "JPEG" if form == "cmyk" else "PNG")
            again = detector.detect(read_photo(file.getvalue()))
            total += len(faces[name])
            detected += sum(any(overlap(face, other) > SAME_FACE for other in again) for face in faces[name])
        results[form] = {"faces": total, "found": detected}
    return results


def count_small(
    detector: FaceDetector, photos: Mapping[str, Photo], faces: Mapping[str, Sequence[DetectedFace]]
) -> dict[str, int]:
    """Shrink the largest face of each photograph to 40 px and put it into 6000 x 4000 px."""
    detected = 0
    for name, photo in photos.items():
        face = faces[name][0]
        square = FaceSquare(face_square(face, Framing(kind="box")).centre, face.size_px * 2)
        ground = np.full((4000, 6000, 3), 110, np.uint8)
        ground[2900:2980, 4100:4180] = cut_square(photo, square, 80)
        boxes = detector.detect(ground)
        detected += any(4100 < (each.box.left + each.box.right) / 2 < 4180 for each in boxes)
    return {"faces": len(photos), "found": detected}


def count_crowd(
    detector: FaceDetector, photos: Mapping[str, Photo], faces: Mapping[str, Sequence[DetectedFace]]
) -> dict[str, int]:
    """Lay the faces out 20 by 10, each in 100 px."""
    tiles = []
    for name, photo in photos.items():
        for face in faces[name]:
            square = FaceSquare(face_square(face, Framing(kind="box")).centre, face.size_px * 1.6)
            tiles.append(cut_square(photo, square, 100))
    crowd = np.vstack([np.hstack([tiles[(row * 20 + at) % len(tiles)] for at in range(20)]) for row in range(10)])
    places = {
        (int((each.box.left + each.box.right) // 200), int((each.box.top + each.box.bottom) // 200))
        for each in detector.detect(crowd)
    }
    return {"faces": 200, "found": len(places), "boxes": len(detector.detect(crowd))}


def measure_speed(detector: FaceDetector, photos: Mapping[str, Photo]) -> dict[str, float]:
    """Time detection, and the whole of `study data mask`, on JPEGs with a longer side of 640 px, in CPU time."""
    chosen = [within(photo, 640) for photo in photos.values() if max(photo.shape[:2]) >= 640]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "photos"
        source.mkdir()
        for at in range(SPEED_PICTURES):
            Image.fromarray(chosen[at % len(chosen)]).save(source / f"{at:04d}.jpg", quality=90)
        wish = MaskWish(MASK_KINDS, {"proper": 0.8, "nose": 0.1, "chin": 0.1}, 0)
        begin = time.process_time()
        summary = mask_folder(source, Path(folder) / "out", 112, Framing(), wish, workers=1)
        masks_s = time.process_time() - begin
        begin = time.process_time()
        for path in sorted(source.iterdir()):
            decode_image(path, 112)
        decode_s = time.process_time() - begin
    begin = time.process_time()
    for at in range(SPEED_PICTURES):
        detector.detect(chosen[at % len(chosen)])
    detect_s = time.process_time() - begin
    return {
        "detect_cpu_ms": round(1000 * detect_s / SPEED_PICTURES, 2),
        "decode_only_cpu_ms": round(1000 * decode_s / SPEED_PICTURES, 2),
        "mask_command_photos_per_cpu_s": round(SPEED_PICTURES / masks_s, 1),
        "mask_command_faces_per_photo": round(summary.counts["not_wearing_mask"] / SPEED_PICTURES, 2),
    }


def within(photo: Photo, most_px: int) -> Photo:
    scale = min(1.0, most_px / max(photo.shape[:2]))
    size = round(photo.shape[1] * scale), round(photo.shape[0] * scale)
    return np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)


if __name__ == "__main__":
    main()
