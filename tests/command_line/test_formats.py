"""What each format of a table looks like, and that nothing in a cell can break it."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.output import duration, spreadsheet_text
from cli.views.tables import Column, Format, TableModel, as_text, latex_text, markdown_text

SHEET = TableModel(
    "s: 2 trials",
    [
        Column("rank", [1, None], right=True),
        Column("state", ["COMPLETE", "FAILED"], style=lambda state: "red"),
        Column("val_auc", [0.123456789012345, None], right=True),
        Column("seeds", ["3/3", "1/3"], exact=None),
        Column("complete", [3, 1], hidden=True),
        Column("odd_name", ['a_b & 100% "x", [y]', None]),
        Column("nesterov", [True, None]),
        Column("time", [61.5, None], right=True, text=duration, exact="time_s"),
    ],
)


def test_csv_has_everything_in_full() -> None:
    assert as_text(SHEET, Format.CSV) == (
        "rank,state,val_auc,complete,odd_name,nesterov,time_s\r\n"
        '1,COMPLETE,0.123456789012345,3,"a_b & 100% ""x"", [y]",true,61.5\r\n'
        ",FAILED,,1,,,\r\n"
    )


def test_markdown() -> None:
    assert as_text(SHEET, Format.MARKDOWN) == (
        "| rank | state | val_auc | seeds | odd_name | nesterov | time |\n"
        "| ---: | --- | ---: | --- | --- | --- | ---: |\n"
        '| 1 | COMPLETE | 0.1235 | 3/3 | a_b &amp; 100% "x", \\[y\\] | True | 1m02s |\n'
        "| - | FAILED | - | 1/3 | - | - | - |\n"
    )


def test_latex() -> None:
    assert as_text(SHEET, Format.LATEX) == (
        "\\begin{tabular}{rlrlllr}\n"
        "\\toprule\n"
        "rank & state & val\\_auc & seeds & odd\\_name & nesterov & time \\\\\n"
        "\\midrule\n"
        '1 & COMPLETE & 0.1235 & 3/3 & a\\_b \\& 100\\% "x", [y] & True & 1m02s \\\\\n'
        "- & FAILED & - & 1/3 & - & - & - \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}\n"
    )


def test_a_terminal_shows_brackets_as_they_are() -> None:
    assert SHEET.shown[4].cells == ['a_b & 100% "x", [y]', "-"]
    assert SHEET.shown[1].cells == ["COMPLETE", "FAILED"]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        (r"\%_&#{}~^$", r"\textbackslash{}\%\_\&\#\{\}\textasciitilde{}\textasciicircum{}\$"),
        ("a<b>c|d", r"a\textless{}b\textgreater{}c\textbar{}d"),
        ("two\nlines\tand a tab", "two lines and a tab"),
    ],
)
def test_latex_is_escaped(text: str, escaped: str) -> None:
    assert latex_text(text) == escaped


def test_a_row_that_begins_with_a_bracket_is_no_argument_of_the_one_before() -> None:
    text = as_text(TableModel("", [Column("a", ["[1em]", "*"])]), Format.LATEX)
    assert "\n{}[1em] \\\\\n{}* \\\\\n" in text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", r"a\|b"),
        ("val_auc", "val_auc"),
        ("_x_ *y* `z`", r"\_x\_ \*y\* \`z\`"),
        ("<b>\n&", r"\<b\> &amp;"),
        ("\\", r"\\"),
    ],
)
def test_markdown_is_escaped(text: str, escaped: str) -> None:
    assert markdown_text(text) == escaped


@pytest.mark.parametrize(
    ("text", "cell"),
    [("=1+1", "'=1+1"), ("@", "'@"), ("+1-1", "'+1-1"), ("-x", "'-x"), ("-", "-"), ("-1e-3", "-1e-3"), ("a=1", "a=1")],
)
def test_no_cell_of_csv_begins_like_a_formula(text: str, cell: str) -> None:
    assert spreadsheet_text(text) == cell


@given(st.lists(st.tuples(st.text(), st.floats(allow_nan=False)), max_size=4))
def test_any_text_stays_one_cell(pairs: list[tuple[str, float]]) -> None:
    texts = [text for text, _ in pairs]
    sheet = TableModel("", [Column("text", texts), Column("number", [value for _, value in pairs])])
    rows = list(csv.reader(io.StringIO(as_text(sheet, Format.CSV), newline="")))[1:]
    assert [(text, float(value)) for text, value in rows] == [(spreadsheet_text(text), value) for text, value in pairs]
    for line in as_text(sheet, Format.MARKDOWN).splitlines():
        assert line.replace("\\\\", "").replace("\\|", "").count("|") == 3
    latex = as_text(sheet, Format.LATEX).splitlines()
    assert len(latex) == 6 + len(pairs)
    assert all(line.replace("\\&", "").count("&") == 1 for line in latex[5:-2])


def test_a_sheet_without_rows_has_its_headings() -> None:
    sheet = TableModel("", [Column("a", []), Column("b", [])])
    assert as_text(sheet, Format.CSV) == "a,b\r\n"
    assert as_text(sheet, Format.MARKDOWN) == "| a | b |\n| --- | --- |\n"
    assert [(column.heading, column.cells) for column in sheet.shown] == [("a", []), ("b", [])]
