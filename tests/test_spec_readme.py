"""The README of the study files says what the models say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from study.records import METRICS
from study.spec import StudySpec
from study.spec_file.forms import KINDS, STEPPED
from study.spec_file.walk import section_of
from study.spec_file.words import kind_of, listed_values

README = Path(__file__).parent.parent / "search_spaces" / "README.md"
Row = dict[str, str]


def tables() -> dict[str, list[Row]]:
    """Return the rows of every table by its heading and the name of its first column, such as "data/field"."""
    found: dict[str, list[Row]] = {}
    heading, columns = "", None
    for line in README.read_text().split("\n"):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("#"):
            heading = line.lstrip("# ")
        if not line.startswith("|"):
            columns = None
        elif columns is None:
            columns = cells
        elif not line.startswith("|---"):
            assert len(cells) == len(columns), line
            found.setdefault(f"{heading}/{columns[0]}", []).append(dict(zip(columns, cells, strict=True)))
    return found


def sections() -> Iterator[tuple[str, type[BaseModel]]]:
    yield "Top level", StudySpec
    for name in StudySpec.model_fields:
        section = section_of(StudySpec, name)
        if section is not None:
            yield name, section


def shown_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None:
        return "unset"
    if isinstance(field.default, BaseModel):
        return "section below"
    if field.default == ():
        return "empty"
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def bounds_in(text: str) -> list[str]:
    """Return the ends of the interval a range begins with: "[16, 1024]" -> ["[16", "1024]"]."""
    match = re.search(r"([\[(])(\S+), (\S+?)([\])])", text)
    return [match[1] + match[2], match[3] + match[4]] if match else []


def shown_bounds(model: type[BaseModel], name: str) -> list[str]:
    """Return the same from the model's JSON schema."""
    schema = model.model_json_schema()["properties"][name]
    numeric = [one for one in schema.get("anyOf", [schema]) if one.get("type") in ("integer", "number")]
    if not numeric:
        return []
    one = numeric[-1]
    low = f"[{one['minimum']}" if "minimum" in one else f"({one['exclusiveMinimum']}"
    open_high = f"{one['exclusiveMaximum']})" if "exclusiveMaximum" in one else "∞)"
    return [low, f"{one['maximum']}]" if "maximum" in one else open_high]


def test_every_field_has_its_row_and_its_default() -> None:
    documented = tables()
    for heading, model in sections():
        rows = {row["field"].strip("`"): row for row in documented[f"{heading}/field"]}
        assert list(rows) == list(model.model_fields), heading
        for name, field in model.model_fields.items():
            assert rows[name]["default"] == shown_default(field), f"{heading}.{name}"
            assert rows[name]["meaning"]
            assert rows[name]["unit"]


def test_every_range_is_the_models() -> None:
    documented = tables()
    for heading, model in sections():
        for row in documented[f"{heading}/field"]:
            name = row["field"].strip("`")
            listed = listed_values(kind_of(model, name))
            if listed is not None:
                shown = [one if isinstance(one, str) else json.dumps(one) for one in listed]
                assert re.findall(r"`(.+?)`", row["range"])[: len(shown)] == shown, name
            elif bounds := shown_bounds(model, name):
                assert bounds_in(row["range"]) == bounds, name


def test_every_kind_of_domain_and_modifier_is_explained() -> None:
    documented = tables()
    rows = {row["domain"].strip("`").split(":")[0]: row for row in documented["space/domain"]}
    assert tuple(rows) == KINDS
    assert {name for name, row in rows.items() if row["`step`"] == "yes"} == set(STEPPED)
    assert [row["modifier"] for row in documented["space/modifier"]] == ["`step`", "`when`"]


def test_every_metric_is_listed_as_it_is_reported() -> None:
    rows = {row["metric"].strip("`"): row for row in tables()["objective/metric"]}
    assert list(rows) == list(METRICS)
    for name, metric in METRICS.items():
        assert (rows[name]["better"], rows[name]["unit"]) == (metric.mode or "-", metric.unit)
        assert rows[name]["meaning"].startswith(metric.text)


def test_every_shipped_study_file_is_listed() -> None:
    shipped = sorted(path.relative_to(README.parent).as_posix() for path in README.parent.rglob("*.yaml"))
    assert sorted(row["file"].strip("`") for row in tables()["The study file/file"]) == shipped
