"""Register the best checkpoint of a study as a model that MLflow loads by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.output import number
from cli.ranked import Ranked
from study.ranking import RankedRow
from study.records import FinalLook

if TYPE_CHECKING:
    from tracking.models.registry import Registered


def register_best(
    results: Path,
    found: Ranked,
    winner: RankedRow,
    verdict: str,
    looks: tuple[FinalLook, ...],
    *,
    name: str,
    alias: str,
    tracking_uri: str | None,
) -> Registered:
    """Send MLflow what it lacks of a study, and make its best checkpoint a version of a registered model.

    Args:
        results: the results folder.
        found: the ranking.
        winner: the trial that wins it.
        verdict: how sure its lead is.
        looks: the looks at the test images.
        name: of the registered model.
        alias: of the version.
        tracking_uri: the server; None means that of the study.

    Raises:
        ExportError: the weights were not kept, or are damaged.
        TrackingError: the server is away, refuses, or does not know the trial.
    """
    from cli.final_look import describe_looks, weights_folder
    from study.layout import Layout
    from study.ledger import is_driven
    from tracking.models.registry import register
    from tracking.models.words import Choice
    from tracking.runs import tracking_uri_of
    from tracking.sending.sync import sync
    from tracking.uri import default_tracking_uri

    layout = Layout(results)
    study = layout.study(found.study)
    uri = default_tracking_uri(layout, tracking_uri_of(study, tracking_uri))
    if not is_driven(study):  # the driver of a running study sends what there is itself
        sync(layout, study, uri)
    own = next((one for one in looks if (one.trial, one.epoch) == (winner.record.trial, winner.record.epoch)), None)
    assert winner.value is not None
    choice = Choice(
        trial=winner.record.trial, metric=found.metric, value=winner.value,
        candidates=sum(row.rank is not None for row in found.rows), verdict=verdict,
        configuration=_configuration(found), look=own, look_text=describe_looks(looks, own) if own else "",
    )  # fmt: skip
    return register(study, uri, name, alias, choice, lambda: weights_folder(winner.record), _export)


def require_names(name: str, alias: str) -> None:
    """Make sure that MLflow takes the name of a model and its alias.

    Raises:
        UsageError: it does not.
    """
    from tracking.models.registry import require_names as require

    require(name, alias)


def describe_registered(done: Registered) -> str:
    """Say in one line what was registered."""
    made = "" if done.is_new else ", which it was already"
    return f"  registered   {done.name} version {done.version} as {done.alias}{made}: {done.uri} at {done.tracking_uri}"


def _configuration(found: Ranked) -> str:
    if not found.configurations:
        return ""
    best = found.configurations[0]
    return (
        f"It is the best seed of configuration {best.point}, which was chosen by its mean `{found.metric}` of "
        f"{number(best.mean, 5)} over {best.complete} of {best.planned} seeds."
    )


def _export(checkpoint: Path, file: Path) -> str:
    from study.export import export_graph

    return export_graph(checkpoint, file)
