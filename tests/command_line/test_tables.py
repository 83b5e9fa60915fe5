"""What a table looks like in a pipe and on a terminal: no number is cut, no text is taken for a command."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from commands import study_stdout
from reading_kit import begin, run_one
from rich.console import Console

from cli.views import tables
from cli.views.tables import Column, Format, TableModel, as_text, make_table, plain_lines, print_table
from study.paths import Layout

HEADINGS = ["rank", "trial", "name", "val_auc"]
ROWS = [["1", "12", "a", "0.5012"], ["2", "7", "日本 [bold]x[/] [/y]", "0.4999"], ["-", "100", "", "-"]]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand on a terminal of 40 columns."""
    for name, value in (("TTY_COMPATIBLE", "1"), ("COLUMNS", "40"), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)


def plain(text: str) -> str:
    """Return a text without its styles."""
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def wide(columns: int = 60) -> TableModel:
    """Make a table of many long numbers and texts."""
    cells = [[f"{row}.{at:04d}" if at % 2 else f"word{row}-{at:04d}" for at in range(columns)] for row in range(3)]
    names = [f"column{at}" for at in range(columns)]
    return make_table(names, cells, right=names[1::2], folds=names[0::2])


def test_both_ways_of_writing_give_the_same_table() -> None:
    columns = make_table(HEADINGS, ROWS, right=["rank", "trial", "val_auc"], folds=["name"]).columns
    table = TableModel("s [x]: 3", columns)
    written = io.StringIO()
    tables._print_rich(table, Console(file=written, width=100))
    assert [line.rstrip() for line in written.getvalue().split("\n")[:-1]] == plain_lines(table)
    assert plain_lines(table) == [
        "s [x]: 3",
        "",
        " rank   trial   name                   val_auc",
        " " + "─" * 45,
        "    1      12   a                       0.5012",
        "    2       7   日本 [bold]x[/] [/y]    0.4999",
        "    -     100                                -",
        "",
    ]


def test_latex_has_signs_of_numbers_and_no_hyphens() -> None:
    cells = ["-0.1 (-0.2 to +0.1)", "+0.1 +-0.02", "1.00e-04", "2026-11-30", "a-b_c"]
    table = make_table(["+-seeds", "b", "c", "d", "e"], [cells])
    *_, heading, _, row, _, _ = as_text(table, Format.LATEX).splitlines()
    assert heading == r"$\pm$seeds & b & c & d & e \\"
    assert row == r"$-$0.1 ($-$0.2 to +0.1) & +0.1 $\pm$0.02 & 1.00e-04 & 2026-11-30 & a-b\_c \\"


def test_a_pipe_gets_every_cell_whole(capsys: pytest.CaptureFixture[str]) -> None:
    table = wide()
    print_table(table)
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert all(cell in shown for column in table.columns for cell in column.cells)
    assert {len(line.split()) for line in shown.splitlines() if "." in line} == {60}


@pytest.mark.usefixtures("terminal")
def test_a_terminal_folds_texts_before_it_is_too_narrow_and_never_cuts_a_number(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sheet = TableModel(
        "t: 2 trials",
        [
            Column("rank", [1, 2], right=True),
            Column("state", ["COMPLETE", "PRUNED"], style=lambda state: "green"),
            Column("val_auc", [0.51234, 0.4], right=True),
            Column("augmentation", ["flip+rotate(15)+erase", "[none]"], folds=True),
        ],
    )
    print_table(sheet)
    lines = plain(capsys.readouterr().out).splitlines()
    assert "…" not in "".join(lines)
    assert max(map(len, lines)) <= 40
    assert any(line.split()[:3] == ["1", "COMPLETE", "0.5123"] for line in lines)
    assert "[none]" in "".join(lines)
    print_table(wide(20))
    shown = plain(capsys.readouterr().out)
    assert "…" not in shown
    assert all(f"{row}.{at:04d}" in shown for row in range(3) for at in range(1, 20, 2))


@pytest.mark.usefixtures("terminal")
def test_many_rows_are_written_without_rich(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("rich measures every cell several times")

    monkeypatch.setattr(tables, "_print_rich", refuse)
    table = make_table(["trial", "name"], [[str(at), f"n{at}"] for at in range(1001)], right=["trial"])
    print_table(table)
    assert capsys.readouterr().out.splitlines() == plain_lines(table)


@pytest.mark.parametrize("on_terminal", [False, True])
def test_no_text_is_taken_for_a_command(
    on_terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if on_terminal:
        for name, value in (("TTY_COMPATIBLE", "1"), ("TERM", "xterm"), ("COLUMNS", "100")):
            monkeypatch.setenv(name, value)
    print_table(
        TableModel("[/t]", make_table(["[b]", "x [/y] z"], [["a[/]", "[red]2"], ["e\x1b[31m", "two\nlines"]]).columns)
    )
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("[/t]", "[b]", "x [/y] z", "a[/]", "[red]2", r"e\x1b[31m", r"two\nlines"))
    assert "\x1b[31m" not in shown


def test_names_of_studies_are_shown_as_they_are(tmp_path: Path) -> None:
    for name in ("cats [bold]v2", "x [/y] z"):
        run_one(begin(Layout(tmp_path).study(name), trials=1, name=name))
    listed = study_stdout("list", "--results", tmp_path)
    assert "cats [bold]v2" in listed
    assert "x [/y] z" in listed
    differ = study_stdout("diff", "x [/y] z/0", "cats [bold]v2/0", "--results", tmp_path)
    assert "x [/y] z/0" in differ
