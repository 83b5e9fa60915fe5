"""A whole study of simulated trials with everything a real one leaves: storage, pages, checkpoints, MLflow runs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from report_kit import judged

from cli.run_session import with_figures
from study.config.hyperparameters import Hyperparameters, TrialConfig
from study.config.search_config import Objective, SearchSpec
from study.config.search_space import Choice, Condition, Parameter, Uniform
from study.config.study_config import StudySpec
from study.engine.trial_controller import TrialController
from study.engine.trial_result import Failure, TrialResult
from study.events import Recorder, StudyStarted
from study.paths import Layout, StudyLayout
from study.records import DataSummary, EpochMetrics, StopReason
from study.storage.lock import driver_lock
from study.storage.study_storage import StudyStorage
from study.training.checkpoint import CheckpointCard, SelectedCheckpoint, save_best
from study.trials.serialization import Assignment
from tracking.exporter.recorder import OutboxRecorder
from tracking.tracking_uri import default_tracking_uri

NAME = "masks"
SEARCHED = ("depth", "optimizer", "momentum", "learning_rate", "augmentation")
CLASSES = ("not_wearing_mask", "wearing_mask")
DATA = DataSummary("faces", "5eed" * 16, 48, CLASSES, {"train": 1200, "val": 400, "test": 400})
_SPACE = (
    Parameter(name="depth", domain=Choice(values=(10, 18, 34))),
    Parameter(name="optimizer", domain=Choice(values=("sgd", "adam"))),
    Parameter(
        name="momentum",
        domain=Uniform(low=0.0, high=0.99),
        when=(Condition(parameter="optimizer", values=("sgd",)),),
    ),
    Parameter(name="learning_rate", domain=Uniform(low=1e-4, high=1e-1, log=True)),
    Parameter(name="augmentation", domain=Choice(values=("none", "flip", "standard"))),
)
_FAILS = 5
_TRACE = 'Traceback (most recent call last):\n  File "loop.py", line 88\nNonFiniteLossError: the loss is NaN'
_SLOTS = 4


def played_spec(name: str, trials: int, epochs: int) -> StudySpec:
    return StudySpec(
        name=name,
        objective=Objective(metric="val_auc", mode="max"),
        trial=Hyperparameters(max_epochs=epochs),
        space=_SPACE,
        search=SearchSpec(sampler="tpe", pruner="asha", trials=trials, seed=1),
    )


def play_study(
    results: Path,
    *,
    name: str = NAME,
    trials: int = 12,
    epochs: int = 8,
    pages: bool = True,
    tracking_uri: str | None = None,
    until: int | None = None,
) -> StudyLayout:
    """Run a study whose trials only pretend to train; ``until`` interrupts it after so many messages."""
    layout = Layout(results).study(name)
    layout.root.mkdir(parents=True)
    spec = played_spec(name, trials, epochs)
    layout.study_file.write_text(f"name: {name}\n")
    with driver_lock(layout):
        about = {"torch": "2.9", "device": "cpu"}
        storage = StudyStorage.create(layout, spec, f"name: {name}\n", data=DATA, environment=about)
        uri = default_tracking_uri(Layout(results), tracking_uri)
        tracker = OutboxRecorder(layout, uri, close_timeout_s=3600.0)  # however slow the machine is
        data = judged(400)
        recorder = with_figures(tracker, layout, CLASSES, data.images, data.names) if pages else tracker
        try:
            _drive(storage, layout, recorder, until)
        finally:
            recorder.close()
    return layout


def _drive(storage: StudyStorage, layout: StudyLayout, recorder: Recorder, until: int | None) -> None:
    controller = TrialController(storage, layout, recorder)
    notices = ("imagenet weights are missing: init imagenet was dropped",)
    started = StudyStarted(
        storage.name, storage.study_id, storage.spec, storage.study_file, DATA, False, 0, _SLOTS, "cpu", notices,
        time.time(), storage.planned,
    )  # fmt: skip
    controller.start_session(started)
    busy: list[tuple[int, Iterator[TrialResult]]] = []
    for _ in range(until or 10**9):
        while len(busy) < _SLOTS and (assignment := controller.next_assignment()) is not None:
            controller.on_trial_started(assignment.trial)
            busy.append((assignment.trial, _work(assignment, layout)))
        if not busy:
            controller.end_session()
            return
        number, reports = busy.pop(0)
        if not controller.on_trial_result(number, next(reports)):
            busy.append((number, reports))


def _work(assignment: Assignment, layout: StudyLayout) -> Iterator[TrialResult]:
    config, folder = assignment.config, layout.trial(assignment.trial)
    best: tuple[float, Path] | None = None
    for epoch in range(1, config.max_epochs + 1):
        if assignment.trial == _FAILS and epoch == 3:
            yield TrialResult(failure=Failure(_TRACE.rpartition("\n")[2], _TRACE))
            return
        values = simulated(config, epoch)
        if best is None or values["val_auc"] > best[0]:
            best = (values["val_auc"], _save(folder, config, epoch, values))
        done = StopReason.FINISHED if epoch == config.max_epochs else None
        yield TrialResult((EpochMetrics(epoch, values),), str(best[1]), done, busy_s=float(epoch))


def simulated(config: TrialConfig, epoch: int) -> dict[str, float]:
    """Give plausible metrics that depend on the configuration and the epoch alone."""
    miss = abs(math.log10(config.learning_rate) + 2.5 - (0.5 if config.optimizer == "sgd" else 0.0))
    top = 0.97 - 0.09 * miss - (0.02 if config.augmentation == "none" else 0.0) + 0.004 * (config.depth == 18)
    noise = np.random.default_rng([epoch, round(config.learning_rate * 1e9)]).normal(0, 0.008, 3)
    learned = 1 - math.exp(-epoch / (1.5 + 1.5 * miss))
    auc = min(0.5 + (top - 0.5) * learned + noise[0], 0.999)
    loss = 0.69 * (1 - learned) + 0.7 * (1 - top)
    return {
        "train_loss": loss * 0.9 + abs(noise[1]),
        "val_loss": loss + 0.02 + abs(noise[2]),
        "val_auc": auc,
        "val_accuracy": 0.5 + 0.92 * (auc - 0.5),
        "learning_rate": config.learning_rate * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / config.max_epochs)),
    }


def _save(folder: Path, config: TrialConfig, epoch: int, values: Mapping[str, float]) -> Path:
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    data = judged(400, seed=config.depth)
    preprocessing = {"image_size_px": 48, "resize": "square", "resize_mode": "square", "mean": [0.5], "std": [0.25]}
    card = CheckpointCard(
        config.depth, CLASSES, preprocessing, epoch, values, config.model_dump(), DATA.fingerprint, "float32"
    )
    return save_best(folder, SelectedCheckpoint({"fc.weight": torch.zeros(2, 8)}, card, data.scores, data.labels))
