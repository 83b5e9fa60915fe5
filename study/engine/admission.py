"""Refuse what a study asks of data that cannot give it; called before anything is stored."""

from __future__ import annotations

from study.data.bundle import DataBundle, ImageSet
from study.errors import DataError
from study.exclusions import admitted_values
from study.records import PER_CLASS, SHIFTED_PREFIX, VAL_PREFIX, shifted_sets
from study.spec import Integer, StudySpec
from study.training.metrics import metric_slug


def require_data_for(spec: StudySpec, data: DataBundle) -> None:
    """Make sure that the data can fill a batch and has what the study is steered by.

    Raises:
        DataError: a batch is larger than the training set, a metric's image set or class is not there, or two
            classes look the same in the names of metrics.
    """
    _require_distinct_names(data.classes)
    largest, images = _largest_batch(spec), len(data.train)
    if largest > images:
        raise DataError(
            f"batch_size must be <= the number of training images, {images}, but may be {largest}; "
            "lower batch_size or add images"
        )
    for one in spec.aims:
        _require_metric("objectives" if spec.objectives else "objective.metric", one.metric, data)
    for target in spec.budget.target:
        _require_metric("budget.target", target, data)
    for name in admitted_values(spec, "early_stopping_metric"):
        _require_metric("early_stopping_metric", str(name), data)


def _require_distinct_names(classes: tuple[str, ...]) -> None:
    by_slug: dict[str, str] = {}
    for one in classes:
        other = by_slug.setdefault(metric_slug(one), one)
        if other != one:
            raise DataError(
                f"class names must differ in metric names, but {other!r} and {one!r} are both `{metric_slug(one)}` "
                "there; rename one with data.classes"
            )


def _largest_batch(spec: StudySpec) -> int:
    searched = next((one for one in spec.space if one.name == "batch_size"), None)
    if searched is not None and isinstance(searched.domain, Integer):
        return searched.domain.high
    return max(int(one) for one in admitted_values(spec, "batch_size"))


def _require_metric(field: str, name: str, data: DataBundle) -> None:
    images, bare = data.val, name.removeprefix(VAL_PREFIX)
    if name.startswith(SHIFTED_PREFIX):
        meant = shifted_sets(name)  # more than one where names have dots
        of_set = next((one for one in meant if one in data.shifted), meant[0])
        bare = name.removeprefix(f"{SHIFTED_PREFIX}{of_set}.")
        if of_set not in data.shifted:
            there = ", ".join(data.shifted) or "none"
            raise DataError(f"{field} is {name}, but the data has no shifted set `{of_set}`; there are: {there}")
        images = data.shifted[of_set]
    kind, _, slug = bare.partition(".")
    slugs = [metric_slug(one) for one in data.classes]
    if kind in PER_CLASS and slug and slug not in slugs:
        raise DataError(f"{field} is {name}, but the data has no class `{slug}`; there are: {', '.join(slugs)}")
    if kind == "auc" and (lacking := _lacking(images, data.classes)):
        raise DataError(f"{field} is {name}, which needs images of every class, but `{lacking}` has none there")


def _lacking(images: ImageSet, classes: tuple[str, ...]) -> str | None:
    present = set(images.labels.tolist())
    return next((one for label, one in enumerate(classes) if label not in present), None)
