"""The sections of a study's report, in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from study.report.content import StudyContent
from study.report.elements import Document, Section
from study.report.sections.predictions import predictions_section, wrong_images_section
from study.report.sections.ranking import effects_section, image_sets_section, intervals_section, leaderboard_section
from study.report.sections.trials import (
    cost_section,
    failures_section,
    front_section,
    learning_section,
    parameters_section,
    provenance_section,
)
from study.report.summary import headline, summary_section


def study_document(content: StudyContent, subtitle: str) -> Document:
    """Return the report of a study."""
    build: Sequence[Callable[[StudyContent], Section | None]] = (
        summary_section, intervals_section, leaderboard_section, effects_section, image_sets_section,
        learning_section, parameters_section, front_section, predictions_section, wrong_images_section,
        cost_section, failures_section, provenance_section,
    )  # fmt: skip
    sections = (section for make in build if (section := make(content)) is not None)
    return Document(content.name, subtitle, headline(content), tuple(sections))
