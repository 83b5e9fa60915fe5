"""Carry the wish to stop from another process to the driver of a study: a file in the study's folder."""

from __future__ import annotations

from enum import StrEnum

from study.layout import StudyLayout, write_text_atomic


class Wish(StrEnum):
    """How a study is to stop: its trials end at their next epoch, or are left as they are to go on later."""

    SOON = "soon"
    NOW = "now"


def wish_stop(layout: StudyLayout, wish: Wish) -> None:
    """Ask whoever drives the study to stop."""
    write_text_atomic(layout.stop_wish, wish.value)


def stop_wished(layout: StudyLayout) -> Wish | None:
    """Return what was asked of the driver, None as a rule; a word of another version is the gentler wish."""
    try:
        said = layout.stop_wish.read_text(encoding="utf-8")
    except OSError:
        return None
    return Wish.NOW if said == Wish.NOW.value else Wish.SOON


def forget_wish(layout: StudyLayout) -> None:
    """Take a wish back, or begin without one that an earlier driver never heard."""
    layout.stop_wish.unlink(missing_ok=True)
