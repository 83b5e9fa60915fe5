"""Every command on the page of the recipes exists, takes its options and changes fields that there are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest
import typer
from commands import ROOT

from cli.main import app
from study.config_file import load_spec

FOLDER = ROOT / "search_spaces"
PAGE = (FOLDER / "recipes.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
FOLDERS = ("data/masks", "data/masks_30_to_1", "data/by_hand", "DIR", "DIR4", "REAL", "BOTH", "BY_HAND")
RECIPES = sorted(path.stem for path in (FOLDER / "recipes").glob("*.yaml"))


def commands_in(text: str) -> list[list[str]]:
    """Return the words of every command in backticks, fences and list items."""
    fenced = re.findall(r"^study .*$", text, re.MULTILINE)
    quoted = re.findall(r"`(study [^`]*)`", text)
    return [shlex.split(" ".join(command.split()))[1:] for command in (*fenced, *quoted)]


def parse(words: Sequence[str]) -> dict[str, object]:
    """Return what a command would be called with; raises as it does for wrong words."""
    command, name = typer.main.get_command(app), "study"
    while (subcommands := getattr(command, "commands", None)) is not None:
        name, *words = words
        assert name in subcommands, f"there is no command `{name}`"
        command = subcommands[name]
    return command.make_context(name, list(words)).params


@pytest.mark.parametrize("words", commands_in(PAGE), ids=" ".join)
def test_a_command_takes_its_options(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = parse(words)
    if words[0] == "report" and len(names := given["names"] or []) == 2:  # type: ignore[arg-type]
        assert all("/" in name for name in names), "two names are two trials"  # type: ignore[attr-defined]
    if words[0] != "run":
        return
    for folder in FOLDERS:
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    file = FOLDER / "recipes" / given["file"].name  # type: ignore[attr-defined]
    overrides = given["overrides"] or []
    assert isinstance(overrides, list)
    spec = load_spec(file, overrides, name=given["name"], trials=given["trials"]).spec  # type: ignore[arg-type]
    assert spec.name == (given["name"] or file.stem)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_report_is_followed_from_photographs_to_its_last_table(recipe: str) -> None:
    steps = re.findall(r"^(\d+)\. `(study .*?)`", SECTIONS[recipe], re.MULTILINE)
    assert [int(number) for number, _ in steps] == list(range(1, len(steps) + 1))
    called = [" ".join(words) for words in commands_in(SECTIONS[recipe])]
    for command in ("data ", "run ", "effects ", "report ", "export-best ", "evaluate "):
        assert any(each.startswith(command) for each in called), command
    assert any("--compare-crop" in each for each in called)


def test_a_wrong_option_is_seen() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse(["evaluate", "bundle", "PHOTOS", "--compare-crops"])
    with pytest.raises(AssertionError, match="there is no command"):
        parse(["data", "croop", "A", "B"])
