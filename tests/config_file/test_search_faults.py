"""Every fault of objectives, replicates, search, budget and what is kept, at its exact place."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_section_faults import SPACE, faults
from test_study_files import load

from study.config.search_config import Objective
from study.config.study_config import StudySpec

TWO = "objectives: [{metric: val_auc, mode: max}, {metric: latency_ms, mode: min}]\n"
NUMBERS = "name: x\nspace: {learning_rate: {loguniform: [0.001, 0.1]}, weight_decay: {uniform: [0.0, 0.1]}}\n"


@pytest.mark.parametrize(
    "body, expected",
    [
        ("objectives: 3", "3:13: objectives must be a list, each a mapping such as {metric: ..., mode: ...}, got 3"),
        ("objectives:", "3:1: objectives has no value; it must be a list, each a mapping such as {metric: ..., mode: "),
        ("objectives: []", "3:13: objectives must have at least 2, got 0; for one, write objective: {metric: val_auc"),
        ("objectives: [{metric: val_auc, mode: max}]", "3:13: objectives must have at least 2, got 1; for one, write "),
        (
            "objectives: [{metric: val_auc, mode: max}, val_f1]",
            "3:44: objectives[1] must be a mapping such as {metric: ..., mode: ...}, got \"val_f1\"",
        ),
        (
            "objectives: [{metric: val_auc, mode: max}, {metric: val_f1, mode: min}]",
            "3:67: objectives[1].mode must be max for val_f1, which is better when higher, got min",
        ),
        (
            "objectives: [{metric: val_auc, mode: max}, {metric: latency, mode: min}]",
            "3:53: trials do not report a metric `latency`; did you mean `latency_ms`?",
        ),
        (
            "objectives: [{metric: val_auc, mode: max}, {metric: test.auc, mode: max}]",
            "3:53: test.auc cannot be an objective: the test images are looked at once, at the end",
        ),
        (
            "objectives: [{metric: val_auc, mode: max}, {metric: val_auc, mode: max}]",
            "3:53: objectives must differ, got val_auc twice; remove one of them",
        ),
        (
            "objectives: [{metric: val_auc, mode: max}, {metric: shifted.offcentre.auc, mode: max}]",
            "3:53: shifted.offcentre.auc cannot be an objective: shifted sets are scored once, at a trial's end, unle",
        ),
        (
            f"{TWO}objective: {{metric: val_auc, mode: max}}",
            "4:1: objective must not be beside objectives, whose first selects a trial's epoch; remove one of them",
        ),
        (f"{TWO}search: {{pruner: asha}}", "4:18: search.pruner must be none for several objectives, as none of them"),
        ("replicates: 3", "3:13: replicates must be a mapping such as {seeds: ...}, got 3"),
        ("replicates: {seeds: 3}", "3:21: replicates.seeds must be a list of whole numbers >= 0, got 3"),
        ("replicates: {seeds: []}", "3:21: replicates.seeds must have at least one seed, got []; write [0]"),
        ("replicates: {seeds: [0, -1]}", "3:25: replicates.seeds[1] must be a whole number >= 0, got -1"),
        ("replicates: {seeds: [0, 2, 0]}", "3:28: replicates.seeds must not repeat a seed, got 0 twice; remove one of"),
        ("replicates: {count: 0}", "3:21: replicates.count must be a whole number >= 1 and <= 1000, got 0"),
        ("replicates: {seeds: [0], count: 1}", "3:26: replicates must have seeds or count, not both; remove one, cou"),
        ("search: {pruner: wilcoxon}", (
            "3:18: pruner wilcoxon needs at least 5 replicates to "
            "act before the last at p_value 0.1, as n pairs of "
        )),
        (
            "search: {pruner: wilcoxon, p_value: 0.01}\nreplicates: {count: 7}",
            "3:18: pruner wilcoxon needs at least 8 replicates to act before the last at p_value 0.01, as n pairs of ",
        ),
        (
            "search: {pruner: patient, patience: 10}",
            "3:37: search.patience must be < max_epochs = 10 for pruner patient to ever act, got 10; lower it, rai",
        ),
        (
            "search: {pruner: patient}\ntrial: {max_epochs: 3}",
            "3:18: search.patience must be < max_epochs = 3 for pruner patient to ever act, got 3; lower it, rai",
        ),
        (
            "search: {pruner: hyperband, min_epochs: 11}",
            "3:41: search.min_epochs must be <= max_epochs = 10 for pruner hyperband to ever act, got 11",
        ),
        ("search: {percentile: 100}", "3:22: search.percentile must be a number > 0 and < 100, got 100"),
        ("search: {p_value: 0.5}", "3:19: search.p_value must be a number > 0 and < 0.5, got 0.5"),
        ("search: {sampler: nsga3}", '3:19: search.sampler must be one of tpe, random, gp, cmaes, qmc, nsga2, got "n'),
        ("search: {sampler: cmaes}", (
            "3:19: search.sampler cmaes needs 2 numeric parameters "
            "without a `when`, got 0, and draws the others at ra"
        )),
        ("warm_start: y", '3:13: warm_start must be a list, each text, got "y"'),
        ("warm_start: [x]", "3:14: warm_start must name other studies, got this one, x; remove it"),
        ("warm_start: [y, z, y]", "3:20: warm_start must not repeat a study, got y twice; remove one of them"),
        ("warm_start: [' ']", '3:14: warm_start[0] must name an earlier study, got " "'),
        ("warm_start: [3]", '3:14: warm_start[0] must be text, got 3; put it in quotes: "3"'),
        ("budget: {wall_clock: 30}", "3:22: budget.wall_clock must be a duration with its unit, such as 90 s or 1 h 3"
         "0 min, got 30; write 30 s,"),
        ("budget: {wall_clock: '30'}", "3:22: budget.wall_clock: a duration must be numbers with s, min, h or d, suc"),
        ("budget: {wall_clock: 5 hours}", "3:22: budget.wall_clock: a duration must be numbers with s, min, h or d, "),
        ("budget: {wall_clock: 0 min}", "3:22: budget.wall_clock: a duration must be > 0 s, got '0 min'"),
        ("budget: {accelerator_hours: 0}", "3:29: budget.accelerator_hours must be a number > 0, got 0"),
        ("budget: {failures: 0}", "3:20: budget.failures must be a whole number >= 1, got 0"),
        ("budget: {target: 0.9}", "3:18: budget.target must be a mapping from text to a number, got 0.9"),
        ("budget: {target: {val_auc: high}}", '3:28: budget.target.val_auc must be a number, got "high"'),
        ("budget: {target: {val_acu: 0.9}}", (
            "3:19: trials do not report a metric `val_acu`; did you "
            "mean `val_auc`? Reported: train_loss, "
        )),
        ("budget: {target: {learning_rate: 1}}", "3:19: learning_rate has no better direction, so it cannot be a targ"),
        ("budget: {target: {test.auc: 0.9}}", "3:19: test.auc cannot be a target: the test images are looked at once,"),
        ("budget: {target: {shifted.offcentre.auc: 0.9}}", "3:19: shifted.offcentre.auc cannot be a target: shifted s"),
        (
            "budget: {target: {val_auc: 99.9}}",
            "3:28: budget.target.val_auc must be <= 1, its best value, got 99.9; write a fraction, such as 0.999",
        ),
        ("keep: {per_trial: last}", '3:19: keep.per_trial must be best, got "last"'),
        ("keep: {per_study: 0}", "3:19: keep.per_study must be all or a whole number >= 1, got 0"),
        ("keep: {per_study: al}", '3:19: keep.per_study must be all or a whole number >= 1, got "al"; did you mean `'),
    ],
)  # fmt: skip
def test_single_fault_has_its_place_and_the_way_out(tmp_path: Path, body: str, expected: str) -> None:
    (fault,) = faults(tmp_path, f"name: x\n{SPACE}{body}\n")
    assert fault.startswith(expected)


def test_cmaes_needs_numbers_that_are_always_there_and_one_objective(tmp_path: Path) -> None:
    assert load(tmp_path, f"{NUMBERS}search: {{sampler: cmaes}}\n").spec.search.sampler == "cmaes"
    hanging = NUMBERS.replace("[0.0, 0.1]}", "[0.0, 0.1], when: {depth: 18}}, depth: {choice: [10, 18]}")
    (fault,) = faults(tmp_path, f"{hanging}search: {{sampler: cmaes}}\n")
    assert "without a `when`, got 1 (learning_rate), and draws the others at random; use tpe or gp" in fault
    (fault,) = faults(tmp_path, f"{NUMBERS}{TWO}search: {{sampler: cmaes}}\n")
    assert fault == (
        "4:19: search.sampler cmaes knows one objective only; use nsga2, tpe or gp, or write objective for one"
    )


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "qmc", "nsga2"])
def test_the_first_of_several_objectives_selects_epochs_and_no_trial_is_stopped(tmp_path: Path, sampler: str) -> None:
    spec = load(tmp_path, f"{NUMBERS}{TWO}search: {{sampler: {sampler}}}\n").spec
    assert spec.objective == Objective(metric="val_auc", mode="max") == spec.objectives[0]
    assert [objective.metric for objective in spec.objective_list] == ["val_auc", "latency_ms"]
    assert spec.pruner == "none"
    assert load(tmp_path, f"{NUMBERS}{TWO}search: {{pruner: none}}\n").spec.objective_list == spec.objective_list
    assert StudySpec.model_validate_json(spec.model_dump_json()) == spec


def test_a_shifted_metric_may_come_later_where_a_shifted_set_steers_the_trial(tmp_path: Path) -> None:
    offcentre, lowlight = (f"{{metric: shifted.{name}.auc, mode: max}}" for name in ("offcentre", "lowlight"))
    text = f"{NUMBERS}objectives: [{offcentre}, {lowlight}]\nbudget: {{target: {{shifted.patterns.auc: 0.9}}}}\n"
    assert load(tmp_path, text).spec.objective.metric == "shifted.offcentre.auc"
    stopping = "trial: {early_stopping_patience: 3, early_stopping_metric: shifted.offcentre.loss}\n"
    text = f"{NUMBERS}{stopping}budget: {{target: {{shifted.patterns.auc: 0.9}}}}\n"
    assert load(tmp_path, text).spec.budget.target == {"shifted.patterns.auc": 0.9}


def test_wilcoxon_takes_the_fewest_replicates_that_can_stop_a_point(tmp_path: Path) -> None:
    for level, least in ((0.1, 5), (0.0625, 6), (0.3, 3), (0.49, 3), (0.01, 8)):
        text = f"{NUMBERS}search: {{pruner: wilcoxon, p_value: {level}, min_epochs: 99}}\nreplicates: {{count: %d}}\n"
        assert load(tmp_path, text % least).spec.pruner == "wilcoxon"
        assert 2.0 ** -(least - 1) < level <= 2.0 ** -(least - 2)
        (fault,) = faults(tmp_path, text % (least - 1))
        assert f"needs at least {least} replicates" in fault


@pytest.mark.parametrize(
    "written, seconds", [("90 s", 90), ("30 min", 1800), ("1 h 30 min", 5400), ("1.5h", 5400), ("2 d", 172_800)]
)
def test_a_wall_clock_is_written_with_its_unit(tmp_path: Path, written: str, seconds: float) -> None:
    spec = load(tmp_path, f"{NUMBERS}budget: {{wall_clock: {written}}}\n").spec
    assert spec.budget.wall_clock_s == seconds


def test_everything_at_once(tmp_path: Path) -> None:
    text = f"""{NUMBERS}
replicates: {{seeds: [5, 7]}}
budget: {{trials: 9, accelerator_hours: 0.5, target: {{val_auc: 1, val_recall.wearing_mask: 0.9}}, failures: 2}}
keep: {{per_trial: best, per_study: all}}
warm_start: [earlier, earliest]
search: {{sampler: gp, pruner: percentile, percentile: 30, reduction_factor: 3}}
"""
    spec = load(tmp_path, text).spec
    assert spec.replicates.numbers == (5, 7)
    assert spec.budget.target == {"val_auc": 1.0, "val_recall.wearing_mask": 0.9}
    assert (spec.keep.per_study, spec.warm_start, spec.pruner) == ("all", ("earlier", "earliest"), "percentile")


def test_nothing_searched_takes_as_many_trials_as_seeds(tmp_path: Path) -> None:
    text = "name: x\nreplicates: {count: 3}\nsearch: {trials: %d}\n"
    assert load(tmp_path, text % 3).spec.search.trials == 3
    (fault,) = faults(tmp_path, text % 4)
    assert fault == (
        "3:10: space searches nothing, so all 4 trials would be one point, which has 3 seeds; "
        "search a hyperparameter or set search.trials: 3"
    )
