"""What the commands that look make of a study that is damaged or half of which is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from commands import study, study_error, study_json
from reading_kit import begin, run_one

from study.paths import Layout


@pytest.mark.parametrize("moment", ['"noon"', "1e300", "null", "-1.0"])
def test_a_study_that_began_at_no_time_is_damaged(moment: str, tmp_path: Path) -> None:
    layout = Layout(tmp_path).study("b")
    run_one(begin(layout, trials=2))
    body, count = re.subn(r'("created_at_s": ?)[0-9.]+', rf"\g<1>{moment}", layout.journal.read_text())
    assert count == 1
    layout.journal.write_text(body)
    listed = study("list", "--results", tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.strip().splitlines()[-1].split()[:2] == ["b", "damaged"]
    shown = study_error("show", "b", "--results", tmp_path)
    assert "ledger.journal" in shown
    assert "Traceback" not in listed.stderr + shown


@pytest.mark.parametrize("body", [b"", b'{"op_code":0,"study_name":"b"}\n', b"no journal\nat all\n", b"\xff\xfe\n{}\n"])
def test_a_damaged_study_hides_no_other(body: bytes, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        run_one(begin(Layout(tmp_path).study(name), trials=2))
    Layout(tmp_path).study("b").journal.write_bytes(body)
    listed = study("list", "--results", tmp_path)
    assert listed.returncode == 0, listed.stderr
    cells = {line.split()[0]: line.split()[1:] for line in listed.stdout.splitlines() if line.strip()}
    assert cells["b"] == ["damaged", *["-"] * 8]
    assert cells["a"][1] == cells["c"][1] == "1/2"
    (reason,) = listed.stderr.splitlines()
    assert reason.startswith("b: ")
    assert "ledger.journal" in reason
    by_name = {summary["name"]: summary for summary in study_json("list", "--results", tmp_path)}
    assert (by_name["b"]["state"], by_name["b"]["trials"], by_name["a"]["trials"]) == ("damaged", None, 1)
    assert set(by_name["a"]) == set(by_name["b"])
