"""Get ready all that trials need before the first begins: data, weights, and how much of the machines each gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from study.data import load_data
from study.data.bundle import DataBundle
from study.data.near_duplicates import duplicate_notice
from study.design import planned_trials
from study.engine.admission import require_data_for
from study.engine.cluster import plan_slots, require_accelerators
from study.engine.model_key import ModelKey
from study.engine.packing import Packing, pack
from study.engine.pretrained import (
    RUN,
    Arrays,
    begin_fetch,
    fetched,
    locate,
    wanted_weights,
    without_missing,
)
from study.engine.probe import begin_probe, probed
from study.engine.rotation import pretrain_by_rotation
from study.engine.stored_weights import stored
from study.engine.surroundings import Surroundings
from study.layout import StudyLayout
from study.spec import StudySpec


@dataclass(frozen=True)
class Prepared:
    """All that trials need; ``spec`` is what is really run."""

    data: DataBundle
    weights: Mapping[ModelKey, Arrays]
    spec: StudySpec
    packing: Packing
    notices: tuple[str, ...]


def prepare(spec: StudySpec, layout: StudyLayout, around: Surroundings, *, resumed: bool = False) -> Prepared:
    """Read the data while workers fetch the weights and measure the memory of trials, then train what nobody has.

    What there is to say of the data a resumed study's ledger has already.

    Raises:
        DataError: the images cannot be used.
        WeightsError: weights are missing, do not fit, or nothing else is left to run.
        DesignError: the design has no place for what is left without missing weights.
        EngineError: the cluster has no room for a trial.
    """
    trials, say = planned_trials(spec), around.progress.say
    slots = plan_slots(spec.resources, trials)
    require_accelerators(spec, slots)
    kept = stored(layout, wanted_weights(spec))
    wanted = [key for key in wanted_weights(spec) if key not in kept]
    located = locate(wanted, around.runs() if any(key.init.startswith(RUN) for key in wanted) else {})
    fetching, probing = begin_fetch(wanted, located), begin_probe(spec, slots)
    data = load_data(spec.data, on_progress=around.progress.count)
    require_data_for(spec, data)
    found = fetched(fetching)
    left, dropped = without_missing(spec, found.missing)
    packing = pack(left, slots, probed(probing, say), data, trials)
    notices = (*dropped, *_fewer(spec, left), *packing.notices)
    notices = notices if resumed else (*notices, *_data_notices(data))
    for notice in notices:
        say(notice)
    learned = pretrain_by_rotation(spec, wanted, data, slots, say)
    return Prepared(data, {**kept, **found.weights, **learned}, left, packing, notices)


def _fewer(spec: StudySpec, left: StudySpec) -> tuple[str, ...]:
    """Say that fewer trials are left of a design."""
    planned, remain = planned_trials(spec), planned_trials(left)
    return () if remain == planned else (f"{planned - remain} trials are left out with that, {remain} remain",)


def _data_notices(data: DataBundle) -> tuple[str, ...]:
    """Say what the record must keep of the data: files left out, and validation images that were trained on."""
    duplicates = duplicate_notice(data)
    return (*(f"skipped {one}" for one in data.summary.skipped), *([duplicates] if duplicates else []))
