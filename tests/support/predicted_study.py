"""Studies that never trained but have what is judged: records, and predictions on validation and on a shifted set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from recorders import MemoryRecorder

from study.config.hyperparameters import Scalar
from study.config.study_config import stable_seed
from study.config_file import load_spec
from study.engine.trial_controller import TrialController
from study.engine.trial_result import TrialResult
from study.paths import SCORES, SHIFTED_SCORES, Layout, StudyLayout
from study.records import DataSummary, EpochMetrics, StopReason
from study.storage.lock import driver_lock
from study.storage.study_storage import StudyStorage
from study.training.metrics import evaluate, probabilities
from study.trials.serialization import Assignment

IMAGES, CLASSES, SHIFTED = 300, ("no", "yes"), "dark"
LABELS = np.arange(IMAGES) % 2
DATA = DataSummary(
    "faces", "c" * 64, 32, CLASSES, {"train": 600, "val": IMAGES, f"shifted/{SHIFTED}": IMAGES},
    {"val": {"no": 150, "yes": 150}},
)  # fmt: skip
ABLATION = """\
name: ablation
design:
  kind: one_factor
  baseline: {optimizer: adam, depth: 18, augmentation: none}
space:
  optimizer: {choice: [adam, sgd]}
  depth: {choice: [10, 18, 34]}
  augmentation: {choice: [none, flip]}
replicates: {seeds: [0, 1, 2]}
"""
FACTORIAL = """\
name: factorial
design: factorial
space:
  optimizer: {choice: [adam, sgd]}
  depth: {choice: [10, 18]}
replicates: {seeds: [0, 1, 2]}
"""
SEARCH = """\
name: search
space:
  optimizer: {choice: [adam, sgd]}
  learning_rate: {loguniform: [1e-4, 1e-1]}
search: {sampler: random, trials: 12, pruner: none}
"""
Lead = Callable[[Mapping[str, Scalar]], float]


def sgd_is_worse(params: Mapping[str, Scalar]) -> float:
    """Return how far the classes are apart."""
    return 1.0 if params["optimizer"] == "sgd" else 3.0


def store(
    results: Path,
    text: str,
    lead: Lead = sgd_is_worse,
    *,
    predictions: bool = True,
    ended: Callable[[Assignment], StopReason] = lambda assignment: StopReason.FINISHED,
    trials: int | None = None,
) -> StudyLayout:
    """Store a study of this file, of which so many trials ran; each is judged as its values ask for."""
    file = results.parent / "study.yaml"
    file.write_text(text)
    spec = load_spec(file).spec
    layout = Layout(results).study(spec.name)
    layout.root.mkdir(parents=True)
    layout.study_file.write_text(text)
    with driver_lock(layout):
        storage = StudyStorage.create(layout, spec, text, data=DATA)
        controller = TrialController(storage, layout, MemoryRecorder())
        for _ in range(trials or 10_000):
            if (assignment := controller.next_assignment()) is None:
                break
            controller.on_trial_started(assignment.trial)
            controller.on_trial_result(assignment.trial, _result(layout, assignment, lead, predictions, ended))
    return layout


def _result(
    layout: StudyLayout,
    assignment: Assignment,
    lead: Lead,
    predictions: bool,
    ended: Callable[[Assignment], StopReason],
) -> TrialResult:
    params, folder = assignment.record.params, layout.trial(assignment.trial)
    checkpoint = folder / "epoch-0001"
    checkpoint.mkdir(parents=True)
    shared = np.random.default_rng(0).standard_normal((2, IMAGES))
    own = np.random.default_rng([stable_seed(sorted(params.items())) % 2**32, assignment.config.seed % 2**32])
    logits = lead(params) * (LABELS - 0.5) + 0.8 * shared + 0.6 * own.standard_normal((2, IMAGES))  # [sets, images]
    val, shifted = (evaluate(of_set, LABELS, CLASSES) for of_set in logits)
    if predictions:
        scores = [probabilities(of_set) for of_set in logits]
        np.savez(checkpoint / SCORES, scores=scores[0], labels=LABELS)
        arrays = {f"{SHIFTED}/scores": scores[1], f"{SHIFTED}/labels": LABELS}
        np.savez(folder / SHIFTED_SCORES, **arrays)
    values = {f"val_{name}": value for name, value in val.items()}
    evaluation = {f"shifted.{SHIFTED}.{name}": value for name, value in shifted.items()}
    return TrialResult((EpochMetrics(1, values),), str(checkpoint), ended(assignment), evaluation)
