"""`study verify` says of a bundle what is right and what is wrong."""

from __future__ import annotations

import json
import math
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import study
from model_kit import IMAGES, check_formats_elsewhere, real_checkpoint

from study.bundles.bundle_files import SUMS, write_sums
from study.export import ExportOptions, Provenance, export_checkpoint
from study.export.verification import _compared, verify_bundle

pytestmark = pytest.mark.usefixtures("formats_checked_here")
ORIGIN = Provenance(study="masks", study_id="ab12", trial=3, run_id=None, ranked_by="val_auc", candidates=5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    export_checkpoint(real_checkpoint(folder), folder / "bundle", IMAGES, ORIGIN)
    return folder / "bundle"


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(whole, tmp_path / "bundle"))


def test_a_whole_bundle_is_right_in_every_format(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_formats_elsewhere(monkeypatch)
    findings = list(verify_bundle(whole, run_graph=True))
    assert [finding.what for finding in findings] == [
        "sums", "configuration", "model.safetensors", "model.onnx", "model.pt2",
    ]  # fmt: skip
    assert all(finding.is_right for finding in findings)


def test_the_graph_is_not_run_unless_asked(bundle: Path) -> None:
    class Exploit:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (bundle.parent / "executed",)

    with zipfile.ZipFile(bundle / "model.pt2") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(bundle / "model.pt2", "w") as archive:
        for name, contents in parts.items():
            archive.writestr(name, pickle.dumps(Exploit()) if name.endswith(".pt") else contents)
    write_sums(bundle)
    done = study("verify", bundle)
    assert done.returncode == 0, done.stdout
    assert "model.pt2          skipped  not run, since loading it executes pickles" in done.stdout
    assert not (bundle.parent / "executed").exists()


def test_no_module_in_the_folder_of_a_bundle_is_imported(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("numpy.py", "torch.py", "study.py"):
        (bundle / name).write_text(f"open({str(bundle.parent / 'executed')!r}, 'w')\n")
    check_formats_elsewhere(monkeypatch)
    monkeypatch.chdir(bundle)
    assert all(finding.is_right is not False for finding in verify_bundle(Path()))
    assert not (bundle.parent / "executed").exists()


def swap_weights(bundle: Path) -> None:
    other = bundle.parent / "other"
    only_weights = ExportOptions(formats=())
    export_checkpoint(real_checkpoint(other, seed=1), other / "bundle", IMAGES, ORIGIN, options=only_weights)
    shutil.copy(other / "bundle" / "model.safetensors", bundle / "model.safetensors")


def put_pickle(bundle: Path) -> None:
    (bundle / "model.safetensors").write_bytes(pickle.dumps({"fc.weight": 1}))


def edit_metrics(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def edit(bundle: Path) -> None:
        metrics = json.loads((bundle / "metrics.json").read_text())
        change(metrics)
        (bundle / "metrics.json").write_text(json.dumps(metrics))

    return edit


def set_precisions(precisions: dict[str, Any]) -> Callable[[Path], None]:
    def set_them(bundle: Path) -> None:
        config = json.loads((bundle / "config.json").read_text())
        (bundle / "config.json").write_text(json.dumps(config | {"precisions": precisions}))

    return set_them


def drop_onnx(bundle: Path) -> None:
    (bundle / "model.onnx").unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (swap_weights, "model.safetensors  wrong .* of those at the export, more than 0.001"),
        (put_pickle, "model.safetensors  wrong .*model.safetensors is damaged"),
        (drop_onnx, "files              wrong .*must hold model.onnx, as config.json says"),
        (set_precisions({"safetensors": ["fp32"]}), "must name formats such as onnx, but has 'safetensors'"),
        (edit_metrics(lambda metrics: metrics["formats"][0].update(probe=[10**400] * 8)), "gave, but is damaged"),
        (edit_metrics(lambda metrics: metrics["formats"][0].update(probe=[math.inf] * 8)), "are not finite, or those"),
        (edit_metrics(lambda metrics: metrics["formats"][0].update(probe=[1e9] * 8)), "model.safetensors  wrong"),
        (edit_metrics(lambda metrics: metrics.pop("formats")), "must hold what the models gave, but is damaged"),
        (edit_metrics(lambda metrics: metrics["formats"][1]["probe"].pop()), "as many logits of each format"),
        (edit_metrics(lambda metrics: metrics["formats"][1].update(probe=[0.0] * 8)), "model.onnx         wrong"),
    ],
)
def test_what_is_wrong_although_the_sums_are_right_is_named(
    bundle: Path, change: Callable[[Path], None], said: str
) -> None:
    change(bundle)
    write_sums(bundle)
    done = study("verify", bundle)
    assert done.returncode == 1
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(done.stdout)


@pytest.mark.parametrize(("size", "allowed"), [(1.0, 1e-4), (30.0, 3e-3)])
def test_large_logits_may_differ_by_as_much_of_their_size(size: float, allowed: float) -> None:
    weights = np.array([size, -size / 2])
    for factor, is_right in ((0.9, True), (1.1, False)):
        logits = weights + factor * allowed
        assert _compared("onnx", "fp32", logits, logits, weights).is_right is is_right
        remembered = weights + factor * allowed * 10  # what another processor may make of it
        assert _compared("safetensors", "fp32", weights, remembered, None).is_right is is_right


def test_a_class_cannot_pretend_to_be_a_finding(tmp_path: Path) -> None:
    checkpoint = real_checkpoint(tmp_path, classes=("off", "on\nmodel.onnx ok"))
    export_checkpoint(checkpoint, tmp_path / "bundle", IMAGES, ORIGIN, options=ExportOptions(formats=()))
    done = study("verify", tmp_path / "bundle")
    assert done.returncode == 0
    assert "2 classes: off, on\\nmodel.onnx ok" in done.stdout
    assert len(done.stdout.splitlines()) == 3


def test_a_changed_file_is_named_and_a_stranger_noted(bundle: Path) -> None:
    (bundle / "notes.txt").write_text("mine")
    answer = json.loads(study("verify", bundle, "--json").stdout)
    assert answer["is_right"] is True
    assert "without a sum: 'notes.txt'" in answer["findings"][0]["detail"]
    contents = bytearray((bundle / "model.pt2").read_bytes())
    contents[1000] ^= 1
    (bundle / "model.pt2").write_bytes(contents)
    done = study("verify", bundle)
    assert done.returncode == 1
    assert "model.pt2 must be as it was exported, but its SHA-256 differs" in done.stdout


def test_what_is_no_bundle_is_said(tmp_path: Path) -> None:
    for folder, law in ((tmp_path, f"must hold {SUMS}"), (tmp_path / "none", "is none")):
        done = study("verify", folder)
        assert done.returncode == 1
        assert law in done.stdout


def test_probe_images_are_the_same_everywhere() -> None:
    from study.bundles.probe import probe_images

    images = probe_images(20, 6)
    assert images.shape == (6, 20, 20, 3)
    assert len({image.tobytes() for image in images}) == 6
    assert images[0, 0, :2].tolist() == [[223, 251, 156], [94, 83, 2]]
