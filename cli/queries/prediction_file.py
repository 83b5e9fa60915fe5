"""Reads predictions that anybody made: an .npz of arrays, or a long CSV with a row for each run and image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from study.errors import DataError
from study.utils.text import first_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from study.analysis.predictions import Predictions

_KEYS = ("configuration", "seed", "image", "label")
_OF_CLASS = "score."
_MANY = 5


def read_predictions(path: Path, names: Sequence[str] | None = None) -> Predictions:
    """Read predictions.

    Args:
        path: an ``.npz`` with ``scores`` [configurations, seeds, images] or [..., classes], ``labels`` [images] and
            perhaps ``groups`` [images]; or a ``.csv`` with ``configuration, seed, image, label``, ``score`` or a
            ``score.<class>`` for each, and perhaps ``group``.
        names: of the configurations of an ``.npz``; of a CSV those to judge, in this order.

    Raises:
        DataError: the file is not there, or not such a file.
    """
    try:
        if path.suffix == ".npz":
            return _read_npz(path, names)
        if path.suffix == ".csv":
            return _read_csv(path, names)
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    raise DataError(f"predictions must be a .npz or a .csv file, got {path}")


def _read_npz(path: Path, names: Sequence[str] | None) -> Predictions:
    import numpy as np

    from study.analysis.predictions import Predictions

    arrays = _load(path)
    if missing := [key for key in ("scores", "labels") if key not in arrays]:
        there = ", ".join(f"`{key}`" for key in arrays) or "nothing"
        raise ValueError(f"it must hold `scores` and `labels`, but lacks `{missing[0]}`; there is {there}")
    scores, labels = arrays["scores"], arrays["labels"]
    if scores.dtype.kind not in "fiub":
        raise ValueError(f"`scores` must be numbers, got {scores.dtype}")
    if scores.ndim not in (3, 4):
        raise ValueError(
            "`scores` must be [configurations, seeds, images], or [configurations, seeds, images, classes], "
            f"got {list(scores.shape)}; for one seed use scores[:, None]"
        )
    if labels.ndim != 1 or len(labels) != scores.shape[2]:
        raise ValueError(
            f"`labels` must be [images] beside scores of {scores.shape[2]} images, got {list(labels.shape)}"
        )
    if scores.ndim == 4 and scores.shape[3] < 2:
        raise ValueError(f"the last axis of `scores` must hold two classes or more, got {scores.shape[3]}")
    configurations, seeds = scores.shape[:2]
    if names is not None and len(names) != configurations:
        raise ValueError(f"--names must name each of {configurations} configurations, got {len(names)}")
    many = 2 if scores.ndim == 3 else scores.shape[3]
    indices, classes, note = _class_indices(labels, [str(each) for each in range(many)], many)
    return Predictions(
        scores.reshape(configurations * seeds, *scores.shape[2:]).astype(np.float64),
        indices,
        np.repeat(np.arange(configurations), seeds),
        np.tile(np.arange(seeds), configurations),
        tuple(names) if names is not None else tuple(range(configurations)),
        tuple(classes),
        arrays.get("groups"),
        (note,) if note else (),
    )


def _load(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz; nothing in it is ever unpickled, as that may run code."""
    import numpy as np

    try:
        with path.open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            if not isinstance(stored, np.lib.npyio.NpzFile):
                raise ValueError("it must be an .npz archive of arrays, as numpy.savez writes it")
            return {key: stored[key] for key in stored.files if key in ("scores", "labels", "groups")}
    except (BadZipFile, EOFError) as error:
        raise ValueError(f"it must be an .npz archive, but is damaged: {error}") from error
    except ValueError as error:
        if "pickle" in str(error).lower():
            raise ValueError(
                "it must be an .npz archive of plain arrays of numbers or text; pickled objects, or what looks like "
                "them, are refused because they may run code; store numbers, all runs with the same number of images"
            ) from error
        raise


def _class_indices(labels: NDArray[Any], classes: list[str], many: int) -> tuple[NDArray[np.int64], list[str], str]:
    """Return labels as indices, the names of the classes, and what was assumed.

    Labels are indices, or names of which there are as many as classes, taken in the order of the alphabet.
    """
    import numpy as np

    if labels.dtype.kind in "biu":
        return labels.astype(np.int64), classes, ""
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all() or (labels != np.floor(labels)).any():
            raise ValueError("`labels` must be whole numbers or names, but some are NaN or fractions")
        return labels.astype(np.int64), classes, ""
    if labels.dtype.kind not in "US":
        raise ValueError(f"`labels` must be whole numbers or names, got {labels.dtype}")
    known, indices = np.unique(labels.astype(str), return_inverse=True)
    if len(known) != many:
        shown = ", ".join(f"`{each}`" for each in known[:_MANY])
        raise ValueError(
            f"labels that are names must be {many} different ones, as there are scores of {many} classes, but are "
            f"{len(known)}: {shown}; use indices from 0 where a class has no image"
        )
    note = f"class 1, which scores are about, is taken to be `{known[1]}`" if many == 2 else ""
    return indices.astype(np.int64), list(map(str, known)), note


def _read_csv(path: Path, names: Sequence[str] | None) -> Predictions:
    import numpy as np

    from study.analysis.predictions import Predictions, in_order

    table, score_columns = _read_table(path)
    if names is not None:
        if unknown := [name for name in names if name not in set(table["configuration"])]:
            there = ", ".join(f"`{name}`" for name in dict.fromkeys(table["configuration"]))
            raise ValueError(f"--names must be configurations of the file, which has {there}; got `{unknown[0]}`")
        table = table[table["configuration"].isin(list(names))]
    images, image = in_order(table["image"].tolist())
    known, configuration = in_order([*(names or ()), *table["configuration"].tolist()])
    configuration = configuration[len(names or ()) :]
    seeds, seed = in_order(table["seed"].tolist())
    run_keys, run = np.unique(configuration * len(seeds) + seed, return_inverse=True)
    place = run * len(images) + image
    _require_whole(table, place, len(run_keys), len(images))
    order = np.argsort(place)
    scores = table[score_columns].to_numpy(np.float64)[order]
    by_image = _one_for_each_image(table, "label", image, len(images))
    groups = _one_for_each_image(table, "group", image, len(images)) if "group" in table else None
    labels, classes, note = _csv_classes(by_image, [column.removeprefix(_OF_CLASS) for column in score_columns])
    shape = (len(run_keys), len(images)) if len(score_columns) == 1 else (len(run_keys), len(images), -1)
    return Predictions(
        scores.reshape(shape), labels, run_keys // len(seeds), run_keys % len(seeds), tuple(known), tuple(classes),
        groups, (note,) if note else (),
    )  # fmt: skip


def _read_table(path: Path) -> tuple[pd.DataFrame, list[str]]:
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"it must be a CSV file with a heading, but {error}") from error
    table.columns = table.columns.str.strip()
    columns = list(table.columns)
    score_columns = [each for each in columns if each == "score" or each.startswith(_OF_CLASS)]
    if missing := [key for key in _KEYS if key not in columns]:
        raise ValueError(f"it must have the columns {', '.join(_KEYS)} and score, but lacks {', '.join(missing)}")
    if not score_columns or ("score" in score_columns and len(score_columns) > 1) or score_columns[0] == _OF_CLASS:
        raise ValueError("it must have a column `score`, or `score.<class>` for each class, and not both")
    if len(score_columns) == 1 and score_columns != ["score"]:
        raise ValueError("it must have a column `score.<class>` for two classes or more, or one `score` of class 1")
    if not len(table):
        raise ValueError("it must have a row for each run and image, but has none")
    for column in (*_KEYS, *(["group"] if "group" in columns else [])):
        if (table[column] == "").any():
            raise ValueError(f"`{column}` must not be empty, but is in {_lines(table[column] == '')}")
    for column in score_columns:
        numbers = pd.to_numeric(table[column], errors="coerce")
        if numbers.isna().any():
            raise ValueError(f"`{column}` must be a number, but is not in {_lines(numbers.isna())}")
        table[column] = numbers
    return table, score_columns


def _lines(wrong: pd.Series[bool]) -> str:
    """Return the lines of a file at which something is wrong; the heading is line 1."""
    lines = [str(at + 2) for at in wrong.to_numpy().nonzero()[0]]
    return ("lines " if len(lines) > 1 else "line ") + first_of(lines, _MANY)


def _require_whole(table: pd.DataFrame, place: NDArray[np.int64], runs: int, images: int) -> None:
    """Raise ValueError unless every run has every image once."""
    import numpy as np

    counts = np.bincount(place, minlength=runs * images)
    if (counts > 1).any():
        at = int(np.flatnonzero(np.isin(place, np.flatnonzero(counts > 1)))[0])
        row = table.iloc[at]
        raise ValueError(
            f"each run must have each image once, but configuration `{row['configuration']}`, seed {row['seed']} has "
            f"image `{row['image']}` {int(counts[place[at]])} times"
        )
    if (counts == 0).any():
        missing = int(np.flatnonzero(counts == 0)[0])
        own = table.iloc[int(np.flatnonzero(place // images == missing // images)[0])]
        other = table.iloc[int(np.flatnonzero(place % images == missing % images)[0])]
        raise ValueError(
            f"each run must have each image, but configuration `{own['configuration']}`, seed {own['seed']} lacks "
            f"image `{other['image']}`, and {int((counts == 0).sum())} are missing in all; leave the image out of "
            "every run, or leave out the whole run"
        )


def _one_for_each_image(table: pd.DataFrame, column: str, image: NDArray[np.int64], images: int) -> NDArray[np.str_]:
    """Return the value of each image, which must be the same in all its rows."""
    import numpy as np

    values = table[column].to_numpy(dtype=str)
    first = np.full(images, len(values))
    np.minimum.at(first, image, np.arange(len(values)))
    result: NDArray[np.str_] = values[first]
    if (wrong := np.flatnonzero(values != result[image])).size:
        row = table.iloc[int(wrong[0])]
        raise ValueError(
            f"an image must have one {column}, but `{row['image']}` has `{result[image[wrong[0]]]}` and `{row[column]}`"
        )
    return result


def _csv_classes(labels: NDArray[np.str_], columns: list[str]) -> tuple[NDArray[np.int64], list[str], str]:
    """Return labels as indices, the classes, and what was assumed."""
    import numpy as np

    if len(columns) > 1:
        places = {name: at for at, name in enumerate(columns)}
        if unknown := [each for each in dict.fromkeys(labels.tolist()) if each not in places]:
            raise ValueError(
                f"labels must be classes that have a column `{_OF_CLASS}<class>`, which are {', '.join(columns)}; "
                f"got `{unknown[0]}`"
            )
        return np.array([places[each] for each in labels.tolist()]), columns, ""
    try:
        as_numbers = labels.astype(np.float64)
    except ValueError:
        return _class_indices(labels, ["0", "1"], 2)
    return _class_indices(as_numbers, ["0", "1"], 2)
