"""Look a data folder over before a study: counts, sizes, broken files, near-duplicates and sheets to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from study.config.study_config import DataSpec
from study.data.class_names import case_notices
from study.data.dataset import SPLITS
from study.data.image_folder import FolderPlan, survey_folder
from study.data.near_duplicates import DuplicatePairs, duplicate_pairs_within
from study.data.parallel_decode import Progress, decode_files, list_broken, require_readable
from study.errors import DataError, UsageError
from study.files import write_atomic
from study.paths import encode_name

COLUMNS = 8
MOST_TILES = 64
GAP_PX = 2


def contact_sheet(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a sheet on white of up to 64 images [N, S, S, 3], taken evenly from all, eight in a row."""
    places = np.unique(np.linspace(0, len(images) - 1, min(len(images), MOST_TILES)).round().astype(int))
    side = images.shape[1] + GAP_PX
    rows = -(-len(places) // COLUMNS)
    sheet = np.full((rows * side + GAP_PX, COLUMNS * side + GAP_PX, 3), 255, np.uint8)
    for tile, at in enumerate(places):
        top, left = (GAP_PX + side * number for number in divmod(tile, COLUMNS))
        sheet[top : top + images.shape[1], left : left + images.shape[1]] = images[at]
    return sheet


def write_sheets(
    out: Path, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], classes: tuple[str, ...]
) -> tuple[Path, ...]:
    """Write OUT/<class>.png for each class with images, in the order of classes.

    Raises:
        DataError: the folder cannot be written.
    """
    paths = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for label, name in enumerate(classes):
            if (of_class := images[labels == label]).size:
                paths.append(out / f"{encode_name(name)}.png")
                write_atomic(
                    paths[-1], partial(Image.fromarray(contact_sheet(of_class)).save, format="PNG"), sync=False
                )
    except OSError as exc:
        raise DataError(f"the contact sheets need a folder that can be written, but {out}: {exc.strerror}") from exc
    return tuple(paths)


LOOK_PX = 64
EXAMPLES = 3


@dataclass(frozen=True)
class Sizes:
    """Width and height of the pictures in pixels: each the least, median and largest; ``smaller`` counts pictures."""

    width_px: tuple[int, int, int]
    height_px: tuple[int, int, int]
    target_px: int
    smaller: int


@dataclass(frozen=True)
class DuplicateCounts:
    """Pictures that have a near-duplicate elsewhere.

    ``between`` names two splits or two classes; ``count`` is how many pictures of the second have one in the first,
    ``total`` how many the second has; ``examples`` are pairs of names.
    """

    between: tuple[str, str]
    count: int
    total: int
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class FolderCheck:
    """What was found; ``refusal`` is why a study would not run on the folder.

    ``counts`` are the readable pictures by set and class; ``imbalance`` is the largest class over the smallest, None
    where one is empty; ``broken`` has "name: reason"; ``ignored`` counts files by suffix or reason; ``duplicates`` are
    of pairs of splits, ``conflicts`` of pairs of classes.
    """

    path: str
    refusal: str | None
    classes: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    imbalance: float | None
    sizes: Sizes | None
    total: int
    broken: tuple[str, ...]
    ignored: Mapping[str, int]
    duplicates: tuple[DuplicateCounts, ...]
    conflicts: tuple[DuplicateCounts, ...]
    sheets: tuple[str, ...]
    notices: tuple[str, ...] = ()


def check_folder(
    spec: DataSpec, out: Path, *, workers: int | None = None, on_progress: Progress | None = None
) -> FolderCheck:
    """Look over the folder of a spec and write a contact sheet of each class.

    Pictures are compared and shown at 64 px at most, so memory does not grow with ``image_size_px``.

    Args:
        spec: its path, target size, group_by, classes and splits count; its ``shifted`` is left aside.
        out: where the sheets go; not inside the data folder.
        workers: threads; None means one per available core.
        on_progress: called with (pictures done, pictures in all).

    Raises:
        DataError: the folder cannot be read, or ``out`` not written; UsageError: ``out`` lies in the data folder.
    """
    plan, refusal = survey_folder(spec.model_copy(update={"shifted": {}}))
    _require_outside(out, plan.root)
    labelled = [file for files in plan.sets.values() for file in files]
    files, side = [file.file for file in labelled], min(spec.image_size_px, LOOK_PX)
    decoded = decode_files(files, side, resize=spec.resize, workers=workers, on_progress=on_progress)
    if refusal is None:
        try:
            require_readable(plan, decoded.faults)
        except DataError as exc:
            refusal = str(exc)
    whole = decoded.whole()
    sets = np.repeat(np.arange(len(plan.sets)), [len(of_set) for of_set in plan.sets.values()])[whole]
    labels = np.array([labelled[at].label for at in whole], np.int64)
    images = decoded.images[whole] if decoded.faults else decoded.images
    table = np.zeros((len(plan.sets), len(plan.classes)), np.int64)
    np.add.at(table, (sets, labels), 1)
    splits, conflicts = _duplicates(plan, tuple(files[at].name for at in whole), sets, labels, images)
    counts = {
        name: dict(zip(plan.classes, row.tolist(), strict=True)) for name, row in zip(plan.sets, table, strict=True)
    }
    return FolderCheck(
        path=str(plan.root),
        refusal=refusal,
        classes=plan.classes,
        counts=counts,
        imbalance=_imbalance(counts, plan.classes),
        sizes=_sizes(decoded.sizes_px[whole], spec.image_size_px),
        total=len(files),
        broken=list_broken(files, decoded.faults),
        ignored=dict(plan.ignored),
        duplicates=splits,
        conflicts=conflicts,
        sheets=tuple(map(str, write_sheets(out, images, labels, plan.classes))),
        notices=(*plan.notices, *case_notices(plan.classes), *([dark] if (dark := decoded.darkness_notice()) else [])),
    )


def _duplicates(
    plan: FolderPlan,
    names: Sequence[str],
    sets: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    images: npt.NDArray[np.uint8],
) -> tuple[tuple[DuplicateCounts, ...], tuple[DuplicateCounts, ...]]:
    """Count near-duplicates between splits, and between classes; of these only in splits.

    A shifted set may hold the same pictures on purpose. All arguments but the plan are [N]; sets and labels are places.
    """
    if not len(images):
        return (), ()
    pairs, set_names = duplicate_pairs_within(images), tuple(plan.sets)

    def counted(pairs: DuplicatePairs, of: npt.NDArray[np.int64], left: int, right: int) -> DuplicateCounts:
        ahead = (of[pairs.first] == left) & (of[pairs.second] == right)
        behind = (of[pairs.second] == left) & (of[pairs.first] == right)
        first = np.concatenate([pairs.first[ahead], pairs.second[behind]])
        places, where = np.unique(np.concatenate([pairs.second[ahead], pairs.first[behind]]), return_index=True)
        examples = tuple((names[first[pair]], names[at]) for at, pair in zip(places[:EXAMPLES], where, strict=False))
        words = set_names if of is sets else plan.classes
        return DuplicateCounts((words[left], words[right]), len(places), int((of == right).sum()), examples)

    between = combinations([split for split in SPLITS if split in set_names], 2)
    splits = [counted(pairs, sets, *map(set_names.index, of_two)) for of_two in between]
    ordinary = np.array([name in SPLITS or name == "all" for name in set_names])[sets]
    kept = ordinary[pairs.first] & ordinary[pairs.second] & (labels[pairs.first] != labels[pairs.second])
    pairs = DuplicatePairs(pairs.first[kept], pairs.second[kept])
    mixed = sorted({tuple(sorted(pair)) for pair in zip(labels[pairs.first], labels[pairs.second], strict=True)})
    return tuple(splits), tuple(counted(pairs, labels, int(left), int(right)) for left, right in mixed)


def _require_outside(out: Path, root: Path) -> None:
    if out.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"--out must not lie in the data folder, but {out} lies in {root}; name another with --out")


def _imbalance(counts: Mapping[str, Mapping[str, int]], classes: Sequence[str]) -> float | None:
    ordinary = [of_set for name, of_set in counts.items() if name in SPLITS or name == "all"]
    totals = [sum(of_set[name] for of_set in ordinary) for name in classes]
    least = min(totals, default=0)
    return max(totals) / least if least else None


def _sizes(sizes_px: npt.NDArray[np.int64], target_px: int) -> Sizes | None:
    if not len(sizes_px):
        return None
    low, middle, high = sizes_px.min(axis=0), np.median(sizes_px, axis=0), sizes_px.max(axis=0)
    smaller = int((sizes_px.min(axis=1) < target_px).sum())
    width, height = ((int(low[at]), int(middle[at]), int(high[at])) for at in (0, 1))
    return Sizes(width, height, target_px, smaller)
