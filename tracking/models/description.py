"""Tags and Markdown that describe a version of a registered model; pure text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from study.events import StudyStarted
from study.metric_catalog import TEST_PREFIX
from study.records import FinalLook, TrialRecord
from tracking.client.client import Run
from tracking.content import tags_and_metrics as content
from tracking.content.encoding import displayable
from tracking.content.run_names import study_key
from tracking.content.ui_views import run_path
from tracking.outbox.study_state import StudyProgress
from tracking.tracking_uri import is_server, server_address

MAX_CHARACTERS = 5000
MODEL_CARD = "MODEL_CARD.md"
_SHOWN_METRICS = ("val_auc", "val_accuracy", "val_f1", "val_loss")


@dataclass(frozen=True)
class Decision:
    """How a registered model's scores, which are not calibrated, become probabilities and decisions.

    ``temperature`` divides the logits of the scores; above ``threshold``, of the calibrated probability, or
    ``score_threshold``, of the score, the positive class is meant; both are None for more than two classes.
    """

    temperature: float
    threshold: float | None = None
    score_threshold: float | None = None


@dataclass(frozen=True)
class SelectedCheckpoint:
    """The trial whose checkpoint was chosen, and the reasons.

    ``candidates`` counts the checkpoints it was chosen among; ``verdict`` says how sure its lead is; ``look`` is what
    it scored on the test images and ``look_text`` how often those were looked at; ``configuration`` says by which mean
    over seeds it was chosen, if so; ``decision`` and the Markdown of ``card`` go with it, where they are known.
    """

    trial: int
    metric: str
    value: float
    candidates: int
    verdict: str
    configuration: str = ""
    look: FinalLook | None = None
    look_text: str = ""
    decision: Decision | None = None
    card: str = ""


def registered_text() -> str:
    """Return the description of a registered model."""
    return (
        "Each version is the best checkpoint of a study, chosen on its validation images; its own description says how "
        "sure that choice is."
    )


def version_tags(choice: SelectedCheckpoint, progress: StudyProgress) -> dict[str, str]:
    """Return the tags of a version, those without a value left out."""
    assert progress.study is not None
    study, origin = progress.study, progress.provenance
    tags = {
        "study.name": study.study,
        "study.id": study_key(study.study_id),
        "study.trial": str(choice.trial),
        "study.metric": choice.metric,
        "study.value": repr(choice.value),
        "study.candidates": str(choice.candidates),
        "study.data_fingerprint": study.data.fingerprint,
        "study.classes": ", ".join(study.data.classes),
        "study.certainty": " ".join(choice.verdict.split()),
    }
    if choice.decision is not None:
        values = asdict(choice.decision)
        tags |= {f"study.{name}": repr(value) for name, value in values.items() if value is not None}
    if origin is not None and origin.commit is not None:
        tags |= {"study.git_commit": origin.commit, "study.git_dirty": str(bool(origin.dirty)).lower()}
    return {key: content.cut(displayable(value), MAX_CHARACTERS) for key, value in tags.items() if value}


def version_text(
    choice: SelectedCheckpoint, record: TrialRecord, study: StudyStarted, run: Run, parent: Run | None
) -> str:
    """Return the Markdown of a version."""
    lines = [
        f"Trial {choice.trial} of study **{study.study}**, `{choice.metric}` **{choice.value:.6g}** at epoch "
        f"{record.epoch} of {record.epochs_run}; chosen among {choice.candidates} checkpoints on the validation "
        "images, so expect a little less on new ones.",
        *([choice.configuration] if choice.configuration else []),
        "",
        f"**How sure is that?** {choice.verdict}",
        "",
        _test(choice),
        "",
        *_decision(choice, study),
        *_table("metric", {name: f"{value:.5g}" for name, value in _shown(record.metrics).items()}),
        "",
        *_table("searched", {name: str(value) for name, value in record.params.items()}),
        "",
        f"Input: uint8 RGB [N, {study.data.image_size_px}, {study.data.image_size_px}, 3], 0 to 255. {_output(study)}",
        "",
        " · ".join(_links(run, parent)),
    ]
    return content.cut(displayable("\n".join(lines)), MAX_CHARACTERS)


def run_link(tracking_uri: str, run: Run) -> str | None:
    """Return a run's URL for a browser, without credentials; None for a database, which serves no pages."""
    return f"{server_address(tracking_uri)}/{_path(run)}" if is_server(tracking_uri) else None


def _path(run: Run) -> str:
    return run_path(run.experiment_id, run.id).removeprefix("/")


def _links(run: Run, parent: Run | None) -> list[str]:
    links = [f"[the trial's run]({_path(run)})"]
    return links if parent is None else [*links, f"[the study]({_path(parent)})"]


def _decision(choice: SelectedCheckpoint, study: StudyStarted) -> list[str]:
    decision = choice.decision
    if decision is None:
        return []
    text = f"Calibration: divide the logit of a score by the temperature {decision.temperature:.6g}."
    if decision.threshold is not None and decision.score_threshold is not None:
        text += (
            f" A calibrated probability above {decision.threshold:.6g}, a score above {decision.score_threshold:.6g}, "
            f"means `{study.data.classes[-1]}`."
        )
    return [f"{text} The whole card is the artifact `{MODEL_CARD}`.", ""]


def _test(choice: SelectedCheckpoint) -> str:
    if choice.look is None:
        return "Test images: not scored."
    shown = ", ".join(
        f"`{TEST_PREFIX}{key}` {choice.look.metrics[key]:.5g}"
        for key in ("auc", "accuracy", "f1")
        if key in choice.look.metrics
    )
    return f"Test images: {shown}; {choice.look_text}."


def _shown(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: metrics[name] for name in _SHOWN_METRICS if name in metrics}


def _table(title: str, values: Mapping[str, str]) -> list[str]:
    if not values:
        return []
    return [f"| {title} | value |", "|---|---|", *(f"| `{name}` | {value} |" for name, value in values.items())]


def _output(study: StudyStarted) -> str:
    classes = study.data.classes
    if len(classes) == 2:
        return f"Output: the score of `{classes[1]}` in [0, 1], [N]; the other class is `{classes[0]}`."
    return f"Output: the scores in [0, 1] of {', '.join(f'`{name}`' for name in classes)}, [N, {len(classes)}]."
