"""A short study on real photographs: faces are told from pictures of other things."""

from __future__ import annotations

import json
from pathlib import Path

from commands import study, study_json
from lfw import write_lfw_folder

STUDY = """\
name: photographs
data: {source: folder, path: PHOTOS, image_size_px: 32}
trial: {depth: 10, max_epochs: 5, batch_size: 20, augmentation: flip}
space:
  learning_rate: {loguniform: [5e-4, 2e-3]}
search: {sampler: random, trials: 2, seed: 0, pruner: none}
resources: {cpus_per_trial: 1, gpus_per_trial: auto, max_concurrent_trials: 1}
"""


def test_a_short_study_on_real_photographs_reaches_its_auc(tmp_path: Path, shared_cluster: None) -> None:
    photos = write_lfw_folder(tmp_path / "photos")
    (tmp_path / "study.yaml").write_text(STUDY.replace("PHOTOS", str(photos)))
    ran = study_json("run", tmp_path / "study.yaml", "--results", tmp_path / "results")
    assert ran["counts"] == {"COMPLETE": 2}
    best = json.loads(study("best", "photographs", "--results", tmp_path / "results", "--json").stdout)
    assert best["value"] >= 0.95
