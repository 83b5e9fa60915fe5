"""Metrics are in Prometheus's text format: cumulative buckets, escaped labels."""

from __future__ import annotations

from study.inference.service_metrics import Counter, Histogram, ServiceMetrics, sample


def test_buckets_count_everything_below_their_end() -> None:
    histogram = Histogram("t", "Time.", (0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7):
        histogram.observe(value)
    assert histogram.lines() == [
        "# HELP t Time.", "# TYPE t histogram", 't_bucket{le="0.1"} 2', 't_bucket{le="1.0"} 3', 't_bucket{le="+Inf"} 4',
        "t_sum 7.65", "t_count 4",
    ]  # fmt: skip


def test_counters_count_by_label() -> None:
    counter = Counter("n", "Number.", "status")
    for value in ("200", "503", "200"):
        counter.add(value)
    assert counter.lines()[2:] == ['n{status="200"} 2', 'n{status="503"} 1']


def test_label_values_are_escaped() -> None:
    assert sample("n", {"class": 'a"b\\c\nd'}, 1) == 'n{class="a\\"b\\\\c\\nd"} 1'


def test_a_page_ends_with_a_line_end() -> None:
    text = ServiceMetrics().text({"study_pending_pictures": ("Waiting.", 3)})
    assert text.endswith("study_pending_pictures 3\n")
    assert len({line for line in text.splitlines() if line.startswith("# TYPE")}) == 6
