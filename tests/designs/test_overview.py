"""A design in Markdown: the points that are run, in their order, or the space of a search."""

from __future__ import annotations

from study.config.search_config import DesignSpec, ReplicatesSpec, SearchSpec
from study.config.search_space import Choice, Condition, Constant, Integer, Parameter, Uniform
from study.config.study_config import StudySpec
from study.designs import design_overview, listed_points, planned_trials

SPACE = (
    Parameter(name="optimizer", domain=Choice(values=("sgd", "adam"))),
    Parameter(name="depth", domain=Integer(low=10, high=30, step=10)),
    Parameter(
        name="momentum", domain=Choice(values=(0.0, 0.9)), when=(Condition(parameter="optimizer", values=("sgd",)),)
    ),
    Parameter(name="batch_size", domain=Constant(value=32)),
)


def _cells(text: str) -> list[list[str]]:
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines() if line.startswith("|")]
    return [rows[0], *rows[2:]]


def test_listed_design_shows_every_point_in_order() -> None:
    spec = StudySpec(name="s", space=SPACE, design=DesignSpec(kind="grid"), replicates=ReplicatesSpec(seeds=(3, 5)))
    text = design_overview(spec)
    points = listed_points(spec)
    assert points is not None
    head, *rows = _cells(text)
    assert head == ["optimizer", "depth", "momentum"]
    assert rows == [[str(point.get(name, "")) for name in head] for point in points]
    assert f"{planned_trials(spec)} trials (9 points x 2 seeds)." in text
    assert "Seeds of every point: 3, 5." in text
    assert "Fixed: batch_size = 32." in text


def test_fraction_names_what_it_mixes() -> None:
    space = tuple(Parameter(name=name, domain=Choice(values=(1, 2))) for name in ("depth", "head_width", "batch_size"))
    text = design_overview(StudySpec(name="s", space=space, design=DesignSpec(kind="factorial", resolution=3)))
    assert "A regular fraction of resolution 3." in text
    assert "- aliases: depth = head_width x batch_size" in text
    assert len(_cells(text)) == 1 + 4


def test_search_shows_its_space() -> None:
    rate = Parameter(name="learning_rate", domain=Uniform(low=1e-4, high=0.1, log=True))
    text = design_overview(StudySpec(name="s", space=(*SPACE, rate), search=SearchSpec(trials=5, seed=7)))
    assert "5 trials." in text
    assert "Sampler tpe from seed 7, pruner asha." in text
    assert _cells(text)[1:] == [
        ["optimizer", "sgd, adam", ""],
        ["depth", "whole numbers from 10 to 30 in steps of 10", ""],
        ["momentum", "0.0, 0.9", "optimizer is sgd"],
        ["batch_size", "32 (fixed)", ""],
        ["learning_rate", "0.0001 to 0.1, on a log scale", ""],
    ]


def test_long_design_is_cut_with_a_word_and_bars_stay_in_their_cell() -> None:
    values = tuple(f"a|{n}" for n in range(1200))
    space = (Parameter(name="init", domain=Choice(values=values)),)
    text = design_overview(StudySpec(name="s", space=space, design=DesignSpec(kind="grid")))
    assert "200 more points follow." in text
    assert "| a\\|0 |" in text
    assert text.count("\n| a") == 1000
