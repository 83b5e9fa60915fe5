"""Tables about bundles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli.views.tables import Column, TableModel

if TYPE_CHECKING:
    from study.export.formats.parity import FormatCheck


def format_table(checks: Sequence[FormatCheck]) -> TableModel:
    """Return the formats of a model as they were compared and timed."""
    return TableModel(
        f"formats, compared on {checks[0].images} images" if checks else "formats",
        [
            Column("format", [check.format for check in checks]),
            Column("precision", [check.precision for check in checks]),
            Column("MB", [check.bytes / 1e6 for check in checks], right=True, text=lambda value: f"{value:.1f}"),
            Column("batch 1, ms", [check.latency_1_ms for check in checks], right=True, text=_milliseconds),
            Column("batch 64, ms", [check.latency_64_ms for check in checks], right=True, text=_milliseconds),
            Column("logit difference", [check.max_logit_difference for check in checks], right=True, text=_difference),
            Column("changed", [check.flipped for check in checks], right=True, text=_share),
            Column("result", [check.fault or "ok" for check in checks], folds=True),
        ],
        ["milliseconds of CPU time, one thread; changed: share of decisions that differ from the checkpoint's"],
    )


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _difference(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
