"""Every format gives what its checkpoint gives, or is not in the bundle."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from model_kit import IMAGES, SIZE, TWO, real_checkpoint, stored_scores
from ruamel.yaml import YAML

import study.export.checkpoint_export as exporting
from study.bundles import OnnxClassifier
from study.bundles.bundle_files import SUMS
from study.errors import ExportError, UsageError
from study.export import (
    ExportOptions,
    ExportResult,
    Provenance,
    StudyFacts,
    export_checkpoint,
    parse_formats,
    predict_script,
)
from study.export.formats.parity import FLIPPED_TOLERANCE, FormatCheck, Reference, _compare
from study.files import staged_folder
from study.training.metrics import probabilities

pytestmark = pytest.mark.usefixtures("formats_checked_here")
ORIGIN = Provenance(study="masks", study_id="ab12", trial=3, run_id=None, ranked_by="val_auc", candidates=5)
FIVE = ("a", "b", "c", "d", "e")
ROOT = Path(__file__).parents[2]


def export(tmp_path: Path, checkpoint: Path, images: np.ndarray | None = IMAGES, **options: Any) -> ExportResult:
    facts = StudyFacts(reproduction="name: again\n")
    return export_checkpoint(
        checkpoint, tmp_path / "bundle", images, ORIGIN, training_images=IMAGES, options=ExportOptions(**options),
        facts=facts,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, formats_checked_here: None) -> tuple[Path, ExportResult]:
    """A folder with a bundle of every format, and what its export returned."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, export(folder, real_checkpoint(folder))


@pytest.fixture(scope="module")
def with_script(tmp_path_factory: pytest.TempPathFactory, formats_checked_here: None) -> Path:
    """A bundle of an ONNX model and its script, beside the checkpoint."""
    folder = tmp_path_factory.mktemp("script")
    export(folder, real_checkpoint(folder), formats=("onnx",), threshold="recall=1.0")
    return folder / "bundle"


def test_every_format_gives_the_checkpoints_logits(whole: tuple[Path, ExportResult]) -> None:
    check_every_format(*whole)


def test_every_format_gives_the_logits_of_five_classes_behind_a_hidden_layer(tmp_path: Path) -> None:
    checkpoint = real_checkpoint(tmp_path, classes=FIVE, head="mlp", head_width=16, head_dropout=0.5)
    check_every_format(tmp_path, export(tmp_path, checkpoint))


def check_every_format(folder: Path, done: ExportResult) -> None:
    assert [check.format for check in done.checks] == ["safetensors", "onnx", "pt2"]
    assert not done.failed
    for check in done.checks:
        assert check.max_logit_difference is not None
        assert check.max_logit_difference <= 1e-4
        assert check.flipped == 0
        assert check.latency_1_ms
        assert check.latency_64_ms
        assert check.bytes == (folder / "bundle" / check.file).stat().st_size
    names = {path.name for path in (folder / "bundle").iterdir()}
    assert names == {
        "MODEL_CARD.md", "README.md", "SHA256SUMS", "config.json", "metrics.json", "model.onnx", "model.pt2",
        "model.safetensors", "predict.py", "reproduce.yaml",
    }  # fmt: skip
    here = [str(ROOT).encode(), b"site-packages", os.path.expanduser("~").encode() + b"/"]
    for name in names:
        contents = (folder / "bundle" / name).read_bytes()
        assert not any(place in contents for place in here), f"{name} tells where it was made"


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_coarser_precision_is_smaller_and_holds_its_promise(tmp_path: Path, precision: str) -> None:
    checkpoint = real_checkpoint(tmp_path)
    done = export(tmp_path, checkpoint, formats=("onnx",), precision=precision)
    weights, coarse = done.checks
    assert coarse.precision == precision
    assert coarse.bytes < weights.bytes * (0.55 if precision == "fp16" else 0.3)
    if precision == "fp16":
        assert coarse.fault is None
        assert coarse.max_logit_difference is not None
        assert 0 < coarse.max_logit_difference <= 0.02
        logits = OnnxClassifier.open(tmp_path / "bundle").logits(IMAGES)
        assert logits.dtype == np.float32
    else:
        assert coarse.flipped is not None
        assert (coarse.fault is None) == (coarse.flipped <= FLIPPED_TOLERANCE)
        assert (tmp_path / "bundle" / "model.onnx").exists() == (coarse.fault is None)


def test_only_large_layers_are_quantized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.export.formats.parity.FLIPPED_TOLERANCE", 1.0)
    monkeypatch.setattr("study.export.formats.parity.AUC_TOLERANCE", 1.0)
    export(tmp_path, real_checkpoint(tmp_path), formats=("onnx",), precision="int8")
    model = onnx.load_model(tmp_path / "bundle" / "model.onnx")
    integers = [
        tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT8 and tensor.dims
    ]
    kernels = [onnx.numpy_helper.to_array(tensor) for tensor in integers if len(tensor.dims) == 4]
    assert len(kernels) == 12, "the convolutions of a ResNet-10"
    assert max(np.abs(kernel.astype(int)).max() for kernel in kernels) <= 64, "7 bit, which cannot saturate"
    assert not [tensor for tensor in integers if len(tensor.dims) == 2], "the last layer stays as it is"


@pytest.mark.parametrize(("size", "allowed"), [(1.0, 1e-4), (20.0, 2e-3)])
def test_large_logits_may_differ_by_as_much_of_their_size(size: float, allowed: float) -> None:
    logits = np.array([size, -size / 2])
    reference = Reference(IMAGES[:2], logits, np.array([1, 0]), 1.0, 0.5)

    def fault(difference: float) -> str | None:
        outputs = {"logits": logits + difference, "probabilities": probabilities(logits + difference)}
        times = {"latency_1_ms": np.array(1.0), "latency_64_ms": np.array(1.0)}
        return _compare(FormatCheck("onnx", "model.onnx", "fp32", 1, 2), outputs | times, reference).fault

    assert fault(0.9 * allowed) is None
    assert "a logit differs by" in (fault(1.1 * allowed) or "")


def test_int8_needs_pictures(tmp_path: Path) -> None:
    checkpoint = real_checkpoint(tmp_path)
    with pytest.raises(ExportError, match="int8 needs the study's pictures"):
        export_checkpoint(checkpoint, tmp_path / "bundle", None, ORIGIN, options=ExportOptions(precision="int8"))
    assert not (tmp_path / "bundle").exists()


def truncate(folder: Path) -> None:
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:-5000])


def change_bias(folder: Path) -> None:
    model = onnx.load_model(folder / "model.onnx")
    (bias,) = (tensor for tensor in model.graph.initializer if tensor.name.endswith("fc.bias"))
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.01), bias.name))
    onnx.save_model(model, folder / "model.onnx")


@pytest.mark.parametrize(
    ("damage", "fault"),
    [(truncate, "it cannot be loaded or run: .*must be an ONNX model"), (change_bias, "a logit differs by 0.01")],
)
def test_a_format_that_gives_something_else_is_deleted_and_named(
    whole: tuple[Path, ExportResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Any, fault: str
) -> None:
    def write_wrong(model: Any, config: Any, folder: Path, *_: Any) -> None:
        for name in ("model.onnx", "model.pt2"):
            shutil.copy(whole[0] / "bundle" / name, folder)
        damage(folder)

    monkeypatch.setattr(exporting, "write_models", write_wrong)
    done = export(tmp_path, real_checkpoint(tmp_path))
    (failed,) = done.failed
    assert failed.file == "model.onnx"
    with pytest.raises(AssertionError, match=fault):
        raise AssertionError(failed.fault)
    names = {path.name for path in (tmp_path / "bundle").iterdir()}
    assert not names & {"model.onnx", "predict.py"}
    assert {"model.pt2", "model.safetensors", "config.json", SUMS} <= names
    assert "model.onnx in fp32 was left out" in (tmp_path / "bundle" / "MODEL_CARD.md").read_text()
    assert json.loads((tmp_path / "bundle" / "config.json").read_text())["precisions"].keys() == {"safetensors", "pt2"}


def test_without_pictures_formats_are_compared_on_made_up_images(tmp_path: Path) -> None:
    done = export(tmp_path, real_checkpoint(tmp_path), images=None, formats=("onnx",))
    assert {check.images for check in done.checks} == {64}
    assert not done.failed
    card = (tmp_path / "bundle" / "MODEL_CARD.md").read_text()
    assert "compared on 64 made-up images" in card
    assert "model.onnx" in card
    assert "model.pt2" not in card


def test_a_bundle_is_replaced_only_when_asked_and_only_a_bundle(tmp_path: Path) -> None:
    checkpoint = real_checkpoint(tmp_path)
    export(tmp_path, checkpoint, formats=())
    (tmp_path / "bundle" / "old.txt").write_text("of the old one")
    with pytest.raises(ExportError, match=r"new or empty.*or replace the bundle with --overwrite"):
        export(tmp_path, checkpoint, formats=())
    export(tmp_path, checkpoint, formats=(), overwrite=True)
    assert not (tmp_path / "bundle" / "old.txt").exists()
    other = tmp_path / "photos"
    other.mkdir()
    (other / "mine.jpg").write_text("precious")
    with pytest.raises(ExportError, match="--overwrite replaces a bundle"):
        export_checkpoint(checkpoint, other, IMAGES, ORIGIN, options=ExportOptions((), overwrite=True))
    assert (other / "mine.jpg").read_text() == "precious"


def test_an_interrupted_export_leaves_the_bundle_there_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = real_checkpoint(tmp_path)
    export(tmp_path, checkpoint, formats=())
    before = {path.name: path.read_bytes() for path in (tmp_path / "bundle").iterdir()}

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "check_formats", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(tmp_path, checkpoint, formats=(), overwrite=True, threshold="balanced")
    assert {path.name: path.read_bytes() for path in (tmp_path / "bundle").iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", "epoch-0002"}


_KILLED = """
import sys, time
from pathlib import Path
from model_kit import IMAGES, real_checkpoint
from study.export import ExportOptions, Provenance, checkpoint_export, export_checkpoint
checkpoint_export.check_formats = lambda *_: time.sleep(600)
folder, origin = Path(sys.argv[1]), Provenance("m", "i", 0, None, "val_auc", 1)
export_checkpoint(real_checkpoint(folder), folder / "bundle", IMAGES, origin, options=ExportOptions(formats=()))
"""


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_export_leaves_nothing_in_the_folder(tmp_path: Path, signal_number: signal.Signals) -> None:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, tmp_path], env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.DEVNULL
    )
    waited_until = time.monotonic() + 120
    # While it waits for the formats to be run: before that Ctrl-C may come in a finalizer, where Python drops it.
    while not list(tmp_path.glob(f".bundle.part/{SUMS}")) and time.monotonic() < waited_until:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal_number)
    assert process.wait(60) != 0
    assert not (tmp_path / "bundle").exists()
    if signal_number == signal.SIGINT:
        assert not list(tmp_path.glob(".bundle*"))
    else:
        export(tmp_path, tmp_path / "epoch-0002", formats=())
        assert not list(tmp_path.glob(".bundle*")), "what a kill left is cleared by the next export"


def test_the_script_in_a_bundle_stays_short() -> None:
    assert len(Path(predict_script.__file__).read_text().splitlines()) <= 70


def test_two_exports_into_one_folder_do_not_mix(tmp_path: Path) -> None:
    first, second = real_checkpoint(tmp_path / "a"), real_checkpoint(tmp_path / "b", 1)
    with staged_folder(tmp_path / "bundle") as staging:  # as an export that takes its time
        (staging / "mine").write_text("x")
        with pytest.raises(ExportError, match=r"cannot write .*bundle: another process is writing it; wait for that"):
            export(tmp_path, second, formats=())
        assert (staging / "mine").read_text() == "x"
    (tmp_path / "bundle" / "mine").unlink()
    export(tmp_path, first, formats=())
    assert not list(tmp_path.glob(".bundle*"))


@pytest.mark.parametrize("kept", ["model of another tool", "folder of version control"])
def test_overwriting_deletes_nothing_but_a_bundle(tmp_path: Path, kept: str) -> None:
    checkpoint = real_checkpoint(tmp_path)
    if kept == "model of another tool":
        (tmp_path / "bundle").mkdir()
        (tmp_path / "bundle" / "config.json").write_text('{"architectures": ["ViTForImageClassification"]}')
        (tmp_path / "bundle" / "model.safetensors").write_text("precious")
    else:
        export(tmp_path, checkpoint, formats=())
        (tmp_path / "bundle" / ".git").mkdir()
    before = sorted(path.name for path in (tmp_path / "bundle").iterdir())
    with pytest.raises(ExportError, match="--overwrite replaces a bundle that holds no other folders"):
        export(tmp_path, checkpoint, formats=(), overwrite=True)
    assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == before


@pytest.mark.parametrize("licence", [None, "cc-by-4.0"])
def test_the_card_names_the_licence_that_was_chosen(tmp_path: Path, licence: str | None) -> None:
    export(tmp_path, real_checkpoint(tmp_path), formats=(), licence=licence)
    card = (tmp_path / "bundle" / "MODEL_CARD.md").read_text()
    head = YAML(typ="safe").load(card.split("---\n")[1])
    assert head["license"] == (licence or "other")
    assert (f"`{licence}`, as whoever exported" in card) == (licence is not None)
    assert ("None was chosen for the weights" in card) == (licence is None)


def test_options_are_checked() -> None:
    with pytest.raises(UsageError, match="--precision int8 is that of the ONNX model; add onnx to --formats"):
        ExportOptions(("pt2",), "int8")
    with pytest.raises(UsageError, match="--licence must be an identifier"):
        ExportOptions(licence="MIT License")
    assert parse_formats("pt2, onnx") == ("onnx", "pt2")
    assert parse_formats("") == parse_formats("safetensors") == ()
    with pytest.raises(UsageError, match=r"--formats must be some of safetensors,onnx,pt2, .* got 'tflite'"):
        parse_formats("onnx,tflite")


def test_the_threshold_and_the_temperature_are_those_of_validation(with_script: Path, tmp_path: Path) -> None:
    classifier = OnnxClassifier.open(with_script)
    scores, labels = classifier.probabilities(IMAGES), np.arange(len(IMAGES)) % 2
    assert classifier.threshold is not None
    assert (classifier.decide(scores)[labels == 1] == 1).all()
    assert (scores > classifier.threshold).mean() < 1 or scores.min() == scores[labels == 1].min()
    assert not np.allclose(scores, stored_scores(with_script.parent / "epoch-0002"), atol=1e-3)
    with pytest.raises(UsageError, match="only two classes have a threshold"):
        export_checkpoint(
            real_checkpoint(tmp_path / "five", classes=FIVE), tmp_path / "b5", IMAGES, ORIGIN,
            options=ExportOptions(threshold="balanced"),
        )  # fmt: skip


def test_the_script_runs_where_the_bundle_was_moved_to_and_needs_no_torch(with_script: Path, tmp_path: Path) -> None:
    from PIL import Image

    moved = Path(shutil.copytree(with_script, tmp_path / "elsewhere" / "b"))
    assert not any(bytes(with_script.parent) in file.read_bytes() for file in moved.iterdir()), "it knows its old place"
    for number, image in enumerate(IMAGES[:3]):
        Image.fromarray(image).resize((90, 60 + number)).save(tmp_path / f"{number}.png")
    pictures = [str(tmp_path / f"{number}.png") for number in range(3)]
    guard = "import sys, runpy; sys.modules |= dict.fromkeys(['torch', 'study', 'onnx', 'scipy'])"
    code = f"{guard}; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, moved / "predict.py", *pictures]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    classifier = OnnxClassifier.open(moved)
    batch = np.stack([classifier.preprocess(Path(name)) for name in pictures])
    assert batch.shape == (3, SIZE, SIZE, 3)
    expected = classifier.probabilities(batch)
    assert [row[0] for row in rows] == pictures
    np.testing.assert_allclose([float(row[2]) for row in rows], expected, atol=1e-6)
    assert [row[1] for row in rows] == [TWO[k] for k in classifier.decide(expected)]
    odd = tmp_path / os.fsdecode(b"bro\nken\xff.jpg")
    odd.write_text("<svg/>")
    given = [pictures[0], str(odd), "gone.jpg", str(tmp_path), pictures[1]]
    partly = subprocess.run([*command[:4], *given], capture_output=True, check=False, text=True, cwd=tmp_path)
    assert (partly.returncode, partly.stderr) == (1, "")
    rows = [line.split("\t") for line in partly.stdout.splitlines()]
    assert [row[0] for row in rows] == [pictures[0], f"{tmp_path}/bro\\nken\\udcff.jpg", *given[2:]]
    assert [row[1] == "-" for row in rows] == [False, True, True, True, False]
    assert all(row[2].startswith("cannot be read: ") for row in rows[1:4])
    assert rows[1][2] == "cannot be read: cannot identify image file"
    assert "No such file" in rows[2][2]
    np.testing.assert_allclose([float(rows[0][2]), float(rows[4][2])], expected[:2], atol=1e-6)
    alone = subprocess.run(command[:4], capture_output=True, check=False, text=True)
    assert (alone.returncode, alone.stderr.startswith("Classify pictures")) == (1, True)
    (moved / "config.json").write_text((moved / "config.json").read_text().replace("0.5", "0.6"))
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "config.json is damaged or was changed" in refused.stderr
