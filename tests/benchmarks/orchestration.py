"""Measure what trials cost besides training: many trials of one short epoch, the plain way against `study`.

Run: python tests/benchmarks/orchestration.py [--repeats 3] [--limit 40] [--first N] [--out FILE.json]

ResNet-10 at 32 px on 200 training images, one epoch a trial, no shifted sets; everything else is as `compare_ways.py`
does it. Next to the two wall clocks stands what a warm worker of `study` spends on a trial besides its epochs, by the
times in the study's own journal. `--first N` measures further repeats and sums up all that are in FILE.json.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from compare_ways import DEFAULT_FOLDER, ROOT, make_data, parser_of, run_pairs
from points import Job

IMAGES = 334  # divided 60:20:20, which leaves 200 to train on
TRIALS = 40


def job() -> Job:
    """Return trials of two optimizers and many step sizes."""
    rates = [round(1e-3 * 1.2 ** (number // 2 - TRIALS // 4), 6) for number in range(TRIALS)]
    points = [
        {"depth": 10, "optimizer": "sgd", "learning_rate": rate, "momentum": 0.9}
        if number % 2
        else {"depth": 10, "optimizer": "adam", "learning_rate": rate}
        for number, rate in enumerate(rates)
    ]
    return Job(points, image_size_px=32, batch_size=32)


def main() -> None:
    """Run both ways by turns."""
    parser = parser_of(__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "reference" / "orchestration.json")
    parser.add_argument("--limit", type=int, default=TRIALS, help="run only the first N trials")
    parser.set_defaults(epochs=1)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    args.job = args.work.resolve() / "orchestration_job.json"
    job().write(args.job)
    if args.data is None:
        args.data = DEFAULT_FOLDER / "data-small"
        make_data(args.data, IMAGES)
        shutil.rmtree(args.data / "shifted", ignore_errors=True)
    run_pairs(args, job(), args.data, IMAGES)


if __name__ == "__main__":
    main()
