"""Say what differs between two runs; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cli.one_run import OneRun
from study.engine.comparison import of_machine
from study.hyperparameters import in_use
from study.where import Value, value_of

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
        return {name: found for name, found in vars(self).items() if found and name != "measured"}

    @property
    def is_empty(self) -> bool:
        """Whether the runs are the same but for time and memory."""
        return not self.sections


def find_differences(one: OneRun, other: OneRun) -> Differences:
    """Compare two runs; what neither knows is not compared."""
    metrics = _differing(one.record.metrics, other.record.metrics)
    return Differences(
        parameters=_differing(_parameters(one), _parameters(other)),
        data=_differing(one.data, other.data),
        code=_differing(one.code, other.code),
        environment={**_differing(one.machine, other.machine), **_differing(_packages(one), _packages(other))},
        outcome=_differing(_outcome(one), _outcome(other)),
        metrics={name: pair for name, pair in metrics.items() if not of_machine(name)},
        measured={name: pair for name, pair in metrics.items() if of_machine(name)},
    )


def difference(pair: Pair) -> float | None:
    """Return the second number less the first, None where one is missing."""
    return None if None in pair else float(pair[1] - pair[0])


def as_json(one: OneRun, other: OneRun, found: Differences) -> dict[str, Any]:
    """Return it as one JSON object, every part with what differs."""
    parts: dict[str, Any] = {
        name: {key: list(pair) for key, pair in part.items()} for name, part in vars(found).items()
    }
    for name in ("metrics", "measured"):
        parts[name] = {
            key: {"values": list(pair), "difference": difference(pair)} for key, pair in vars(found)[name].items()
        }
    runs = [{"run": each.label, "run_id": each.record.run_id, "study": each.record.study, "trial": each.record.trial}
            for each in (one, other)]  # fmt: skip
    return {"runs": runs, "same": found.is_empty, **parts}


def _parameters(run: OneRun) -> dict[str, Any]:
    used = {name: value for name, value in in_use(run.record.config).items() if name not in _PLACES}
    return {**used, "seed": run.record.seed if run.seed is None else run.seed}


def _packages(run: OneRun) -> Mapping[str, str]:
    return {f"package {name}": version for name, version in (run.installed or run.packages).items()}


def _outcome(run: OneRun) -> dict[str, Value]:
    return {name: value_of(run.record, name) for name in _OUTCOME}


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Pair]:
    """Return the values that differ; where one side knows nothing at all there is nothing to compare."""
    if not one or not other:
        return {}
    pairs = {name: (one.get(name), other.get(name)) for name in dict.fromkeys((*one, *other))}
    return {name: pair for name, pair in pairs.items() if not _same(*pair)}


def _same(one: Any, other: Any) -> bool:
    both_nan = one != one and other != other  # NaN, the one value that is not itself
    return both_nan or (one == other and isinstance(one, bool) is isinstance(other, bool))
