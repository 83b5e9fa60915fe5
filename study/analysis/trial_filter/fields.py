"""What a filter may name: a trial's fields, its hyperparameters and the metrics of its selected epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from study.analysis.trial_filter.expression import Value, present
from study.config.hyperparameters import Setting, TrialConfig, is_in_use
from study.metric_catalog import metric_named
from study.records import TrialRecord

PARAMS, METRICS = "params.", "metrics."
FIELDS: Mapping[str, Callable[[TrialRecord], Value]] = {
    "study": lambda record: record.study,
    "trial": lambda record: record.trial,
    "state": lambda record: record.state.value,
    "stop_reason": lambda record: record.stop_reason and record.stop_reason.value,
    "point": lambda record: record.point,
    "replicate": lambda record: record.replicate,
    "seed": lambda record: record.seed,
    "epoch": lambda record: record.epoch,
    "epochs_run": lambda record: record.epochs_run,
    "attempts": lambda record: record.attempts,
    "busy_s": lambda record: record.busy_s,
    "started_at_s": lambda record: record.started_at_s,
    "finished_at_s": lambda record: record.finished_at_s,
    "kept": lambda record: None if record.checkpoint is None else record.kept,
    "checkpoint": lambda record: record.checkpoint,
    "run_id": lambda record: record.run_id,
    "error": lambda record: record.error,
}
"""What every trial has beside hyperparameters and metrics, each on one line; times are seconds."""
OF_ONE_TRIAL = tuple(name for name in FIELDS if name not in ("study", "state", "point"))
"""The fields that the trials of a configuration do not share."""


def value_of(record: TrialRecord, name: str, seed: int | None = None) -> Value:
    """Return the value that a trial has by a name, None where it is missing.

    Args:
        record: the trial.
        name: of FIELDS, a hyperparameter or a metric; ``params.`` or ``metrics.`` before it says which is meant.
        seed: the value of ``seed``, such as the number in the study file; None takes the one that was drawn from it.
    """
    if name == "seed" and seed is not None:
        return seed
    if name in FIELDS:
        return present(FIELDS[name](record))
    if name.startswith(PARAMS):
        return hyperparameter(record, name.removeprefix(PARAMS))
    if name.startswith(METRICS):
        return present(record.metrics.get(name.removeprefix(METRICS)))
    value = hyperparameter(record, name)
    return present(record.metrics.get(name)) if value is None else value


def hyperparameter(record: TrialRecord, name: str) -> Value:
    """Return a hyperparameter of a trial, None where it has no effect; several numbers are one text."""
    value: Setting = record.params.get(name)
    if value is None and is_in_use(name, record.config):
        value = record.config.get(name)
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else value


@dataclass(frozen=True)
class KnownNames:
    """The names that some trials have."""

    params: frozenset[str] = frozenset()
    metrics: frozenset[str] = frozenset()
    fields: tuple[str, ...] = field(default=tuple(FIELDS))

    def knows(self, name: str) -> bool:
        """Whether a name is known; a metric is, even if no trial reports it."""
        if name.startswith(PARAMS):
            return name.removeprefix(PARAMS) in self.params
        bare = name.removeprefix(METRICS)
        is_metric = bare in self.metrics or metric_named(bare) is not None
        return is_metric or (bare == name and (name in self.fields or name in self.params))

    def listed(self) -> list[str]:
        """Return every name, fields first; metrics of one family once."""
        plain = sorted(metric for metric in self.metrics if "." not in metric)
        families = sorted({metric.rpartition(".")[0] + ".*" for metric in self.metrics if "." in metric})
        return [*self.fields, *sorted(self.params - set(self.fields)), *plain, *families]

    def all(self) -> list[str]:
        """Return every name, without and with its prefix."""
        prefixed = [*(PARAMS + name for name in self.params), *(METRICS + name for name in self.metrics)]
        return [*self.fields, *self.params, *self.metrics, *prefixed]


def known_names(records: Iterable[TrialRecord]) -> KnownNames:
    """Return the names that some trials have, and those of all hyperparameters."""
    params: set[str] = set(TrialConfig.model_fields)
    metrics: set[str] = set()
    for record in records:
        params.update(record.config, record.params)
        metrics.update(record.metrics)
    return KnownNames(frozenset(params), frozenset(metrics))
