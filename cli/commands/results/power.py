"""The command that says how many seeds and images it takes to see a difference: power."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import RESULTS, Json, Metric, Results
from cli.output import print_json
from study.errors import StudyError, UsageError
from study.files import expand_home


if TYPE_CHECKING:
    from study.analysis.power import Requirements, VarianceComponents
    from study.config.study_config import StudySpec

FileOrName = Annotated[
    str, typer.Argument(help="A study file that has not run, or the name of a study that has.", metavar="FILE|NAME")
]
Detect = Annotated[
    float, typer.Option("--detect", metavar="D", help="The difference to see, in the unit of the metric.")
]
Like = Annotated[str | None, typer.Option("--like", metavar="NAME", help="Expect the noise of this earlier study.")]
Value = Annotated[
    float | None, typer.Option("--auc", "--value", metavar="V", help="Assume that the metric is about this; else 0.95.")
]
Correlation = Annotated[
    float | None,
    typer.Option("--correlation", metavar="R", help="Assume so alike errors of two configurations; else 0.6."),
]
SeedSd = Annotated[
    float | None, typer.Option("--seed-sd", metavar="S", help="Assume this spread between seeds; else 0.004.")
]
_VALUE, _CORRELATION, _SEED_SD = 0.95, 0.6, 0.004
_FORMULAS = ("auc", "accuracy", "recall", "precision")
_FEW_SEEDS = 3
_SUFFIXES = (".yaml", ".yml")


def power(
    study: FileOrName,
    detect: Detect,
    metric: Metric = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, metavar="N", help="Seeds of each; else the study's.")] = None,
    images: Annotated[int | None, typer.Option("--images", min=2, metavar="N", help="Images; else the study's.")] = None,
    like: Like = None,
    auc: Value = None,
    correlation: Correlation = None,
    seed_sd: SeedSd = None,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Say how likely a true difference is seen, and how many seeds and images it takes."""
    from study.analysis.power import requirements

    if not 0 < detect < math.inf:
        raise UsageError(f"--detect must be > 0 and finite, got {detect:g}")
    assumed = _Assumed(auc, correlation, seed_sd)
    assumed.check()
    if study.endswith(_SUFFIXES) or Path(study).is_file():
        basis = _of_file(study, metric, like, assumed, results)
    elif like is not None:
        raise UsageError(f"--like is for a study file, but `{study}` is the name of a study, which has noise of its own")
    else:
        basis = _of_study(results, study, metric, assumed)
    if detect > 1 and not basis.metric.endswith("loss"):
        raise UsageError(f"--detect must be <= 1, the most that two values of {basis.metric} differ, got {detect:g}")
    basis = replace(basis, seeds=seeds or basis.seeds, images=images or basis.images)
    required = requirements(basis.components, detect, basis.seeds, basis.images)
    if json:
        print_json(_as_json(basis, detect, required))
    else:
        _print(basis, detect, required)


@dataclass(frozen=True)
class _Assumed:
    """What was assumed by an option; None for what was not."""

    value: float | None
    correlation: float | None
    seed_sd: float | None

    def check(self) -> None:
        """Make sure that each is possible.

        Raises:
            UsageError: one is not.
        """
        if self.value is not None and not 0 < self.value < 1:
            raise UsageError(f"--auc must be in (0, 1), got {self.value:g}")
        if self.correlation is not None and not 0 <= self.correlation < 1:
            raise UsageError(f"--correlation must be in [0, 1), got {self.correlation:g}")
        if self.seed_sd is not None and not self.seed_sd >= 0:
            raise UsageError(f"--seed-sd must be >= 0, got {self.seed_sd:g}")


@dataclass(frozen=True)
class _Basis:
    """What the answer rests on: the noise, where it is from, and the seeds and images at hand."""

    metric: str
    components: VarianceComponents
    seeds: int
    images: int
    source: str
    notes: tuple[str, ...] = ()


def _of_study(results: Path, name: str, metric: str | None, assumed: _Assumed) -> _Basis:
    """Return what the runs of a study show.

    Raises:
        StudyError: they do not show it.
        UsageError: what they show was assumed.
    """
    from cli.queries.ranking import rank_study
    from cli.queries.stored_predictions import NoPredictionsError, judge_stored
    from study.analysis.power import typical_components

    if assumed.value is not None or assumed.correlation is not None:
        raise UsageError(
            f"--auc and --correlation are assumed of a study file, but the runs of `{name}` show both; leave them out"
        )
    ranking = rank_study(results, None, name, metric)
    try:
        comparison = judge_stored(ranking, results).comparison
    except NoPredictionsError as error:
        raise StudyError(
            f"how images blur {ranking.metric} is read from the stored predictions of `{name}`, but {error}; "
            f"`study power FILE --detect D` states assumptions instead"
        ) from error
    if len(comparison.order) < 2 or not comparison.measured.known:
        raise StudyError(
            f"the noise of a difference takes two configurations and more than one image of each class, which `{name}` "
            "has not; `study power FILE --detect D` states assumptions instead"
        )
    components, notes = typical_components(comparison), []
    once = comparison.about == "checkpoints"
    if once or assumed.seed_sd is not None:
        sd = _SEED_SD if assumed.seed_sd is None else assumed.seed_sd
        components = replace(components, seeds=2 * sd**2)
        why = ", as each configuration ran once" if once else ""
        notes.append(f"assumed: spread between seeds {sd:g} (--seed-sd){why}")
    runs = comparison.runs
    return _Basis(ranking.metric, components, int(runs.counts.min()), int(runs.units.shape[1]),
                  f"the runs of {ranking.study}", tuple(notes))  # fmt: skip


def _of_file(file: str, metric: str | None, like: str | None, assumed: _Assumed, results: Path) -> _Basis:
    """Return what an earlier study shows, or what is assumed, with the seeds and images that a study file plans."""
    from study.config_file import load_spec
    from study.data.sources import plan_data

    spec = load_spec(expand_home(file)).spec
    data = plan_data(spec.data)
    seeds, images = len(spec.replicates.numbers), data.sizes["val"]
    asked = metric or spec.objective.metric
    if like is not None:
        basis = _of_study(results, like, asked, assumed)
        return replace(basis, seeds=seeds, images=images)
    return _assume(asked, spec, assumed, seeds, images, len(data.classes))


def _assume(metric: str, spec: StudySpec, assumed: _Assumed, seeds: int, images: int, classes: int) -> _Basis:
    from study.analysis.power import assumed_components
    from study.designs import distinct_points
    from study.metric_catalog import VAL_PREFIX

    kind, _, of_class = metric.removeprefix(VAL_PREFIX).partition(".")
    if not metric.startswith(VAL_PREFIX) or kind not in _FORMULAS:
        known = ", ".join(f"{VAL_PREFIX}{each}" for each in _FORMULAS)
        raise UsageError(
            f"without a study that ran, the noise is known of {known}, got {metric}; "
            "name one with --like NAME, or another --metric"
        )
    value = _VALUE if assumed.value is None else assumed.value
    correlation = _CORRELATION if assumed.correlation is None else assumed.correlation
    sd = _SEED_SD if assumed.seed_sd is None else assumed.seed_sd
    share = 1 / classes if kind == "auc" or of_class else 1.0
    configurations = distinct_points(spec) or max(2, spec.search.trials // seeds)
    components = assumed_components(kind, value, correlation, sd, max(2, configurations), share)
    notes = [
        f"assumed: {metric} about {value:g} (--auc), correlation of the errors of two configurations {correlation:g} "
        f"(--correlation), spread between seeds {sd:g} (--seed-sd)",
    ]
    if share < 1:
        notes.append(f"assumed: {_percent(share)} of the images in the class that counts")
    return _Basis(metric, components, seeds, images, "assumptions", tuple(notes))


def _table(basis: _Basis, detect: float) -> list[dict[str, Any]]:
    """Return the probability for several numbers of seeds and images around those at hand."""
    from study.analysis.power import power as probability

    counts = sorted({2, _FEW_SEEDS, 5, 10, basis.seeds})
    sizes = sorted({basis.images * factor for factor in (1, 2, 5, 10)})
    return [
        {"seeds": seeds, "images": images, "power": probability(basis.components, detect, seeds, images)}
        for seeds in counts
        for images in sizes
    ]


def _words(basis: _Basis, detect: float, required: Requirements) -> list[str]:
    from study.analysis.power import MOST_SEEDS, TARGET, images_needed

    lines = [
        f"a true difference of {detect:g} in {basis.metric} is seen with a probability of {_percent(required.probability)} by "
        f"{_of_runs(basis.seeds)} and {basis.images:,} images"
    ]
    if required.cheapest is None:
        takes = f"no number of images suffices with up to {MOST_SEEDS} seeds"
    else:
        takes = f"{_of_runs(required.cheapest[0])} and {_rounded(required.cheapest[1])} images"
    lines.append(f"{_percent(TARGET)} takes {takes}")
    for seeds in dict.fromkeys((basis.seeds, _FEW_SEEDS)):
        needed = required.images if seeds == basis.seeds else images_needed(basis.components, detect, seeds)
        if needed is None:
            lines.append(f"with {_of_runs(seeds)} no number of images suffices")
        elif needed > basis.images or seeds == basis.seeds:
            lines.append(f"with {_of_runs(seeds)} it takes {_rounded(needed)} images")
    lines.append(
        f"with {basis.images:,} images no number of seeds up to {MOST_SEEDS} suffices"
        if required.seeds is None
        else f"with {basis.images:,} images it takes {_of_runs(required.seeds)}"
    )
    return lines


def _of_runs(seeds: int) -> str:
    return "1 seed (of checkpoints)" if seeds == 1 else f"{seeds} seeds"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _rounded(count: int) -> str:
    """Return a count rounded up to three digits."""
    unit = 10 ** max(0, len(str(count)) - 3)
    return f"{-(-count // unit) * unit:,}"


_ONE_PAIR = "this is about one pair; to beat each of several others takes more"


def _as_json(basis: _Basis, detect: float, required: Requirements) -> dict[str, Any]:
    cheapest = None if required.cheapest is None else dict(zip(("seeds", "images"), required.cheapest, strict=True))
    return {
        "metric": basis.metric,
        "detect": detect,
        "from": basis.source,
        "seeds": basis.seeds,
        "images": basis.images,
        "components": asdict(basis.components),
        "power": required.probability,
        "needed": {"cheapest": cheapest, "images": required.images, "seeds": required.seeds},
        "table": _table(basis, detect),
        "words": "; ".join(_words(basis, detect, required)),
        "notes": [*basis.notes, _ONE_PAIR],
    }


def _print(basis: _Basis, detect: float, required: Requirements) -> None:
    from cli.views.tables import make_table, print_table

    typer.echo(f"noise from {basis.source}")
    for note in basis.notes:
        typer.echo(note)
    cells = _table(basis, detect)
    sizes = sorted({cell["images"] for cell in cells})
    rows: dict[int, list[str]] = {}
    for cell in cells:
        rows.setdefault(cell["seeds"], []).append(_percent(cell['power']))
    headings = ["seeds", *(f"{size:,} images" for size in sizes)]
    print_table(make_table(headings, [[str(seeds), *row] for seeds, row in rows.items()], right=headings))
    for line in _words(basis, detect, required):
        typer.echo(line)
    typer.echo(f"note: {_ONE_PAIR}")
