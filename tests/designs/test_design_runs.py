"""A study runs every point of its design once."""

from __future__ import annotations

import pytest
from engine_fakes import Listener, drive, make_spec, make_storage
from test_points import MOMENTUM, OPTIMIZER

from study.config.search_config import DesignSpec
from study.designs.grid import grid_points
from study.storage.study_storage import StudyStorage


@pytest.mark.parametrize("slots", [1, 3])
def test_a_grid_study_runs_every_point_once_however_many_run_at_once(tmp_path, slots: int) -> None:  # type: ignore[no-untyped-def]
    design = DesignSpec(kind="grid")
    spec = make_spec().model_copy(update={"space": (OPTIMIZER, MOMENTUM), "design": design})
    _, layout = make_storage(tmp_path, spec)
    drive(layout, Listener(), slots=slots)
    assert [dict(one.params) for one in StudyStorage.open(layout).records()] == list(grid_points(spec.space))
