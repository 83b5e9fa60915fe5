"""A bundle's ONNX model gives its checkpoint's probabilities, and nothing that was changed is loaded."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from model_kit import IMAGES, SIZE, THREE, TWO, check_formats_here, real_checkpoint, stored_scores
from onnx.external_data_helper import convert_model_to_external_data
from PIL import Image

from study.bundles import OnnxClassifier
from study.bundles.bundle_files import SUMS, write_sums
from study.data.decode import decode_image
from study.errors import BundleError
from study.export import ExportOptions, Provenance, export_checkpoint, load_bundle
from study.export.calibration import logits_of
from study.training.metrics import probabilities

ORIGIN = Provenance(study="masks", study_id="ab12", trial=3, run_id=None, ranked_by="val_auc", candidates=5)
ONLY_ONNX = ExportOptions(formats=("onnx",))


def exported(tmp_path: Path, classes: tuple[str, ...] = TWO, seed: int = 0) -> Path:
    checkpoint = real_checkpoint(tmp_path / f"seed-{seed}", seed, classes)
    out = tmp_path / f"bundle-{seed}"
    with pytest.MonkeyPatch.context() as patch:
        check_formats_here(patch)
        export_checkpoint(checkpoint, out, IMAGES, ORIGIN, options=ONLY_ONNX)
    return out


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(whole, tmp_path / "bundle"))


@pytest.mark.parametrize("classes", [TWO, THREE], ids=["two classes", "three classes"])
def test_it_gives_the_logits_of_the_checkpoint_and_calibrated_probabilities(
    whole: Path, tmp_path: Path, classes: tuple[str, ...]
) -> None:
    folder = whole if classes == TWO else exported(tmp_path, classes)
    classifier = OnnxClassifier.open(folder)
    config = json.loads((folder / "config.json").read_text())
    expected = logits_of(stored_scores(folder.parent / "seed-0" / "epoch-0002"))
    logits = classifier.logits(IMAGES)
    assert logits.dtype == np.float32
    if len(classes) > 2:
        logits = logits - logits.max(axis=1, keepdims=True)
        expected = expected - expected.max(axis=1, keepdims=True)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert config["temperature"] != 1
    scaled = probabilities(classifier.logits(IMAGES) / config["temperature"])
    assert classifier.probabilities(IMAGES).shape == scaled.shape == ((7,) if len(classes) == 2 else (7, 3))
    np.testing.assert_allclose(classifier.probabilities(IMAGES), scaled, atol=1e-6)
    np.testing.assert_allclose(load_bundle(folder).scores(IMAGES), scaled, atol=1e-5)
    assert classifier.classes == classes
    assert (classifier.threshold is None) == (len(classes) > 2)
    single = classifier.probabilities(IMAGES[:1])
    np.testing.assert_allclose(single, scaled[:1], atol=1e-6)
    assert classifier.probabilities(IMAGES[:0]).shape == scaled[:0].shape
    np.testing.assert_array_equal(classifier.decide(scaled) >= 0, True)


@pytest.mark.parametrize("threads", [2, 4, None])
def test_the_number_of_threads_changes_no_probability(whole: Path, threads: int | None) -> None:
    expected = OnnxClassifier.open(whole, threads=1).probabilities(IMAGES)
    shared = OnnxClassifier.open(whole, threads=threads)
    np.testing.assert_allclose(shared.probabilities(IMAGES), expected, atol=1e-6)
    alone = np.concatenate([shared.probabilities(image[None]) for image in IMAGES])
    np.testing.assert_allclose(alone, expected, atol=1e-6)


def test_it_decodes_as_the_training_did(whole: Path, tmp_path: Path) -> None:
    Image.fromarray(np.repeat(IMAGES[0], 5, axis=1)).save(tmp_path / "wide.jpg")
    classifier = OnnxClassifier.open(whole)
    pixels = classifier.preprocess(tmp_path / "wide.jpg")
    np.testing.assert_array_equal(pixels, decode_image(tmp_path / "wide.jpg", SIZE, "crop"))
    np.testing.assert_array_equal(pixels, classifier.preprocess((tmp_path / "wide.jpg").read_bytes()))


def test_other_images_are_refused(whole: Path) -> None:
    classifier = OnnxClassifier.open(whole)
    with pytest.raises(BundleError, match=rf"uint8 \[N, {SIZE}, {SIZE}, 3\], but are float64"):
        classifier.probabilities(IMAGES / 255)  # type: ignore[arg-type]
    with pytest.raises(BundleError, match=r"\[7, 8, 24, 3\]"):
        classifier.logits(IMAGES[:, :8])


def flip_a_bit(name: str) -> Callable[[Path], None]:
    def flip(bundle: Path) -> None:
        contents = bytearray((bundle / name).read_bytes())
        contents[len(contents) // 2] ^= 1
        (bundle / name).write_bytes(contents)

    return flip


def cut(name: str) -> Callable[[Path], None]:
    return lambda bundle: (bundle / name).write_bytes((bundle / name).read_bytes()[:-1000])


def change_config(**changed: Any) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        config = json.loads((bundle / "config.json").read_text())
        config["preprocessing"] |= changed.pop("preprocessing", {})
        (bundle / "config.json").write_text(json.dumps(config | changed))

    return change


def lead_out(bundle: Path) -> None:
    shutil.copy(bundle / "model.onnx", bundle.parent / "model.onnx")
    (bundle / "model.onnx").unlink()
    (bundle / "model.onnx").symlink_to(bundle.parent / "model.onnx")


def lose(name: str) -> Callable[[Path], None]:
    return lambda bundle: (bundle / name).unlink()


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a bit of the weights": (flip_a_bit("model.safetensors"), "model.safetensors"),
    "a bit of the model": (flip_a_bit("model.onnx"), "model.onnx"),
    "a bit of the card": (flip_a_bit("MODEL_CARD.md"), "MODEL_CARD.md"),
    "the model cut": (cut("model.onnx"), "model.onnx"),
    "classes reversed": (change_config(classes=list(reversed(TWO))), "config.json"),
    "mean changed": (change_config(preprocessing={"mean": [0.4, 0.4, 0.3]}), "config.json"),
    "threshold changed": (change_config(threshold=0.1), "config.json"),
    "the model lost": (lose("model.onnx"), "model.onnx"),
    "the sums lost": (lose(SUMS), SUMS),
    "a link out of the folder": (lead_out, "must not lead out"),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_what_was_changed_is_refused_by_name(bundle: Path, damage: str) -> None:
    change, name = DAMAGES[damage]
    change(bundle)
    for load in (OnnxClassifier.open, load_bundle):
        with pytest.raises(BundleError, match=name):
            load(bundle)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "..", "a/b", "a\\b"])
def test_names_cannot_leave_the_folder(bundle: Path, name: str) -> None:
    (bundle.parent / "outside").write_text("x")
    line = f"{hashlib.sha256(b'x').hexdigest()}  {name}\n"
    (bundle / SUMS).write_text((bundle / SUMS).read_text() + line)
    with pytest.raises(BundleError, match="must name files of its own folder"):
        OnnxClassifier.open(bundle)


class Exploit:
    """Unpickling it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def put_pickle(bundle: Path) -> None:
    (bundle / "model.safetensors").write_bytes(pickle.dumps(Exploit(bundle.parent / "executed")))


def take_external_data(bundle: Path) -> None:
    model = onnx.load_model(bundle / "model.onnx")
    convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    onnx.save_model(model, bundle / "model.onnx")


@pytest.mark.parametrize(
    ("change", "law"),
    [
        (cut("model.onnx"), "must be an ONNX model, but is damaged"),
        (take_external_data, r"must hold all of its weights, but takes '.+' from weights.bin"),
        (change_config(classes=list(reversed(TWO))), r"exported with classes \['off', 'on'\], but config.json says"),
        (change_config(preprocessing={"mean": [0.4, 0.4, 0.3]}), "exported with mean"),
        (change_config(preprocessing={"std": [0.4, 0, 0.3]}), "std must be > 0"),
        (change_config(classes=["a", "b", "c"], threshold=None), "must map"),
        (change_config(preprocessing={"image_size_px": 32}), "must map"),
        (change_config(preprocessing={"resize_mode": "../x"}), "resize_mode must be one of"),
        (change_config(temperature=float("nan")), "temperature must be > 0"),
        (change_config(classes=["off", "\ud800"]), "classes must be two or more distinct names"),
        (change_config(temperature=10**400), "temperature must be > 0"),
        (change_config(preprocessing={"mean": [0.4, 10**400, 0.3]}), "mean must be three numbers"),
        (change_config(threshold=7), r"threshold must be in \[0, 1\]"),
        (change_config(format=9), "must be 1 or 2"),
    ],
)  # fmt: skip
def test_changes_whose_sums_were_made_right_are_refused_too(
    bundle: Path, change: Callable[[Path], None], law: str
) -> None:
    change(bundle)
    write_sums(bundle)
    with pytest.raises(BundleError, match=law):
        OnnxClassifier.open(bundle)


def test_a_pickle_named_as_weights_is_never_executed(bundle: Path) -> None:
    put_pickle(bundle)
    write_sums(bundle)
    with pytest.raises(BundleError, match=r"model\.safetensors is damaged"):
        load_bundle(bundle)
    assert not (bundle.parent / "executed").exists()
    pickle.loads((bundle / "model.safetensors").read_bytes())
    assert (bundle.parent / "executed").exists(), "a pickle that does nothing would prove nothing"


def test_a_bundle_of_the_first_format_is_loaded_without_sums(bundle: Path) -> None:
    (bundle / SUMS).unlink()
    change_config(format=1, temperature=None)(bundle)
    config = json.loads((bundle / "config.json").read_text())
    del config["temperature"]
    (bundle / "config.json").write_text(json.dumps(config))
    loaded = load_bundle(bundle)
    assert loaded.scores(IMAGES).shape == (7,)
    np.testing.assert_allclose(loaded.scores(IMAGES), probabilities(loaded.logits(IMAGES)))
    with pytest.raises(BundleError, match=rf"{SUMS} is missing: .*earlier version wrote the bundle; export it again"):
        OnnxClassifier.open(bundle)


def test_a_model_is_as_large_as_its_classes_whatever_it_says(bundle: Path) -> None:
    architecture = json.loads((bundle / "config.json").read_text())["architecture"]
    expected = load_bundle(bundle).scores(IMAGES)
    change_config(architecture=architecture | {"outputs": 10**12})(bundle)
    write_sums(bundle)
    np.testing.assert_array_equal(load_bundle(bundle).scores(IMAGES), expected)


def test_a_model_is_read_as_what_was_checked(bundle: Path) -> None:
    expected = OnnxClassifier.open(bundle).logits(IMAGES)
    # A field that ONNX does not know, in whose place onnxruntime looks for the mark of a format of its own.
    (bundle / "model.onnx").write_bytes(b"\x7a\x06xxORTM" + (bundle / "model.onnx").read_bytes())
    write_sums(bundle)
    np.testing.assert_array_equal(OnnxClassifier.open(bundle).logits(IMAGES), expected)
