"""What of a name is shown as it is, and what is escaped."""

import os
import sys
import unicodedata

import pytest

from study.utils.text import printable


@pytest.mark.parametrize(
    "text", ["", "plain", "Prüfung é e\u0301", "実験\u3000一", "عربي", "🙂", "a\\nb", "1\u00a0000", "50 %"]
)
def test_ordinary_text_stays(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x1b[31mred\x07\x9b", r"\x1b[31mred\x07\x9b"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("a\u200bb\ufeff\u2028", r"a\u200bb\ufeff\u2028"),
        (os.fsdecode(b"\xff.png"), r"\udcff.png"),
        ("\ud800 \U000e0001", r"\ud800 \U000e0001"),
    ],
)
def test_what_does_not_print_is_escaped(text, shown):
    assert printable(text) == shown


def test_nothing_in_unicode_reaches_the_terminal_raw_that_steers_it():
    shown = printable("".join(map(chr, range(sys.maxunicode + 1))))
    assert not {unicodedata.category(character) for character in set(shown)} & {
        "Cc",
        "Cf",
        "Cs",
        "Co",
        "Cn",
        "Zl",
        "Zp",
    }
    shown.encode()
