"""The command that runs the best of a study again with fresh seeds: confirm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import Metric, Name, SharedRunOptions, folder_option, takes_run_options
from cli.output import print_json
from study.errors import StudyError, UsageError

if TYPE_CHECKING:
    from cli.queries.ranking import Ranking
    from cli.queries.study_handle import StudyInFolder
    from study.config.hyperparameters import Scalar
    from study.config.study_config import StudySpec

_FEWEST = 2
"""One configuration by itself has nothing to be better than."""


@takes_run_options
def confirm(
    name: Name = None,
    top: Annotated[int, typer.Option("--top", min=2, metavar="N", help="At most so many configurations.")] = 5,
    seeds: Annotated[
        int, typer.Option("--seeds", min=2, metavar="N", help="Fresh seeds for each; of one alone nothing is known.")
    ] = 5,
    metric: Metric = None,
    new_name: Annotated[
        str | None, typer.Option("--name", metavar="TEXT", help="Name of the new study; default: NAME-confirm.")
    ] = None,
    out: Annotated[
        Path | None, folder_option("--out", help="Write the new study's file there too.", metavar="FILE")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the new study's file, or write it with --out; run nothing.")
    ] = False,
    *,
    options: SharedRunOptions,
) -> None:
    """Run the configurations that may be the best again, with fresh seeds only, as a study of its own."""
    from cli.commands.run import start_new
    from cli.queries.ranking import rank_study
    from cli.queries.study_handle import open_study
    from study.config_file import load_text
    from study.config_file.write import study_text
    from study.paths import Layout

    study = open_study(options.results, name)
    ranking = rank_study(options.results, None, study.name, metric)
    candidates = confirmable(ranking, options.results, top)
    points, used = [each.params for each in candidates.members], _seeds_used(study, options.results)
    planned = confirmation(study.view.spec, points, [max(used) + 1 + k for k in range(seeds)], new_name)
    heading = f"{candidates.why}, each with {_counted(seeds, 'fresh seed')}"
    text = f"# Of {study.name} {heading}.\n{study_text(planned)}"
    spec = load_text(text, Path(f"{planned.name}.yaml")).spec
    layout = Layout(options.results).study(spec.name)
    if layout.root.exists() and not dry_run:
        raise UsageError(
            f"a confirmation is a new study, but `{spec.name}` exists; --name OTHER names another, "
            f"`{layout.command('best')}` says what it found"
        )
    if out is not None:
        _write(out, text)
    if not dry_run:
        typer.echo(f"{spec.name}: {heading}", err=options.json)
        start_new(layout, spec, text, options)
    elif options.json:
        print_json({"study": spec.name, "of": study.name, "points": [dict(point) for point in spec.design.points],
                    "seeds": list(spec.replicates.numbers), "file": text})  # fmt: skip
    else:
        typer.echo(f"{spec.name}: {heading}", err=True)
        if out is None:
            typer.echo(text, nl=False)


@dataclass(frozen=True)
class Candidate:
    """A configuration to run again."""

    point: int
    params: Mapping[str, Scalar]


@dataclass(frozen=True)
class Candidates:
    """What to run again, best first, and which ones these are, in words."""

    members: tuple[Candidate, ...]
    why: str


def confirmable(ranking: Ranking, results: Path, top: int) -> Candidates:
    """Return the configurations of a ranking that may be the best; where each ran once the first ones.

    Where it is certain which is the best, it is that one and the next.

    Raises:
        UsageError: several objectives have no single best, or one configuration ended only.
    """
    from cli.queries.ranking import require_candidate
    from cli.queries.stored_predictions import NoPredictionsError, judge_stored

    require_candidate(ranking)
    if ranking.objective_list:
        raise UsageError(
            f"`{ranking.study}` has several objectives and so no single best; name one to choose by, "
            f"such as --metric {ranking.metric}"
        )
    members = _members(ranking)
    if len(members) < _FEWEST:
        raise UsageError(
            f"confirming compares at least {_FEWEST} configurations, but {len(members)} of `{ranking.study}` ended "
            f"with a number for {ranking.metric}; `study extend {ranking.study}` runs more"
        )
    first = Candidates(members[:top], f"the first {min(top, len(members))} of {len(members)} configurations")
    try:
        verdict = judge_stored(ranking, results)
    except NoPredictionsError:
        return first
    if verdict.comparison.about == "checkpoints":  # any configuration may be the best: what its seed did is not known
        return first
    best = {verdict.keys[k] for k in verdict.judgement.may_be_best}
    tied = [each for each in members if each.point in best]
    chosen = [*tied, *(each for each in members if each.point not in best)][: max(_FEWEST, min(top, len(tied)))]
    if len(tied) < _FEWEST:
        return Candidates(tuple(chosen), "the configuration that is certain to be the best, and the next")
    of = f"{len(tied)} of {len(verdict.keys)} configurations that may be the best"
    return Candidates(tuple(chosen), of if len(chosen) == len(tied) else f"the first {len(chosen)} of the {of}")


def _members(ranking: Ranking) -> tuple[Candidate, ...]:
    """Return every configuration with a rank, best first."""
    if ranking.configurations:
        return tuple(Candidate(each.point, each.trials[0].params) for each in ranking.configurations if each.counted)
    return tuple(Candidate(row.record.point, row.record.params) for row in ranking.rows if row.rank is not None)


def confirmation(
    spec: StudySpec, points: Sequence[Mapping[str, Scalar]], seeds: Sequence[int], name: str | None = None
) -> StudySpec:
    """Return the study that runs these points of another with these seeds: same data, same hyperparameters.

    Nothing of the other's search, budget or warm start is in it; its points are run to their end.
    """
    values = {
        **spec.model_dump(include={"objective", "objectives", "data", "trial", "rotation", "resources",
                                   "on_missing_weights"}),
        "name": spec.name,
        "space": [parameter.model_copy(update={"excluded": ()}).model_dump() for parameter in spec.space],
        "design": {"kind": "points", "points": [dict(point) for point in points]},
        "replicates": {"seeds": list(seeds)},
        "search": {"seed": spec.search.seed},
    }  # fmt: skip
    made = type(spec).model_validate(values)
    return made.model_copy(update={"name": name or f"{spec.name}-confirm"})  # which the file's rules judge


def _seeds_used(study: StudyInFolder, results: Path) -> set[int]:
    """Return the seeds that a study ran with, and its confirmations of before."""
    from cli.queries.study_handle import open_study
    from study.paths import Layout

    used = set(study.seeds)
    for name, _ in Layout(results).studies():
        if name != study.name and name.startswith(study.name):
            with suppress(StudyError):  # another study's damaged journal is no reason to stop
                used |= set(open_study(results, name).seeds)
    return used


def _write(out: Path, text: str) -> None:
    from study.files import write_atomic

    if out.exists():
        raise UsageError(f"--out must be a new file, but {out} exists; name another")
    try:
        write_atomic(out, lambda file: file.write(text.encode()))
    except OSError as error:
        raise StudyError(f"{out} cannot be written: {error.strerror}") from error


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
