"""Write results folders of studies that nobody trained, with predictions that give the metrics that were reported."""

from __future__ import annotations

import os
import time
from pathlib import Path
from unittest import mock

import numpy as np

from study.config.hyperparameters import Hyperparameters
from study.config.search_config import DesignSpec, Objective, ReplicatesSpec, SearchSpec
from study.config.search_space import Choice, Parameter, Uniform
from study.config.study_config import StudySpec
from study.paths import SCORES, Layout, StudyLayout
from study.records import DataSummary, EpochMetrics, StopReason, TrialState
from study.storage.study_storage import StudyStorage
from study.training.metrics import evaluate

CLASSES = ("not_wearing_mask", "wearing_mask")
_QUALITY = {"sgd": 1.2, "adam": 2.4, "adamw": 2.3}


def write_results(
    results: Path,
    *,
    name: str = "masks",
    trials: int = 12,
    seeds: int = 1,
    epochs: int = 6,
    images: int = 200,
    objectives: tuple[Objective, ...] = (),
    design: DesignSpec | None = None,
    is_over: bool = True,
) -> StudyLayout:
    """Write a study; every fourth trial of a search is stopped early, and its fifth one fails."""
    layout = Layout(results).study(name)
    layout.root.mkdir(parents=True)
    layout.study_file.write_text(f"name: {name}\n")
    optimizer = Parameter(name="optimizer", domain=Choice(values=tuple(_QUALITY)))
    space = (optimizer, Parameter(name="learning_rate", domain=Uniform(low=1e-4, high=1e-1, log=True)))
    spec = StudySpec(
        name=name, trial=Hyperparameters(max_epochs=epochs), objectives=objectives,
        space=space if design is None else space[:1], replicates=ReplicatesSpec(count=seeds),
        search=SearchSpec(sampler="random", trials=trials, pruner="none"), design=design or DesignSpec(),
    )  # fmt: skip
    counts = {"val": {CLASSES[0]: images - images // 2, CLASSES[1]: images // 2}}
    data = DataSummary("faces", "f" * 64, 24, CLASSES, {"train": 100, "val": images}, counts)
    labels = np.arange(images) % 2
    hard = np.random.default_rng(0).standard_normal(images)
    with mock.patch.object(os, "fsync"):
        storage = StudyStorage.create(layout, spec, f"name: {name}\n", data=data, environment={"torch": "2.9"})
        storage.begin_session(time.time())
        while len(storage.trials()) < trials * seeds and (assignment := storage.ask()) is not None:
            number, config = assignment.trial, assignment.config
            if seeds == 1 and number == 4:
                storage.tell(number, TrialState.FAILED, StopReason.ERROR, error="RuntimeError: the loss is NaN")
                continue
            rng = np.random.default_rng(number)
            own = 0.5 * rng.standard_normal(images)
            logits = _QUALITY[str(config.optimizer)] * (labels - 0.5) + 0.8 * hard + own
            stopped = seeds == 1 and number % 4 == 3
            last = max(1, epochs // 3) if stopped else epochs
            for epoch in range(1, last + 1):
                values = {f"val_{key}": value for key, value in evaluate(logits, labels, CLASSES).items()}
                if epoch < last:
                    values = {key: value - 0.2 / epoch for key, value in values.items()}
                values |= {"train_loss": 0.7 / epoch, "parameters": 1e6 * (1 + number % 3)}
                place = f"trials/{number:05d}/epoch-{epoch:04d}"
                storage.report(number, EpochMetrics(epoch, values), place, 1.0)
            folder = layout.trial(number) / f"epoch-{last:04d}"
            folder.mkdir(parents=True)
            np.savez(folder / SCORES, scores=1 / (1 + np.exp(-logits)), labels=labels)
            state = (TrialState.PRUNED, StopReason.PRUNED) if stopped else (TrialState.COMPLETE, StopReason.FINISHED)
            storage.tell(number, *state)
        if is_over:
            storage.note_end(None)
    return layout
