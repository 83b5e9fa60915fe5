"""The command that prints what differs between two runs: diff."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import typer

from cli.options import RESULTS, Json, ReadUri, Results, Run
from cli.output import number, print_json
from cli.views.run import RunDetails, read_run
from cli.views.tables import make_table, print_table
from study.analysis.trial_filter import Value, value_of
from study.config.hyperparameters import in_use

_DIGITS = 6
_SHOWN = 60


def diff(
    first_run: Run, second_run: Run, results: Results = RESULTS, tracking_uri: ReadUri = None, json: Json = False
) -> None:
    """Print what differs between two runs: parameters, data, code, environment, outcome and metrics."""
    first, second = (read_run(results, tracking_uri, run) for run in (first_run, second_run))
    differences = find_differences(first, second)
    if json:
        print_json(as_json(first, second, differences))
        return
    _print(first, second, differences)


def _print(first: RunDetails, second: RunDetails, differences: Differences) -> None:
    typer.echo(f"{first.label} against {second.label}: {_summary(first, second, differences)}")
    for section, part in differences.sections.items():
        more = difference if section == "metrics" else None
        _print_part(section, part, first.label, second.label, more)
    if differences.measured:
        _print_part("time and memory", differences.measured, first.label, second.label, difference)


def _summary(first: RunDetails, second: RunDetails, differences: Differences) -> str:
    if differences.is_empty:
        but = " but time and memory" if differences.measured else ""
        text = f"nothing differs{but}"
    else:
        text = "different are " + ", ".join(f"{name} ({len(part)})" for name, part in differences.sections.items())
    parts = {"data": (first.data, second.data), "code": (first.code, second.code),
             "environment": (first.machine, second.machine)}  # fmt: skip
    unknown = [name for name, pair in parts.items() if not all(pair)]
    return text + (f"; not known of both: {', '.join(unknown)}" if unknown else "")


def _print_part(
    heading: str, part: Mapping[str, Pair], first: str, second: str, difference: Callable[[Pair], float | None] | None
) -> None:
    names = [first, f"{second} (second)" if first == second else second]
    columns = [heading, *names, *(["difference"] if difference else [])]
    rows = [
        [name, *map(_word, pair), *([_signed(difference(pair))] if difference else [])] for name, pair in part.items()
    ]
    numeric = columns[1:] if difference else ()
    print_table(make_table(columns, rows, right=numeric, folds=() if difference else names))


def _word(value: Any) -> str:
    text = number(value, _DIGITS)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _signed(value: float | None) -> str:
    if value is None:
        return "-"
    text = number(value, _DIGITS)
    return text if text.startswith("-") else f"+{text}"


Pair = tuple[Any, Any]
_PLACES = ("seed", "point", "replicate")
_OUTCOME = ("state", "stop_reason", "epoch", "epochs_run", "attempts")


@dataclass(frozen=True)
class Differences:
    """What differs, by name: the value of the one run and of the other, None where one has none.

    ``measured`` are the metrics of time and memory, which never come out the same.
    """

    parameters: Mapping[str, Pair] = field(default_factory=dict)
    data: Mapping[str, Pair] = field(default_factory=dict)
    code: Mapping[str, Pair] = field(default_factory=dict)
    environment: Mapping[str, Pair] = field(default_factory=dict)
    outcome: Mapping[str, Pair] = field(default_factory=dict)
    metrics: Mapping[str, Pair] = field(default_factory=dict)
    measured: Mapping[str, Pair] = field(default_factory=dict)

    @property
    def sections(self) -> dict[str, Mapping[str, Pair]]:
        """Every part that has a difference, but for what is measured of the machine."""
        return {name: part for name, part in vars(self).items() if part and name != "measured"}

    @property
    def is_empty(self) -> bool:
        """Whether the runs are the same but for time and memory."""
        return not self.sections


def find_differences(first: RunDetails, second: RunDetails) -> Differences:
    """Compare two runs; what neither knows is not compared."""
    from study.metric_catalog import is_machine_metric

    metrics = _differing(first.record.metrics, second.record.metrics)
    return Differences(
        parameters=_differing(_parameters(first), _parameters(second)),
        data=_differing(first.data, second.data),
        code=_differing(first.code, second.code),
        environment={**_differing(first.machine, second.machine), **_differing(_packages(first), _packages(second))},
        outcome=_differing(_outcome(first), _outcome(second)),
        metrics={name: pair for name, pair in metrics.items() if not is_machine_metric(name)},
        measured={name: pair for name, pair in metrics.items() if is_machine_metric(name)},
    )


def difference(pair: Pair) -> float | None:
    """Return the second number less the first, None where one is missing."""
    return None if None in pair else float(pair[1] - pair[0])


def as_json(first: RunDetails, second: RunDetails, differences: Differences) -> dict[str, Any]:
    """Return it as one JSON object, every part with what differs."""
    parts: dict[str, Any] = {
        name: {key: list(pair) for key, pair in part.items()} for name, part in vars(differences).items()
    }
    for name in ("metrics", "measured"):
        parts[name] = {
            key: {"values": list(pair), "difference": difference(pair)} for key, pair in vars(differences)[name].items()
        }
    runs = [{"run": each.label, "run_id": each.record.run_id, "study": each.record.study, "trial": each.record.trial}
            for each in (first, second)]  # fmt: skip
    return {"runs": runs, "same": differences.is_empty, **parts}


def _parameters(run: RunDetails) -> dict[str, Any]:
    used = {name: value for name, value in in_use(run.record.config).items() if name not in _PLACES}
    return {**used, "seed": run.record.seed if run.seed is None else run.seed}


def _packages(run: RunDetails) -> Mapping[str, str]:
    return {f"package {name}": version for name, version in (run.installed or run.packages).items()}


def _outcome(run: RunDetails) -> dict[str, Value]:
    return {name: value_of(run.record, name) for name in _OUTCOME}


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Pair]:
    """Return the values that differ; where one side knows nothing at all there is nothing to compare."""
    if not first or not second:
        return {}
    pairs = {name: (first.get(name), second.get(name)) for name in dict.fromkeys((*first, *second))}
    return {name: pair for name, pair in pairs.items() if not _same(*pair)}


def _same(first: Any, second: Any) -> bool:
    both_nan = first != first and second != second  # NaN, the only value that is not itself
    return both_nan or (first == second and isinstance(first, bool) is isinstance(second, bool))
