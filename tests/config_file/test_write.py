"""A study that is written as a file reads as the same study."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from commands import ROOT
from study_file_fuzzer import emit, generate

from study.config_file import load_spec
from study.config_file.write import study_text
from study.errors import SpecError

FILES = sorted((ROOT / "search_spaces").rglob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_of_the_package_is_written_as_the_same_study(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("masks", "masks_30_to_1", "by_hand"):  # which the recipes look for
        (tmp_path / "data" / folder).mkdir(parents=True)
    spec = load_spec(file).spec
    assert spec.name == file.stem
    path = tmp_path / "study.yaml"
    path.write_text(study_text(spec))
    assert load_spec(path).spec == spec


def test_generated_studies_are_written_as_the_same_study(tmp_path: Path) -> None:
    path, sound = tmp_path / "study.yaml", 0
    for seed in range(150):
        rng = random.Random(seed)
        path.write_text(emit(generate(rng), rng))
        try:
            spec = load_spec(path).spec
        except SpecError:
            continue
        sound += 1
        path.write_text(study_text(spec))
        assert load_spec(path).spec == spec, seed
    assert sound > 20
