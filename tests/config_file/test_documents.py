"""The documentation of study files says what the models say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from study.config.augmentation_spec import OPERATIONS, PRESETS, parse_augmentation
from study.config.hyperparameters import DEPTHS, Hyperparameters, Normalization, PlainInit
from study.config.search_config import DesignKind, PrunerName, SamplerName
from study.config.study_config import StudySpec
from study.config_file import load_spec
from study.config_file.domains import KINDS, STEPPED
from study.config_file.messages import SECTIONS, listed_values, schema_at
from study.config_file.objective_rules import unfit
from study.designs import count_points, design_notes
from study.metric_catalog import EVALUATED, METRICS, PER_CLASS, VAL_PREFIX, metric_named
from study.training.dataset import FIXED_NORMALIZATIONS
from study.training.models.architectures import ARCHITECTURES

PUBLISHERS = {"torchvision": "https://download.pytorch.org/", "timm": "https://huggingface.co/timm/"}
FOLDER = Path(__file__).parents[2] / "search_spaces"
FIELDS = FOLDER / "fields.md"
DOCUMENTS = (FOLDER / "README.md", FIELDS, FOLDER / "recipes.md")
Row = dict[str, str]


def aliases(spec: StudySpec) -> list[str]:
    return [note.removeprefix("aliases: ") for note in design_notes(spec) if note.startswith("aliases: ")]


def tables() -> dict[str, list[Row]]:
    """Return the rows of every table by its heading and the name of its first column, such as "data/field"."""
    rows: dict[str, list[Row]] = {}
    heading, columns = "", None
    for line in "\n".join(document.read_text() for document in DOCUMENTS).split("\n"):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("#"):
            heading = line.lstrip("# ")
        if not line.startswith("|"):
            columns = None
        elif columns is None:
            columns = cells
        elif not line.startswith("|---"):
            assert len(cells) == len(columns), line
            rows.setdefault(f"{heading}/{columns[0]}", []).append(dict(zip(columns, cells, strict=True)))
    return rows


def sections() -> Iterator[tuple[str, type[BaseModel]]]:
    yield "Top level", StudySpec
    yield from ((name, SECTIONS[name]) for name in StudySpec.model_fields if name in SECTIONS)


def shown_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None:
        return "unset"
    if isinstance(field.default, BaseModel):
        return "section below"
    if field.default == () or field.default_factory is dict:
        return "empty"
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def words_in(text: str) -> list[str]:
    """Return what stands in backticks."""
    return re.findall(r"`(.+?)`", text)


def bounds_in(text: str) -> list[str]:
    """Return the ends of the interval a range begins with: "[16, 1024]" -> ["[16", "1024]"]."""
    match = re.search(r"([\[(])(\S+), (\S+?)([\])])", text)
    return [match[1] + match[2], match[3] + match[4]] if match else []


def shown_bounds(model: type[BaseModel], name: str) -> list[str]:
    """Return the same from the model's JSON schema."""
    schema = model.model_json_schema()["properties"][name]
    kinds = schema.get("anyOf", [schema])
    numeric = [schema for schema in kinds if schema.get("type") in ("integer", "number") and "enum" not in schema]
    if not numeric:
        return []
    bounds = numeric[-1]
    low = f"[{bounds['minimum']}" if "minimum" in bounds else f"({bounds['exclusiveMinimum']}"
    open_high = f"{bounds['exclusiveMaximum']})" if "exclusiveMaximum" in bounds else "∞)"
    return [low, f"{bounds['maximum']}]" if "maximum" in bounds else open_high]


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
            listed = listed_values(schema_at((name,) if model is StudySpec else (heading, name)) or {})
            shown = [value if isinstance(value, str) else json.dumps(value) for value in listed]
            assert words_in(row["range"])[: len(shown)] == shown, name
            if bounds := shown_bounds(model, name):
                assert bounds_in(row["range"]) == bounds, name
            if model.model_fields[name].annotation is bool:
                assert words_in(row["range"]) == ["true", "false"], name


def test_every_sampler_and_pruner_is_explained() -> None:
    documented = tables()
    for name, literal in (("sampler", SamplerName), ("pruner", PrunerName)):
        assert [row[name].strip("`") for row in documented[f"search/{name}"]] == list(get_args(literal))


def test_every_design_is_explained_with_an_example_that_is_read_as_it_says(tmp_path: Path) -> None:
    text = FIELDS.read_text()
    for kind in get_args(DesignKind):
        assert f"\n### {kind}\n" in text
    for kind, points in (("grid", 6), ("one_factor", 4), ("factorial", 16), ("points", 2)):
        section = text.split(f"\n### {kind}\n")[1]
        path = tmp_path / f"{kind}.yaml"
        path.write_text(f"name: {kind}\n{section.split('```')[1].removeprefix('yaml')}")
        spec = load_spec(path).spec
        assert spec.design.kind == kind
        assert section.split("```")[2].startswith(f"\n\nhas {points} points")
        assert count_points(spec) == points
        if kind == "factorial":
            named = re.findall(r"here `(.+?)` and six more", section)
            assert [line for line in aliases(spec) if line in named] == named
            assert len(aliases(spec)) == 7
            assert all(" x " in effect for line in aliases(spec) for effect in line.split(" = "))


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
    shipped = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.yaml"))
    assert sorted(row["file"].strip("`") for row in tables()["The study file/file"]) == shipped


def test_every_family_of_metrics_can_be_asked_for_as_it_says() -> None:
    rows = {row["family"].strip("`"): row for row in tables()["objective/family"]}
    by_class = [f"{kind}.<class>" for kind in PER_CLASS]
    assert list(rows) == [*(f"{VAL_PREFIX}{name}" for name in by_class), "shifted.<set>.<name>", "test.<name>"]
    for family, row in rows.items():
        for bare in (*EVALUATED, *by_class):
            name = family.replace("<name>", bare).replace("<set>", "dark").replace("<class>", "cat")
            metric = metric_named(name)
            assert metric is not None, name
            if metric.mode is not None:
                assert (unfit(name, "the objective", None) is None) is (row["objective"] == "yes"), name


def test_every_family_is_listed_with_its_depths_and_where_its_weights_come_from() -> None:
    rows = {words_in(row["family"])[0]: row for row in tables()["Families/family"]}
    assert list(rows) == list(DEPTHS)
    for family, row in rows.items():
        assert words_in(row["depth"]) == [str(depth) for depth in DEPTHS[family]]
        publisher, depths = row["ImageNet weights"].split(": ")
        urls = {depth: ARCHITECTURES[family, depth].weights_url for depth in DEPTHS[family]}
        urls = {depth: url for depth, url in urls.items() if url}
        assert depths.split(", ") == [str(depth) for depth in urls]
        assert all(url.startswith(PUBLISHERS[publisher]) for url in urls.values())


def test_every_way_to_begin_is_explained() -> None:
    rows = [row["init"].strip("`") for row in tables()["Initial weights/init"]]
    assert rows == [*get_args(PlainInit), "checkpoint:PATH", "run:RUN_ID"]
    assert [name for name in rows if admits_init(name)] == rows


def admits_init(text: str) -> bool:
    return Hyperparameters.model_validate({"init": text}).init == text


def test_every_normalization_is_listed_with_its_numbers() -> None:
    rows = {row["normalization"].strip("`"): row for row in tables()["Normalization/normalization"]}
    assert tuple(sorted(rows)) == tuple(sorted(get_args(Normalization)))
    for name, numbers in FIXED_NORMALIZATIONS.items():
        for column, expected in zip(("mean", "standard deviation"), numbers, strict=True):
            shown = [float(part) for part in rows[name][column].split(", ")]
            assert tuple(shown * (3 // len(shown))) == expected, name


def test_every_augmentation_is_listed_as_it_is_read() -> None:
    documented = tables()
    rows = {row["operation"].strip("`"): row for row in documented["Augmentation/operation"]}
    assert list(rows) == list(OPERATIONS)
    for name, operation in OPERATIONS.items():
        row = rows[name]
        assert row["strength"] == f"`{operation.default:g}`", name
        assert row["range"] == f"[{operation.low:g}, {operation.high:g}]", name
        assert row["unit"] == operation.unit, name
        assert row["what it does"].startswith(operation.text), name
    presets = {row["preset"].strip("`"): row["stands for"].strip("`") for row in documented["Augmentation/preset"]}
    assert {name: "" if text == "nothing" else text for name, text in presets.items()} == dict(PRESETS)
    assert all(parse_augmentation(name) == parse_augmentation(PRESETS[name]) for name in presets if PRESETS[name])


@pytest.mark.parametrize("recipe", sorted((FOLDER / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_claim_of_a_recipe_has_its_row(recipe: Path) -> None:
    claims = re.findall(r"^#   (\d+)\. ", recipe.read_text(), re.MULTILINE)
    assert claims
    assert [row["claim"] for row in tables()[f"{recipe.stem}/claim"]] == claims
