"""The expressions of --where: what they mean, that nothing else gets through, and the message of each mistake."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranking_kit import record

from study.analysis.trial_filter import KnownNames, TrialFilter, known_names, value_of
from study.errors import UsageError

ROW: Mapping[str, Any] = {
    "optimizer": "adam", "depth": 34, "nesterov": False, "val_auc": 0.9, "shifted.dark.auc": 0.7, "momentum": None,
    "a-b": 1, "augmentation": "flip+rotate(15)", "tiny": 1e-3, "nan": float("nan"), "it's": "it's",
}  # fmt: skip


def holds(text: str) -> bool:
    return TrialFilter(text).holds(ROW.get)


@pytest.mark.parametrize(
    "text",
    [
        "optimizer = 'adam' and depth >= 34",
        'optimizer == "adam"',
        "optimizer != 'sgd'",
        "optimizer <> 'sgd'",
        "depth in (18, 34)",
        "depth not in (18, 50)",
        "optimizer in ('sgd', 'adam')",
        "augmentation like 'flip%'",
        "augmentation like '%(15)'",
        "augmentation like '%rot%'",
        "augmentation not like 'flip'",
        "momentum is null",
        "depth is not null",
        "NOT depth < 34 AND val_auc > .8",
        "tiny = 1e-3",
        "tiny <= 0.001",
        "depth > -1",
        "34 <= depth",
        "val_auc > shifted.dark.auc",
        "nesterov = false",
        "not nesterov = TRUE",
        "depth = 34.0",
        "`a-b` = 1",
        "(optimizer = 'sgd' or depth = 34) and not (val_auc < 0.5)",
        "optimizer = 'sgd' and depth = 1 or val_auc = 0.9",
        "`it's` = 'it''s'",
        "optimizer < 'adamw'",
        "nan is null",
        "momentum > 0.5 or depth = 34",
        "not " * 2000 + "depth = 34",
        f"{'(' * 20}depth = 34{')' * 20}",
        f"not not not {'not (' * 20}depth = 1{')' * 20}",
        "\tdepth\n=\t34",
    ],
)
def test_what_holds(text: str) -> None:
    assert holds(text)


@pytest.mark.parametrize(
    "text",
    [
        "momentum > 0.5",
        "not momentum > 0.5",
        "momentum != 0.5",
        "momentum in (0.5)",
        "momentum not in (0.5)",
        "momentum = momentum",
        "momentum like '%'",
        "nan < 1 or nan >= 1",
        "nesterov = 0",
        "nesterov in (0)",
        "optimizer like 'ADAM'",
        "augmentation like '%x%'",
        "augmentation like 'flip%flip%'",
        "optimizer = 'sgd' and (momentum > 0.5 or depth = 34)",
    ],
)
def test_what_does_not_hold_and_a_missing_value_least_of_all(text: str) -> None:
    assert not holds(text)


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("optimizer = and depth", 13, "expected a value or a name, got `and`"),
        ("optimizer", 10, "expected one of = != < <= > >=, `in`, `like` or `is`, got the end"),
        ("", 1, "expected a name, a value, `not` or `(`, got the end"),
        ("(depth = 1", 11, "expected `)`, got the end"),
        ("depth = 1)", 10, "expected `and`, `or` or the end, got `)`"),
        ("depth in 1", 10, "expected `(`, got `1`"),
        ("depth in ()", 11, "expected a value, got `)`"),
        ("depth in (1 2)", 13, "expected `,` or `)`, got `2`"),
        ("depth is 3", 10, "expected `null`, got `3`"),
        ("depth not 3", 11, "expected `in` or `like`, got `3`"),
        ("optimizer like 3", 16, "expected a text such as 'flip%', got `3`"),
        ("optimizer = 'adam", 13, "must end with the quote it begins with"),
        ("depth > 3abc", 9, "this is no number"),
        ("depth > 1e999", 9, "a number must be finite"),
        ("a = `b", 5, "a quoted name must be closed"),
        ("a = 1; drop", 6, "`;` means nothing here"),
        ("a === 1", 5, "expected a value or a name, got `=`"),
        ("a = 1 b = 2", 7, "expected `and`, `or` or the end, got `b`"),
        ("(" * 60 + "a = 1", 21, "at most 20 deep"),
        ("(" * 100_000, None, "at most 10000 characters"),
    ],
)
def test_a_mistake_is_reported_with_its_place(text: str, at: int | None, words: str) -> None:
    with pytest.raises(UsageError) as error:
        TrialFilter(text)
    message = str(error.value)
    assert words in message
    if at is not None:
        assert f"character {at}:" in message
        _, shown, mark = message.split("\n")
        assert mark.index("^") - 2 == min(at - 1, 63)
        assert len(shown) < 140


def check(text: str, values: Mapping[str, list[Any]]) -> None:
    TrialFilter(text).check(KnownNames(params=frozenset(values)), lambda name: values.get(name, []))


def test_unknown_names_are_reported_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no trial has `dept`; did you mean `depth`\?"):
        check("dept > 3", {"depth": [18]})
    check("val_auc > 0.5 and trial = 3 and shifted.dark.auc > 0.5 and metrics.val_f1 is null", {"depth": [18]})
    with pytest.raises(UsageError, match=r"no trial has `params.val_auc`"):
        check("params.val_auc > 0.5", {"depth": [18]})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("optimizer = 5", "`optimizer` is text (such as sgd), but 5 is a number; texts go between quotes"),
        ("depth = '34'", "`depth` is a number (such as 18), but '34' is text; numbers go without quotes"),
        ("depth in (18, 'x')", "but 'x' is text"),
        ("nesterov = 1", "`nesterov` is true or false (such as True), but 1 is a number"),
        ("depth like '1%'", "`like` is for text, but `depth` is a number"),
        ("depth < optimizer", "but `optimizer` is text"),
        ("'a' = 1", "'a' is text, but 1 is a number"),
    ],
)
def test_text_is_not_compared_with_numbers(text: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        check(text, {"optimizer": ["sgd"], "depth": [18, None], "nesterov": [True]})
    assert words in str(error.value)


def test_a_name_of_several_kinds_compares_with_each() -> None:
    values = {"channels_last": ["auto", True], "never": [None]}
    for text in ("channels_last = 'auto'", "channels_last = true", "never = 3", "never = 'x'", "depth is null"):
        check(text, {**values, "depth": [1]})
    assert TrialFilter("channels_last != 'auto'").holds({"channels_last": True}.get)
    assert not TrialFilter("channels_last < 'b'").holds({"channels_last": True}.get)


def test_names_mean_what_a_trial_has() -> None:
    trial = record(3, {"val_auc": 0.9}, point=1, replicate=2)
    assert [value_of(trial, name) for name in ("trial", "point", "state", "study", "optimizer", "val_auc")] == [
        3, 1, "COMPLETE", "s", "sgd", 0.9,
    ]  # fmt: skip
    assert (value_of(trial, "metrics.val_auc"), value_of(trial, "params.val_auc"), value_of(trial, "nope")) == (
        0.9,
        None,
        None,
    )
    assert (value_of(trial, "seed"), value_of(trial, "seed", 8)) == (0, 8)
    assert {"optimizer", "depth"} <= known_names([trial]).params


NAMES = ("optimizer", "depth", "momentum", "nesterov", "val_auc")
NUMBERS = st.sampled_from([-1, 0, 0.9, 1, 34, 1e-3])
TEXTS = st.sampled_from(["adam", "sgd", "", "it's", 'say "x"'])
SIGNS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
Naive = Callable[[Mapping[str, Any]], bool | None]


def quoted(value: Any) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def comparison(name: str, sign: str, value: Any) -> tuple[str, Naive]:
    def naive(row: Mapping[str, Any]) -> bool | None:
        mine = row[name]
        if mine is None:
            return None
        if isinstance(mine, str) is not isinstance(value, str) or isinstance(mine, bool) is not isinstance(value, bool):
            return {"=": False, "!=": True}.get(sign)
        return SIGNS[sign](mine, value)

    return f"{name} {sign} {quoted(value)}", naive


def within(name: str, values: list[Any], negated: bool) -> tuple[str, Naive]:
    parts = [comparison(name, "=", value)[1] for value in values]

    def naive(row: Mapping[str, Any]) -> bool | None:
        return None if row[name] is None else any(part(row) for part in parts) is not negated

    return f"{name} {'not ' if negated else ''}in ({', '.join(map(quoted, values))})", naive


def missing(name: str, negated: bool) -> tuple[str, Naive]:
    return f"{name} is {'not ' if negated else ''}null", lambda row: (row[name] is None) is not negated


def joined(word: str, left: tuple[str, Naive], right: tuple[str, Naive]) -> tuple[str, Naive]:
    stops = word == "or"

    def naive(row: Mapping[str, Any]) -> bool | None:
        results = [left[1](row), right[1](row)]
        return stops if stops in results else None if None in results else not stops

    return f"({left[0]}) {word} ({right[0]})", naive


def negated(inner: tuple[str, Naive]) -> tuple[str, Naive]:
    def naive(row: Mapping[str, Any]) -> bool | None:
        result = inner[1](row)
        return None if result is None else not result

    return f"not ({inner[0]})", naive


VALUES = NUMBERS | TEXTS | st.booleans()
LEAVES = st.one_of(
    st.builds(comparison, st.sampled_from(NAMES), st.sampled_from(sorted(SIGNS)), VALUES),
    st.builds(within, st.sampled_from(NAMES), st.lists(VALUES, min_size=1, max_size=3), st.booleans()),
    st.builds(missing, st.sampled_from(NAMES), st.booleans()),
)
EXPRESSIONS = st.recursive(
    LEAVES, lambda inner: st.builds(joined, st.sampled_from(["and", "or"]), inner, inner) | st.builds(negated, inner),
    max_leaves=8,
)  # fmt: skip
ROWS = st.fixed_dictionaries({name: st.none() | VALUES for name in NAMES})


@given(EXPRESSIONS, ROWS)
def test_it_agrees_with_a_naive_evaluator(expression: tuple[str, Naive], row: Mapping[str, Any]) -> None:
    text, naive = expression
    assert TrialFilter(text).holds(row.get) is (naive(row) is True)


WORDS = ["(", ")", "and", "or", "not", "in", "a", "depth", "'x'", "1", "=", "<", "like", "is", "null", ",", "`", "%"]


@given(st.text() | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_nothing_but_a_usage_error_comes_of_nonsense(text: str) -> None:
    with suppress(UsageError):
        trial_filter = TrialFilter(text)
        trial_filter.holds(ROW.get)
        trial_filter.check(KnownNames(params=frozenset(ROW)), lambda name: [ROW.get(name)])


def test_a_pattern_of_many_parts_is_matched_at_once() -> None:
    assert not TrialFilter(f"a like '{'a%' * 1000}b'").holds({"a": "a" * 6000}.get)
