"""Commands that need a trial's weights say plainly that they were not kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.test_evaluation import weights_folder
from study.errors import ExportError
from study.records import TrialRecord, TrialState


def record(folder: Path, *, kept: bool, run_id: str | None = "ab12") -> TrialRecord:
    return TrialRecord("faces", 7, TrialState.COMPLETE, {}, {}, checkpoint=str(folder), kept=kept, run_id=run_id)


def test_weights_that_were_kept_are_where_the_record_says(tmp_path: Path) -> None:
    assert weights_folder(record(tmp_path, kept=True)) == tmp_path


@pytest.mark.parametrize(("run_id", "named"), [("ab12", "ab12"), (None, "RUN_ID")])
def test_weights_that_were_not_kept_can_be_made_again(tmp_path: Path, run_id: str | None, named: str) -> None:
    with pytest.raises(ExportError, match=r"trial 7 of `faces` were deleted") as refused:
        weights_folder(record(tmp_path, kept=False, run_id=run_id))
    assert f"`study rerun {named}` makes them again" in str(refused.value)
    assert "`keep: {per_study: all}`" in str(refused.value)
