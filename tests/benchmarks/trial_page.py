"""Measure what a trial's page of figures costs: time, first and following, and size.

Run: python tests/benchmarks/trial_page.py [--write page.html]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from report_kit import judged

from study.figures.trial_page import trial_page

ROUNDS = 7


def measure(count: int, classes: int, size_px: int) -> None:
    """Print the time and size of the pages of one trial."""
    trial = judged(count, classes, epochs=100, size_px=size_px)
    spent_s = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        page = trial_page(trial.record, trial.scores, trial.labels, trial.classes, trial.images, trial.names)
        spent_s.append(time.perf_counter() - started)
    following = sorted(spent_s[1:])[len(spent_s[1:]) // 2]
    print(
        f"{count:6d} images of {size_px} px, {classes:2d} classes: first {spent_s[0]:.3f} s, "
        f"then {following:.3f} s (median of {ROUNDS - 1}), {len(page.encode()) / 1e6:.2f} MB"
    )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="write one page here too")
    asked = parser.parse_args()
    for count, classes, size_px in ((400, 2, 48), (4000, 2, 48), (4000, 2, 224), (4000, 10, 48), (50_000, 2, 48)):
        measure(count, classes, size_px)
    if asked.write is not None:
        trial = judged(4000)
        asked.write.write_text(
            trial_page(trial.record, trial.scores, trial.labels, trial.classes, trial.images, trial.names)
        )


if __name__ == "__main__":
    main()
