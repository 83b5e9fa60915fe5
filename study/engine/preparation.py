"""Prepare what trials need before the first one starts: data, weights, resources, points of earlier studies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from study.config.search_space import Integer
from study.config.study_config import StudySpec
from study.data import load_data
from study.data.class_names import require_distinct_names
from study.data.dataset import DataBundle, ImageSet
from study.data.near_duplicates import duplicate_notice
from study.designs import planned_trials
from study.engine.gpu.memory_probe import start_probe, wait_for_probe
from study.engine.gpu.packing import Packing, pack_trials
from study.engine.ray.cluster import plan_slots, require_accelerators
from study.engine.run_context import RunContext
from study.engine.weights.initial_weights import (
    RUN,
    Arrays,
    WeightsKey,
    load_stored_weights,
    locate_weights,
    required_weights,
    start_fetch,
    wait_for_fetch,
    without_missing,
)
from study.engine.weights.rotation_pretraining import pretrain_by_rotation
from study.errors import DataError, StudyStorageError
from study.metric_catalog import PER_CLASS, SHIFTED_METRIC_PREFIX, VAL_PREFIX, metric_slug, shifted_metric, shifted_sets
from study.paths import StudyLayout, encode_name
from study.records import DataSummary
from study.search.prior_trials import PriorTrial, prior_trials
from study.search.space import admitted_values
from study.storage.study_storage import StudyStorage
from study.utils.text import printable

SHOWN_SKIPPED = 10
SHOWN_CLASSES = 10


def validate_data(spec: StudySpec, data: DataBundle) -> None:
    """Raise an error unless the data fills a batch and has the images that the study's metrics need.

    Raises:
        DataError: a batch is larger than the training set, a metric's image set or class is missing, or two
            classes have the same name in metrics.
    """
    require_distinct_names(data.classes)
    largest, images = _largest_batch(spec), len(data.train)
    if largest > images:
        raise DataError(
            f"batch_size must be <= the number of training images, {images}, but may be {largest}; "
            "lower batch_size or add images"
        )
    for objective in spec.objective_list:
        _require_metric("objectives" if spec.objectives else "objective.metric", objective.metric, data)
    for target in spec.budget.target:
        _require_metric("budget.target", target, data)
    for name in admitted_values(spec, "early_stopping_metric"):
        _require_metric("early_stopping_metric", str(name), data)


def _largest_batch(spec: StudySpec) -> int:
    searched = next((parameter for parameter in spec.space if parameter.name == "batch_size"), None)
    if searched is not None and isinstance(searched.domain, Integer):
        return searched.domain.high
    return max(int(value) for value in admitted_values(spec, "batch_size"))


def _require_metric(field: str, name: str, data: DataBundle) -> None:
    images, bare = data.val, name.removeprefix(VAL_PREFIX)
    if name.startswith(SHIFTED_METRIC_PREFIX):
        candidates = shifted_sets(name)  # several if names have dots
        of_set = next((candidate for candidate in candidates if candidate in data.shifted), candidates[0])
        bare = name.removeprefix(shifted_metric(of_set, ""))
        if of_set not in data.shifted:
            there = ", ".join(data.shifted) or "none"
            raise DataError(f"{field} is {name}, but the data has no shifted set `{of_set}`; there are: {there}")
        images = data.shifted[of_set]
    kind, _, slug = bare.partition(".")
    slugs = [metric_slug(label) for label in data.classes]
    if kind in PER_CLASS and slug and slug not in slugs:
        raise DataError(f"{field} is {name}, but the data has no class `{slug}`; there are: {', '.join(slugs)}")
    if kind == "auc" and (missing := _missing_class(images, data.classes)):
        raise DataError(f"{field} is {name}, which needs images of every class, but `{missing}` has none there")


def _missing_class(images: ImageSet, classes: tuple[str, ...]) -> str | None:
    present = set(images.labels.tolist())
    return next((name for label, name in enumerate(classes) if label not in present), None)


@dataclass(frozen=True)
class PreparedStudy:
    """What trials need; ``spec`` is what is actually run."""

    data: DataBundle
    weights: Mapping[WeightsKey, Arrays]
    spec: StudySpec
    packing: Packing
    notices: tuple[str, ...]


def prepare_study(spec: StudySpec, layout: StudyLayout, context: RunContext, *, resumed: bool = False) -> PreparedStudy:
    """Read the data while workers fetch weights and measure the memory of trials, then pretrain by rotation.

    A resumed study has its notices about the data already.

    Raises:
        DataError: the images cannot be used.
        WeightsError: weights are missing, do not fit, or nothing else is left to run.
        DesignError: the design does not fit the space that is left without missing weights.
        EngineError: the cluster has no room for a trial.
    """
    trials, say = planned_trials(spec), context.callbacks.on_message
    slots = plan_slots(spec.resources, trials)
    require_accelerators(spec, slots)
    kept = load_stored_weights(layout, required_weights(spec))
    wanted = [key for key in required_weights(spec) if key not in kept]
    runs = context.runs() if any(key.init.startswith(RUN) for key in wanted) else {}
    located = locate_weights(wanted, runs, layout.results_option)
    fetching, probing = start_fetch(wanted, located), start_probe(spec, slots)
    data = load_data(spec.data, on_progress=context.callbacks.on_images)
    validate_data(spec, data)
    fetched = wait_for_fetch(fetching)
    left, dropped = without_missing(spec, fetched.missing)
    packing = pack_trials(left, slots, wait_for_probe(probing, say), data, trials)
    remain = planned_trials(left)
    fewer = [f"{trials - remain} trials are left out with that, {remain} remain"] if remain != trials else []
    notices = (*fetched.notices, *dropped, *fewer, *packing.notices, *(() if resumed else _data_notices(data)))
    for line in (*class_lines(data.summary), *notices):
        say(line)
    learned = pretrain_by_rotation(spec, wanted, data, say, cpus=slots.cpus, gpus=slots.gpus)
    return PreparedStudy(data, {**kept, **fetched.weights, **learned}, left, packing, notices)


def _data_notices(data: DataBundle) -> tuple[str, ...]:
    """Return notices about the data: files left out, and validation images that are also training images."""
    duplicates, skipped = duplicate_notice(data), data.summary.skipped
    more = [f"skipped {len(skipped) - SHOWN_SKIPPED} more pictures"] if len(skipped) > SHOWN_SKIPPED else []
    shown = (f"skipped {name}" for name in skipped[:SHOWN_SKIPPED])
    return (*data.notices, *shown, *more, *([duplicates] if duplicates else []))


def class_lines(summary: DataSummary) -> Iterator[str]:
    """Yield a line for each image set: its classes with their number of images, or how many there are of what size."""
    for name, counts in summary.class_counts.items():
        if not summary.sizes[name]:
            continue
        by_class = ", ".join(f"{printable(label)} {count}" for label, count in counts.items())
        if len(counts) > SHOWN_CLASSES:
            ends = (min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__))
            fewest, most = (f"{counts[label]} ({printable(label)})" for label in ends)
            by_class = f"{len(counts)} classes, from {fewest} to {most}"
        yield f"{printable(name)}: {summary.sizes[name]} images: {by_class}"


def prior_trials_of(spec: StudySpec, layout: StudyLayout) -> tuple[tuple[PriorTrial, ...], tuple[str, ...]]:
    """Return the points of the studies that ``warm_start`` names, and notices about them.

    Raises:
        StudyStorageError: a study is missing, or none of its trials fits.
    """
    priors: list[PriorTrial] = []
    notices: list[str] = []
    for name in spec.warm_start:
        other = StudyLayout(layout.root.parent / encode_name(name))
        if not other.journal.exists():
            known = ", ".join(sorted(path.parent.name for path in layout.root.parent.glob("*/ledger.journal"))[:10])
            raise StudyStorageError(
                f"warm_start must name studies of this results folder, got `{printable(name)}`; there are: {known}"
            )
        earlier = StudyStorage.open(other)
        points, left_out, why = prior_trials(spec, earlier.spec, earlier.records())
        if not points:
            raise StudyStorageError(
                f"warm_start: no finished trial of `{printable(name)}` fits this study{': ' + why if why else ''}; "
                "remove it or widen the space"
            )
        priors += points
        beside = f"; {left_out} left out: {why}" if left_out else ""
        notices.append(f"warm start: the sampler knows {len(points)} points of `{printable(name)}`{beside}")
    return tuple(priors), tuple(notices)
