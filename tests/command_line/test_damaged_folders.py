"""A few of the damages of ``tests/benchmarks/fuzz_results_folders.py``: reading ends with a clear word."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from fuzz_results_folders import fuzz


@pytest.mark.parametrize("first", [200_000, 200_021])
@pytest.mark.usefixtures("formats_checked_here")
def test_damaged_results_folders_are_read_with_a_clear_word(first: int, tmp_path: Path) -> None:
    tally = fuzz(20, seed=1, place=tmp_path, first=first)
    assert tally.faults == []
    assert sum(tally.damages.values()) == 20
    assert set(tally.exits) == {"0", "1"}, "some damages are told"
