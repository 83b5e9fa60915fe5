"""The description of a study in MLflow: how far it is, what leads, nothing taken for markup."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from recorders import Script

from study.config.search_config import Objective, ReplicatesSpec
from study.events import Event, StudyEnded, StudyStarted, TrialFinished, TrialStarted
from study.records import StudyOutcome, TrialRecord, TrialState
from tracking.content.description import description, plain, value
from tracking.outbox.outbox import Line
from tracking.outbox.study_state import StudyProgress, fold


def _fold(events: Sequence[Event]) -> StudyProgress:
    return fold(Line(number, event, None, 0) for number, event in enumerate(events))


def _ended(script: Script, trial: int, auc: float, **changes: object) -> TrialFinished:
    event = script.finish(trial)
    metrics = {"val_auc": auc, "val_loss": 0.2, "latency_ms": 10 * auc}
    record = replace(event.record, value=auc, metrics=metrics, checkpoint="c", **changes)  # type: ignore[arg-type]
    return replace(event, record=record)


def _place(trial: int) -> str | None:
    return f"#/experiments/1/runs/r{trial}"


def _table(text: str) -> list[list[str]]:
    """Return the cells of the table, without its rule."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [row for row in rows if set(row) != {"---"}]


def test_nothing_is_told_before_the_study_began() -> None:
    assert description(StudyProgress()) == ""


def test_progress_is_counted_and_the_first_five_are_listed() -> None:
    script = Script(planned=12)
    events: list[Event] = [script.start(), *(script.begin(n) for n in range(9))]
    events += [_ended(script, n, 0.5 + 0.01 * n) for n in range(7)]
    events.append(script.finish(7, TrialState.FAILED))
    text = description(_fold(events), _place)
    assert text.startswith(f"**faces** is running: {'█' * 13}{'░' * 7} 8 of 12 trials ended (67%)\n")
    assert "Ended: 7 complete, 0 pruned, 1 failed; 1 running; " in text
    assert "Best: [trial 6](#/experiments/1/runs/r6), `val_auc` **0.56** at epoch 2 with optimizer = sgd" in text
    assert "- imagenet weights are missing: dropped" in text
    head, *rows = _table(text)
    assert head == ["rank", "trial", "epoch", "val_auc", "optimizer", "learning_rate"]
    assert [row[:4] for row in rows] == [
        [str(rank), f"[{n}](#/experiments/1/runs/r{n})", "2", f"{0.5 + 0.01 * n:.6g}"]
        for rank, n in enumerate([6, 5, 4, 3, 2], start=1)
    ]


def test_rate_is_that_since_the_last_start_and_only_said_of_several_trials() -> None:
    script = Script(planned=20)
    before = [script.start(), *(_ended(script, n, 0.5) for n in range(4))]
    assert "an hour since the last start" in description(_fold(before))
    again = [*before, replace(script.start(resumed=True), at_s=script.now_s)]
    assert "an hour" not in description(_fold(again))
    for n in range(4, 7):
        script.now_s += 599.0
        again.append(_ended(script, n, 0.5))
    assert "; 6 an hour since the last start" in description(_fold(again)), "three in half an hour"


def test_ended_study_has_no_trial_running() -> None:
    script = Script()
    events = [script.start(), script.begin(0), script.end(StudyOutcome.INTERRUPTED)]
    assert "running" not in description(_fold(events))
    assert "**faces** is interrupted" in description(_fold(events))
    assert "No trial has a checkpoint yet." in description(_fold(events))


def test_configurations_are_listed_by_their_mean() -> None:
    script = Script(planned=6)
    spec = script.spec().model_copy(update={"replicates": ReplicatesSpec(count=3)})
    aucs = [0.7, 0.8, 0.9, 0.85, 0.86]
    events = [replace(script.start(), spec=spec)]
    ends = [_ended(script, n, auc, point=n // 3, replicate=n % 3) for n, auc in enumerate(aucs)]
    text = description(_fold([*events, *ends]), _place)
    head, first, second = _table(text)
    assert head[:4] == ["rank", "point", "seeds", "best trial"]
    assert first[:5] == ["1", "0", "3/3", "[2](#/experiments/1/runs/r2)", "0.8"]
    assert second[:5] == ["2", "1", "2/3", "[4](#/experiments/1/runs/r4)", "0.855"], "a mean over fewer seeds is after"
    assert "Best: point 0, `val_auc` **0.8** is the mean of 3/3 seeds, its best is [trial 2]" in text


def test_several_objectives_show_their_front() -> None:
    script = Script(planned=40)
    objectives = (Objective(metric="val_auc", mode="max"), Objective(metric="latency_ms", mode="min"))
    spec = script.spec().model_copy(update={"objective": objectives[0], "objectives": objectives})
    ends = [_ended(script, n, 0.5 + 0.01 * n) for n in range(25)]
    worse = _ended(script, 25, 0.5)
    worse = replace(worse, record=replace(worse.record, metrics={"val_auc": 0.5, "latency_ms": 99.0}))
    text = description(_fold([replace(script.start(), spec=spec), *ends, worse]), _place)
    assert "It is to maximise `val_auc`, minimise `latency_ms` (tpe, none) on cpu" in text
    assert "Pareto front: 25 trials that no other beats in every objective, 20 of them below." in text
    head, *rows = _table(text)
    assert head[:2] == ["trial", "epoch"]
    assert rows[0][:4] == ["[24](#/experiments/1/runs/r24)", "2", "0.74", "7.4"]
    assert len(rows) == 20
    assert not any("r25" in row[0] for row in rows)


def test_hostile_values_stay_in_their_cell() -> None:
    script = Script("a|b `c` <script>alert(1)</script> **x**")
    mean = {"optimizer": "x | y\n`z` [l](http://evil) <b> ~~s~~ Größe 🙂 'q'", "learning_rate": "w" * 6000}
    text = description(_fold([script.start(), _ended(script, 0, 0.5, params=mean)]), _place)
    head, row = _table(text)
    assert len(head) == len(row) == 6
    assert "<" not in text
    assert "Größe 🙂 'q'" in row[4]
    assert re.sub(r"&#(\d+);", lambda match: chr(int(match[1])), row[4]).startswith("x | y `z` [l](http://evil) <b>")
    assert len(row[5]) == 60
    assert row[5].endswith("…")


def test_description_never_exceeds_a_tag() -> None:
    script = Script()
    start = replace(script.start(), notices=tuple(f"notice {n} " + "x" * 200 for n in range(100)))
    text = description(_fold([start, _ended(script, 0, 0.5)]))
    assert len(text) == 8000
    assert "characters)" in text[-40:]
    assert _table(text), "what is cut is the end"


@pytest.mark.parametrize(
    ("given", "shown"),
    [("one_cycle", "one_cycle"), ("_x_", "&#95;x&#95;"), ("stages<=1", "stages&#60;=1"), (0.1 + 0.2, "0.3"), (None, ""),
     (True, "True"), (34, "34"), ("a\nb", "a b")],
)  # fmt: skip
def test_values_are_shown_as_they_are(given: object, shown: str) -> None:
    assert value(given) == shown
    assert "|" not in plain(f"{given}|")


def test_study_of_an_outbox_of_former_days_is_told() -> None:
    script = Script()
    start: StudyStarted = replace(script.start(), design="")
    record: TrialRecord = script.record(0)
    events: list[Event] = [
        start,
        TrialStarted(record, 1, 1.0),
        StudyEnded("faces", StudyOutcome.FINISHED, None, {}, 2.0),
    ]
    assert "is finished" in description(_fold(events))
