"""Counters and histograms of a service in Prometheus's text format."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCHES = (1, 2, 4, 8, 16, 32)


class Counter:
    """How often something happened, by the value of one label."""

    def __init__(self, name: str, text: str, label: str) -> None:
        self._name, self._text, self._label = name, text, label
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()

    def add(self, value: str) -> None:
        """Count one more."""
        with self._lock:
            self._counts[value] = self._counts.get(value, 0) + 1

    def lines(self) -> list[str]:
        """Return the metric in text format."""
        with self._lock:
            counts = sorted(self._counts.items())
        return [*_head(self._name, self._text, "counter"),
                *(sample(self._name, {self._label: value}, count) for value, count in counts)]  # fmt: skip


class Histogram:
    """How large values were; a bucket includes its upper end."""

    def __init__(self, name: str, text: str, buckets: Sequence[float]) -> None:
        self._name, self._text, self._buckets = name, text, tuple(buckets)
        self._counts, self._sum = [0] * (len(buckets) + 1), 0.0
        self._lock = threading.Lock()

    def observe(self, value: float) -> None:
        """Count a value."""
        place = next((at for at, end in enumerate(self._buckets) if value <= end), len(self._buckets))
        with self._lock:
            self._counts[place] += 1
            self._sum += value

    def lines(self) -> list[str]:
        """Return the metric in text format."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        lines, below = _head(self._name, self._text, "histogram"), 0
        for end, count in zip([*map(repr, self._buckets), "+Inf"], counts, strict=True):
            below += count
            lines.append(sample(f"{self._name}_bucket", {"le": end}, below))
        return [*lines, sample(f"{self._name}_sum", {}, total), sample(f"{self._name}_count", {}, below)]


class ServiceMetrics:
    """What is measured of a service."""

    def __init__(self) -> None:
        self.requests = Counter("study_requests_total", "Answered requests to /predict by HTTP status.", "status")
        self.refused = Counter("study_refused_total", "Refused connections by what were too many.", "what")
        self.seconds = Histogram("study_request_seconds", "Time from a request to its answer.", SECONDS)
        self.predictions = Counter("study_predictions_total", "Predictions by class.", "class")
        self.batches = Histogram("study_batch_pictures", "Pictures that were classified at once.", BATCHES)

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """Return all metrics; ``gauges`` are (help, value) by name."""
        lines = [line for metric in (self.requests, self.refused, self.seconds, self.predictions, self.batches)
                 for line in metric.lines()]  # fmt: skip
        for name, (text, value) in gauges.items():
            lines += [*_head(name, text, "gauge"), sample(name, {}, value)]
        return "\n".join(lines) + "\n"


def sample(name: str, labels: Mapping[str, str], value: float) -> str:
    """Return one line, with label values escaped."""
    pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{pairs}}} {value}" if pairs else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _head(name: str, text: str, kind: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
