"""`watch` draws the faces of a video, keeps its frames and their rate, and leaves a whole file when it is ended."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import study, study_error, study_process, study_stdout
from inference_kit import FramedBrightness
from photo_kit import Placed, photograph

from cli.commands.bundles.watch import _Pace
from study.bundles import OnnxClassifier
from study.data.framing import Framing
from study.errors import DataError
from study.inference.video_predictions import FrameRate
from study.photos import video
from study.photos.video import VideoSource, written_video

RATE, SIZE = 12.0, (320, 240)
CLASSIFIER = FramedBrightness(Framing())


@pytest.fixture(autouse=True)
def _classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OnnxClassifier, "open", lambda folder, **_: CLASSIFIER)


def scene(at: int) -> np.ndarray:
    """Return a frame with a face that moves to the right; the first three have none."""
    return photograph(*SIZE, [Placed(0, 20 + 5 * (at % 20), 30, 180)] if at >= 3 else [])


def film(path: Path, frames: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, SIZE)
    for at in range(frames):
        writer.write(np.ascontiguousarray(scene(at)[..., ::-1]))
    writer.release()
    return path


def read(path: Path) -> list[np.ndarray]:
    with VideoSource(path) as source:
        return list(source)


def test_every_frame_is_written_with_its_faces_and_its_rate(tmp_path: Path) -> None:
    out, source = tmp_path / "new" / "out.mp4", film(tmp_path / "in.mp4", 10)
    result = json.loads(study_stdout("watch", "bundle", "--camera", source, "--out", out, "--json"))
    assert (result["frames"], result["frames_with_face"], sum(result["faces"].values())) == (10, 7, 7)
    assert result["frames_per_second"] == pytest.approx(result["frames"] / result["seconds"])
    assert (result["out"], result["interrupted"]) == (str(out), False)
    with VideoSource(out) as written:
        assert (written.rate, written.count, written.size) == (RATE, 10, SIZE)
    before, after = read(source), read(out)
    changes = [np.abs(a.astype(int) - b).max(axis=2) > 90 for a, b in zip(before, after, strict=True)]
    drawn = np.array([change[:200].sum() for change in changes])
    assert (drawn[3:] > 200).all(), "a box and a caption"
    assert (drawn[:3] < 20).all(), "no face, no box"
    assert all(change[210:].sum() > 30 for change in changes), "frames per second stand below"
    box_left = [np.flatnonzero(change[60:160].sum(axis=0) > 40).min() for change in changes[3:]]
    assert np.ptp(box_left) > 15, "the box follows the face"
    assert list(out.parent.iterdir()) == [out]


def test_lines_tell_frames_and_faces(tmp_path: Path) -> None:
    source = film(tmp_path / "in.mp4", 5)
    lines = study_stdout("watch", "bundle", "--camera", source, "--out", tmp_path / "out.mp4").splitlines()
    assert lines[0].startswith("frames   5 in ")
    assert "a second" in lines[0]
    assert lines[1].startswith("faces    2 in 2 frames: ")
    assert lines[2].endswith("out.mp4")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    plain = VideoSource.__iter__

    def endless(self: VideoSource) -> Iterator[np.ndarray]:
        frame = next(plain(self))
        for at in range(10_000):
            if at == 6:
                os.kill(os.getpid(), number)
            yield frame

    out = tmp_path / "out.mp4"
    before = signal.getsignal(number)
    with monkeypatch.context() as patched:
        patched.setattr(VideoSource, "__iter__", endless)
        done = study("watch", "bundle", "--camera", film(tmp_path / "in.mp4", 2), "--out", out, "--json")
    assert done.returncode == 130, done.stderr
    result = json.loads(done.stdout)
    assert result["interrupted"]
    assert 1 <= result["frames"] <= 7
    assert len(read(out)) == result["frames"]
    assert signal.getsignal(number) is before


def write_two_frames(out: Path, between: BaseException | None, second: np.ndarray) -> None:
    with written_video(out, SIZE, RATE) as write:
        write(scene(3))
        if between is not None:
            raise between
        write(second)


def test_a_second_interrupt_keeps_the_file(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        write_two_frames(out, KeyboardInterrupt(), scene(3))
    assert len(read(out)) == 1
    assert list(tmp_path.iterdir()) == [out]


def test_nothing_is_left_of_a_video_that_fails(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one size"):
        write_two_frames(tmp_path / "out.mp4", None, scene(3)[:100])
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_or_written_is_one_line_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path, threads: int) -> None:
        raise AssertionError("no model is loaded for what cannot be read")

    monkeypatch.setattr(OnnxClassifier, "open", refuse)
    (tmp_path / "text.mp4").write_text("no video")
    whole = film(tmp_path / "whole.mp4", 4).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    out = ("--out", tmp_path / "out.mp4")
    for place, words in (
        (tmp_path / "none.mp4", "there is no file"), (tmp_path / "text.mp4", "has no frame that can be read"),
        (tmp_path / "cut.mp4", "has no frame that can be read"), ("99", "camera 99 cannot be opened"),
        (tmp_path, "is no file"), ("9" * 20, "cannot be opened"),
    ):  # fmt: skip
        assert words in study_error("watch", "bundle", "--camera", place, *out)
    film(tmp_path / "in.mp4", 1)
    for given, words in (
        ("out.avi", "must end in .mp4"), ("folder.mp4", "must be a file"), ("in.mp4", "must be another file"),
    ):  # fmt: skip
        (tmp_path / "folder.mp4").mkdir(exist_ok=True)
        where = ("--camera", tmp_path / "in.mp4", "--out", tmp_path / given)
        assert words in study_error("watch", "bundle", *where, code=2)
    assert not (tmp_path / "out.mp4").exists()


def test_libraries_write_nothing_beside_the_error(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    done = study_process("watch", "bundle", "--camera", tmp_path / "text.mp4", "--out", tmp_path / "out.mp4")
    assert done.returncode == 1
    assert done.stderr.startswith("error: --camera must be")
    assert done.stderr.count("\n") == 1


def test_without_out_and_without_a_display_one_line_asks_for_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    error = study_error("watch", "bundle", "--camera", film(tmp_path / "in.mp4", 1), code=2)
    assert "--out FILE.mp4 is needed" in error
    assert error.count("\n") == 1


def test_a_window_shows_the_frames_until_it_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[np.ndarray] = []

    def show_frame(title: str, frame: np.ndarray) -> bool:
        shown.append(frame)
        return len(shown) < 3

    monkeypatch.setattr(video, "has_display", lambda: True)
    monkeypatch.setattr(video, "show_frame", show_frame)
    done = study("watch", "bundle", "--camera", film(tmp_path / "in.mp4", 30), "--json")
    assert done.returncode == 0, done.stderr
    assert 3 <= len(shown) == json.loads(done.stdout)["frames"] < 30


def test_a_recording_keeps_the_time_of_a_slow_camera() -> None:
    pace = _Pace(10.0)
    assert [pace.due(seconds) for seconds in (0.0, 0.05, 0.35, 0.36, 1.0)] == [1, 0, 3, 0, 7]


def test_the_rate_is_of_the_last_frames() -> None:
    now = 0.0
    rate = FrameRate(lambda: now)
    assert rate.per_second == 0
    for _ in range(50):
        now += 0.1
        rate.count()
    assert rate.per_second == pytest.approx(10)
    for _ in range(50):
        now += 0.05
        rate.count()
    assert rate.per_second == pytest.approx(20)


def test_frames_come_one_after_another_without_the_whole_video_in_memory(tmp_path: Path) -> None:
    from study.inference.video_predictions import watch_frames

    taken: list[int] = []

    def frames() -> Iterator[np.ndarray]:
        for at in range(20):
            taken.append(at)
            yield scene(at)

    watched = watch_frames(CLASSIFIER, frames(), 8, Framing(), FrameRate(), threads=2)
    assert [len(next(watched).labels) for _ in range(5)] == [0, 0, 0, 1, 1]
    assert len(taken) == 7
    watched.close()
    time.sleep(0)
    assert not [each for each in threading.enumerate() if each.name.startswith("watch")]
