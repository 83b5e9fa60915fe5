"""Study files that are no study files: each is accepted or refused in plain words, and nothing else happens."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from study_file_fuzzer import attempt, file_bytes, overrides

from study.config_file import load_spec
from study.errors import SpecError
from study.utils.text import printable

SPACE = "space: {depth: {choice: [10, 18]}}\n"


def refusal(path: Path) -> str:
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    return str(caught.value).removeprefix(f"{printable(str(path))}:")


def refused(folder: Path, text: str | bytes) -> str:
    path = folder / "study.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    message = refusal(path)
    assert all(printable(line) == line and len(line) < 2000 for line in message.split("\n"))
    return message


@pytest.mark.parametrize("part", range(6))
def test_files_made_at_random_are_accepted_or_refused_in_plain_words(tmp_path: Path, part: int) -> None:
    path, accepted = tmp_path / "study.yaml", 0
    for number in range(40):
        rng = random.Random(f"test:{part}:{number}")
        path.write_bytes(file_bytes(rng))
        outcome = attempt(path, overrides(rng))
        accepted += outcome.accepted
        assert [fault for fault in outcome.faults if not fault.startswith("slow")] == [], f"test:{part}:{number}"
    assert 0 < accepted < 40


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("search: {seed: 0b" + "1" * 20_000 + "}", "3:16: a whole number must be between -2^63 and 2^63, got 0b1111"),
        ("search: {seed: " + "9" * 5000 + "}", '3:16: "999999'),
        ("search: {seed: 9223372036854775808}", "3:16: a whole number must be between -2^63 and 2^63, got 9223372036"),
        ("trial: {early_stopping_patience: 1e30}", "whole number >= 1, got 1e30"),
        ('data: {source: folder, path: "\\ud800"}', '3:30: a text must not hold half a character, got "\\ud800"'),
        ('data: {source: folder, path: "a\\0"}', "3:30: a text must have at most 10000 characters, none of them NUL"),
        ("data: {source: folder, path: " + "d/" * 4000 + "}", "cannot be read: File name too long"),
        ('data: {source: folder, path: "\\x1b[31mred"}', '3:30: data.path must be a directory, but "\\u001b[31mred"'),
        ('data: {source: folder, path: "\\u202egpj.x"}', 'data.path must be a directory, but "\\u202egpj.x" does not'),
        ('"\\x1b[2Jkey": 1', "3:1: unknown key `\\x1b[2Jkey` in the study file."),
        ('data: {shifted: {"a\\nb": x}}', '3:18: a name in data.shifted must be 1 to 80 letters, digits, -, _ or b'),
        ("data: {source: folder, path: ., group_by: '" + "(" * 3000 + "'}", "group_by must be a regular expression"),
        ("trial: {depth: !!binary aGVsbG8=}", "3:16: tag !!binary is not understood; leave it out"),
        ("trial: {learning_rate: 2024-01-01}", 'trial.learning_rate must be a number > 0, got "2024-01-01"'),
        ("resources: {gpus_per_trial: 1e-320}", "resources.gpus_per_trial must be 0 or at least 0.0001, got 1e-320"),
        ("design: {kind: " + "[" * 60 + "]" * 60 + "}", "1:1: is nested too deep for a study file"),
        ("x" * 3000 + ": 1", "3:3001: is not YAML"),
        ("k" * 900 + ": 1", "3:1: unknown key `" + "k" * 57 + "...` in the study file"),
        ("warm_start: ['" + "ä" * 140 + "']", "3:14: warm_start[0] must name an earlier study, got"),
        ("".join(f"k{number}: 1\n" for number in range(300)), " has more faults than these 100"),
        ("data: {classes: [" + "1," * 30_000 + "]}", "1:1: must have at most 20000 values once its aliases are exp"),
        (b"data: \xff", "3:7: must be UTF-8, got byte 0xff"),
        (b"\x00", "3:1: is not YAML: character 0 is not allowed"),
    ],
    ids=range(23),
)  # fmt: skip
def test_a_value_that_nothing_can_count_show_or_read_is_refused(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    body = text.encode() if isinstance(text, str) else text
    assert message in refused(tmp_path, f"name: x\n{SPACE}".encode() + body)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("early_stopping_patience: {int: [2, 1e30]}", "patience.high must be a whole number, got 1e30"),
        ("weight_decay: {uniform: [0, 1], step: 1.0e-300}", "step must make at most 1,000,000,000 steps"),
        ("weight_decay: {uniform: [0, 1e300], step: 1.0e-300}", "step must make at most 1,000,000,000 steps"),
        ("weight_decay: {uniform: [.nan, 1]}", "space.weight_decay.low must be finite, got .nan"),
        (
            "early_stopping_patience: {int: [1, 1000000000000]}\n  batch_size: {choice: [8, 16]}",
            "design grid would run 2000000000000 points, and at most 100000 are; list fewer values",
        ),
        (
            "early_stopping_patience: {int: [1, 9223372036854775807]}\n  weight_decay: {uniform: [0, 1], step: 1.0e-9}",
            "design grid would run 9223372046078147843854775807 points",
        ),
        (
            "early_stopping_patience: {int: [1, 1000000000000]}\n"
            "  depth: {choice: [10], when: {early_stopping_patience: [1.5, x]}}",
            "must be a value it can take (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ... 1000000000000), got 1.5",
        ),
        (
            "weight_decay: {uniform: [0, 1], step: 1.0e-9}\n  depth: {choice: [10], when: {weight_decay: .nan}}",
            "space.depth.when cannot ask for a value of `weight_decay`: a continuous range has none",
        ),
    ],
    ids=range(8),
)  # fmt: skip
def test_a_space_too_large_to_count_is_refused_at_once(tmp_path: Path, space: str, message: str) -> None:
    begun_s = time.process_time()
    assert message in refused(tmp_path, f"name: x\ndesign: grid\nspace:\n  {space}\n")
    assert time.process_time() - begun_s < 2


def test_more_trials_than_a_study_can_have_are_refused(tmp_path: Path) -> None:
    design = "design: grid\nspace: {batch_size: {int: [2, 50001]}}\nreplicates: {count: 1000}\n"
    message = refused(tmp_path, f"name: x\n{design}")
    assert "design grid would run 50000000 trials (50000 points x 1000 seeds), and at most 1000000 are" in message
    path = tmp_path / "study.yaml"
    path.write_text(f"name: x\n{design}budget: {{trials: 500}}\n")
    assert load_spec(path).spec.budget.trials == 500
    assert "search.trials must be a whole number >= 1 and <= 100000" in refused(
        tmp_path, f"name: x\n{SPACE}search: {{trials: 1000000000}}\n"
    )


def test_what_is_no_regular_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    assert "cannot be read: it is a named pipe, which may never end" in refusal(tmp_path / "pipe.yaml")
    assert "is a directory; " in refusal(tmp_path)
    assert "cannot be read: it has more than 1,000,000 bytes" in refusal(Path("/dev/zero"))
    assert "cannot be read: File name too long" in refusal(tmp_path / f"{'x' * 5000}.yaml")
    assert "cannot be read: embedded null byte" in refusal(tmp_path / "a\0b.yaml")
    (tmp_path / "a\x1b[31m.yaml").write_text("name: 1\n")
    assert "\x1b" not in refusal(tmp_path / "a\x1b[31m.yaml")


def test_a_pipe_of_the_shell_is_read(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, f"name: piped\n{SPACE}".encode())
    os.close(writing)
    assert load_spec(Path(f"/dev/fd/{reading}")).spec.name == "piped"
    os.close(reading)


def test_a_folder_of_many_files_is_not_listed_whole(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"study_{number:02}.yaml").touch()
    assert refusal(tmp_path / "nothing").endswith("study_09.yaml and 20 more")


def test_escapes_of_json_and_what_yaml_allows_are_read(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(b'\xef\xbb\xbfname: &a "smile \\ud83d\\ude42"\r\nspace: {depth: {choice: [&a 10, 18]}}\r\n')
    assert load_spec(path).spec.name == "smile 🙂"


@pytest.mark.parametrize(("written", "quoted"), [("1_2", "1_2"), ("1e5", "1e5"), ("0x1F", "0x1F"), ("1.50", "1.50")])
def test_a_number_is_shown_as_it_was_written(tmp_path: Path, written: str, quoted: str) -> None:
    message = refused(tmp_path, f"name: {written}\n{SPACE}")
    assert message.endswith(f'got {written}; put it in quotes: "{quoted}"')
