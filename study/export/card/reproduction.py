"""The study file that trains one trial of a study again."""

from __future__ import annotations

import io
from pathlib import PurePath
from typing import Any

from ruamel.yaml import YAML

from study.config.hyperparameters import Hyperparameters, in_use
from study.config.study_config import StudySpec
from study.records import TrialRecord


def reproduction_file(spec: StudySpec, record: TrialRecord, precision: str | None) -> str:
    """Return a study file of a single trial with the hyperparameters, the seed and the data of one of a study.

    Of the images' folder it gives the name alone, since where it lay is nobody else's business.

    Args:
        spec: of the study.
        record: the trial.
        precision: fp32 or bf16, in which it was computed; None leaves what its configuration says.
    """
    config = {name: record.config[name] for name in Hyperparameters.model_fields if name in record.config}
    if precision is not None:
        config["precision"] = precision
    tree: dict[str, Any] = {
        "name": f"{spec.name}-trial-{record.trial}",
        "objective": spec.objective.model_dump(),
        "data": _data(spec),
        "trial": {name: _plain(value) for name, value in in_use(config).items()},
        "design": "search",
        "search": {"sampler": "random", "trials": 1, "seed": spec.search.seed, "pruner": "none"},
        "replicates": {"seeds": [spec.replicates.numbers[record.replicate]]},
        "resources": spec.resources.model_dump(exclude_defaults=True),
    }
    if config.get("init") == "rotation":
        tree["rotation"] = spec.rotation.model_dump()
    text = io.StringIO()
    yaml = YAML(typ="safe")
    yaml.default_flow_style = None
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 120
    yaml.dump({name: part for name, part in tree.items() if part != {}}, text)
    return _heading(spec, record, Hyperparameters.model_validate(config).max_epochs) + text.getvalue()


def _data(spec: StudySpec) -> dict[str, Any]:
    settings = {name: _plain(value) for name, value in spec.data.model_dump(exclude_defaults=True).items()}
    if spec.data.path is not None:
        settings["path"] = PurePath(spec.data.path).name or "pictures"
    if spec.data.source == "folder" and spec.data.shifted:
        settings["shifted"] = {name: PurePath(place).name for name, place in spec.data.shifted.items()}
    return {"source": spec.data.source, **settings}


def _heading(spec: StudySpec, record: TrialRecord, max_epochs: int) -> str:
    lines = [f"# Trains trial {record.trial} of study {spec.name} again: study run reproduce.yaml"]
    if spec.data.source == "folder":
        lines.append("# Put the folder of the images beside it, or name it: --set data.path=DIR")
    if record.epochs_run and record.epochs_run < max_epochs:
        lines.append(f"# It was stopped after {record.epochs_run} epochs; its best is epoch {record.epoch}.")
    if str(record.config.get("init", "")).startswith(("checkpoint:", "run:")):
        lines.append("# trial.init names weights that are not in this folder.")
    return "".join(f"{line}\n" for line in lines)


def _plain(value: Any) -> Any:
    """Return a value of types that YAML has."""
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value
