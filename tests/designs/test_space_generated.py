"""Whatever valid space a study file has: only active parameters are suggested, only in range."""

from __future__ import annotations

import json
import math
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import optuna
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from study.config.hyperparameters import Scalar
from study.config.study_config import StudySpec
from study.config_file import load_spec
from study.errors import SpecError
from study.search.space import suggest, trial_config

optuna.logging.set_verbosity(optuna.logging.ERROR)


LISTED: dict[str, list[Scalar]] = {
    "depth": [10, 18, 34, 50, 101, 152],
    "init": ["kaiming", "xavier", "imagenet"],
    "augmentation": ["none", "flip", "rotate"],
    "optimizer": ["sgd", "adam"],
    "precision": ["auto", "fp32", "bf16"],
    "channels_last": ["auto", True, False],
}
WHOLE = ("batch_size", "max_epochs")
REAL = ("learning_rate", "weight_decay")
Raw = dict[str, Any]


@st.composite
def domains(draw: st.DrawFn, name: str) -> Raw:
    """Draw a valid domain of a hyperparameter, as it stands in a study file."""
    if name in LISTED:
        return {"choice": draw(st.lists(st.sampled_from(LISTED[name]), min_size=1, unique_by=repr))}
    numbers = st.integers(2, 1000) if name in WHOLE else st.decimals("0.0001", 100, places=4)
    kinds = ("int", "logint", "choice") if name in WHOLE else ("uniform", "loguniform", "choice")
    kind = draw(st.sampled_from(kinds))
    low, high = sorted(draw(st.lists(numbers, min_size=2, max_size=2, unique=True)))
    number = int if name in WHOLE else float
    raw: Raw = {kind: [number(low), number(high)]}
    if kind in ("int", "uniform") and draw(st.booleans()):
        unit = 1 if name in WHOLE else Decimal("0.0001")
        raw["step"] = number(max(unit, (high - low) / draw(st.integers(1, 7)) // unit * unit))
    return raw


def takes(raw: Raw) -> list[Scalar]:
    """Return some values a discrete domain can take, none for a continuous one."""
    if "choice" in raw:
        return list(raw["choice"])
    ends = raw.get("int") or raw.get("logint")
    return [ends[0], ends[0] + raw.get("step", 1)] if ends else []


@st.composite
def spaces(draw: st.DrawFn) -> dict[str, Raw]:
    """Draw a valid space, in any file order, with conditions nested to any depth."""
    names = draw(st.permutations([*LISTED, *WHOLE, *REAL]))[: draw(st.integers(1, 9))]
    space: dict[str, Raw] = {}
    for name in names:
        raw = draw(domains(name))
        parents = [parameter for parameter in space if takes(space[parameter])]
        asked = draw(st.lists(st.sampled_from(parents), max_size=2, unique=True)) if parents else []
        if asked:
            raw["when"] = {
                name: draw(st.lists(st.sampled_from(takes(space[name])), min_size=1, unique_by=repr)) for name in asked
            }
        space[name] = raw
    if "sgd" in space.get("optimizer", {}).get("choice", []):
        space["momentum"] = {"uniform": [0.0, 0.9], "when": {"optimizer": "sgd"}}
    return {name: space[name] for name in draw(st.permutations(list(space)))}


def exists(name: str, space: dict[str, Raw], params: dict[str, Scalar]) -> bool:
    """Decide from the raw file whether a parameter exists, from its parents upwards."""
    for parent, wanted in space[name].get("when", {}).items():
        values = wanted if isinstance(wanted, list) else [wanted]
        if not exists(parent, space, params) or repr(params.get(parent)) not in map(repr, values):
            return False
    return True


def in_range(raw: Raw, value: Scalar) -> bool:
    if "choice" in raw:
        return repr(value) in map(repr, raw["choice"])
    assert type(value) is (int if {"int", "logint"} & set(raw) else float)
    low, high = next(raw[kind] for kind in ("int", "logint", "uniform", "loguniform") if kind in raw)
    steps = (value - low) / raw["step"] if "step" in raw else 0.0
    return low <= value <= high and math.isclose(steps, round(steps), abs_tol=1e-6)


def load(space: dict[str, Raw]) -> StudySpec:
    """Load a space; the only fault it may have is that drawn conditions exclude each other."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.yaml"
        path.write_text(json.dumps({"name": "x", "space": space}))  # JSON is YAML
        try:
            return load_spec(path, trials=1).spec
        except SpecError as exc:
            assume(not all("can never exist" in fault.message for fault in exc.faults))
            raise


@settings(max_examples=150, deadline=None, derandomize=True)
@given(space=spaces(), seed=st.integers(0, 2**31))
def test_valid_spaces_suggest_only_active_parameters_in_range(space: dict[str, Raw], seed: int) -> None:
    spec = load(space)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for point in range(5):
        params = suggest(study.ask(), spec.space)
        event(f"{len(space) - len(params)} of {len(space)} inactive")
        assert set(params) == {name for name in space if exists(name, space, params)}
        assert all(in_range(space[name], value) for name, value in params.items()), params
        config = trial_config(spec, params, point=point)
        assert {name: getattr(config, name) for name in params} == params
