"""Any name, value and number is stored as it is, or as a marked escape, or refused before work starts."""

from __future__ import annotations

import logging
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorders import Script, play
from tracking_backends import Backend

from study.config_file import load_spec
from study.errors import SpecError
from study.paths import Layout
from study.records import TrialState
from tracking.content.encoding import displayable
from tracking.content.leaderboard import CSV, TABLE
from tracking.content.tags_and_metrics import MAX_PARAM_CHARACTERS, cut
from tracking.exporter.sync import sync
from tracking.outbox.outbox import Outbox

NAMES = [
    "🙂", "e\u0301 combining", "\u05e9\u05dc\u05d5\u05dd", ".hidden", "a/b", "../up", "it's \"quoted\" `so`",
    "100%", "%2F", "-dash", "back\\slash", "x" * 150, "ä" * 33, "a;DROP TABLE runs;--", "#?&=+", "nul", "日本語" * 7,
]  # fmt: skip
LONG = st.sampled_from(["y" * 6000, "z" * 9000])
texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=40) | LONG
keys = st.from_regex(r"[a-z_]{1,20}", fullmatch=True)
configs = st.dictionaries(keys, texts | st.integers() | st.floats(), max_size=9)
metrics = st.dictionaries(st.sampled_from(["val_loss", "train_loss", "val_f1"]), st.floats(), max_size=3)
QUICK = settings(max_examples=25, deadline=None, derandomize=True, database=None)


def _spec_of(name: str) -> str | None:
    """Return the name a study file may have, None where it is refused."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "study.yaml"
        file.write_text("space: {optimizer: {choice: [sgd, adam]}}\n")
        try:
            return load_spec(file, name=name).spec.name
        except SpecError as error:
            return None if "name" in str(error) else pytest.fail(f"another fault: {error}")


def _store(backend: Backend, config: dict[str, Any], values: dict[str, float]) -> tuple[dict[str, str], dict[str, Any]]:
    """Send a study of one trial and return its params and the histories of its metrics."""
    script, outbox = Script(backend.name, study_id=f"id of {backend.name}"), Outbox(backend.study().outbox)
    record = replace(script.record(0), config={**script.record(0).config, **config})
    begun, reported = replace(script.begin(0), record=record), script.report(0, 1, {"val_auc": 0.5, **values})
    for event in (script.start(), begun, reported):
        outbox.append(event)
    outbox.close()
    assert sync(backend.layout, backend.study(), backend.uri).sent == 3
    runs = backend.runs()
    assert sorted(runs) == sorted([backend.name, "trial 0000"])
    trial = runs["trial 0000"]
    return dict(trial.params), {key: backend.history(trial, key) for key in values}


def _expected(config: dict[str, Any]) -> dict[str, str]:
    return {key: displayable(cut(str(value), MAX_PARAM_CHARACTERS)) for key, value in config.items()}


def _is_kept(stored: float, given: float) -> bool:
    """Whether MLflow kept a number: its databases know no infinity and keep the largest number instead."""
    if math.isnan(given):
        return math.isnan(stored)
    return stored == given or (math.isinf(given) and math.copysign(1e308, given) / stored <= 1)


@given(name=st.text(min_size=1, max_size=30) | st.sampled_from(NAMES), config=configs, values=metrics)
@QUICK
def test_whatever_a_study_file_may_say_is_stored_in_sqlite(
    empty_database: Path, name: str, config: dict[str, Any], values: dict[str, float]
) -> None:

    if _spec_of(name) is None:
        return
    errors: list[logging.LogRecord] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = errors.append  # type: ignore[method-assign]
    logging.getLogger("tracking").addHandler(handler)
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        layout.mlflow_db.write_bytes(empty_database.read_bytes())
        params, histories = _store(Backend("sqlite", layout, None, name), config, values)
    logging.getLogger("tracking").removeHandler(handler)
    assert not errors, "nothing was refused"
    assert {key: params.get(key) for key in config} == _expected(config)
    for key, value in values.items():
        ((_, stored),) = histories[key]
        assert _is_kept(stored, value), (key, value, stored)


def test_every_odd_name_and_value_is_stored_over_http(remote: Backend) -> None:
    names = [name for name in NAMES if _spec_of(name) is not None]
    assert len(names) > 10
    odd = {f"odd_{number}": name for number, name in enumerate([*NAMES, "a\0b", "\ud800", "\n\t", "y" * 6000])}
    config = {**odd, **{f"more_{number:03}": number for number in range(150)}}
    remote.name = names[0]
    params, histories = _store(remote, config, {"val_loss": math.nan, "train_loss": math.inf, "val_f1": -math.inf})
    assert {key: params.get(key) for key in config} == _expected(config)
    assert math.isnan(histories["val_loss"][0][1])
    assert histories["train_loss"][0][1] > 1e308
    assert histories["val_f1"][0][1] < -1e308
    for name in names[1:6]:
        remote.name = name
        _store(remote, {}, {})


def test_no_character_that_does_not_print_reaches_mlflow(database: Backend) -> None:
    odd, script = "a\x1b[31m\u202eb\tc", Script("faces\x1b")
    database.name = script.name
    begun, ended = script.start(), script.finish(0, TrialState.FAILED)
    data = replace(begun.data, classes=(odd, "plain"), sizes={odd: 1}, class_counts={odd: {odd: 1}})
    failed = replace(
        ended.record, error=f"RuntimeError: {odd}.png", params={"optimizer": odd}, metrics={f"recall.{odd}": 0.5}
    )
    seen = script.finish(1)
    events = [replace(begun, data=data, notices=(odd,), device=odd), script.begin(0), replace(ended, record=failed)]
    play(database.open(), [*events, seen, script.end(best=seen.record)])
    client = database.client()
    (experiment,) = [entry for entry in client.experiments() if entry.id != "0"]
    texts = [experiment.name, *experiment.tags.values()]
    for run in client.search([experiment.id], ""):
        texts += [run.name, *(text for pairs in (run.tags, run.params) for pair in pairs.items() for text in pair)]
        if run.tags["study.kind"] == "study":
            texts += [client.download(run.id, name, database.layout.results).read_text() for name in (CSV, TABLE)]
        else:
            texts += run.metrics
    assert sum("\\x1b[31m\\u202eb\\tc" in text for text in texts) > 5
    assert [text for text in texts if not text.replace("\n", "").isprintable()] == []


@pytest.mark.parametrize(
    "name", ["", " ", "a ", "..", "a\0b", "a\nb", "a\u202eb", "\ud800", "ä" * 34, "🙂" * 17, "x" * 151, "/" * 67]
)
def test_a_name_that_cannot_be_kept_is_refused_before_work(name: str) -> None:
    assert _spec_of(name) is None
