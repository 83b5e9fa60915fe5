"""Which known name is meant by one that is unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.config.hyperparameters import Hyperparameters
from study.config_file import load_spec
from study.config_file.messages import SECTIONS
from study.errors import SpecError
from study.metric_catalog import METRICS
from study.utils.suggestions import USUAL_NAMES, did_you_mean, nearest_name


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("lr", "learning_rate"), ("learningRate", "learning_rate"), ("wd", "weight_decay"), ("bs", "batch_size"),
        ("num_epochs", "max_epochs"), ("opt", "optimizer"), ("lr_scheduler", "schedule"), ("arch", "family"),
        ("dropout", "head_dropout"), ("ema", "ema_decay"), ("label-smoothing", "label_smoothing"),
        ("gradient_clip_val", "clip_grad_norm"), ("label_smoothng", "label_smoothing"), ("xyzzy", None),
    ],
)  # fmt: skip
def test_a_hyperparameter_is_known_by_what_other_tools_call_it(name: str, meant: str | None) -> None:
    assert nearest_name(name, Hyperparameters.model_fields) == meant


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("val_acc", "val_accuracy"), ("acc", "val_accuracy"), ("val/acc", "val_accuracy"), ("f1", "val_f1"),
        ("train_acc", "train_accuracy"), ("balanced_accuracy", "val_macro_recall"), ("auroc", "val_auc"),
        ("f1_score", "val_f1"), ("metrics/accuracy_top1", "val_accuracy"), ("val_acu", "val_auc"),
        ("eval_loss", "val_loss"), ("loss", "val_loss"),
    ],
)  # fmt: skip
def test_a_metric_is_known_by_what_other_tools_call_it(name: str, meant: str) -> None:
    assert nearest_name(name, METRICS) == meant


def test_a_metric_of_a_shifted_set_keeps_its_set() -> None:
    sets = ["shifted.dark.auc", "shifted.dark.accuracy", "shifted.light.accuracy"]
    assert did_you_mean("shifted.light.acc", sets) == "; did you mean `shifted.light.accuracy`?"


def test_our_own_names_are_no_aliases_within_the_same_section() -> None:
    for fields in [section.model_fields for section in SECTIONS.values()] + [METRICS]:
        assert all(nearest_name(name, fields) == name for name in fields)


def test_the_table_names_only_what_there_is() -> None:
    schema = str([section.model_json_schema() for section in SECTIONS.values()])
    bare = {name.removeprefix("val_").removeprefix("train_") for name in METRICS}
    others = {"choice", "uniform", "loguniform", "int", "logint", "flip", "rotate", "shift", "colour", "erase"}
    others |= {"trivial", "state", "run_id", "busy_s"}
    unknown = [name for name in USUAL_NAMES if f"'{name}'" not in schema and name not in bare | others | {*SECTIONS}]
    assert unknown == ["space", "objectives"], "which are no sections of fields"


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("lr: 0.1", "unknown key `lr` in the study file; did you mean `trial.learning_rate`?"),
        ("trial: {epochs: 3}", "unknown key `epochs` in trial; did you mean `max_epochs`?"),
        ("trial: {image_size: 32}", "unknown key `image_size` in trial; did you mean `data.image_size_px`?"),
        ("search: {num_samples: 3}", "unknown key `num_samples` in search; did you mean `trials`?"),
        ("search: {pruner: hyperband_scheduler}", "did you mean `hyperband`?"),
        ("search: {pruner: ASHAScheduler}", "did you mean `asha`?"),
        ("search: {sampler: bayes}", "did you mean `tpe`?"),
        ("trial: {schedule: CosineAnnealingLR}", "did you mean `cosine`?"),
        ("trial: {optimizer: Adam_W}", "did you mean `adamw`?"),
        ("trial: {augmentation: hflip+rotate}", "did you mean `flip`?"),
        ("objective: {metric: val_acc, mode: max}", "did you mean `val_accuracy`?"),
        ("objective: {metric: val_auc, mode: maximize}", "did you mean `max`?"),
        ("space: {lr: {loguniform: [0.1, 1]}}", "unknown key `lr` in space; did you mean `learning_rate`?"),
        ("space: {depth: {values: [18]}}", "unknown key `values` in space.depth; did you mean `choice`?"),
        ("data: {data_dir: x}", "unknown key `data_dir` in data; did you mean `path`?"),
    ],
)
def test_a_study_file_is_told_which_name_is_meant(tmp_path: Path, line: str, hint: str) -> None:
    (tmp_path / "study.yaml").write_text(f"name: x\n{line}\n")
    with pytest.raises(SpecError) as caught:
        load_spec(tmp_path / "study.yaml")
    assert hint in str(caught.value)
