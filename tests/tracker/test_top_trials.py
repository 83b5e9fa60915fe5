"""The best trials of thousands by a few requests: exactly those, whatever the values and the filter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranking_kit import record

from study.config.search_config import Mode
from study.records import TrialRecord
from tracking.reader.top_trials import TopQuery, top_trials

RANKED: dict[str, Callable[[TrialRecord], bool]] = {
    "all": lambda trial: True,
    "half": lambda trial: trial.trial % 2 == 0,
    "few": lambda trial: trial.trial % 40 == 0,
    "none": lambda trial: False,
}


class Server:
    """Answers as MLflow does, the oldest run first, and counts."""

    def __init__(self, values: list[float], mode: Mode) -> None:
        self.records = [record(at, value) for at, value in enumerate(values)]
        self.mode = mode
        self.sent: list[int] = []

    def fetch(self, bound: float | None, limit: int | None) -> list[TrialRecord]:
        sign = 1 if self.mode == "max" else -1
        passing = [
            trial for trial in self.records if bound is None or sign * trial.metrics["val_auc"] >= sign * bound
        ]  # fmt: skip
        self.sent.append(len(passing[:limit]))
        return passing[:limit]


def best_of(records: list[TrialRecord], query: TopQuery) -> list[int]:
    ranked = [record for record in records if query.is_ranked(record)]
    return [best.trial for best in sorted(ranked, key=lambda best: (-query.score(best), best.trial))][: query.count]


VALUES = st.one_of(
    st.lists(st.floats(-2, 2), max_size=400),
    st.lists(st.sampled_from([0.0, 0.5, 1.0]), max_size=400),
    st.lists(st.floats(allow_nan=False), max_size=100),
    st.integers(1, 800).map(lambda count: [at * 7919 % 1009 / 1009 for at in range(count)]),
)


@given(VALUES, st.sampled_from(["max", "min"]), st.sampled_from(sorted(RANKED)), st.integers(2, 30), st.booleans())
def test_they_are_the_best(values: list[float], mode: Mode, ranked: str, count: int, known: bool) -> None:
    server, query = Server(values, mode), TopQuery("val_auc", mode, count, RANKED[ranked])
    best = (max if mode == "max" else min)(values) if known and values else None
    top = top_trials(query, server.fetch, len(values), best)
    assert best_of(top, query) == best_of(server.records, query)


@pytest.mark.parametrize("known", [True, False])
def test_few_are_sent(known: bool) -> None:
    values = [0.9 - at * 7919 % 10_007 / 20_000 for at in range(10_000)]
    server, query = Server(values, "max"), TopQuery("val_auc", "max", 20, RANKED["all"])
    top = top_trials(query, server.fetch, len(values), max(values) if known else None)
    assert best_of(top, query) == best_of(server.records, query)
    assert len(server.sent) <= 6
    assert sum(server.sent) <= 400


def test_all_the_same_value_ends() -> None:
    server, query = Server([0.5] * 500, "max"), TopQuery("val_auc", "max", 5, RANKED["all"])
    assert best_of(top_trials(query, server.fetch, 500, 0.5), query) == [0, 1, 2, 3, 4]
