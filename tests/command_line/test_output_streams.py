"""What names and devices do to the commands' output: escapes, encodings, full disks, closed pipes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT
from reading_kit import begin, run_one

from study.errors import StudyError
from study.paths import Layout
from study.utils.streams import OutputError, open_output, plain_text


def call(
    *arguments: object, stdout: object = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "cli", *map(str, arguments)]
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, cwd=ROOT, check=False, timeout=120,
        env={**os.environ, **environment},
    )  # type: ignore[call-overload,no-any-return]  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    run_one(begin(Layout(root).study("größe"), trials=1, name="größe"))
    return root


@pytest.mark.parametrize(
    ("command", "encoding"),
    [
        (["list"], "ascii"), (["list"], "latin-1"), (["show", "größe"], "latin-1"), (["compare", "größe"], "ascii"),
        (["best", "größe"], "ascii"),
    ],
)  # fmt: skip
def test_any_encoding_of_the_output_will_do(results: Path, command: list[str], encoding: str) -> None:
    done = call(*command, "--results", results, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    assert all(b"checkpoint of trial 0" in line for line in done.stderr.splitlines()), done.stderr  # it has none
    shown = {"ascii": "gr\\xf6\\xdfe"}.get(encoding, "größe")
    assert shown in done.stdout.decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_stays_json_in_any_encoding(results: Path, encoding: str) -> None:
    done = call("list", "--json", "--results", results, PYTHONIOENCODING=encoding)
    assert json.loads(done.stdout.decode(encoding))[0]["name"] == "größe"


@pytest.mark.parametrize(
    ("command", "encoding"),
    [("show", "ascii"), ("show", "utf-8"), ("diff", "utf-8"), ("run", "utf-8"), ("check", "utf-8"), ("none", "utf-8")],
)
def test_errors_escape_what_steers_a_terminal_and_what_no_encoding_has(
    results: Path, command: str, encoding: str
) -> None:
    name = "red\x1b[31m\u202e\x9b7m" + os.fsdecode(b"\xff")
    words = {"check": ["data", "check", name], "none": [name], "diff": ["diff", name, name]}
    done = call(*words.get(command, [command, name]), PYTHONIOENCODING=encoding, STUDY_RESULTS=str(results))
    said = (done.stdout + done.stderr).decode(encoding)
    assert done.returncode in (1, 2)
    assert "Traceback" not in said
    assert said.replace("\n", "").isprintable()
    assert r"red\x1b[31m\u202e\x9b7m\udcff" in said


@pytest.mark.parametrize(
    "command", [["list"], ["list", "--json"], ["show"], ["compare", "--format", "csv"], ["--help"]]
)
def test_a_full_disk_behind_the_output_is_one_line(results: Path, command: list[str]) -> None:
    options = [] if command == ["--help"] else ["--results", results]
    with Path("/dev/full").open("w") as full:
        done = call(*command, *options, stdout=full)
    assert done.returncode == 1
    assert done.stderr == b"error: standard output must take what is printed, but No space left on device\n"


def test_a_pipe_that_nobody_reads_is_one_line(results: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = call("list", "--results", results, stdout=writer)
    os.close(writer)
    assert done.returncode == 1
    assert done.stderr == b"error: standard output must take what is printed, but nobody reads it any more\n"


def test_closed_streams_are_no_fault(results: Path) -> None:
    command = f"{sys.executable} -m cli list --results {results} >&- 2>&- <&-"
    assert subprocess.run(["sh", "-c", command], cwd=ROOT, check=False, timeout=120).returncode == 0


def test_a_path_that_is_too_long_is_one_line(tmp_path: Path) -> None:
    done = call("list", "--results", tmp_path / ("x" * 300))
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: the system refuses a file or folder, File name too long: ")
    assert done.stderr.count(b"\n") == 1


def test_line_ends_stay_and_all_else_that_does_not_print_is_escaped() -> None:
    assert plain_text("a\nb\r\nc") == "a\nb\r\nc"
    assert plain_text("a\rb\x07\tc\u202e\r") == r"a\rb\x07\tc\u202e\r"


def test_escape_sequences_of_our_own_pass(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        stream = open_output(file.fileno(), "ascii", lambda error: None)
        print("\x1b[1mgröße\x1b[0m", file=stream)
        print("\x1b[1mbold\x1b[0m", file=stream.styled)
        stream.flush()
    assert (tmp_path / "out").read_bytes() == b"\\x1b[1mgr\\xf6\\xdfe\\x1b[0m\n\x1b[1mbold\x1b[0m\n"


def test_a_fault_of_a_stream_may_be_passed_over_or_raised() -> None:
    def refuse(error: OSError) -> None:
        raise OutputError(str(error.strerror))

    with Path("/dev/full").open("w") as full:
        stream = open_output(full.fileno(), "utf-8", lambda error: None)
        print("the study goes on", file=stream)
        with pytest.raises(StudyError, match="No space left"):
            print("x", file=open_output(full.fileno(), "utf-8", refuse))
    assert isinstance(stream.styled, io.TextIOWrapper)
