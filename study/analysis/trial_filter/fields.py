"""Say what can be asked of a trial by name: its own facts, hyperparameters, the metrics of its selected epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from study.analysis.trial_filter.expression import Value, kind_of, present
from study.config.hyperparameters import Setting, TrialConfig, is_in_use
from study.metrics import metric_named
from study.records import TrialRecord

PARAMS, METRICS = "params.", "metrics."
FIELDS: Mapping[str, Callable[[TrialRecord], Value]] = {
    "study": lambda one: one.study,
    "trial": lambda one: one.trial,
    "state": lambda one: one.state.value,
    "stop_reason": lambda one: one.stop_reason and one.stop_reason.value,
    "point": lambda one: one.point,
    "replicate": lambda one: one.replicate,
    "seed": lambda one: one.seed,
    "epoch": lambda one: one.epoch,
    "epochs_run": lambda one: one.epochs_run,
    "attempts": lambda one: one.attempts,
    "busy_s": lambda one: one.busy_s,
    "started_at_s": lambda one: one.started_at_s,
    "finished_at_s": lambda one: one.finished_at_s,
    "kept": lambda one: None if one.checkpoint is None else one.kept,
    "checkpoint": lambda one: one.checkpoint,
    "run_id": lambda one: one.run_id,
    "error": lambda one: one.error,
}
"""What every trial has beside hyperparameters and metrics; times are seconds."""
OF_ONE_TRIAL = tuple(name for name in FIELDS if name not in ("study", "state", "point"))
"""Those that the trials of a configuration do not share."""


def value_of(record: TrialRecord, name: str, seed: int | None = None) -> Value:
    """Return what a trial has by a name, None where it is missing.

    Args:
        record: the trial.
        name: one of FIELDS, a hyperparameter or a metric; ``params.`` or ``metrics.`` before it says which is meant.
        seed: what ``seed`` is to be, such as the number in the study file; None takes the one that was drawn from it.
    """
    if name == "seed" and seed is not None:
        return seed
    if name in FIELDS:
        return present(FIELDS[name](record))
    if name.startswith(PARAMS):
        return hyperparameter(record, name.removeprefix(PARAMS))
    if name.startswith(METRICS):
        return present(record.metrics.get(name.removeprefix(METRICS)))
    found = hyperparameter(record, name)
    return present(record.metrics.get(name)) if found is None else found


def hyperparameter(record: TrialRecord, name: str) -> Value:
    """Return a hyperparameter of a trial, None where it has no effect; several numbers are one text."""
    value: Setting = record.params.get(name)
    if value is None and is_in_use(name, record.config):
        value = record.config.get(name)
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else value


@dataclass(frozen=True)
class Known:
    """The names that some trials have."""

    params: frozenset[str] = frozenset()
    metrics: frozenset[str] = frozenset()
    fields: tuple[str, ...] = field(default=tuple(FIELDS))

    def knows(self, name: str) -> bool:
        """Whether a name means something; a metric may, although no trial reports it."""
        if name.startswith(PARAMS):
            return name.removeprefix(PARAMS) in self.params
        bare = name.removeprefix(METRICS)
        is_metric = bare in self.metrics or metric_named(bare) is not None
        return is_metric or (bare == name and (name in self.fields or name in self.params))

    def listed(self) -> list[str]:
        """Return every name, fields first; metrics of one family once."""
        plain = sorted(one for one in self.metrics if "." not in one)
        families = sorted({one.rpartition(".")[0] + ".*" for one in self.metrics if "." in one})
        return [*self.fields, *sorted(self.params - set(self.fields)), *plain, *families]

    def all(self) -> list[str]:
        """Return every name and, for those who wrote it, every name with its prefix."""
        prefixed = [*(PARAMS + one for one in self.params), *(METRICS + one for one in self.metrics)]
        return [*self.fields, *self.params, *self.metrics, *prefixed]


def known_names(records: Iterable[TrialRecord]) -> Known:
    """Return the names that some trials have, and those of hyperparameters that any has."""
    params: set[str] = set(TrialConfig.model_fields)
    metrics: set[str] = set()
    for record in records:
        params.update(record.config, record.params)
        metrics.update(record.metrics)
    return Known(frozenset(params), frozenset(metrics))


def kinds_of(values: Iterable[Value]) -> Mapping[str, list[str]]:
    """Return the types among some values, with a few values of each as text."""
    found: dict[str, list[str]] = {}
    for value in values:
        if value is None:
            continue
        shown = found.setdefault(kind_of(value), [])
        if len(shown) < 3 and str(value) not in shown:
            shown.append(str(value))
    return found
