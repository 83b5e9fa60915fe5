"""`study report`: of a study, of two runs, as Markdown with figures; and what it says where something is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import commands
import pytest
from report_results_kit import write_results

from study.config.search_config import DesignSpec, Objective
from study.errors import UsageError

OBJECTIVES = (Objective(metric="val_auc", mode="max"), Objective(metric="parameters", mode="min"))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "results"
    write_results(folder)
    write_results(folder, name="seeds", trials=3, seeds=3, design=DesignSpec(kind="grid"))
    write_results(folder, name="two objectives", objectives=OBJECTIVES)
    write_results(folder, name="part", trials=3, is_over=False)
    return folder


def _report(results: Path, out: Path, *words: str) -> str:
    done = commands.study("report", *words, "--results", results, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert f"wrote {out}" in done.stdout
    return out.read_text()


def test_a_search_is_reported_with_its_verdict(results: Path, tmp_path: Path) -> None:
    page = _report(results, tmp_path / "r.html", "masks")
    best = commands.study("best", "masks", "--results", results, "--json")
    verdict = json.loads(best.stdout)["certainty"]["text"]
    assert verdict.startswith("which checkpoint: ")
    assert verdict in page
    assert "checkpoints may be the best" in page
    assert 'id="figure-importance"' not in page  # eight points have run to their end, too few
    assert "RuntimeError: the loss is NaN" in page
    assert "The pictures are not in this machine&#39;s cache" in page
    assert "study rerun masks/" in page


def test_seeds_are_reported_as_configurations(results: Path, tmp_path: Path) -> None:
    page = _report(results, tmp_path / "r.html", "seeds")
    assert "of 3 configurations may be the best" in page or "is the best of 3" in page
    assert ">3/3</td>" in page
    assert "mean of 3 seeds" in page
    assert "Effects on validation" in page
    assert "adam for sgd" in page


def test_a_longer_search_is_reported_with_importance_and_what_it_cannot_say(tmp_path: Path) -> None:
    write_results(tmp_path, trials=20, epochs=2)
    page = _report(tmp_path, tmp_path / "r.html", "masks")
    assert 'id="figure-importance"' in page
    assert "not which value is better, nor why, and nothing of chance" in page


def test_several_objectives_are_reported_as_a_front(results: Path, tmp_path: Path) -> None:
    page = _report(results, tmp_path / "r.html", "two objectives")
    assert "are on the front by val_auc and parameters" in page
    assert 'id="front"' in page
    assert 'id="intervals"' not in page
    by_one = _report(results, tmp_path / "r.html", "two objectives", "--metric", "val_auc")
    assert 'id="intervals"' in by_one


def test_an_unfinished_study_is_reported_so_far(results: Path, tmp_path: Path) -> None:
    assert "So far: " in _report(results, tmp_path / "r.html", "part")


def test_markdown_links_to_the_figures_it_writes(results: Path, tmp_path: Path) -> None:
    figures = tmp_path / "paper" / "my figures"
    text = _report(results, tmp_path / "r.md", "masks", "--format", "markdown", "--figures", str(figures))
    files = {path.name for path in figures.iterdir()}
    assert {"noise.svg", "intervals.svg", "roc.svg", "timeline.svg", "parallel.svg"} <= files
    for name in files:
        assert f"](paper/my%20figures/{name})" in text
    assert "| rank | may be | trial |" in text


def test_the_name_of_the_file_says_the_format(results: Path, tmp_path: Path) -> None:
    assert _report(results, tmp_path / "r.MD", "masks").startswith("# ")
    assert _report(results, tmp_path / "r.htm", "masks").startswith("<!DOCTYPE html>")
    assert _report(results, tmp_path / "r.txt", "masks", "--format", "markdown").startswith("# ")
    out = tmp_path / "other.md"
    done = commands.study("report", "masks", "--results", results, "--out", out, "--format", "html")
    assert done.returncode == 2
    assert "--format html and the name of --out must agree" in done.stderr
    assert not out.exists()


@pytest.mark.parametrize("words", [("masks/0", "masks/1"), ("masks", "0", "1")])
def test_two_runs_are_compared(results: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    page = _report(results, tmp_path / "r.html", *words)
    assert "trial 0 against trial 1" in page
    assert "in val_auc on 200 images like these" in page
    assert page.count("<svg") == 6  # noise, three curves, ROC, calibration
    assert ">learning_rate</td>" in page


def test_two_runs_of_different_studies_are_compared_on_the_same_images(results: Path, tmp_path: Path) -> None:
    page = _report(results, tmp_path / "r.html", "masks/0", "seeds/1")
    assert "masks/0" in page
    assert "on 200 images like these" in page


def test_two_runs_of_several_seeds_tell_of_their_configurations_too(results: Path, tmp_path: Path) -> None:
    page = _report(results, tmp_path / "r.html", "seeds/0", "seeds/1")
    pair = json.loads(commands.study("compare", "seeds/0", "seeds/1", "--results", results, "--json").stdout)
    assert f"Their configurations, 0 and 1, over their seeds: {pair['text']}." in page
    same = _report(results, tmp_path / "r.html", "seeds/0", "seeds/3")
    assert "Their configurations" not in same


def test_predictions_that_are_gone_leave_the_formulas_answer(results: Path, tmp_path: Path) -> None:
    old = tmp_path / "results"
    shutil.copytree(results, old)
    for file in old.glob("studies/masks/trials/*/*/validation.npz"):
        file.unlink()
    page = _report(old, tmp_path / "r.html", "masks")
    assert "No interval can be given: trial " in page
    assert "has no predictions that can be read" in page
    assert "No stored predictions could be read" in page
    pair = _report(old, tmp_path / "p.html", "masks/0", "masks/1")
    assert "how certain the difference is cannot be said" in pair


def test_without_a_name_the_newest_study_is_reported_into_a_file_named_after_it(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "wrote part-report.html" in commands.invoke("report", "--results", str(results)).stdout
    assert commands.invoke("report", "two objectives", "0", "1", "--results", str(results)).exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"part-report.html", "trial 0 against trial 1-report.html"}
    with pytest.raises(UsageError, match="--out must be a file"):
        commands.invoke("report", "--results", str(results), "--out", str(tmp_path))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("maks",), 1, "no study `maks` in"),
        (("maks",), 1, "did you mean `masks`?"),
        (("masks/0", "masks/0"), 2, "two different runs are compared, but both are masks/0"),
        (("masks/0", "masks/99"), 1, "no trial 99 in `masks`; there are: 0 to 11"),
        (("masks", "0", "x"), 2, "after a study's name come the numbers of two trials"),
        (("masks/0", "masks/4"), 2, "that has val_auc, but trial 4 has none"),
        (("a", "b", "c", "d"), 2, "report takes a study, two runs, or a study and two numbers of its trials, got 4"),
        (("masks", "--metric", "val_acc"), 2, "did you mean `val_accuracy`?"),
        (("masks", "--tracking-uri", "http://localhost:9"), 2, "the artifact report.html of its run there"),
    ],
)
def test_what_cannot_be_reported_is_said_in_one_line(
    results: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    done = commands.study("report", *words, "--results", results)
    assert done.returncode == code
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(Path.cwd().glob("*-report.html"))
