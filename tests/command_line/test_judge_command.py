"""judge: anybody's predictions, as arrays or as a long CSV, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cli.main import app
from study.errors import StudyError

KEYS = {"metric", "leader", "verdict", "about", "may_be_best", "differences", "configurations", "winner_value", "notes"}


def _run(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["judge", *map(str, arguments)], catch_exceptions=True)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def _judge(*arguments: object) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(_run(*arguments, "--json"))
    assert answer.keys() >= KEYS
    return answer


def _scores(configurations: int = 3, seeds: int = 2, images: int = 120) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(images) % 2
    lead = np.linspace(3, 1, configurations)[:, None, None]
    scores = lead * (labels - 0.5) + rng.standard_normal((configurations, seeds, images))
    return 1 / (1 + np.exp(-scores)), labels


def _save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def _csv(path: Path, scores: np.ndarray, labels: list[str], *, skip: Any = None, extra: str = "") -> Path:
    """Write scores [configurations, seeds, images] or [..., classes] as a long CSV, its rows shuffled."""
    names = ["score"] if scores.ndim == 3 else [f"score.{name}" for name in ("cat", "dog", "fox")]
    rows = []
    for k, r, i in np.ndindex(*scores.shape[:3]):
        if skip is None or not skip(k, r, i):
            values = np.atleast_1d(scores[k, r, i])
            rows.append(",".join(["abc"[k], str(r), f"im{i}", labels[i], *map(repr, map(float, values))]))
    np.random.default_rng(1).shuffle(rows)
    path.write_text("\n".join([",".join(["configuration,seed,image,label", *names]), *rows]) + "\n" + extra)
    return path


def test_arrays_and_the_same_as_a_table_get_the_same_answer(tmp_path: Path) -> None:
    scores, labels = _scores()
    arrays = _judge(_save(tmp_path / "a.npz", scores=scores, labels=labels), "--metric", "auc", "--names", "a,b,c")
    table = _judge(_csv(tmp_path / "a.csv", scores, [str(each) for each in labels]), "--metric", "auc",
                   "--names", "a,b,c")  # fmt: skip
    assert arrays["leader"] == table["leader"] == "a"
    assert arrays["about"] == "configurations"
    for left, other in zip(arrays["configurations"], table["configurations"], strict=True):
        assert left == pytest.approx(other)
    for left, other in zip(arrays["differences"], table["differences"], strict=True):
        assert left == pytest.approx(other)
        assert left.keys() == {"to", "value", "low", "high", "p", "se_seed", "se_image", "level"}
    assert arrays["winner_value"].keys() == {"raw", "corrected", "low", "high"}
    assert arrays["configurations"][0].keys() >= {"name", "value", "low", "high", "rank_low", "rank_high"}


def test_without_names_configurations_are_called_by_their_index(tmp_path: Path) -> None:
    scores, labels = _scores()
    answer = _judge(_save(tmp_path / "a.npz", scores=scores[::-1], labels=labels), "--metric", "accuracy")
    assert answer["leader"] == 2
    assert set(answer["may_be_best"]) <= {0, 1, 2}
    assert [each["name"] for each in answer["configurations"]] == [0, 1, 2]


def test_a_table_for_people(tmp_path: Path) -> None:
    scores, labels = _scores(seeds=1)
    text = _run(_save(tmp_path / "a.npz", scores=scores, labels=labels), "--metric", "auc", "--baseline", "1")
    assert "certain?  which checkpoint:" in text
    assert "which configuration: unknown, each ran once" in text
    assert re.search(r"0 against the baseline: \+0\.\d+ \(.* to .*\), p ", text)
    assert "these intervals hold together" in text
    assert "to be expected" in text


def test_names_may_hold_commas_and_a_baseline_has_p_values(tmp_path: Path) -> None:
    scores, labels = _scores()
    file = _save(tmp_path / "a.npz", scores=scores, labels=labels)
    answer = _judge(file, "--metric", "auc", "--names", 'a, "b, c",d', "--baseline", "d", "--matters", "0.9")
    assert [row["name"] for row in answer["configurations"]] == ["a", "b, c", "d"]
    rows = answer["against_baseline"]
    assert [row["name"] for row in rows] == ["a", "b, c"]
    assert all(0 < row["p"] <= 1 and row["practically_the_same"] for row in rows)
    done = CliRunner().invoke(app, ["judge", str(file), "--metric", "auc", "--matters", "inf"])
    assert done.exit_code == 2


def test_names_are_no_commands_to_a_terminal_and_no_difference_is_0(tmp_path: Path) -> None:
    scores, labels = _scores(configurations=1)
    file = _save(tmp_path / "a.npz", scores=np.repeat(scores, 2, axis=0), labels=labels)
    arguments = ["judge", str(file), "--metric", "loss", "--names", "\x1b[31mred,b", "--baseline", "b"]
    text = CliRunner().invoke(app, arguments, color=True).stdout
    assert "\x1b" not in text
    assert "\\x1b[31mred: 0." in text
    assert "+0.0000" in text
    assert "-0.0000" not in text


def test_where_nothing_is_known_nothing_is_expected_but_what_was_measured(tmp_path: Path) -> None:
    scores, labels = _scores(images=2)
    answer = _judge(_save(tmp_path / "a.npz", scores=scores, labels=labels), "--metric", "auc")
    winner = answer["winner_value"]
    assert (winner["corrected"], winner["low"], winner["high"]) == (winner["raw"], 0, 1)
    assert not any("scatters" in note for note in answer["notes"])
    text = _run(_save(tmp_path / "b.npz", scores=scores[:1], labels=labels), "--metric", "auc")
    assert text.startswith("auc of 1 configuration on 2 images\n")


def test_20_of_21_against_17_is_undecided(tmp_path: Path) -> None:
    scores = np.ones((2, 1, 21))
    scores[0, 0, 0] = scores[1, 0, 1:5] = 0
    file = _save(tmp_path / "a.npz", scores=scores, labels=np.ones(21, int))
    answer = _judge(file, "--metric", "accuracy")
    assert (answer["verdict"], answer["about"]) == ("undecided", "checkpoints")
    assert answer["differences"][0]["p"] > 0.1
    scores = np.ones((2, 1, 6))
    scores[1, 0, :2] = 0
    answer = _judge(_save(tmp_path / "b.npz", scores=scores, labels=np.ones(6, int)), "--metric", "accuracy")
    assert answer["verdict"] == "undecided"
    assert answer["configurations"][0]["low"] == pytest.approx(0.54, abs=0.01)


def test_a_fraction_has_its_exact_interval(tmp_path: Path) -> None:
    scores = np.ones((2, 1, 10))
    scores[:, 0, :3] = 0
    scores[1, 0, 3] = 0
    answer = _judge(_save(tmp_path / "a.npz", scores=scores, labels=np.ones(10, int)), "--metric", "accuracy")
    first = answer["configurations"][0]
    assert (first["value"], round(first["low"], 3), round(first["high"], 3)) == (0.7, 0.348, 0.933)


def test_classes_by_name_and_a_configuration_with_fewer_seeds(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 60)
    scores = rng.dirichlet([1, 1, 1], size=(3, 3, 60))
    names = [["cat", "dog", "fox"][each] for each in labels]
    file = _csv(tmp_path / "a.csv", scores, names, skip=lambda k, r, i: k == 2 and r > 0)
    answer = _judge(file, "--metric", "recall:fox")
    assert [each["seeds"] for each in sorted(answer["configurations"], key=lambda row: row["name"])] == [3, 3, 1]
    assert any("c ran once" in note for note in answer["notes"])
    assert any("not paired" in note for note in answer["notes"])
    for metric in ("auc", "macro_f1", "loss", "accuracy", "f1:cat", "macro_recall"):
        assert _judge(file, "--metric", metric)["verdict"] in ("yes", "undecided")


def test_names_of_two_classes_and_logits_are_said_to_be_taken_so(tmp_path: Path) -> None:
    scores, labels = _scores()
    logits = np.log(scores / (1 - scores))
    file = _csv(tmp_path / "a.csv", logits, [["no", "yes"][each] for each in labels])
    answer = _judge(file, "--metric", "accuracy")
    assert any("`yes`" in note for note in answer["notes"])
    assert any("logits" in note for note in answer["notes"])
    plain = _judge(_save(tmp_path / "a.npz", scores=scores, labels=labels), "--metric", "accuracy", "--names", "a,b,c")
    assert {row["name"]: row["value"] for row in answer["configurations"]} == pytest.approx(
        {row["name"]: row["value"] for row in plain["configurations"]}
    )


def test_groups_widen_and_differences_too_small_to_matter_are_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    people = np.repeat(np.arange(30), 20)
    labels = np.arange(600) % 2
    liked = rng.standard_normal((2, 1, 30))[:, :, people]
    scores = 1 / (1 + np.exp(-(3 * (labels - 0.5) + liked)))
    single = _judge(_save(tmp_path / "a.npz", scores=scores, labels=labels), "--metric", "accuracy")
    grouped = _judge(_save(tmp_path / "b.npz", scores=scores, labels=labels, groups=people), "--metric", "accuracy",
                     "--matters", "0.9")  # fmt: skip
    assert grouped["differences"][0]["se_image"] > 2 * single["differences"][0]["se_image"]
    assert grouped["differences"][0]["practically_the_same"]
    assert "practically_the_same" not in single["differences"][0]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": [0, 1]}, "lacks `scores`; there is `labels`"),
        ({"scores": np.zeros((2, 4)), "labels": np.arange(4) % 2}, r"must be \[configurations, seeds, images\]"),
        ({"scores": np.zeros((2, 1, 4)), "labels": np.arange(3) % 2}, r"beside scores of 4 images, got \[3\]"),
        ({"scores": np.full((2, 1, 4), np.nan), "labels": np.arange(4) % 2}, "8 of 8 are NaN or infinite"),
        ({"scores": np.zeros((2, 1, 4)), "labels": np.arange(4)}, r"labels must be in \[0, 2\), but got 0 to 3"),
        ({"scores": np.zeros((2, 1, 4)), "labels": [-1, 0, 1, 1]}, r"labels must be in \[0, 2\), but got -1 to 1"),
        ({"scores": np.zeros((2, 1, 4)), "labels": [0, 0, 0, 0]}, "the AUC needs images of every class"),
        ({"scores": np.zeros((2, 1, 4)), "labels": [0.5, 0, 0, 1]}, "NaN or fractions"),
        ({"scores": np.zeros((2, 1, 0)), "labels": np.zeros(0, int)}, "at least one run and image"),
        ({"scores": np.zeros((2, 1, 4)), "labels": [0, 1, 0, 1], "groups": [0, 1]}, "one group for each of the 4"),
        ({"scores": np.zeros((2, 1, 4)), "labels": [0, 1, 0, 1], "groups": [0, 1, np.nan, 1]}, "groups must be known"),
        ({"scores": np.array([[["a", "b"]]]), "labels": [0, 1]}, "`scores` must be numbers"),
        (
            {"scores": np.array([[[None, 1]]], object), "labels": [0, 1]},
            "pickled objects, or what looks like them, are refused",
        ),
        ({"scores": np.zeros((2, 1, 4, 3)), "labels": [0, 1, 0, 1]}, "0 of 4 are of class `2`"),
        ({"scores": np.zeros((2, 1, 4, 1)), "labels": [0, 0, 0, 0]}, "two classes or more"),
        ({"scores": np.zeros((2, 1, 3)), "labels": ["a", "b", "c"]}, "must be 2 different ones"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    file = _save(tmp_path / "a.npz", **{key: np.asarray(value) for key, value in arrays.items()})
    with pytest.raises(StudyError, match=message):
        _run(file, "--metric", "auc")


def test_tables_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    scores, labels = _scores(2, 2, 6)
    names = [str(each) for each in labels]
    file = tmp_path / "a.csv"
    row = "a,0,im0,0,0.5\n"
    cases: list[tuple[dict[str, Any], str]] = [
        ({"extra": row}, "has image `im0` 2 times"),
        ({"skip": lambda k, r, i: (k, r, i) == (1, 1, 3)}, "configuration `b`, seed 1 lacks image `im3`"),
        ({"extra": "a,0,im0,,0.5\n"}, "`label` must not be empty, but is in line 26"),
        ({"extra": "a,0,imX,0,high\n"}, "`score` must be a number, but is not in line 26"),
        ({"extra": "c,0,im0,1,0.5\n"}, "each run must have each image"),
        ({"extra": "a,0,imX,7,0.5\nb,0,imX,7,1\na,1,imX,7,0\nb,1,imX,7,0\n"}, r"labels must be in \[0, 2\)"),
    ]
    for change, message in cases:
        with pytest.raises(StudyError, match=message):
            _run(_csv(file, scores, names, **change), "--metric", "auc")
    for text, message in (
        ("", "a CSV file with a heading"),
        ("a,b\n1,2\n", "lacks configuration, seed, image, label"),
        ("configuration,seed,image,label\na,0,i,1\n", "must have a column `score`"),
        ("configuration,seed,image,label,score,score.a\n", "and not both"),
        ("configuration,seed,image,label,score\n", "has none"),
        ("configuration,seed,image,label,score.a,score.b\na,0,i,c,1,0\n", "which are a, b; got `c`"),
    ):
        file.write_text(text)
        with pytest.raises(StudyError, match=message):
            _run(file, "--metric", "accuracy")


def test_files_and_options_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    scores, labels = _scores()
    file = _save(tmp_path / "a.npz", scores=scores, labels=labels)
    for arguments, message in (
        ((tmp_path / "b.npz", "--metric", "auc"), "there is no file"),
        ((tmp_path / "b.txt", "--metric", "auc"), "must be a .npz or a .csv"),
        ((file, "--metric", "auroc"), "metric must be one of auc"),
        ((file, "--metric", "recall:2"), "must be one of 0, 1"),
        ((file, "--metric", "auc", "--names", "a,b"), "each of 3 configurations, got 2"),
        ((file, "--metric", "auc", "--names", "a,a,b"), "must be different names"),
        ((file, "--metric", "auc", "--baseline", "x"), "--baseline must be one of 0, 1, 2"),
    ):
        with pytest.raises(StudyError, match=message):
            _run(*arguments)
    damaged = tmp_path / "c.npz"
    damaged.write_bytes(file.read_bytes()[:200])
    with pytest.raises(StudyError, match=r"c\.npz"):
        _run(damaged, "--metric", "auc")
    np.save(tmp_path / "d.npy", scores)
    (tmp_path / "d.npy").rename(tmp_path / "d.npz")
    (tmp_path / "e.npz").write_bytes(b"\x80\x04N.")
    for name in ("d.npz", "e.npz"):
        with pytest.raises(StudyError, match=r"must be an \.npz archive"):
            _run(tmp_path / name, "--metric", "auc")
