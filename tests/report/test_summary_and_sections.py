"""What the report says in words and numbers: headlines, facts, tables and plots against the verdict they come from."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from report_content_kit import made_content
from sklearn.metrics import roc_auc_score

from study.config.search_config import Objective
from study.records import TrialState
from study.report.content import StudyContent
from study.report.elements import Section, Table
from study.report.markdown import markdown_document
from study.report.sections.document import study_document
from study.report.summary import headline

TIED = (2.6, 2.55, 2.5, 2.2, 1.9, 1.6, 1.5, 1.2)


def _sections(content: StudyContent) -> dict[str, Section]:
    return {section.key: section for section in study_document(content, "").sections}


def _column(table: Table, heading: str) -> list[str]:
    at = table.headings.index(heading)
    return [row[at] for row in table.rows]


_UNKNOWN = "; which configuration is the best is unknown, as each ran once."


@pytest.mark.parametrize(
    ("configurations", "seeds", "leads", "answer"),
    [
        (4, 3, (4.5, 1.2, 1.0, 0.9), "Yes: configuration 0 is the best of 4."),
        (8, 3, TIED, "Undecided: 4 of 8 configurations may be the best: 1, 2, 0 and 3."),
        (3, 1, (4.5, 0.5, 0.4), f"The checkpoint of trial 0 is the best of 3 on images like these{_UNKNOWN}"),
        (3, 1, (2.0, 2.0, 1.9), f"Undecided: 2 of 3 checkpoints may be the best: 1 and 0{_UNKNOWN}"),
        (1, 3, (2.0,), "configuration 0 is the only one that can be judged."),
    ],
)
def test_the_headline_is_the_verdict(configurations: int, seeds: int, leads: tuple[float, ...], answer: str) -> None:
    assert headline(made_content(configurations, seeds, leads=leads)) == answer


def test_without_predictions_the_formulas_answer_and_say_why() -> None:
    content = replace(made_content(), verdict=None, no_verdict="trial 0 has no predictions that can be read",
                      answer="no: the lead is 0.01", predictions=(), image_sets=())  # fmt: skip
    assert headline(content) == "configuration 0 is first by val_auc; no: the lead is 0.01."
    told = _sections(content)
    assert told["answer"].paragraphs == ("No interval can be given: trial 0 has no predictions that can be read.",)
    assert "intervals" not in told
    assert "may be" not in told["leaderboard"].tables[0].headings


def test_the_leaderboard_has_ranks_that_may_be_and_marks_the_tied() -> None:
    content = made_content(leads=TIED)
    table = _sections(content)["leaderboard"].tables[0]
    assert table.is_interactive
    assert _column(table, "rank") == [str(rank) for rank in range(1, 9)]
    assert _column(table, "may be")[:5] == ["1 to 4"] * 4 + ["5"]
    assert table.marked == frozenset(range(4))
    assert _column(table, "val_auc")[0] == f"{content.entries[0].value:.4f}"


def test_what_it_takes_grows_as_the_difference_shrinks() -> None:
    (table,) = _sections(made_content(leads=TIED))["answer"].tables
    seeds = [int(cell) for cell in _column(table, "seeds") if cell.isdecimal()]
    assert seeds == sorted(seeds, reverse=True)
    assert table.rows[-1] == ("at hand", "3", "400")
    assert "no number suffices with up to 100 seeds" in table.rows[0]


def test_one_seed_leaves_the_seeds_noise_unknown() -> None:
    (noise,) = _sections(made_content(4, 1))["answer"].figures
    assert ("seeds", "unknown") in noise.table.rows
    assert "what another seed would do is not known" in noise.note
    assert ">unknown</text>" in noise.svg


def test_stopped_trials_are_faded_and_marked_by_shape() -> None:
    content = made_content(9, 1)
    stopped = sum(trial.state is TrialState.PRUNED for trial in content.trials)
    assert stopped == 3
    learning = _sections(content)["learning"].figures[0]
    assert f"{stopped} of them stopped early" in learning.description
    assert learning.svg.count("l sm faded") == sum(
        trial.state is TrialState.PRUNED for entry in content.entries[6:] for trial in entry.trials
    )
    timeline = _sections(content)["cost"].figures[0]
    assert timeline.svg.count("s3 k") == stopped
    assert len(timeline.table.rows) == len(content.trials)


def test_roc_curves_have_the_areas_of_scikit_learn() -> None:
    content = made_content(leads=TIED)
    roc, calibration = _sections(content)["predictions"].figures
    assert [row[1] for row in roc.table.rows] == [
        f"{roc_auc_score(each.labels, each.scores[:, 1]):.4f}" for each in content.predictions
    ]
    first = [row for row in calibration.table.rows if row[0] == content.labels[content.predictions[0].key]]
    assert sum(int(row[2]) for row in first) == 400


def test_entries_are_called_by_what_tells_them_apart() -> None:
    content = made_content()
    values = content.entry(3).params
    assert content.labels[3] == f"3: sgd, {values['learning_rate']:.3g}, 50"
    optimizers = ("sgd", "sgd", "adam", "sgd", "adamw", "sgd", "sgd", "sgd")
    designed = tuple(
        replace(entry, trials=(replace(entry.trials[0], params={"optimizer": optimizers[entry.key], "depth": 18}),))
        for entry in content.entries
    )
    labels = replace(content, entries=designed, searched=("optimizer", "depth")).labels
    assert (labels[0], labels[2]) == ("0: as most others", "2: optimizer adam")
    rates = tuple(
        replace(entry, trials=(replace(entry.trials[0], params={"rate": 0.1 + entry.key, "depth": 18}),))
        for entry in content.entries
    )
    labels = replace(content, entries=rates, searched=("rate", "depth")).labels
    assert labels[0] == "0: rate 0.1", "a value of one's own is told, the first one's too"
    assert replace(content, entries=rates[:1], searched=("rate", "depth")).labels == {0: "0: rate 0.1, depth 18"}


def test_several_objectives_have_a_front_and_no_single_winner() -> None:
    objectives = (Objective(metric="val_auc", mode="max"), Objective(metric="parameters", mode="min"))
    content = made_content(6, 1)
    entries = tuple(
        replace(entry, rank=1 if at < 2 else 2, values={**entry.values, "parameters": 1e6 * (6 - at)})
        for at, entry in enumerate(content.entries)
    )
    content = replace(content, objectives=objectives, entries=entries, verdict=None, answer="As they are.")
    assert headline(content).startswith("2 of 6 are on the front by val_auc and parameters: trial")
    several = replace(
        content, answer="undecided: 2 of 6", may_be_on_front=frozenset(entry.key for entry in entries[:3])
    )
    assert headline(several).startswith("Undecided: as measured, 2 of 6 are on the front by val_auc and parameters: ")
    assert headline(several).endswith(f"; {entries[2].name} may be on it too.")
    unknown = replace(content, answer="not known: 2 of 6; how much seeds blur val_auc is not known")
    assert headline(unknown).startswith("Not known: as measured, 2 of 6 are on the front")
    assert headline(unknown).endswith("; how much seeds blur val_auc is not known.")
    (front,) = _sections(content)["front"].figures
    assert front.svg.count('class="f0"') == 2
    assert [row[1] for row in front.table.rows] == ["1", "1", "2", "2", "2", "2"]


def test_the_most_wrong_pictures_say_how_many_others_miss_them() -> None:
    pictures = _sections(made_content(leads=TIED))["wrong"].pictures
    assert len(pictures) == 12
    assert pictures[1].caption[0] == "00001_masked.jpg"
    assert pictures[1].is_wrong
    assert pictures[1].caption[3] == "wrong in 1 of 4 that may be the best"
    assert all(len(picture.url) < 20_000 for picture in pictures)


def test_markdown_has_the_same_numbers_and_links_to_figures() -> None:
    content = made_content(leads=TIED)
    document = study_document(content, "study")
    text = markdown_document(document, "my figures")
    assert text.startswith("# masks\n")
    for section in document.sections:
        assert f"\n## {section.title}\n" in text
        for figure in section.figures:
            assert f"](my%20figures/{figure.key}.svg)" in text
    header = next(line for line in text.splitlines() if line.startswith("| rank | may be |"))
    assert header.count("|") == len(_sections(content)["leaderboard"].tables[0].headings) + 1
    assert ".svg" not in markdown_document(document)


def test_hostile_names_break_no_table_of_the_markdown() -> None:
    text = markdown_document(study_document(made_content(hostile=True), "study"), "figures")
    assert "<script" not in re.sub(r"\\<", "", text)
    assert not re.search(r"(?<!\\)\]\(javascript", text)
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(columns) == 1
