"""A made-up study as the report takes it: predictions of known quality, epochs, sets of images, hostile names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from study.analysis.ranking import rank_configurations, rank_trials
from study.analysis.statistics.influence import influence
from study.analysis.verdict import compare_runs, judge
from study.analysis.verdict_words import verdict_words
from study.config.search_config import Objective
from study.records import EpochMetrics, StopReason, TrialRecord, TrialState
from study.report.content import (
    Effect,
    EffectTable,
    Entry,
    ImageSetVerdict,
    Predictions,
    StudyContent,
    Verdict,
    WrongImage,
)

HOSTILE = (
    "<script>document.title='injected'</script>",
    '"><img src=x onerror="document.title=\'injected\'">',
    "{{7*7}}{% raw %}",
    "right‮to left",
    "</style></svg><svg onload=document.title='injected'>",
    "`|*[x](javascript:alert(1))",
)
CLASSES = ("not_wearing_mask", "wearing_mask")
OPTIMIZERS = ("sgd", "adam", "adamw")


def made_content(
    configurations: int = 8,
    seeds: int = 3,
    images: int = 400,
    *,
    leads: tuple[float, ...] = (),
    hostile: bool = False,
    state: str = "finished",
) -> StudyContent:
    """Make a study whose configurations differ by ``leads``; with one seed its entries are trials."""
    rng = np.random.default_rng(7)
    labels = np.arange(images) % 2
    hard = rng.standard_normal(images)
    quality = np.resize(np.array(leads or np.linspace(2.6, 1.2, configurations)), configurations)
    words = HOSTILE if hostile else OPTIMIZERS
    factor = words[1] if hostile else "optimizer"
    scores, records = [], []
    for k in range(configurations):
        for seed in range(seeds):
            noise = 0.8 * hard + 0.6 * rng.standard_normal(images) + 0.1 * rng.standard_normal()
            logits = quality[k] * (labels - 0.5) + noise
            scores.append(1 / (1 + np.exp(-2 * logits)))
            rate, depth = float(10 ** rng.uniform(-4, -1)), (10, 18, 34, 50, 101, 152)[k % 6]
            params = {factor: words[k % len(words)], "learning_rate": rate, "depth": depth}
            records.append(_record(len(records), k, seed, params, rng, stopped=seeds == 1 and k % 3 == 2))
    configuration = np.repeat(np.arange(configurations), seeds)
    measured = influence("auc", np.stack(scores), labels)
    comparison = compare_runs("auc", measured, configuration, np.tile(np.arange(seeds), configurations))
    records = [_valued(record, float(value)) for record, value in zip(records, measured.values, strict=True)]
    judgement = judge(comparison)
    objective = Objective(metric="val_auc", mode="max")
    names = [f"configuration {k}" if seeds > 1 else f"trial {k}" for k in range(configurations)]
    standings = dict(enumerate(judgement.standings))
    if seeds > 1:
        ranked = rank_configurations(records, (objective,), seeds)
        entries = tuple(
            Entry(each.point, names[each.point], each.rank, each.mean, {"val_auc": each.mean or 0.0, "val_loss": 0.3},
                  each.state, f"{each.complete}/{each.planned}", each.trials, each.best, standings[each.point])
            for each in ranked
        )  # fmt: skip
    else:
        entries = tuple(
            Entry(row.record.trial, names[row.record.trial], row.rank, row.value, row.record.metrics, row.record.state,
                  "", (row.record,), row.record, standings[row.record.trial])
            for row in rank_trials(records, (objective,))
        )  # fmt: skip
    verdict = Verdict(comparison, judgement, tuple(range(configurations)))
    best = [records[k * seeds] for k in judgement.may_be_best][:6]
    predictions = tuple(
        Predictions(record.point, names[record.point],
                    np.stack([1 - scores[record.trial], scores[record.trial]], axis=1), labels) for record in best
    )  # fmt: skip
    classes = HOSTILE[:2] if hostile else CLASSES
    failed = replace(_record(len(records), configurations, 0, records[0].params, rng), state=TrialState.FAILED,
                     metrics={}, value=None, epoch=None, history=(), stop_reason=StopReason.ERROR, checkpoint=None,
                     error=f"Traceback\nRuntimeError: {HOSTILE[0] if hostile else 'the loss is NaN'}")  # fmt: skip
    name = HOSTILE[0] if hostile else "masks"
    baseline = float(comparison.runs.means[0])
    return StudyContent(
        name=name, state=state, begun_at_s=1_780_000_000.0, planned=len(records) + 1, at_s=1_780_003_000.0,
        objectives=(objective,), searched=tuple(records[0].params), entries=entries, trials=(*records, failed),
        answer=verdict_words(comparison, judgement, names), verdict=verdict,
        image_sets=(
            ImageSetVerdict("validation", "val_auc", standings, len(judgement.may_be_best)),
            ImageSetVerdict(HOSTILE[3] if hostile else "lowlight", "shifted.lowlight.auc",
                            {key: replace(each, value=each.value - 0.05, low=each.low - 0.06, high=each.high - 0.04)
                             for key, each in standings.items()}, 3),
        ),
        tested=("Test images, trial 0: auc 0.93.",), test_counts=(200, 200),
        predictions=predictions, classes=classes,
        wrong=tuple(
            WrongImage(HOSTILE[at % 6] if hostile else f"val/{at:05d}_masked.jpg",
                       rng.integers(0, 255, (48, 48, 3), dtype=np.uint8), classes[at % 2], classes[(at + at % 3) % 2],
                       0.01 * at, at % 3, len(predictions)) for at in range(12)
        ),
        effects=(EffectTable("val_auc", "Each level against the baseline", tuple(
            Effect("optimizer" if not hostile else HOSTILE[1], words[k % len(words)],
                   float(comparison.runs.means[k]) - baseline, float(comparison.runs.means[k]) - baseline - 0.03,
                   float(comparison.runs.means[k]) - baseline + 0.03) for k in range(1, min(configurations, 6))
        ), ("Made up.",)),),
        importance={param: 0.7 / (at + 1) for at, param in enumerate(records[0].params)},
        importance_notes=("Of one search.",), data={"data": "faces at 48 px", "classes": ", ".join(classes)},
        provenance={"device": "cpu", "torch": "2.9"}, commands=("study run 'masks.yaml'",), failures=(failed,),
        notes=(HOSTILE[4],) if hostile else (),
    )  # fmt: skip


def _record(
    trial: int, point: int, seed: int, params: dict[str, object], rng: np.random.Generator, *, stopped: bool = False
) -> TrialRecord:
    start = 1_780_000_000.0 + 60 * (trial // 2) + rng.uniform(0, 10)
    state = TrialState.PRUNED if stopped else TrialState.COMPLETE
    return TrialRecord(
        "masks", trial, state, params, params, point=point, replicate=seed, epochs_run=4 if stopped else 12,  # type: ignore[arg-type]
        epoch=3 if stopped else 9, checkpoint=f"trials/{trial}", busy_s=50.0, started_at_s=start,
        finished_at_s=start + (20 if stopped else 55),
    )  # fmt: skip


def _valued(record: TrialRecord, value: float) -> TrialRecord:
    rng = np.random.default_rng(record.trial)
    history = tuple(
        EpochMetrics(epoch, {"val_auc": value - 0.25 / epoch + rng.normal(0, 0.004), "val_loss": 0.7 / epoch,
                             "train_loss": 0.65 / epoch}) for epoch in range(1, record.epochs_run + 1)
    )  # fmt: skip
    metrics = {"val_auc": value, "val_accuracy": value - 0.05, "val_loss": 0.4, "parameters": 11_176_512.0}
    return replace(record, value=value, metrics=metrics, history=history)
