"""Turn events into MLflow's words: tags, params, metrics and Markdown; pure."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from study.events import EpochReported, StudyEnded, StudyStarted, TrialFinished
from study.hyperparameters import Setting, in_use
from study.records import TEST_PREFIX, FinalLook, StopReason, TrialRecord, TrialState
from study.spec import StudySpec
from tracking.progress import Progress
from tracking.provenance import Provenance

_log = logging.getLogger("tracking")
MAX_PARAM_CHARACTERS = 6000
MAX_TAG_CHARACTERS = 8000
INTERRUPTED = "INTERRUPTED"
STATUS: Mapping[TrialState, str] = {
    TrialState.COMPLETE: "FINISHED",
    TrialState.PRUNED: "KILLED",
    TrialState.FAILED: "FAILED",
}
_PLAIN = re.compile(r"[\w.:@+-]{1,200}", re.ASCII)
_COUNTED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)


@dataclass(frozen=True)
class Point:
    """One value of one metric; time in milliseconds since 1970."""

    key: str
    value: float
    time_ms: int
    step: int


@dataclass
class Batch:
    """What one request tells about one run."""

    points: list[Point] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


def study_key(study_id: str) -> str:
    """Return the key of a study: its id, hashed where MLflow's filters could not quote it."""
    return study_id if _PLAIN.fullmatch(study_id) else hashlib.sha256(study_id.encode()).hexdigest()


def trial_key(study_id: str, trial: int) -> str:
    """Return the key of a trial's run."""
    return f"{study_key(study_id)}/{trial}"


def time_ms(at_s: float) -> int:
    """Return MLflow's form of a time."""
    return round(at_s * 1000)


def study_tags(event: StudyStarted, origin: Provenance | None) -> dict[str, str]:
    """Return the tags of the parent run."""
    tags = {
        "study.key": study_key(event.study_id),
        "study.kind": "study",
        "study.state": "running",
        "study.device": event.device,
        "study.slots": str(event.slots),
        "study.planned": str(event.planned),
        "study.searched": " ".join(event.spec.searched()),
        "study.data_sizes": ", ".join(f"{split} {size}" for split, size in event.data.sizes.items()),
        "study.notices": "\n".join(event.notices),
    }
    return _cut_tags({**tags, **_shared_tags(event, origin)})


def study_params(event: StudyStarted) -> dict[str, str]:
    """Return the params of the parent run; their prefixes keep them apart from hyperparameters."""
    spec = event.spec
    values: dict[str, Setting] = {
        "study.metric": spec.objective.metric,
        "study.mode": spec.objective.mode,
        "study.objectives": ", ".join(f"{one.mode} {one.metric}" for one in spec.aims),
        "study.seeds": " ".join(map(str, spec.replicates.numbers)),
        "study.sampler": spec.search.sampler,
        "study.design": spec.design.kind,
        "study.pruner": spec.pruner,
        "study.trials": event.planned,
        "study.seed": spec.search.seed,
        "data.source": event.data.source,
        "data.path": spec.data.path,
        "data.image_size_px": event.data.image_size_px,
        "data.images": sum(event.data.sizes.values()),
        "data.seed": spec.data.seed,
    }
    return _texts(values, event.study)


def end_tags(event: StudyEnded) -> dict[str, str]:
    """Return the tags of the parent run after the last event; an empty reason overwrites that of an earlier end."""
    return {"study.state": event.outcome.value, "study.end_reason": event.reason.value if event.reason else ""}


def trial_tags(record: TrialRecord, attempt: int, study: StudyStarted, origin: Provenance | None) -> dict[str, str]:
    """Return the tags of a child run while its trial runs."""
    tags = {
        "study.key": trial_key(study.study_id, record.trial),
        "study.kind": "trial",
        "study.state": TrialState.RUNNING.value,
        "study.trial": str(record.trial),
        "study.point": str(record.point),
        "study.replicate": str(record.replicate),
        "study.seed": str(record.seed),
        "study.attempts": str(attempt),
        "study.searched": " ".join(record.params),
    }
    return _cut_tags({**tags, **_shared_tags(study, origin)})


def trial_params(record: TrialRecord) -> dict[str, str]:
    """Return the hyperparameters of a trial that mean something in it, the searched ones first."""
    rest = {name: value for name, value in in_use(record.config).items() if name not in record.params}
    return _texts({**record.params, **rest}, f"{record.study}, trial {record.trial}")


def report_points(event: EpochReported) -> list[Point]:
    """Return the metrics of one epoch; the step is the epoch."""
    at = time_ms(event.at_s)
    return [Point(key, value, at, event.metrics.epoch) for key, value in event.metrics.values.items()]


def finish_points(event: TrialFinished) -> list[Point]:
    """Return the metrics of the selected epoch as ``best.*``; nothing when no epoch was finished."""
    record, at = event.record, time_ms(event.at_s)
    if record.epoch is None:
        return []
    # Step 0 lets MLflow's "latest value" follow time alone, also when a trial was run again.
    best = [Point(f"best.{key}", value, at, 0) for key, value in record.metrics.items()]
    return [*best, Point("best.epoch", float(record.epoch), at, 0)]


def look_points(look: FinalLook) -> list[Point]:
    """Return what a checkpoint scored on the test images, as ``test.*``."""
    return [Point(f"{TEST_PREFIX}{key}", value, time_ms(look.at_s), 0) for key, value in look.metrics.items()]


def finish_tags(record: TrialRecord) -> dict[str, str]:
    """Return the tags a trial's end adds."""
    reason = record.stop_reason or (StopReason.ERROR if record.state is TrialState.FAILED else StopReason.FINISHED)
    return {
        "study.state": record.state.value,
        "study.stop_reason": reason.value,
        "study.attempts": str(record.attempts),
        "study.epochs_run": str(record.epochs_run),
    }


def progress_points(progress: Progress, at_s: float) -> list[Point]:
    """Return the parent's running best and counts; the step is the number of finished trials."""
    at, step = time_ms(at_s), len(progress.finished)
    points = [Point(f"trials.{state.value.lower()}", float(progress.count(state)), at, step) for state in _COUNTED]
    points.append(Point("trials.started", float(len(progress.started)), at, step))
    best = progress.best
    if best is not None and best.value is not None and progress.study is not None:
        points.append(Point(f"best.{progress.study.spec.objective.metric}", best.value, at, step))
    return points


def _way(spec: StudySpec) -> str:
    return spec.search.sampler if spec.design.kind == "search" else spec.design.kind


def description(progress: Progress) -> str:
    """Return the parent's Markdown: what is searched, how far it is, the best so far."""
    event = progress.study
    if event is None:
        return ""
    spec, state = event.spec, progress.outcome.value if progress.outcome else "running"
    aim = {"max": "maximise", "min": "minimise"}[spec.objective.mode]
    lines = [
        f"**{event.study}** is {state}: {aim} `{spec.objective.metric}` over {event.planned} trials "
        f"({_way(spec)}, {spec.pruner}) on {event.device}, {event.slots} at a time.",
        "",
        f"Searched: {_listed(spec.searched())}.",
        f"Data: {event.data.source}, {event.data.image_size_px} px, "
        + ", ".join(f"{split} {size}" for split, size in event.data.sizes.items())
        + ".",
        f"Ended: {', '.join(f'{progress.count(one)} {one.value.lower()}' for one in _COUNTED)}.",
        *_best_lines(progress.best),
        *(f"- {notice}" for notice in event.notices),
    ]
    return cut("\n".join(lines), MAX_TAG_CHARACTERS)


def cut(text: str, limit: int) -> str:
    """Shorten a text to at most ``limit`` characters and say so in it."""
    if len(text) <= limit:
        return text
    note = f" … (cut, {len(text)} characters)"
    return text[: limit - len(note)] + note


def _best_lines(best: TrialRecord | None) -> list[str]:
    if best is None or best.value is None:
        return []
    chosen = ", ".join(f"{name} = {value}" for name, value in best.params.items())
    return [
        f"Best: trial {best.trial}, **{best.value:.6g}** at epoch {best.epoch} with {chosen or 'the defaults'}.",
        "",
    ]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "nothing"


def _shared_tags(event: StudyStarted, origin: Provenance | None) -> dict[str, str]:
    tags = {
        "study.id": study_key(event.study_id),
        "study.name": event.study,
        "study.data_fingerprint": event.data.fingerprint,
        "mlflow.source.name": "study",
        "mlflow.source.type": "LOCAL",
    }
    if origin is None:
        return tags
    tags |= {"study.host": origin.host, "mlflow.user": origin.user}
    if origin.commit is not None:
        tags |= {"mlflow.source.git.commit": origin.commit, "study.git_dirty": str(bool(origin.dirty)).lower()}
    return tags


def _cut_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: cut(value, MAX_TAG_CHARACTERS) for key, value in tags.items() if value}


def _texts(values: Mapping[str, Setting], owner: str) -> dict[str, str]:
    texts = {key: str(value) for key, value in values.items() if value is not None}
    for key, text in texts.items():
        if len(text) > MAX_PARAM_CHARACTERS:
            _log.warning(
                "%s: MLflow keeps at most %d characters of a parameter, %s has %d and was cut",
                owner, MAX_PARAM_CHARACTERS, key, len(text),
            )  # fmt: skip
    return {key: cut(text, MAX_PARAM_CHARACTERS) for key, text in texts.items()}
