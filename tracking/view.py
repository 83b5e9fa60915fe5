"""Choose what MLflow's runs table shows first: the searched parameters and the best metrics; pure."""

from __future__ import annotations

import json

from study.spec import StudySpec

_VIEW_TAG = "mlflow.sharedViewState."
TREE = "study-tree"
RANKING = "study-ranking"


def study_views(spec: StudySpec) -> dict[str, str]:
    """Return the experiment tags that hold the table's columns and order.

    ``TREE`` nests trials under their study, the newest first; MLflow nests only rows in their order of creation.
    ``RANKING`` lists the trials, the best first.
    """
    columns = _columns(spec)
    look = {"selectedColumns": columns, "columnOrder": columns, "runsHiddenMode": "FIRST_20_RUNS"}
    ranked = {
        "searchFilter": "tags.`study.kind` = 'trial'",
        "orderByKey": f"metrics.`best.{spec.objective.metric}`",
        "orderByAsc": spec.objective.mode == "min",
    }
    return {f"{_VIEW_TAG}{TREE}": json.dumps(look), f"{_VIEW_TAG}{RANKING}": json.dumps(look | ranked)}


def view_path(experiment_id: str | None, view: str = RANKING) -> str:
    """Return the part of the URL behind the server's address."""
    mode = "workflowType=machine_learning"
    if experiment_id is None:
        return f"/#/experiments?{mode}"
    return f"/#/experiments/{experiment_id}/runs?{mode}&viewStateShareKey={view}"


def _columns(spec: StudySpec) -> list[str]:
    metric = spec.objective.metric
    return [
        f"metrics.`best.{metric}`",
        "tags.`study.state`",
        *(f"params.`{name}`" for name in spec.searched()),
        "metrics.`best.epoch`",
    ]
