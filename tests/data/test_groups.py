"""Files of one group stay together, and the splits stay near their fractions."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.data.splits import assign_groups, group_keys, require_unshared_groups
from study.errors import DataError

FRACTIONS = (0.6, 0.2, 0.2)
PERSON = r"/(p\d+)_"


def people(sizes: dict[str, list[int]]) -> dict[str, list[str]]:
    """Return ``sizes[class][person]`` names for each class and person."""
    return {
        name: [f"{name}/p{person}_{at}.png" for person, size in enumerate(of_class) for at in range(size)]
        for name, of_class in sizes.items()
    }


@given(
    a=st.lists(st.integers(0, 6), min_size=4, max_size=25),
    b=st.lists(st.integers(0, 6), min_size=4, max_size=25),
    seed=st.integers(0, 5),
    fractions=st.sampled_from([FRACTIONS, (0.5, 0.5, 0), (0.8, 0.1, 0.1)]),
    stratify=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_groups_never_leak_and_every_file_is_in_one_split(
    a: list[int], b: list[int], seed: int, fractions: tuple[float, float, float], stratify: bool
) -> None:
    names = people({"a": a, "b": b})
    try:
        dealt = assign_groups(names, PERSON, fractions, seed, stratify=stratify)
    except DataError:
        few = min(sum(size > 0 for size in of_class) for of_class in (a, b))
        assert few < 8, "with so many groups of each class every split can have both"
        return
    assert Counter(name for split in dealt.values() for name in split) == Counter([*names["a"], *names["b"]])
    splits_of: dict[str, set[str]] = {}
    for split, files in dealt.items():
        assert {name[0] for name in files} == {"a", "b"}
        for key in group_keys(files, PERSON).values():
            splits_of.setdefault(key, set()).add(split)
    assert all(len(splits) == 1 for splits in splits_of.values())
    assert set(dealt) == {split for split, part in zip(("train", "val", "test"), fractions, strict=True) if part}


@pytest.mark.parametrize("stratify", [True, False])
def test_many_groups_come_near_the_fractions(stratify: bool) -> None:
    names = people({"a": [1 + at % 7 for at in range(120)], "b": [at % 3 for at in range(120)]})
    total = {label: len(names[label]) for label in names}
    dealt = assign_groups(names, PERSON, FRACTIONS, 0, stratify=stratify)
    for split, fraction in zip(("train", "val", "test"), FRACTIONS, strict=True):
        assert len(dealt[split]) == pytest.approx(fraction * sum(total.values()), abs=3)
        if stratify:
            for label in "ab":
                assert sum(name[0] == label for name in dealt[split]) == pytest.approx(fraction * total[label], abs=4)


def test_stratifying_balances_classes_that_lie_in_other_groups() -> None:
    names = {label: [f"{label}/{label}{at}_x.png" for at in range(count)] for label, count in (("a", 400), ("b", 20))}
    dealt = assign_groups(names, r"/(\w\d+)_", FRACTIONS, 0, stratify=True)
    assert Counter(name[0] for name in dealt["val"]) == {"a": 80, "b": 4}


def test_few_groups_still_reach_every_split() -> None:
    names = {label: [f"{label}/{label}{group}_{at}.png" for group in range(3) for at in range(9)] for label in "ab"}
    dealt = assign_groups(names, r"/(\w\d)_", FRACTIONS, 0, stratify=True)
    assert {split: len(files) for split, files in dealt.items()} == {"train": 18, "val": 18, "test": 18}


def test_the_seed_and_not_the_order_deals() -> None:
    names = people({"a": [2] * 30, "b": [2] * 30})
    turned = {label: files[::-1] for label, files in reversed(names.items())}
    first = assign_groups(names, PERSON, FRACTIONS, 1, stratify=True)
    assert assign_groups(turned, PERSON, FRACTIONS, 1, stratify=True) == first
    assert assign_groups(names, PERSON, FRACTIONS, 2, stratify=True) != first


def test_too_few_groups_of_a_class_are_an_error() -> None:
    with pytest.raises(DataError, match=r"(val|test) has none of class 'b', which is in 2 groups\. Add groups"):
        assign_groups(people({"a": [3] * 9, "b": [3, 3]}), PERSON, FRACTIONS, 0, stratify=True)


def test_the_first_group_or_the_whole_match_is_the_key() -> None:
    assert group_keys(["a/p12_3.png"], r"p(\d+)_(\d)") == {"a/p12_3.png": "12"}
    assert group_keys(["a/p12_3.png"], r"p\d+") == {"a/p12_3.png": "p12"}


@pytest.mark.parametrize("pattern", [r"q\d", r"\d*$^|q*", r"(q)?a"])
def test_files_without_a_key_are_counted_and_shown(pattern: str) -> None:
    names = [f"a/{at}.png" for at in range(5)]
    with pytest.raises(DataError, match=r"finds none in 5 of 5: a/0.png, a/1.png, a/2.png; correct data.group_by"):
        group_keys(names, pattern)


def test_a_bad_expression_is_an_error() -> None:
    with pytest.raises(DataError, match=r"must be a regular expression, but '\(a' is not: missing \)"):
        group_keys(["a"], "(a")


def test_groups_in_two_given_splits_are_named() -> None:
    names = {"train": ["train/p1_a", "train/p2_a"], "val": ["val/p1_b", "val/p3_a"], "test": ["test/p4_a"]}
    with pytest.raises(DataError, match=r"but 1 are: p1 \(train, val\); move"):
        require_unshared_groups(names, PERSON)
    require_unshared_groups({**names, "val": ["val/p3_a"]}, PERSON)
