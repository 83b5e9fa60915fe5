"""A checkpoint's graph gives its scores without any of this package."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_kit import IMAGES, SIZE, THREE, TWO, real_checkpoint, stored_scores

from study.errors import ExportError
from study.export import export_graph
from study.export.pyfunc import PyfuncModel, load_checkpoint
from study.paths import WEIGHTS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.mark.parametrize(
    ("classes", "config"),
    [(TWO, {}), (THREE, {"head": "mlp", "head_width": 16, "head_dropout": 0.5})],
    ids=["two classes", "three classes behind a hidden layer"],
)
def test_a_graph_scores_any_number_of_images_as_its_checkpoint_did(
    tmp_path: Path, classes: tuple[str, ...], config: dict[str, Any]
) -> None:
    checkpoint = real_checkpoint(tmp_path, classes=classes, **config)
    version = export_graph(checkpoint, tmp_path / "model.pt2")
    assert version == torch.__version__
    model = torch.export.load(tmp_path / "model.pt2").module()
    expected = stored_scores(checkpoint)
    assert expected.std() > 1e-3, "scores that are all alike would fit any graph"
    for count in (len(IMAGES), 1):
        with torch.no_grad():
            scores = model(torch.from_numpy(IMAGES[:count])).numpy()
        np.testing.assert_allclose(scores, expected[:count], atol=1e-5)
    assert {path.name for path in tmp_path.iterdir()} == {"epoch-0002", "model.pt2"}


def test_a_served_checkpoint_scores_as_it_did_and_takes_nothing_but_pixels(tmp_path: Path) -> None:
    checkpoint = real_checkpoint(tmp_path)
    served = PyfuncModel(load_checkpoint(checkpoint))
    scores = served.predict(IMAGES)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, stored_scores(checkpoint), atol=1e-6)
    with pytest.raises(ExportError, match="must be uint8, 0 to 255, but are float64"):
        served.predict(IMAGES / 255)
    with pytest.raises(ExportError, match=rf"\[N, {SIZE}, {SIZE}, 3\]"):
        served.predict(IMAGES[:, :8])


def test_a_full_disk_is_an_error_and_not_the_end_of_the_process(tmp_path: Path) -> None:
    checkpoint = real_checkpoint(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(ExportError, match=r"cannot write the graph of .*: \[Errno 27\] File too large"):
            export_graph(checkpoint, tmp_path / "model.pt2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {path.name for path in tmp_path.iterdir()} == {"epoch-0002"}


def test_damaged_weights_make_no_graph(tmp_path: Path) -> None:
    checkpoint = real_checkpoint(tmp_path)
    whole = (checkpoint / WEIGHTS).read_bytes()
    (checkpoint / WEIGHTS).write_bytes(whole[:-4] + bytes(4))
    with pytest.raises(ExportError, match="its bytes are not those that were written"):
        export_graph(checkpoint, tmp_path / "model.pt2")
    assert not list(tmp_path.glob("*.pt2"))
