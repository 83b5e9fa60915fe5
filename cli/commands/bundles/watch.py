"""The command watch: the faces before a camera or in a video, with their classes, as they come."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import BundleFolder, Json, folder_option
from cli.output import print_json, short_path
from study.errors import UsageError
from study.files import expand_home
from study.utils.text import printable

if TYPE_CHECKING:
    from study.bundles import OnnxClassifier
    from study.inference.video_predictions import FrameRate
    from study.photos.detector import Photo
    from study.photos.video import VideoSource

_INTERRUPTED = 130
_TOLD_EVERY_S = 0.5


def watch(
    bundle: BundleFolder,
    camera: Annotated[
        str, typer.Option("--camera", help="The number of a camera, or a video file.", metavar="N|FILE")
    ] = "0",
    out: Annotated[
        Path | None,
        folder_option(
            "--out",
            help="Write what is shown as a video, without a window; replaces a file that is there.",
            metavar="FILE.mp4",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Draw a box, class and probability around every face before a camera or in a video; Ctrl-C ends it."""
    from study.bundles import OnnxClassifier
    from study.photos.video import VideoSource, has_display

    place = int(camera) if camera.isdecimal() else expand_home(camera)
    if out is None and not has_display():
        raise UsageError("--out FILE.mp4 is needed, as this machine or its OpenCV shows no windows")
    if out is not None:
        _require_out(out, place)
    with VideoSource(place) as video:
        seen = _watch(OnnxClassifier.open(bundle, threads=1), video, out, is_camera=isinstance(place, int))
    if json:
        print_json(_as_json(bundle, camera, seen, out))
    else:
        _print(seen, None if seen.interrupted else video.count, out)
    if seen.interrupted and isinstance(place, Path):
        raise typer.Exit(_INTERRUPTED)


@dataclass
class _Seen:
    """Counts of what was watched; ``faces`` by class."""

    faces: Counter[str]
    frames: int = 0
    with_face: int = 0
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def per_second(self) -> float:
        return self.frames / self.seconds if self.seconds else 0.0


def _require_out(out: Path, place: int | Path) -> None:
    if out.suffix.lower() != ".mp4":
        raise UsageError(f"--out must end in .mp4, got {printable(out.name)}")
    if out.is_dir():
        raise UsageError(f"--out must be a file, but {out} is a folder; name a file in it")
    if isinstance(place, Path) and out.exists() and place.exists() and out.samefile(place):
        raise UsageError(f"--out must be another file than --camera, got {out} for both")


def _watch(classifier: OnnxClassifier, video: VideoSource, out: Path | None, *, is_camera: bool) -> _Seen:
    from study.inference.face_predictions import framing_for
    from study.inference.video_predictions import FrameRate, watch_frames
    from study.photos.video import show_frame, written_video

    framing, note = framing_for(classifier.preprocessing)
    if note:
        typer.echo(note, err=True)
    names = [printable(name) for name in classifier.classes]
    seen, rate = _Seen(Counter(dict.fromkeys(names, 0))), FrameRate()
    pace = _Pace(video.rate) if is_camera else None
    with ExitStack() as stack:
        write = None if out is None else stack.enter_context(written_video(out, video.size, video.rate))
        stop = stack.enter_context(_stopped_by_signals())
        began = time.monotonic()
        frames = watch_frames(classifier, _until(stop, video), classifier.config.image_size_px, framing, rate)
        for frame in frames:
            seen.frames += 1
            seen.with_face += bool(frame.labels)
            seen.faces.update(names[label] for label in frame.labels)
            seen.seconds = time.monotonic() - began
            if write is None:
                stop.wanted |= not show_frame("study watch", frame.photo)
            else:
                for _ in range(1 if pace is None else pace.due(seen.seconds)):
                    write(frame.photo)
            _tell(seen, rate)
        seen.interrupted = stop.by_signal
    if sys.stderr.isatty():
        typer.echo(err=True)
    return seen


@dataclass
class _Stop:
    """Whether no more frames are to be read."""

    wanted: bool = False
    by_signal: bool = False


@contextmanager
def _stopped_by_signals() -> Iterator[_Stop]:
    """Yield what the first SIGINT or SIGTERM sets; a second one interrupts as usual."""
    stop = _Stop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def end(*_: object) -> None:
        stop.wanted = stop.by_signal = True
        restore()

    for number in before:
        signal.signal(number, end)
    try:
        yield stop
    finally:
        restore()


def _until(stop: _Stop, frames: Iterable[Photo]) -> Iterator[Photo]:
    for frame in frames:
        if stop.wanted:
            return
        yield frame


@dataclass
class _Pace:
    """How often to write a frame, so that a recording lasts as long as what it shows."""

    rate: float
    written: int = field(default=0, init=False)

    def due(self, elapsed_s: float) -> int:
        times = max(0, int(elapsed_s * self.rate) + 1 - self.written)
        self.written += times
        return times


def _tell(seen: _Seen, rate: FrameRate) -> None:
    """Rewrite a line on the terminal."""
    if sys.stderr.isatty() and int(seen.seconds / _TOLD_EVERY_S) != int((seen.seconds - 1 / 30) / _TOLD_EVERY_S):
        typer.echo(f"\r{seen.frames} frames, {rate.per_second:.1f} a second ", err=True, nl=False)


def _as_json(bundle: Path, camera: str, seen: _Seen, out: Path | None) -> dict[str, object]:
    return {
        "bundle": str(bundle), "camera": camera, "frames": seen.frames, "seconds": seen.seconds,
        "frames_per_second": seen.per_second, "frames_with_face": seen.with_face, "faces": dict(seen.faces),
        "interrupted": seen.interrupted, "out": None if out is None else str(out),
    }  # fmt: skip


def _print(seen: _Seen, expected: int | None, out: Path | None) -> None:
    rest = "" if expected is None or seen.frames >= expected else f" of about {expected}; the rest cannot be read"
    typer.echo(f"frames   {seen.frames} in {seen.seconds:.1f} s, {seen.per_second:.1f} a second{rest}")
    counts = ", ".join(f"{count} {name}" for name, count in seen.faces.items())
    typer.echo(f"faces    {seen.faces.total()} in {seen.with_face} frames: {counts}")
    if out is not None:
        typer.echo(f"look at  {short_path(str(out))}")
