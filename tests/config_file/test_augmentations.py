"""The words of an augmentation: what can be read, what is refused, and how it is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.config.augmentation_spec import OPERATIONS, PRESETS, Step, check_augmentation, parse_augmentation


def test_steps_keep_their_order_and_a_strength_left_out_is_the_default() -> None:
    assert parse_augmentation("flip+rotate(15)+erase") == (
        Step("flip", 0.5),
        Step("rotate", 15.0),
        Step("erase", OPERATIONS["erase"].default),
    )


def test_none_is_no_step() -> None:
    assert parse_augmentation("none") == ()


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_the_steps_it_stands_for(name: str) -> None:
    assert parse_augmentation(name) == (parse_augmentation(PRESETS[name]) if PRESETS[name] else ())
    assert check_augmentation(name) == name


def test_presets_join_with_operations() -> None:
    assert [step.name for step in parse_augmentation("light + blur(2)")] == ["flip", "shift", "blur"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "`` is no augmentation; write operations such as"),
        ("flip+", "`` is no augmentation"),
        ("twirl", "`twirl` is no augmentation; .* flip, rotate, .* one of none, light"),
        ("rotate(15", "`rotate\\(15` is no augmentation"),
        ("light(2)", "`light\\(2\\)` is no augmentation"),
        ("rotate(181)", r"strength of rotate must be a number in \[0, 180\] \(degrees\), got 181"),
        ("crop(0)", r"crop must be a number in \[0.01, 1\]"),
        ("blur(nan)", r"blur must be a number in \[0, 8\] \(pixels\), got nan"),
        ("blur(inf)", "got inf"),
        ("blur()", "got ``"),
        ("blur(much)", "got `much`"),
        ("flip+flip", "`flip` comes 2 times in `flip\\+flip`"),
        ("light+flip", "`flip` comes 2 times"),
        ("mixup+cutmix", "at most one of them"),
    ],
)
def test_a_bad_text_is_refused_with_the_way_out(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_augmentation(text)


@pytest.mark.parametrize("name", OPERATIONS)
def test_defaults_and_both_ends_are_in_range(name: str) -> None:
    operation = OPERATIONS[name]
    for strength in (operation.default, operation.low, operation.high):
        assert parse_augmentation(f"{name}({strength})") == (Step(name, strength),)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        steps = parse_augmentation(text)
    except ValueError:
        return
    assert all(OPERATIONS[step.name].low <= step.strength <= OPERATIONS[step.name].high for step in steps)
