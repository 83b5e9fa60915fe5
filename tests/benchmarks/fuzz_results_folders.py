"""Damage a small results folder in thousands of ways, and see that reading it ends with a clear word.

After each damage `list`, `show`, `compare`, `best` and now and then `export-best` are run in this process. A fault is
a traceback, a run of something in the folder, a change outside it, a failure without a word, or more than 10 s of
this process's time. Sending the scores of the test images to MLflow is left out.

    python tests/benchmarks/fuzz_results_folders.py --count 5000 --seed 0 --out FILE
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import unittest.mock
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1] / "support"), str(Path(__file__).parents[2])]

from commands import study  # noqa: E402
from earlier_results import STUDY, unpack  # noqa: E402

LIMIT_S = 10.0
EXPORT_EVERY = 20
_LARGE_BYTES = 20_000
_TEXTS = ("ledger.journal", "outbox.jsonl", "runs.json", "outbox.position.json", "storage.json", "study.yaml")
_CHECKPOINT = ("checkpoint.json", "model.safetensors", "validation.npz")


@dataclass
class Tally:
    """What came of the damages: how many, how many commands by exit code, and every fault."""

    damages: Counter[str] = field(default_factory=Counter)
    exits: Counter[str] = field(default_factory=Counter)
    faults: list[dict[str, object]] = field(default_factory=list)
    slowest_s: float = 0.0


class Bomb:
    """Unpickling it leaves a mark."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (self.mark, "w"))


class Damager:
    """Damages a results folder; the same seed and number give the same damage."""

    def __init__(self, results: Path, outside: Path, mark: Path, random_: random.Random) -> None:
        self.results = results
        self.study = results / "studies" / STUDY
        self.outside = outside
        self.mark = mark
        self.random = random_

    def damage(self) -> str:
        """Damage one to three files; return what was done."""
        kinds: list[tuple[Callable[[Path], object], int]] = [
            (self.json_value, 12), (self.bits, 4), (self.cut, 3), (self.lines, 4), (self.swap, 2), (self.replace, 2),
            (self.delete, 1), (self.link, 2), (self.pipe, 1), (self.folder, 1), (self.bomb, 1), (self.noise, 1),
        ]  # fmt: skip
        done = []
        for _ in range(self.random.choice((1, 1, 1, 2, 3))):
            (act,) = self.random.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])
            path = self.file()
            if act == self.json_value and path.suffix not in (".json", ".jsonl", ".journal"):
                path = self.study / self.random.choice(_TEXTS[:5])
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.is_symlink() or not path.is_file():  # an earlier damage's: it must not be written through
                path.unlink(missing_ok=True)
            elif path.stat().st_nlink > 1:
                content = path.read_bytes()
                path.unlink()
                path.write_bytes(content)
            act(path)
            done.append(f"{act.__name__} {path.relative_to(self.results)}")
        return "; ".join(done)

    def file(self) -> Path:
        """Return a file of the folder, which need not be there."""
        if self.random.random() < 0.65:
            return self.study / self.random.choice(_TEXTS)
        if self.random.random() < 0.75:
            trial = self.random.choice(("00000", "00000", "00001"))
            return self.study / "trials" / trial / "epoch-0002" / self.random.choice(_CHECKPOINT)
        return self.results / self.random.choice(("mlflow.db", f"studies/{STUDY}/driver.lock", f"studies/{STUDY}/stop"))

    def json_value(self, path: Path) -> None:
        """Replace, delete or add a value of a JSON text, or of one of its lines."""
        if path.name == "storage.json" and not path.exists():
            path.write_text(json.dumps({"given": self.text(), "root": self.text()}))
            return
        lines = self._read(path).splitlines(keepends=True) if path.suffix != ".json" else [self._read(path)]
        if not lines:
            return
        for at in self.random.sample(range(len(lines)), min(len(lines), self.random.choice((1, 1, 2, 20)))):
            try:
                value = json.loads(lines[at])
            except (ValueError, RecursionError):
                continue
            lines[at] = (json.dumps(self.changed(value)) + "\n").encode("utf-8", "surrogatepass")
        path.write_bytes(b"".join(line if isinstance(line, bytes) else line.encode() for line in lines))

    def changed(self, value: Any) -> Any:
        """Return a JSON value with something in it changed."""
        if isinstance(value, str) and value.startswith(("{", "[")) and self.random.random() < 0.8:
            try:
                return json.dumps(self.changed(json.loads(value)))
            except (ValueError, RecursionError):
                return self.odd()
        if isinstance(value, dict) and value and self.random.random() < 0.9:
            key = self.random.choice(list(value))
            how = self.random.random()
            if how < 0.1:
                return {name: item for name, item in value.items() if name != key}
            if how < 0.15:
                return {**value, self.text(): self.odd()}
            return {**value, key: self.changed(value[key])}
        if isinstance(value, list) and value and self.random.random() < 0.8:
            at = self.random.randrange(len(value))
            return [*value[:at], self.changed(value[at]), *value[at + 1 :]]
        return self.odd()

    def odd(self) -> Any:
        """Return a value that nobody expects."""
        deep: list[Any] = []
        for _ in range(self.random.choice((10, 900))):
            deep = [deep]
        return self.random.choice([
            None, True, False, -1, 0, 10**6, 10**18, 10**400, 1e308, -1e308, float("nan"), float("inf"), 0.5, "", [],
            {}, deep, self.text(), self.text(), self.text(), [self.text()], {"x": self.text()}, [1, "2", None],
        ])  # fmt: skip

    def text(self) -> str:
        """Return a hostile or odd text."""
        return self.random.choice([
            f"{self.outside}/id_rsa", f"file://{self.outside}", "../" * 12 + "etc/passwd", "/dev/zero", "/dev/stdin",
            "~/.ssh/id_rsa", "s3://other/bucket", "http://127.0.0.1:9", f"sqlite:///{self.outside}/own.db",
            "sqlite:///../../../own.db", "epoch-0002", "/x/studies/y/trials/00000/epoch-0002", "x" * 100_000, "\x1b[2J",
            "\ud800", "\u202eabc", "a\nb", "nan", "COMPLETE", "1" * 5_000, "NaN", "\x00",
        ])  # fmt: skip

    def bits(self, path: Path) -> None:
        """Flip some bits."""
        content = bytearray(self._read(path))
        for _ in range(self.random.choice((1, 1, 8, 200)) if content else 0):
            content[self.random.randrange(len(content))] ^= 1 << self.random.randrange(8)
        path.write_bytes(content)

    def cut(self, path: Path) -> None:
        """Cut the end or the beginning off."""
        content = self._read(path)
        at = self.random.randrange(len(content) + 1)
        path.write_bytes(content[:at] if self.random.random() < 0.8 else content[at:])

    def lines(self, path: Path) -> None:
        """Repeat, drop or mix lines."""
        lines = self._read(path).splitlines(keepends=True)
        self.random.choice([
            lambda: self.random.shuffle(lines), lambda: lines.extend(lines[:20]), lambda: lines.reverse(),
            lambda: lines.__delitem__(slice(0, self.random.randrange(len(lines) + 1), 2)),
        ])()  # fmt: skip
        path.write_bytes(b"".join(lines))

    def swap(self, path: Path) -> None:
        """Put another file of the folder in its place."""
        shutil.copyfile(self.random.choice([other for other in self.results.rglob("*") if other.is_file()]), path)

    def replace(self, path: Path) -> None:
        """Put something else in its place."""
        path.write_bytes(self.random.choice([b"", b"null", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 5000]))

    def delete(self, path: Path) -> None:
        """Delete it."""
        path.unlink(missing_ok=True)

    def link(self, path: Path) -> None:
        """Put a link out of the folder in its place."""
        path.unlink(missing_ok=True)
        path.symlink_to(self.random.choice([self.outside / "id_rsa", self.outside, Path("/dev/zero"), path]))

    def pipe(self, path: Path) -> None:
        """Put a pipe in its place, which nobody writes to."""
        path.unlink(missing_ok=True)
        os.mkfifo(path)

    def folder(self, path: Path) -> None:
        """Put a folder in its place."""
        path.unlink(missing_ok=True)
        path.mkdir()

    def bomb(self, path: Path) -> None:
        """Put a pickle in its place that leaves a mark when it is loaded."""
        path.write_bytes(pickle.dumps(Bomb(str(self.mark))))

    def noise(self, path: Path) -> None:
        """Put random bytes in its place."""
        path.write_bytes(self.random.randbytes(self.random.choice((1, 100, 100_000))))

    def _read(self, path: Path) -> bytes:
        return path.read_bytes() if path.is_file() and not path.is_symlink() else b""


class _TooSlowError(BaseException):
    """A command takes so long that it is ended."""


def _interrupt(signum: int, frame: object) -> None:
    raise _TooSlowError


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return the files of a folder with their modes and contents."""
    return {str(path): (path.stat().st_mode, path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()}


def _link_large(source: str, target: str) -> None:
    """Copy a file; a large one is linked, and copied when it is damaged."""
    (os.link if os.path.getsize(source) > _LARGE_BYTES else shutil.copy)(source, target)


def fuzz(count: int, seed: int, place: Path, first: int = 0) -> Tally:
    """Damage a folder so many times, each time anew from the whole one, and run the commands on it."""
    whole, outside, mark = unpack(place / "whole"), place / "outside", place / "executed"
    outside.mkdir()
    for name in ("id_rsa", "own.db"):
        (outside / name).write_text("PRIVATE\n")
    before, tally = snapshot(outside), Tally()
    signal.signal(signal.SIGALRM, _interrupt)
    for number in range(first, first + count):
        results = place / "results"
        shutil.rmtree(results, ignore_errors=True)
        shutil.copytree(whole, results, copy_function=_link_large)
        damager = Damager(results, outside, mark, random.Random(f"{seed}:{number}"))
        try:
            done = damager.damage()
        except OSError as error:  # a second damage may not fit after the first, as of a file that is a folder now
            done = f"part of one: {error.strerror}"
        tally.damages[done.partition(" ")[0]] += 1
        commands: list[list[object]] = [
            ["list"], ["show", STUDY], ["show", f"{STUDY}/0"], ["compare", STUDY], ["best", STUDY],
        ]  # fmt: skip
        if number % EXPORT_EVERY == 0:
            commands.append(["export-best", STUDY, "--out", place / "bundle", "--formats", "safetensors"])
        for command in commands:
            fault = _run([*command, "--results", results], tally)
            if fault is None and (mark.exists() or snapshot(outside) != before):
                fault = "something was executed" if mark.exists() else "something outside was changed"
            if fault is not None:
                tally.faults.append(
                    {"number": number, "damage": done, "command": " ".join(map(str, command)), "fault": fault}
                )
        shutil.rmtree(place / "bundle", ignore_errors=True)
        shutil.rmtree(results, ignore_errors=True)
    return tally


def _run(command: list[object], tally: Tally) -> str | None:
    """Run a command; return what is wrong with how it ended."""
    began = time.process_time()
    signal.setitimer(signal.ITIMER_REAL, 6 * LIMIT_S)
    try:
        with unittest.mock.patch("cli.queries.final_look._send_to_mlflow"):
            done = study(*command)
    except _TooSlowError:
        return f"no end within {6 * LIMIT_S:.0f} s"
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"traceback: {type(error).__name__}: {str(error)[:200]} at {Path(last.filename).name}:{last.lineno}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    spent_s = time.process_time() - began
    tally.slowest_s = max(tally.slowest_s, spent_s)
    tally.exits[str(done.returncode)] += 1
    if "Traceback" in done.stderr:
        return f"traceback on the screen: {done.stderr[-300:]}"
    if "PRIVATE" in done.stdout + done.stderr:
        return "a file outside was shown"
    if done.returncode not in (0, 1, 2) or (done.returncode and not done.stderr.strip()):
        return f"exit code {done.returncode} without a word"
    return f"{spent_s:.1f} s" if spent_s > LIMIT_S else None


def main() -> None:
    """Run and write the counts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0, help="number of the first damage, to run in pieces")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        os.environ.setdefault("XDG_CONFIG_HOME", f"{place}/config")
        tally = fuzz(options.count, options.seed, Path(place), options.first)
    report = {
        "folders": options.count, "first": options.first, "seed": options.seed, "commands": sum(tally.exits.values()),
        "exit_codes": dict(sorted(tally.exits.items())), "damages": dict(tally.damages.most_common()),
        "slowest_s": round(tally.slowest_s, 1), "faults": len(tally.faults), "first_faults": tally.faults[:50],
    }  # fmt: skip
    text = json.dumps(report, indent=1, default=str)
    if options.out:
        options.out.write_text(text + "\n")
    print(text if not options.out else json.dumps({key: report[key] for key in ("folders", "commands", "faults")}))
    sys.exit(bool(tally.faults))


if __name__ == "__main__":
    main()
