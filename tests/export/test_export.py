"""A bundle gives its checkpoint's scores, or is not written at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from model_kit import check_formats_here
from PIL import Image
from safetensors.torch import save_file
from training_kit import noisy_halves, run, short_trial

from study.errors import ExportError
from study.export import ExportOptions, Provenance, export_checkpoint, load_bundle
from study.paths import CARD, SCORES, WEIGHTS
from study.training.checkpoint import best_folder, load_scores, load_weights
from study.training.metrics import probabilities

DATA = noisy_halves(train=48, val=24)
ORIGIN = Provenance(study="masks", study_id="ab12", trial=3, run_id=None, ranked_by="val_auc", candidates=5)
ONLY_WEIGHTS = ExportOptions(formats=())


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    config = short_trial(max_epochs=1, precision=request.param, channels_last=request.param == "bf16")
    run(config, DATA, folder)
    return best_folder(folder, 1)


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to damage; test_model_formats.py checks formats in processes of their own."""
    check_formats_here(monkeypatch)
    return Path(shutil.copytree(trained, tmp_path / "checkpoint"))


def assert_nothing_written(folder: Path) -> None:
    assert [path.name for path in folder.iterdir()] == ["checkpoint"]


def test_a_bundle_reloads_and_gives_the_same_scores(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "bundle"
    done = export_checkpoint(checkpoint, out, DATA.val_images, ORIGIN)
    models = {"model.safetensors", "model.onnx", "model.pt2"}
    texts = {"MODEL_CARD.md", "README.md", "config.json", "metrics.json", "predict.py", "SHA256SUMS"}
    assert {path.name for path in done.files} == {*texts, *models}
    assert {path.name for path in out.parent.iterdir()} == {"bundle"}
    expected, _ = load_scores(checkpoint)
    config = json.loads((out / "config.json").read_text())
    precision = config["provenance"]["precision"]
    scores = probabilities(load_bundle(out).logits(DATA.val_images, precision))
    assert np.abs(scores - expected).max() == done.max_score_difference <= (1e-4 if precision == "fp32" else 0.02)
    assert expected.std() > 1e-4, "scores that are all alike would fit any bundle"
    assert config["classes"] == ["off", "on"]
    assert config["provenance"]["trial"] == 3


def test_the_code_on_the_card_runs_as_it_stands(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    export_checkpoint(checkpoint, out, DATA.val_images, ORIGIN, options=ONLY_WEIGHTS)
    Image.fromarray(DATA.val_images[0]).save(out / "photo.jpg", quality=100)
    code = (out / "MODEL_CARD.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(out)
    exec(code, {})
    score = float(capsys.readouterr().out.strip(" []\n"))
    assert 0 <= score <= 1


def test_one_bundle_scores_in_both_precisions(checkpoint: Path, tmp_path: Path) -> None:
    export_checkpoint(checkpoint, tmp_path / "bundle", DATA.val_images, ORIGIN, options=ONLY_WEIGHTS)
    bundle = load_bundle(tmp_path / "bundle")
    exact, coarse = bundle.scores(DATA.val_images), bundle.scores(DATA.val_images, "bf16")
    assert np.array_equal(bundle.scores(DATA.val_images), exact), "scoring in bf16 must leave no trace"
    assert 0 < np.abs(exact - coarse).max() < 0.05


def test_an_empty_folder_is_filled(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    export_checkpoint(checkpoint, Path("empty"), DATA.val_images, ORIGIN, options=ONLY_WEIGHTS)
    assert (tmp_path / "empty" / "model.safetensors").is_file()


@pytest.mark.parametrize("occupied", ["folder", "file"])
def test_an_occupied_place_is_left_alone(checkpoint: Path, tmp_path: Path, occupied: str) -> None:
    out = tmp_path / "bundle"
    mine = out if occupied == "file" else out / "mine.txt"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("precious")
    with pytest.raises(ExportError, match="new or empty"):
        export_checkpoint(checkpoint, out, DATA.val_images, ORIGIN)
    assert mine.read_text() == "precious"


def change_weights(checkpoint: Path) -> None:
    weights = load_weights(checkpoint)
    weights["fc.bias"] = weights["fc.bias"] + 1
    save_file(weights, checkpoint / WEIGHTS)


def spoil_weights(checkpoint: Path) -> None:
    weights = load_weights(checkpoint)
    weights["layer4.0.conv1.weight"] = torch.full_like(weights["layer4.0.conv1.weight"], float("nan"))
    save_file(weights, checkpoint / WEIGHTS)


def drop_layer(checkpoint: Path) -> None:
    weights = load_weights(checkpoint)
    del weights["conv1.weight"]
    save_file(weights, checkpoint / WEIGHTS)


def cut(name: str) -> Callable[[Path], None]:
    def cut_file(checkpoint: Path) -> None:
        content = (checkpoint / name).read_bytes()
        (checkpoint / name).write_bytes(content[: len(content) // 2])

    return cut_file


def lose(name: str) -> Callable[[Path], None]:
    return lambda checkpoint: (checkpoint / name).unlink()


def empty_card(checkpoint: Path) -> None:
    (checkpoint / CARD).write_text('{"format": 1}')


def list_card(checkpoint: Path) -> None:
    (checkpoint / CARD).write_text("[]")


DAMAGES = {
    "weights changed": change_weights,
    "weights not a number": spoil_weights,
    "a layer is missing": drop_layer,
    "weights cut": cut(WEIGHTS),
    "scores cut": cut(SCORES),
    "card cut": cut(CARD),
    "weights lost": lose(WEIGHTS),
    "scores lost": lose(SCORES),
    "card lost": lose(CARD),
    "card empty": empty_card,
    "card a list": list_card,
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_damaged_checkpoint_is_refused_and_nothing_written(checkpoint: Path, tmp_path: Path, damage: str) -> None:
    DAMAGES[damage](checkpoint)
    with pytest.raises(ExportError):
        export_checkpoint(checkpoint, tmp_path / "bundle", DATA.val_images, ORIGIN)
    assert_nothing_written(tmp_path)


def test_other_images_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="scored on 24 validation images, but there are 23"):
        export_checkpoint(checkpoint, tmp_path / "bundle", DATA.val_images[1:], ORIGIN)
    with pytest.raises(ExportError, match=r"\[N, 32, 32, 3\]"):
        export_checkpoint(checkpoint, tmp_path / "bundle", DATA.val_images[:, :16], ORIGIN)
    assert_nothing_written(tmp_path)


def test_a_folder_that_cannot_be_written_is_an_error(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ExportError, match="cannot write"):
        export_checkpoint(checkpoint, tmp_path / "file" / "bundle", DATA.val_images, ORIGIN)


def test_without_the_pictures_the_stored_scores_are_checked(checkpoint: Path, tmp_path: Path) -> None:
    done = export_checkpoint(checkpoint, tmp_path / "bundle", None, ORIGIN, options=ONLY_WEIGHTS)
    assert done.max_score_difference is None
    assert (
        "stored scores of 24 validation images only with the stored metrics"
        in (tmp_path / "bundle" / "MODEL_CARD.md").read_text()
    )
    scores, labels = load_scores(checkpoint)
    np.savez(checkpoint / SCORES, scores=1.0 - scores, labels=labels)
    with pytest.raises(ExportError, match="must give its accuracy"):
        export_checkpoint(checkpoint, tmp_path / "other", None, ORIGIN)
    assert not (tmp_path / "other").exists()
