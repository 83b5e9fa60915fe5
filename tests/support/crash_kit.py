"""Kill the drivers and workers of real studies at chosen moments, until they are finished."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from commands import ROOT

from study.paths import Layout, StudyLayout

Aim = Literal["driver", "write", "all", "told"]
AIMS: tuple[Aim, ...] = ("driver", "write", "all", "told")
LONGEST_STUDY_S = 600.0
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent", "/ray/dashboard/agent.py", "/runtime_env/agent/main.py")


class Driver:
    """A study that runs in a session of its own, as under a terminal."""

    def __init__(self, results: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "cli", *arguments, "--results", str(results)]
        self.began = time.monotonic()
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, start_new_session=True
        )

    def is_over(self) -> bool:
        return self._process.poll() is not None

    def wait_until(self, holds: Callable[[], bool], timeout_s: float = 400) -> None:
        until = time.monotonic() + timeout_s
        while not holds():
            if self.is_over():
                raise AssertionError(f"the study ended too early:\n{self._process.communicate()[0]}")
            assert time.monotonic() < until, "nothing happened for too long"
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill the driver alone; its workers notice after a second or two, while the next driver starts."""
        self._process.kill()
        assert self._process.wait() == -signal.SIGKILL
        assert self._process.stdout is not None
        self._process.stdout.close()

    def interrupt(self) -> tuple[int, str]:
        """Press Ctrl-C: the whole group hears it."""
        os.killpg(self._process.pid, signal.SIGINT)
        return self.end()

    def end(self, timeout_s: float = 400) -> tuple[int, str]:
        output, _ = self._process.communicate(timeout=timeout_s)
        return self._process.returncode, output

    def remove_orphans(self) -> None:
        """Remove what Ray leaves behind of a killed driver: all that runs in its session."""
        for process in self.session():
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)

    def session(self, *, agents: bool = True) -> list[int]:
        """Return every process of the driver's session that still runs; Ray's agents notice its end after a minute."""
        pids = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                state, _, _, session = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:4]
                is_agent = any(agent in (entry / "cmdline").read_text(errors="replace") for agent in AGENTS)
                if int(session) == self._process.pid and state != "Z" and (agents or not is_agent):
                    pids.append(int(entry.name))
        return pids


def workers(study: StudyLayout) -> Iterator[tuple[int, Path]]:
    """Yield the process of each worker of a study and the trial folder it holds."""
    trials = str(study.root.absolute() / "trials")
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            # ray::TrialTrainable, and while it trains ray::ResourceTrainable.train, a class that Tune derives from it.
            if "Trainable" in (entry / "cmdline").read_text(errors="replace"):
                links = [os.readlink(link) for link in (entry / "fd").iterdir()]
                yield from ((int(entry.name), Path(link)) for link in links if Path(link).parent == Path(trials))
        except OSError:
            continue


@dataclass(frozen=True)
class Blow:
    """Where a driver dies: at a time after its start, when a worker begins to write a checkpoint, or a trial has ended.

    With the aim ``all`` the worker dies in the middle of that write too. ``writes`` counts the checkpoint writes, or
    the ends, that are let pass; ``worker_s`` is when a worker alone dies, if one does.
    """

    aim: Aim
    at_s: float = 0.0
    writes: int = 0
    worker_s: float | None = None

    @classmethod
    def draw(cls, rng: random.Random, lasts_s: float, epochs: int) -> Blow:
        """Draw one: half anywhere in the study's duration, the others at checkpoint writes and ends of trials."""
        aim = rng.choices(AIMS, (4, 2, 2, 1))[0]
        worker_s = rng.uniform(0.3, 1.0) * lasts_s if rng.random() < 0.25 else None
        return cls(aim, rng.uniform(0, lasts_s), rng.randrange(4 if aim == "told" else epochs), worker_s)


@dataclass
class Tally:
    """What was done to studies, and what each check of their ends took and found."""

    kills: Counter[str] = field(default_factory=Counter)
    states_hit: Counter[str] = field(default_factory=Counter)
    workers_killed: int = 0
    drivers: int = 0
    checked: Counter[str] = field(default_factory=Counter)
    spent_s: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def strike(driver: Driver, study: StudyLayout, blow: Blow, tally: Tally) -> bool:
    """Kill a driver where the blow says; return False when it ended before."""
    seen: set[str] = set()
    before = told(study).total() if study.journal.exists() else 0
    worker_s = blow.worker_s
    while not driver.is_over():
        age_s = time.monotonic() - driver.began
        assert age_s < LONGEST_STUDY_S, "the study hangs"
        if worker_s is not None and age_s >= worker_s and (victim := next(workers(study), None)):
            worker_s = None
            tally.workers_killed += 1
            with suppress(OSError):
                os.kill(victim[0], signal.SIGKILL)
        if blow.aim == "driver":
            due = age_s >= blow.at_s
        elif blow.aim == "told":
            due = study.journal.exists() and told(study).total() > max(blow.writes, before)
        else:
            now = {str(path) for path in study.root.glob("trials/*/.*.part")} - seen
            due = len(seen) + len(now) > blow.writes
            seen |= now
        if due and not driver.is_over():
            tally.states_hit[_state(study)] += 1
            _kill(driver, study, everybody=blow.aim == "all")
            tally.kills[blow.aim] += 1
            return True
        time.sleep(0.004)
    return False


def _kill(driver: Driver, study: StudyLayout, *, everybody: bool) -> None:
    victims = [pid for pid, _ in workers(study)] if everybody else []
    for pid in victims:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    with suppress(AssertionError):  # it may have ended by itself in this very instant
        driver.kill()


def _state(study: StudyLayout) -> str:
    """Say how far a study had come when it was hit."""
    if not study.journal.exists():
        return "before the study exists"
    ended = told(study).total()
    if any(study.root.glob("trials/*/.*.part")):
        return "inside a checkpoint write"
    return "before the first trial" if not study.trial(0).exists() else f"after {ended} trials ended"


def told(study: StudyLayout) -> Counter[int]:
    """Count the lines of the journal that end a trial."""
    counts: Counter[int] = Counter()
    for raw in study.journal.read_bytes().splitlines():
        if b'"state":' in raw:
            with suppress(ValueError):
                line = json.loads(raw)
                if line["op_code"] == 6:
                    counts[line["trial_id"]] += line["state"] in (1, 2, 3)
    return +counts


def torment(
    file: Path, results: Path, name: str, draw: Callable[[], Blow | None], tally: Tally, address: str | None = None
) -> list[Driver]:
    """Run a study and kill its driver until there is no blow left or it ends; then let it come to its end."""
    study, drivers = Layout(results).study(name), []
    there = ("--address", address) if address else ()
    while True:
        command = ("resume", name) if study.journal.exists() else ("run", str(file))
        drivers.append(Driver(results, *command, *there))
        tally.drivers += 1
        blow = draw()
        if blow is not None and strike(drivers[-1], study, blow, tally):
            continue
        code, output = drivers[-1].end(LONGEST_STUDY_S)
        assert code == 0, output
        return drivers
