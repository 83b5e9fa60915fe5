"""What becomes of study files made at random, whole and broken: accepted, refused in plain words, or a defect.

Each file is one of those in search_spaces/ or one of a grammar, with mutations of its structure and of its bytes, and
some get `--set` options. It is loaded as `study run` and `study plan` load it, up to where work would start: with its
design, its counts, the trials that would be planned and the paths it names. A traceback, a control character in a
message, a message of more than 2,000 characters and more than 2 s of CPU time are defects. The same seed makes the
same files.

    .venv/bin/python tests/benchmarks/fuzz_study_files.py --count 50000 --seed 0 --out FILE

Counts are added to what is in `--out` already for other seeds. Nothing here is collected by pytest.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from machine import commit_of, describe_machine
from study_file_fuzzer import Outcome, attempt, file_bytes, overrides

KINDS = ("traceback", "control character", "long message", "empty message", "slow", "hang")
MOST_KEPT = 20


def main() -> None:
    """Make, load and count the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50_000, help="files to make")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file of the counts")
    parser.add_argument("--keep", type=Path, help="folder for files that show a defect")
    given = parser.parse_args()
    counts, examples, slowest_s = Counter[str](), list[str](), 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.yaml"
        for number in range(given.count):
            rng = random.Random(f"{given.seed}:{number}")
            content, options = file_bytes(rng), overrides(rng)
            path.write_bytes(content)
            outcome = attempt(path, options)
            slowest_s = max(slowest_s, outcome.spent_s)
            counts += _count(outcome)
            if outcome.faults:
                examples += [f"{given.seed}:{number}: {fault}" for fault in outcome.faults]
                if given.keep:
                    given.keep.mkdir(parents=True, exist_ok=True)
                    (given.keep / f"{given.seed}_{number}.yaml").write_bytes(content)
    run = {
        "seed": given.seed,
        "files": given.count,
        **{kind: counts[kind] for kind in ("accepted", "refused", *KINDS)},
        "slowest_cpu_s": round(slowest_s, 2),
        "examples": examples[:MOST_KEPT],
    }
    print(json.dumps(run, indent=2))
    if given.out:
        _write(given.out, run)


def _count(outcome: Outcome) -> Counter[str]:
    faults = {fault.partition(":")[0] for fault in outcome.faults}
    ended = [] if faults & {"traceback", "hang"} else ["accepted" if outcome.accepted else "refused"]
    return Counter([*ended, *faults])


def _write(out: Path, run: dict[str, object]) -> None:
    earlier = json.loads(out.read_text())["runs"] if out.exists() else []
    runs = [*(other for other in earlier if other["seed"] != run["seed"]), run]
    totals = {name: sum(counts[name] for counts in runs) for name in ("files", "accepted", "refused", *KINDS)}
    folder = Path(__file__).resolve().parents[2]
    report = {"commit": commit_of(folder), "machine": describe_machine(), "totals": totals, "runs": runs}
    out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
