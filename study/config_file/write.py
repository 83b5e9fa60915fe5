"""Write a study as a file that reads as the same study."""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML

from study.config.search_space import Choice, Constant, Domain, Integer, Parameter
from study.config.study_config import StudySpec

_WIDEST = 120


def study_text(spec: StudySpec) -> str:
    """Return the text of a study file with everything that is not the default.

    Values that a start found could not be run are not in it, as the next start finds out by itself.
    """
    tree = spec.model_dump(mode="json", exclude_defaults=True, exclude={"space"})
    if spec.objectives:
        tree.pop("objective", None)
    if spec.space:
        tree["space"] = {parameter.name: _parameter(parameter) for parameter in spec.space}
    order = [name for name in type(spec).model_fields if name in tree]
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None  # the innermost mappings and lists on one line
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.allow_unicode = True
    yaml.width = _WIDEST
    stream = io.StringIO()
    yaml.dump({name: tree[name] for name in order}, stream)
    return stream.getvalue()


def _parameter(parameter: Parameter) -> Any:
    domain = _domain(parameter.domain)
    if not parameter.when:
        return domain
    return {**domain, "when": {condition.parameter: list(condition.values) for condition in parameter.when}}


def _domain(domain: Domain) -> Any:
    if isinstance(domain, Constant):
        return domain.value
    if isinstance(domain, Choice):
        return {"choice": list(domain.values)}
    kind = f"{'log' if domain.log else ''}{'int' if isinstance(domain, Integer) else 'uniform'}"
    has_step = domain.step not in (None, 1) if isinstance(domain, Integer) else domain.step is not None
    return {kind: [domain.low, domain.high], **({"step": domain.step} if has_step else {})}
