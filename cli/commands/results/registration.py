"""How `best --register` makes a checkpoint a version of a registered model, with its card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.output import number
from cli.queries.final_look import describe_test_evaluations, look_at, weights_folder
from cli.queries.ranking import Ranking
from cli.queries.study_handle import open_study

if TYPE_CHECKING:
    from study.analysis.ranking import RankedTrial
    from study.export.registration import RegisteredFacts
    from study.records import FinalLook
    from tracking.models.model_registry import Registered


def register_best(
    results: Path,
    ranking: Ranking,
    winner: RankedTrial,
    verdict: str,
    looks: tuple[FinalLook, ...],
    *,
    name: str,
    alias: str,
    tracking_uri: str | None,
    storage: str | None = None,
    threshold: str = "0.5",
) -> Registered:
    """Send MLflow what it lacks of a study, and make its best checkpoint a version of the registered model ``name``.

    ``verdict`` says how sure its lead is; without a ``tracking_uri`` the study's own server is used.

    Raises:
        ExportError: the weights were not kept, or are damaged.
        TrackingError: the server is away, refuses, or does not know the trial.
    """
    from study.paths import Layout
    from study.storage.lock import is_driven
    from tracking.exporter.sync import sync
    from tracking.models.description import Decision, SelectedCheckpoint
    from tracking.models.model_registry import register
    from tracking.run_ids import tracking_uri_of
    from tracking.tracking_uri import default_tracking_uri

    layout = Layout(results)
    study = layout.study(ranking.study)
    uri = default_tracking_uri(layout, tracking_uri_of(study, tracking_uri))
    if not is_driven(study):  # the driver of a running study sends what there is itself
        sync(layout, study, uri)
    own = look_at(looks, winner)
    look_text = describe_test_evaluations(looks, own) if own else ""
    facts = _registered_facts(results, ranking, winner, f"models:/{name}@{alias}", own, look_text, threshold)
    assert winner.value is not None
    choice = SelectedCheckpoint(
        trial=winner.record.trial, metric=ranking.metric, value=winner.value,
        candidates=sum(row.rank is not None for row in ranking.rows), verdict=verdict,
        configuration=_configuration(ranking, winner), look=own, look_text=look_text,
        decision=Decision(facts.temperature, facts.threshold, facts.score_threshold), card=facts.card,
    )  # fmt: skip
    return register(
        study,
        uri,
        name,
        alias,
        choice,
        lambda: weights_folder(open_study(results, ranking.study), winner.record, storage),
        _export,
    )


def _registered_facts(
    results: Path, ranking: Ranking, winner: RankedTrial, uri: str, own: FinalLook | None, look_text: str, rule: str
) -> RegisteredFacts:
    """Return what the registered model carries beside its graph."""
    from cli.queries.bundle_facts import provenance, study_facts
    from study.export import FinalScores
    from study.export.registration import registered_facts
    from study.utils.named_places import checkpoint_folder

    study, record = open_study(results, ranking.study), winner.record
    assert record.checkpoint is not None
    folder = checkpoint_folder(study.layout, record.trial, record.checkpoint)
    test = FinalScores() if own is None else FinalScores(look_text, own.metrics)
    facts = study_facts(study, results, ranking, winner, is_best=True)
    return registered_facts(folder, uri, provenance(study, ranking, record), test, facts, rule)


def describe_registered(done: Registered) -> str:
    """Return in one line what was registered."""
    made = "" if done.is_new else ", which it was already"
    return f"  registered   {done.name} version {done.version} as {done.alias}{made}: {done.uri} at {done.tracking_uri}"


def _configuration(ranking: Ranking, winner: RankedTrial) -> str:
    if not ranking.configurations:
        return ""
    best = next(each for each in ranking.configurations if winner.record in each.trials)
    return (
        f"It is the best seed of configuration {best.point}, which was chosen by its mean `{ranking.metric}` of "
        f"{number(best.mean, 5)} over {best.complete} of {best.planned} seeds."
    )


def _export(checkpoint: Path, file: Path) -> str:
    from study.export import export_graph

    return export_graph(checkpoint, file)
