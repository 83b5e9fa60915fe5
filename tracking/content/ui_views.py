"""Saved views for MLflow's page of an experiment: columns, order and charts; and links to its pages; pure."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping

from study.config.search_space import Constant
from study.config.study_config import StudySpec
from tracking.content.encoding import safe_name
from tracking.content.mlflow_tags import VIEW_PREFIX

TREE = "study-tree"
RANKING = "study-ranking"
_NAMES = {RANKING: "Trials, the best first", TREE: "Trials under their study"}
_MAX_PARAM_COLUMNS = 60
_MAX_AXES = 8
_LOSSES = ("val_loss", "train_loss")


def study_views(spec: StudySpec, at_s: float = 0.0) -> dict[str, str]:
    """Return the experiment tags that hold the views: what the table shows, its order, the charts.

    MLflow lists them by name in the menu "Views" of the experiment, whoever opens it. ``TREE`` nests trials under
    their study, the newest first; MLflow nests only rows in their order of creation. ``RANKING`` lists the trials,
    the best first.
    """
    columns = _columns(spec)
    layout = {"selectedColumns": columns, "columnOrder": columns, "runsHiddenMode": "FIRST_20_RUNS", **_charts(spec)}
    ranked = {
        "searchFilter": "tags.`study.kind` = 'trial'",
        "orderByKey": f"metrics.`{_best(spec.objective.metric)}`",
        "orderByAsc": spec.objective.mode == "min",
    }
    states = {TREE: layout, RANKING: layout | ranked}
    made_ms = round(at_s * 1000)
    # The menu shows the view made last first.
    return {
        f"{VIEW_PREFIX}{key}": _envelope(key, state, made_ms + at) for at, (key, state) in enumerate(states.items())
    }


def view_path(experiment_id: str | None, view: str = RANKING, *, charts: bool = False) -> str:
    """Return the part of the URL behind the server's address."""
    mode = "workflowType=machine_learning"
    if experiment_id is None:
        return f"/#/experiments?{mode}"
    mode_query = "&compareRunsMode=CHART" if charts else ""
    return f"/#/experiments/{experiment_id}/runs?{mode}&viewStateShareKey={view}{mode_query}"


def run_path(experiment_id: str, run_id: str) -> str:
    """Return the part of a run's URL behind the server's address."""
    return f"/#/experiments/{experiment_id}/runs/{run_id}"


def _envelope(key: str, state: Mapping[str, object], made_ms: int) -> str:
    """Pack a view as MLflow's own "Save view" does; a tag of an experiment holds 5,000 characters."""
    packed = base64.b64encode(zlib.compress(json.dumps(state, separators=(",", ":")).encode(), 9)).decode()
    return json.dumps({"name": _NAMES[key], "createdAt": made_ms, "updatedAt": made_ms, "state": f"deflate;{packed}"})


def _columns(spec: StudySpec) -> list[str]:
    return [
        *(f"metrics.`{_best(objective.metric)}`" for objective in spec.objective_list),
        "tags.`study.state`",
        *(f"params.`{name}`" for name in spec.searched()[:_MAX_PARAM_COLUMNS]),
        "metrics.`best.epoch`",
    ]


def _best(metric: str) -> str:
    return safe_name(f"best.{metric}")


def _charts(spec: StudySpec) -> dict[str, object]:
    """Return a section of charts in front of those MLflow makes itself, one for each metric."""
    curves = dict.fromkeys((*(objective.metric for objective in spec.objective_list), *_LOSSES))
    # A run without one of the values has no line, so parameters that only some trials have are no axes.
    axes = [entry.name for entry in spec.space if not entry.when and not isinstance(entry.domain, Constant)][:_MAX_AXES]
    across = {
        "type": "PARALLEL",
        "displayName": "Parallel coordinates",
        "selectedParams": axes,
        "selectedMetrics": [_best(objective.metric) for objective in spec.objective_list],
        "showAllRuns": True,
    }
    first, *rest = map(_curve, curves)
    sections = (("study", "Study", 2), ("metrics", "Model metrics", 3), ("system", "System metrics", 3))
    shown = {"display": True, "isReordered": False, "deleted": False, "isGenerated": True}
    return {
        "compareRunCharts": [
            {"uuid": f"study-{at}", "metricSectionId": "study", "isGenerated": False, "deleted": False, **chart}
            for at, chart in enumerate([first, across, *rest])
        ],
        "compareRunSections": [{"uuid": key, "name": name, "columns": count, **shown} for key, name, count in sections],
    }


def _curve(metric: str) -> dict[str, object]:
    return {
        "type": "LINE",
        "displayName": metric,
        "metricKey": safe_name(metric),
        "selectedMetricKeys": [safe_name(metric)],
        "lineSmoothness": 0,
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        # One trial that diverges would flatten all others.
        "scaleType": "log" if metric.endswith("loss") else "linear",
        "range": {},
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }
