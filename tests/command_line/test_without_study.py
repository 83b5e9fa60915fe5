"""The command line before any study exists: help, validation, bad files."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT, TINY, study, study_error

from cli.main import main
from study.errors import UsageError
from study.paths import Layout
from tracking.tracking_uri import default_tracking_uri


def test_help_loads_nothing_heavy() -> None:
    heavy = ("ray", "torch", "mlflow", "optuna", "numpy", "rich.live")
    code = f"import sys, cli.main; print([one for one in {heavy} if one in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_a_driver_loads_neither_torch_nor_mlflow() -> None:
    heavy = ("torch", "torchvision", "mlflow", "scipy.stats", "matplotlib", "sklearn")
    loaded = "cli.run_session, study.engine.runner, study.figures.background_renderer, tracking.exporter.recorder"
    code = f"import sys, {loaded}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_validate_prints_all_faults_with_their_places(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        TINY.replace("optimizer:     {choice: [sgd, adam]}", "optimiser: {choice: []}").replace("1e-3", "0.0")
    )
    done = study_error("validate", file, code=2)
    lines = done.strip().splitlines()
    assert len(lines) >= 3
    assert all(line.startswith(f"{file}:") for line in lines)
    assert any(":5:3:" in line and "did you mean `optimizer`" in line for line in lines)
    assert any("learning_rate" in line and "log" in line for line in lines)


def test_validate_as_json_lists_the_faults(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(TINY.replace("search:", "serach:"))
    done = study("validate", tmp_path / "bad.yaml", "--json")
    assert done.returncode == 2
    told = json.loads(done.stdout)
    assert told["valid"] is False
    assert [(fault["line"], fault["column"]) for fault in told["faults"]] == [(8, 1)]


def test_validate_accepts_every_file_that_ships() -> None:
    shipped = study("spaces").stdout.split()
    assert any(file.endswith("ablation.yaml") for file in shipped)
    assert any(file.endswith("recipes/sgd_momentum.yaml") for file in shipped)
    for file in shipped:
        built_in = ("--set", "data.source=faces") if "recipes" in file else ()  # recipes ask for photographs
        assert study("validate", file, *built_in).returncode == 0


def test_validate_as_json_gives_the_whole_spec(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    done = study("validate", tmp_path / "tiny.yaml", "--set", "trial.max_epochs=7", "--json")
    assert json.loads(done.stdout)["spec"]["trial"]["max_epochs"] == 7


def test_run_of_a_bad_file_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: x\nserach: {}\n")
    done = study("run", tmp_path / "bad.yaml", "--results", tmp_path / "results")
    assert done.returncode == 2
    assert not (tmp_path / "results").exists()


def test_run_on_a_folder_without_images_leaves_the_name_free(tmp_path: Path, shared_cluster: None) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "tiny.yaml").write_text(TINY)
    sets = ("--set", "data.source=folder", "--set", f"data.path={tmp_path / 'images'}")
    done = study_error("run", tmp_path / "tiny.yaml", *sets, "--results", tmp_path / "results")
    assert "images" in done
    assert "Traceback" not in done
    assert not (tmp_path / "results" / "studies" / "tiny").exists()


def test_without_a_study_the_commands_say_how_to_make_one(tmp_path: Path) -> None:
    for command in ("best", "compare", "show", "resume", "export-best", "ui", "sync"):
        done = study(command, "--results", tmp_path / "none")
        assert done.returncode == 1, command
        assert "study run FILE" in done.stderr, command
    assert study("list", "--results", tmp_path / "none").returncode == 0


def test_a_pipe_has_json_before_the_command_ends() -> None:
    script = "import sys; from cli.output import print_json; print_json({'url': 1}); sys.stdin.read()"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], 30)
        assert ready, "nothing came while the command went on"
        assert process.stdout.readline() == b"{\n"
        process.stdin.close()


@pytest.mark.parametrize(
    "uri", ["http://[::1", "http://[", "http://h:x", "http://:80", "postgresql://u:p@[h/db", "https://u:a/b@h"]
)
def test_a_malformed_tracking_uri_is_one_error(
    uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["list"], ["ui", "s"], ["run", "f.yaml"], ["diff", "a/0", "b/0"], ["best", "--help"]):
        for option in ([f"--tracking-uri={uri}"], ["--tracking-uri", uri]):
            monkeypatch.setattr(sys, "argv", ["study", *words, *option])
            with pytest.raises(SystemExit) as left:
                main()
            told = capsys.readouterr()
            assert (left.value.code, told.out, told.err.count("\n")) == (2, "", 1)
            assert told.err.startswith("error: a tracking URI must be one such as ")
            assert ":p@" not in told.err


def test_a_malformed_tracking_uri_of_the_environment_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://[")
    with pytest.raises(UsageError, match=r"must be one such as http://HOST:5000, got http://\[;"):
        default_tracking_uri(Layout(tmp_path), None)
