"""Turn events into MLflow tags, params and metrics; pure."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from study.config.hyperparameters import Setting, in_use
from study.events import EpochReported, StudyEnded, StudyStarted, TrialFinished
from study.metric_catalog import TEST_PREFIX
from study.records import SHIFTED_SET_PREFIX, DataSummary, FinalLook, StopReason, TrialRecord, TrialState
from tracking.content import mlflow_tags
from tracking.content.encoding import as_ranges, displayable, renamed, safe_name
from tracking.content.run_names import study_key, trial_key
from tracking.outbox.provenance import Provenance
from tracking.outbox.study_state import StudyProgress

_log = logging.getLogger("tracking")
MAX_PARAM_CHARACTERS = 6000
MAX_TAG_CHARACTERS = 8000
INTERRUPTED = "INTERRUPTED"
STATUS: Mapping[TrialState, str] = {
    TrialState.COMPLETE: "FINISHED",
    TrialState.PRUNED: "KILLED",
    TrialState.FAILED: "FAILED",
}
COUNTED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)
_MAX_ERROR_CHARACTERS = 500


@dataclass(frozen=True)
class Point:
    """One value of one metric; time in milliseconds since 1970."""

    key: str
    value: float
    time_ms: int
    step: int


@dataclass
class Batch:
    """Metrics, params and tags to log to one run."""

    points: list[Point] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


def time_ms(at_s: float) -> int:
    """Return a time in MLflow's unit, milliseconds since 1970."""
    return round(at_s * 1000)


def study_tags(event: StudyStarted, origin: Provenance | None) -> dict[str, str]:
    """Return the tags of the parent run."""
    tags = {
        "study.key": study_key(event.study_id),
        "study.kind": "study",
        "study.state": "running",
        "study.slots": str(event.slots),
        "study.planned": str(event.planned),
        "study.seeds": _seeds(event),
        "study.searched": " ".join(event.spec.searched()),
        "study.data_sizes": ", ".join(f"{split} {size}" for split, size in event.data.sizes.items()),
        "study.class_counts": _class_counts(event.data),
        "study.notices": "\n".join(event.notices),
    }
    return _cut_tags({**tags, **_shared_tags(event), **session_tags(origin), **_renamed_tags(event)}, event.study)


def study_params(event: StudyStarted) -> dict[str, str]:
    """Return the params of the parent run; their prefixes keep them apart from hyperparameters."""
    spec = event.spec
    values: dict[str, Setting] = {
        "study.metric": spec.objective.metric,
        "study.mode": spec.objective.mode,
        "study.objectives": ", ".join(f"{objective.mode} {objective.metric}" for objective in spec.objective_list),
        "study.seeds": _seeds(event),
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
    """Return the tags of the parent run after the last event; empty ones overwrite those of an earlier end."""
    kept = as_ranges(event.kept)
    return {
        "study.state": event.outcome.value,
        "study.end_reason": event.reason.value if event.reason else "",
        "study.kept": kept if len(kept) <= MAX_TAG_CHARACTERS else "",
    }


def trial_tags(record: TrialRecord, attempt: int, study: StudyStarted, origin: Provenance | None) -> dict[str, str]:
    """Return the tags of a trial's run while it runs; ``session_tags`` of a later start replace some of them."""
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
    owner = f"{study.study}, trial {record.trial}"
    return _cut_tags({**tags, **_shared_tags(study), **session_tags(origin)}, owner)


def session_tags(origin: Provenance | None, code: Sequence[str] = (), *, again: bool = False) -> dict[str, str]:
    """Return the tags about the code and the machine of the session that started the study or the trial last.

    ``code`` is every version of the code that ran a trial that was interrupted. Where they replace the tags of an
    earlier session (``again``), empty ones are needed too.
    """
    if origin is None:
        return {}
    tags = {
        "study.host": origin.host,
        mlflow_tags.USER: origin.user,
        "study.packages": ", ".join(f"{name} {version}" for name, version in origin.packages.items()),
    }
    if origin.commit is not None:
        tags |= {
            mlflow_tags.GIT_COMMIT: origin.commit,
            "study.git_dirty": str(bool(origin.dirty)).lower(),
            "study.code": ", ".join(code) or origin.code or "",
            "study.code_diff": f"code-{origin.diff}.diff" if origin.diff else "",
        }
    return {key: text for key, text in tags.items() if text or again}


def trial_params(record: TrialRecord) -> dict[str, str]:
    """Return the hyperparameters that have an effect in a trial, the searched ones first."""
    rest = {name: value for name, value in in_use(record.config).items() if name not in record.params}
    return _texts({**record.params, **rest}, f"{record.study}, trial {record.trial}")


def trial_config(record: TrialRecord) -> str:
    """Return the configuration of a trial as sorted JSON, with what is searched and what has no effect."""
    used = in_use(record.config)
    config = {
        "study": record.study,
        "trial": record.trial,
        "point": record.point,
        "replicate": record.replicate,
        "seed": record.seed,
        "searched": dict(sorted(record.params.items())),
        "without_effect": sorted(set(record.config) - set(used)),
        "config": dict(sorted(record.config.items())),
    }
    return json.dumps(config, indent=1, ensure_ascii=False) + "\n"


def report_points(event: EpochReported, first: str | None = None) -> list[Point]:
    """Return the metrics of one epoch, ``first`` before the others, as MLflow shows them; the step is the epoch."""
    at, values = time_ms(event.at_s), event.metrics.values
    names = sorted(values, key=lambda name: name != first)
    return [Point(safe_name(name), values[name], at, event.metrics.epoch) for name in names]


def finish_points(event: TrialFinished) -> list[Point]:
    """Return the metrics of the selected epoch as ``best.*``; nothing when no epoch was finished."""
    record, at = event.record, time_ms(event.at_s)
    if record.epoch is None:
        return []
    # Step 0 lets MLflow's "latest value" follow time alone, also when a trial was run again.
    best = [Point(safe_name(f"best.{key}"), value, at, 0) for key, value in record.metrics.items()]
    return [*best, Point("best.epoch", float(record.epoch), at, 0)]


def test_evaluation_points(look: FinalLook) -> list[Point]:
    """Return what a checkpoint scored on the test images, as ``test.*``."""
    return [Point(safe_name(TEST_PREFIX + key), value, time_ms(look.at_s), 0) for key, value in look.metrics.items()]


def finish_tags(record: TrialRecord) -> dict[str, str]:
    """Return the tags a trial's end adds."""
    reason = record.stop_reason or (StopReason.ERROR if record.state is TrialState.FAILED else StopReason.FINISHED)
    last = (record.error or "").strip().rpartition("\n")[2]
    return {
        **({"study.error": cut(displayable(last), _MAX_ERROR_CHARACTERS)} if last else {}),
        "study.state": record.state.value,
        "study.stop_reason": reason.value,
        "study.attempts": str(record.attempts),
        "study.epochs_run": str(record.epochs_run),
        **({} if record.busy_s is None else {"study.busy_s": repr(record.busy_s)}),
    }


def progress_points(progress: StudyProgress, at_s: float) -> list[Point]:
    """Return the parent's running best and counts; the step is the number of finished trials."""
    at, step = time_ms(at_s), len(progress.finished)
    points = [Point(f"trials.{state.value.lower()}", float(progress.count(state)), at, step) for state in COUNTED]
    points.append(Point("trials.started", float(len(progress.started)), at, step))
    if progress.best_value is not None and progress.study is not None:
        points.append(Point(safe_name(f"best.{progress.study.spec.objective.metric}"), progress.best_value, at, step))
    return points


def cut(text: str, limit: int) -> str:
    """Shorten a text to at most ``limit`` characters and say so in it."""
    if len(text) <= limit:
        return text
    note = f" … (cut, {len(text)} characters)"
    return text[: limit - len(note)] + note


def _seeds(event: StudyStarted) -> str:
    return " ".join(map(str, event.spec.replicates.numbers))


def _class_counts(data: DataSummary) -> str:
    """Return the images of each class by set as JSON, in the order of the classes; nothing if it is too long."""
    counts = {
        images: [of_class.get(name, 0) for name in data.classes] for images, of_class in data.class_counts.items()
    }
    text = json.dumps(counts) if counts else ""
    return text if len(text) <= MAX_TAG_CHARACTERS else ""


def _shared_tags(event: StudyStarted) -> dict[str, str]:
    return {
        "study.id": study_key(event.study_id),
        "study.name": event.study,
        "study.design": event.spec.design.kind,
        "study.device": event.device,
        "study.data_fingerprint": event.data.fingerprint,
        mlflow_tags.SOURCE_NAME: "study",
        mlflow_tags.SOURCE_TYPE: "LOCAL",
    }


def _renamed_tags(event: StudyStarted) -> dict[str, str]:
    """Return the encoded names of classes and image sets that MLflow does not accept in the names of metrics."""
    sets = (size.removeprefix(SHIFTED_SET_PREFIX) for size in event.data.sizes)
    encoded = renamed((*event.data.classes, *sets))
    if not encoded:
        return {}
    _log.warning(
        "%s: MLflow takes no such names in metrics as %s; there they are %s", event.study,
        ", ".join(map(repr, encoded.values())), ", ".join(encoded),
    )  # fmt: skip
    return {"study.renamed": json.dumps(encoded, ensure_ascii=False)}


def _cut_tags(tags: Mapping[str, str], owner: str) -> dict[str, str]:
    texts = {key: displayable(value) for key, value in tags.items() if value}
    return _cut(texts, MAX_TAG_CHARACTERS, "tag", owner)


def _texts(values: Mapping[str, Setting], owner: str) -> dict[str, str]:
    texts = {safe_name(key): displayable(str(value)) for key, value in values.items() if value is not None}
    return _cut(texts, MAX_PARAM_CHARACTERS, "parameter", owner)


def _cut(texts: Mapping[str, str], limit: int, what: str, owner: str) -> dict[str, str]:
    for key, text in texts.items():
        if len(text) > limit:
            _log.warning(
                "%s: MLflow keeps at most %d characters of a %s, %s has %d and was cut",
                owner, limit, what, key, len(text),
            )  # fmt: skip
    return {key: cut(text, limit) for key, text in texts.items()}
