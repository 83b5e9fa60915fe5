"""Study files that are right: what they mean, and what options do to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from study.config.search_space import Choice, Condition, Constant, Integer, Parameter, Uniform
from study.config.study_config import StudySpec
from study.config_file import LoadedSpec, load_spec
from study.errors import SpecError

SPACES = Path(__file__).parents[2] / "search_spaces"


def load(folder: Path, text: str, overrides: Sequence[str] = (), **options: Any) -> LoadedSpec:
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return load_spec(path, overrides, **options)


def space_of(folder: Path, *lines: str) -> dict[str, Parameter]:
    text = "name: x\nspace:\n" + "".join(f"  {line}\n" for line in lines)
    return {parameter.name: parameter for parameter in load(folder, text).spec.space}


def test_the_ablation_says_what_its_contract_says() -> None:
    loaded = load_spec(SPACES / "ablation.yaml")
    spec = loaded.spec
    assert loaded.path == SPACES / "ablation.yaml"
    assert loaded.text == (SPACES / "ablation.yaml").read_text()
    assert (spec.name, spec.objective.metric, spec.objective.mode) == ("ablation", "val_auc", "max")
    assert (spec.data.source, spec.data.image_size_px) == ("faces", 48)
    assert (spec.trial.max_epochs, spec.trial.batch_size) == (4, 64)
    sgd = Condition(parameter="optimizer", values=("sgd",))
    assert spec.space == (
        Parameter(name="depth", domain=Choice(values=(10, 18, 34))),
        Parameter(name="init", domain=Choice(values=("kaiming", "xavier", "imagenet"))),
        Parameter(name="augmentation", domain=Choice(values=("none", "flip", "rotate"))),
        Parameter(name="optimizer", domain=Choice(values=("sgd", "adam"))),
        Parameter(name="momentum", domain=Uniform(low=0.0, high=0.99), when=(sgd,)),
        Parameter(name="learning_rate", domain=Uniform(low=1e-4, high=1e-1, log=True)),
    )
    assert (spec.search.sampler, spec.search.trials, spec.search.seed, spec.search.pruner) == ("tpe", 16, 0, "asha")
    assert (spec.resources.cpus_per_trial, spec.resources.gpus_per_trial) == (1, "auto")


def test_every_domain_form(tmp_path: Path) -> None:
    space = space_of(
        tmp_path,
        "learning_rate: {loguniform: [1e-4, 1]}",
        "weight_decay: {uniform: [0, 1], step: 0.25}",
        "batch_size: {logint: [8, 64]}",
        "max_epochs: {int: [2, 9], step: 3}",
        "channels_last: {choice: [auto, true, false]}",
        "momentum: 0",
        "depth: 34",
        "optimizer: sgd",
    )
    domains = {name: parameter.domain for name, parameter in space.items()}
    assert domains == {
        "learning_rate": Uniform(low=1e-4, high=1.0, log=True),
        "weight_decay": Uniform(low=0.0, high=1.0, step=0.25),
        "batch_size": Integer(low=8, high=64, log=True),
        "max_epochs": Integer(low=2, high=9, step=3),
        "channels_last": Choice(values=("auto", True, False)),
        "momentum": Constant(value=0.0),
        "depth": Constant(value=34),
        "optimizer": Constant(value="sgd"),
    }
    assert type(domains["momentum"].value) is float


def test_a_step_may_be_the_whole_range_as_written(tmp_path: Path) -> None:
    space = space_of(tmp_path, "weight_decay: {uniform: [0.0001, 0.0351], step: 0.035}")
    assert space["weight_decay"].domain == Uniform(low=0.0001, high=0.0351, step=0.035)


def test_a_date_is_text_as_yaml_1_2_has_it(tmp_path: Path) -> None:
    assert load(tmp_path, "name: 2024-05-01\nspace: {depth: {choice: [10]}}\n").spec.name == "2024-05-01"


def test_an_int_is_a_real_number_where_one_is_meant(tmp_path: Path) -> None:
    space = space_of(tmp_path, "weight_decay: {choice: [0, 0.5]}", "depth: {choice: [18], when: {weight_decay: 0}}")
    assert [type(parameter) for parameter in space["weight_decay"].domain.values] == [float, float]
    assert [type(parameter) for parameter in space["depth"].when[0].values] == [float]


def test_parents_come_first_and_the_rest_stays_in_file_order(tmp_path: Path) -> None:
    space = space_of(
        tmp_path,
        "momentum: {choice: [0.5], when: {optimizer: [sgd], depth: 18}}",
        "init: {choice: [kaiming, xavier], when: {momentum: 0.5}}",
        "batch_size: {choice: [8, 16]}",
        "optimizer: {choice: [sgd, adam], when: {depth: [10, 18]}}",
        "depth: {choice: [10, 18, 34]}",
    )
    assert list(space) == ["batch_size", "depth", "optimizer", "momentum", "init"]
    assert [(condition.parameter, condition.values) for condition in space["momentum"].when] == [
        ("optimizer", ("sgd",)),
        ("depth", (18,)),
    ]


def test_a_condition_on_a_constant_is_decided_at_once(tmp_path: Path) -> None:
    space = space_of(tmp_path, "optimizer: sgd", "momentum: {uniform: [0, 0.9], when: {optimizer: sgd}}")
    assert space["momentum"].when == ()


def test_yaml_1_2_anchors_and_merge_keys(tmp_path: Path) -> None:
    text = """\
name: yes
space:
  learning_rate: &wide {loguniform: [1e-4, 1e-1]}
  weight_decay:
    <<: *wide
    when: {optimizer: [sgd]}
  optimizer: {choice: [sgd, adam]}
search: &search {trials: 4, seed: 1}
resources: {worker_retries: 0o17}
"""
    spec = load(tmp_path, text).spec
    assert spec.name == "yes"
    assert spec.resources.worker_retries == 15
    by_name = {parameter.name: parameter for parameter in spec.space}
    assert by_name["weight_decay"].domain == by_name["learning_rate"].domain == Uniform(low=1e-4, high=0.1, log=True)


def test_a_merge_key_gives_way_to_the_keys_beside_it(tmp_path: Path) -> None:
    text = (
        "name: x\ntrial: &base {depth: 10}\nspace:\n  <<: {init: xavier, batch_size: 8}\n  init: {choice: [kaiming]}\n"
    )
    spec = load(tmp_path, text).spec
    assert {parameter.name: parameter.domain for parameter in spec.space} == {
        "init": Choice(values=("kaiming",)),
        "batch_size": Constant(value=8),
    }


def test_a_file_with_a_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes("\ufeffname: ä\r\nspace:\r\n  depth: {choice: [10, 18]}\r\n".encode())
    assert load_spec(path).spec.name == "ä"


def test_an_empty_section_is_the_default(tmp_path: Path) -> None:
    spec = load(tmp_path, "name: x\nspace: {depth: {choice: [10]}}\ntrial:\ndata:\n").spec
    assert spec == StudySpec(name="x", space=(Parameter(name="depth", domain=Choice(values=(10,))),))


TEXT = """\
name: x
trial: {max_epochs: 4}
space:
  depth: {choice: [10, 18]}
  optimizer: {choice: [sgd, adam]}
  momentum: {uniform: [0.0, 0.9], when: {optimizer: sgd}}
"""


def test_options_write_over_the_file(tmp_path: Path) -> None:
    overrides = ["trial.max_epochs=1", "data.image_size_px=32", "space.depth.choice=[34]", "search.trials=9"]
    loaded = load(tmp_path, TEXT, overrides, name="y", trials=2)
    spec = loaded.spec
    assert (spec.name, spec.trial.max_epochs, spec.data.image_size_px, spec.search.trials) == ("y", 1, 32, 2)
    assert spec.space[0].domain == Choice(values=(34,))
    assert loaded.text == TEXT


def test_the_last_of_two_options_wins(tmp_path: Path) -> None:
    assert load(tmp_path, TEXT, ["trial.max_epochs=x", "trial.max_epochs=3"]).spec.trial.max_epochs == 3


@pytest.mark.parametrize("narrowed", ["space.optimizer=adam", "space.optimizer.choice=[adam]"])
def test_an_option_that_narrows_a_parent_takes_its_children_along(tmp_path: Path, narrowed: str) -> None:
    assert [parameter.name for parameter in load(tmp_path, TEXT, [narrowed]).spec.space] == ["depth", "optimizer"]


def test_an_option_that_keeps_the_parent_keeps_the_child(tmp_path: Path) -> None:
    spec = load(tmp_path, TEXT, ["space.optimizer=sgd"]).spec
    assert [(parameter.name, parameter.when) for parameter in spec.space] == [
        ("depth", ()),
        ("optimizer", ()),
        ("momentum", ()),
    ]


def test_switching_the_source_leaves_the_other_sources_keys_aside(tmp_path: Path) -> None:
    faces, folder = f"{TEXT}data: {{count: 100}}\n", f"{TEXT}data: {{source: folder, path: nowhere}}\n"
    assert load(tmp_path, folder, ["data.source=faces"]).spec.data.path is None
    data = load(tmp_path, faces, ["data.source=folder", f"data.path={tmp_path}"]).spec.data
    assert (data.source, data.path) == ("folder", str(tmp_path))
    with pytest.raises(SpecError, match=r"--set data\.count=90: data\.count belongs to source: faces"):
        load(tmp_path, folder, ["data.source=folder", f"data.path={tmp_path}", "data.count=90"])


def test_a_relative_path_is_relative_to_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "images").mkdir(parents=True)
    text = f"{TEXT}data: {{source: folder, path: images}}\n"
    monkeypatch.chdir(tmp_path / "here")
    assert load(tmp_path, text).spec.data.path == "images"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match="does not exist"):
        load(tmp_path, text)


@pytest.mark.parametrize("gpus", ["auto", 0, 0.25, 1, 2, 2.0])
def test_gpus_are_a_share_of_one_or_whole(tmp_path: Path, gpus: object) -> None:
    assert load(tmp_path, f"{TEXT}resources: {{gpus_per_trial: {gpus}}}\n").spec.resources.gpus_per_trial == gpus


def test_a_spec_survives_json(tmp_path: Path) -> None:
    spec = load(tmp_path, TEXT, ["space.channels_last={choice: [true, auto]}", "resources.gpus_per_trial=0.5"]).spec
    again = StudySpec.model_validate_json(spec.model_dump_json())
    assert again == spec
    assert again.model_dump_json() == spec.model_dump_json()


def test_a_whole_number_may_be_written_with_a_point_where_values_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("name: x\ntrial: {channels_last: 1}\nspace: {depth: {choice: [18.0, 10]}}\n")
    spec = load_spec(path).spec
    (depth,) = spec.space
    assert repr(depth.domain) == "Choice(kind='choice', values=(18, 10))"
    assert spec.trial.channels_last is True
