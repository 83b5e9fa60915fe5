"""Gather everything that the report of a study shows, from a results folder."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cli.output import moment, number, short_path
from cli.queries.effects import DESIGNS_WITH_EFFECTS, read_effects, read_importance
from cli.queries.final_look import describe_test_evaluations, value_on_test
from cli.queries.front import judge_front
from cli.queries.ranking import Ranking, rank_studies
from cli.queries.stored_predictions import NoPredictionsError, StoredVerdict, judge_stored, load_predictions
from cli.queries.study_handle import StudyInFolder, open_study
from cli.queries.verdict import certainty_of
from study.config.hyperparameters import Scalar
from study.config.search_config import Objective
from study.errors import StudyError
from study.metric_catalog import VAL_PREFIX, bare_metric, shifted_metric
from study.paths import Layout
from study.records import SHIFTED_SET_PREFIX, TrialRecord, TrialState
from study.report.content import (
    Effect,
    EffectTable,
    Entry,
    ImageSetVerdict,
    Predictions,
    StudyContent,
    Verdict,
    WrongImage,
)
from study.utils.text import show_bare

if TYPE_CHECKING:
    from study.analysis.verdict import Standing
    from study.report.elements import Document

MOST_PREDICTIONS = 6
MOST_WRONG = 18


def report_document(
    results: Path, name: str | None, metric: str | None = None, *, state: str | None = None
) -> Document:
    """Return the report of a study; takes and raises what ``study_content`` does."""
    from study.report.sections.document import study_document

    content = study_content(results, name, metric, state=state)
    by = " and ".join(f"{each.metric} ({each.mode})" for each in content.objectives)
    read = f"begun {moment(content.begun_at_s)}, read {moment(content.at_s)}"
    return study_document(content, f"study, {content.state}; ranked by {by}; {read}")


def study_content(
    results: Path,
    name: str | None,
    metric: str | None = None,
    *,
    state: str | None = None,
) -> StudyContent:
    """Return the content of a study's report; one that runs may be read at any time.

    Args:
        results: the folder of all studies.
        name: of the study; None means the newest.
        metric: what to rank by; None means the study's objectives.
        state: how it stands, where the caller knows better than the folder.

    Raises:
        StudyStorageError: there is no such study, or its journal is damaged.
        UsageError: no trial reports the metric.
    """
    study = open_study(results, name, epochs=True)
    if state is not None:
        study = StudyInFolder(study.view, study.layout, state)
    ranking = rank_studies([study], metric)
    single = ranking if not ranking.objective_list else rank_studies([study], ranking.metric)
    stored, reason = _judged(single, results)
    front = judge_front(ranking, results) if ranking.objective_list else None
    standings = {} if stored is None else dict(zip(stored.keys, stored.judgement.standings, strict=True))
    verdict = None
    if stored is not None and not ranking.objective_list:
        verdict = Verdict(stored.comparison, stored.judgement, stored.keys)
    entries = tuple(_entries(ranking, standings))
    chosen = _chosen(entries, verdict)
    predictions = tuple(
        predictions_of(
            results, [entry.best for entry in chosen if entry.best is not None], [entry.key for entry in chosen],
            [entry.name for entry in chosen], study.classes,
        )
    )  # fmt: skip
    wrong, no_pictures = _wrong_images(study, predictions)
    effects, no_effects = _effects(study, results, single.metric)
    importance, importance_notes = _importance(study, single.metric)
    objectives = ranking.objective_list or (Objective(metric=ranking.metric, mode=ranking.mode),)
    return StudyContent(
        name=study.name,
        state=study.state,
        begun_at_s=study.view.created_at_s,
        planned=study.view.planned,
        at_s=time.time(),
        objectives=objectives,
        searched=study.view.spec.searched(),
        entries=entries,
        trials=tuple(study.records),
        answer=_answer(ranking, stored) if front is None else front.text,
        may_be_on_front=frozenset() if front is None else frozenset(front.may_be),
        verdict=verdict,
        no_verdict=reason if verdict is None and not ranking.objective_list else "",
        image_sets=tuple(_image_sets(study, single, stored, results)),
        tested=tuple(_tested(study)),
        test_counts=study.class_counts.get("test", ()),
        predictions=predictions,
        classes=study.classes,
        wrong=wrong,
        no_pictures=no_pictures,
        effects=effects,
        no_effects=no_effects,
        importance=importance,
        importance_notes=importance_notes,
        data=_data(study),
        provenance=_provenance(study),
        commands=tuple(_commands(study, chosen)),
        failures=[record for record in study.records if record.state is TrialState.FAILED],
        notes=(*_notes(stored), *study.view.notices),
    )


def _judged(ranking: Ranking, results: Path) -> tuple[StoredVerdict | None, str]:
    """Return the verdict by stored predictions, or why there is none."""
    try:
        return judge_stored(ranking, results), ""
    except NoPredictionsError as error:
        return None, str(error)


def _answer(ranking: Ranking, stored: StoredVerdict | None) -> str:
    """Return the verdict in words: by predictions, or where there are none by values."""
    return str(certainty_of(ranking, None)["text"]) if stored is None else stored.text


def _entries(ranking: Ranking, standings: Mapping[int, Standing]) -> Iterator[Entry]:
    if not ranking.configurations:
        for row in ranking.rows:
            record = row.record
            key = record.trial
            yield Entry(key, f"trial {key}", row.rank, row.value, record.metrics, record.state, "", (record,),
                        record if record.checkpoint else None, standings.get(key))  # fmt: skip
        return
    for each in ranking.configurations:
        metrics = {name for trial in each.counted for name in trial.metrics}
        values = {name: mean for name in metrics if (mean := each.mean_of(name)) is not None}
        yield Entry(each.point, f"configuration {each.point}", each.rank, each.mean if each.counted else None, values,
                    each.state, f"{each.complete}/{each.planned}", each.trials, each.best,
                    standings.get(each.point))  # fmt: skip


def _chosen(entries: Sequence[Entry], verdict: Verdict | None) -> list[Entry]:
    """Return the entries whose predictions are shown: those that may be the best, else the first ones."""
    ranked = {entry.key: entry for entry in entries if entry.rank is not None and entry.best is not None}
    keys = list(ranked) if verdict is None else [key for key in verdict.may_be_best if key in ranked]
    if verdict is None:
        keys = [key for key in keys if ranked[key].rank == 1] or keys[:1]
    elif len(keys) == 1:  # a curve alone says little
        keys += [key for key in ranked if key not in keys][:1]
    return [ranked[key] for key in keys[:MOST_PREDICTIONS]]


def predictions_of(
    results: Path, records: Sequence[TrialRecord], keys: Sequence[int], names: Sequence[str], classes: Sequence[str]
) -> Iterator[Predictions]:
    """Yield the stored predictions of trials with checkpoints, where they can be read and are of these classes."""
    import numpy as np

    from study.figures.curves import class_scores

    for record, key, name in zip(records, keys, names, strict=True):
        try:
            stored = load_predictions(Layout(results), record)
        except NoPredictionsError:
            continue
        scores, labels = class_scores(np.asarray(stored["scores"], np.float64)), np.asarray(stored["labels"], np.int64)
        fits = scores.ndim == 2 and scores.shape == (len(labels), len(classes)) and len(labels) > 0
        if fits and np.isfinite(scores).all() and labels.min() >= 0 and labels.max() < len(classes):
            yield Predictions(key, name, scores, labels)


def _wrong_images(study: StudyInFolder, predictions: Sequence[Predictions]) -> tuple[tuple[WrongImage, ...], str]:
    """Return the images that the first predictions are most wrong about, or why they cannot be shown."""
    import numpy as np

    from study.data.sources import cached_set
    from study.figures.curves import most_wrong

    if not predictions:
        return (), "No stored predictions could be read, so that the most wrong images are not known."
    first = predictions[0]
    try:
        images = cached_set(study.view.spec.data, "val", study.fingerprint)
    except (StudyError, OSError) as error:
        return (), f"The pictures are not to be had here: {error}."
    if images is None or not np.array_equal(images.labels, first.labels):
        return (), (
            "The pictures are not in this machine's cache as they were when the study ran; the page of a trial, "
            "pictures.html, has those it was most wrong about."
        )
    same = [each for each in predictions if np.array_equal(each.labels, first.labels)]
    called = np.stack([each.scores.argmax(axis=1) for each in same])  # [runs, M]
    classes = study.classes
    return tuple(
        WrongImage(images.names[at], images.images[at], classes[first.labels[at]], classes[called[0, at]],
                   float(first.scores[at, first.labels[at]]), int((called[:, at] != first.labels[at]).sum()), len(same))
        for at in most_wrong(first.scores, first.labels, MOST_WRONG)
    ), ""  # fmt: skip


def _image_sets(
    study: StudyInFolder, ranking: Ranking, stored: StoredVerdict | None, results: Path
) -> Iterator[ImageSetVerdict]:
    """Yield what was reached on validation and on each shifted set, where predictions were stored of them."""
    if stored is None or not ranking.metric.startswith(VAL_PREFIX):
        return
    yield ImageSetVerdict("validation", ranking.metric, _standings(stored), len(stored.judgement.may_be_best))
    for name in study.class_counts:
        images = name.removeprefix(SHIFTED_SET_PREFIX)
        metric = shifted_metric(images, bare_metric(ranking.metric))
        if images == name or not any(metric in record.metrics for record in study.records):
            continue
        there, _ = _judged(rank_studies([study], metric), results)
        if there is not None:
            yield ImageSetVerdict(images, metric, _standings(there), len(there.judgement.may_be_best))


def _tested(study: StudyInFolder) -> Iterator[str]:
    """Yield what each evaluation on the test images found, a sentence each."""
    for own in study.looks:
        value = value_on_test(study, own)
        words = [f"{name} {number(own.metrics[name])}" for name in ("auc", "accuracy", "f1", "loss")
                 if name in own.metrics and (value is None or name != value.metric)]  # fmt: skip
        if value is not None:
            ends = "" if value.low is None or value.high is None else f" ({number(value.low)} to {number(value.high)})"
            words.insert(0, f"{value.metric} {number(value.value)}{ends}")
        yield f"Test images, trial {own.trial}: {', '.join(words)}; {describe_test_evaluations(study.looks, own)}."


def _notes(stored: StoredVerdict | None) -> Iterator[str]:
    """Yield what to know of the verdict's intervals: a level that is split over looks."""
    if stored is None:
        return
    if stored.look > 1:
        level = 100 * (1 - stored.level)
        yield f"This is look {stored.look} at growing results, so intervals called 95 % are of {level:.3g} %."


def _standings(stored: StoredVerdict) -> dict[int, Standing]:
    return dict(zip(stored.keys, stored.judgement.standings, strict=True))


def _effects(study: StudyInFolder, results: Path, metric: str) -> tuple[tuple[EffectTable, ...], str]:
    """Return the effects of a design's factors, or why there are none; nothing for a search."""
    if study.design not in DESIGNS_WITH_EFFECTS:
        return (), ""
    try:
        found = read_effects(study, results, metric)
    except StudyError as error:
        return (), f"{error}."
    notes = [_sentence(note) for note in found.notes]
    if found.tables[0].about == "checkpoints":
        notes.insert(0, "Each ran once, so these are differences between checkpoints, and no claim about a factor.")
    tables = []
    for table in found.tables:
        where = "validation" if table.images is None else table.images
        rows = tuple(
            Effect(each.term.name, f"{_levels(each.term.levels)} for {_levels(each.term.references)}",
                   each.contrast.value, _finite(each.contrast.low), _finite(each.contrast.high),
                   f"p {each.contrast.p:.2g}")
            for each in table.effects
        )  # fmt: skip
        lacking = [_sentence(table.limit)] if table.limit else []
        tables.append(EffectTable(table.metric, f"Effects on {where}", rows, (*notes, *lacking)))
        notes = []
    return tuple(tables), ""


def _importance(study: StudyInFolder, metric: str) -> tuple[Mapping[str, float], tuple[str, ...]]:
    """Return the importance of the searched parameters of a search, and what it cannot say."""
    if study.design != "search" or not study.view.spec.searched():
        return {}, ()
    try:
        found = read_importance(study, metric)
    except StudyError:  # too few points for it
        return {}, ()
    return found.shares.get(metric, {}), tuple(_sentence(note) for note in found.notes)


def _levels(levels: Sequence[Scalar]) -> str:
    return " and ".join(show_bare(level) for level in levels)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _data(study: StudyInFolder) -> dict[str, str]:
    data = study.view.data
    sizes = ", ".join(f"{name} {count:,}" for name, count in data.sizes.items() if count)
    facts = {"data": f"{data.source} at {data.image_size_px} px", "images": sizes, "classes": ", ".join(data.classes),
             "data fingerprint": data.fingerprint}  # fmt: skip
    if data.skipped:
        facts["unreadable files"] = str(len(data.skipped))
    spec = study.view.spec
    design = spec.search.sampler if spec.design.kind == "search" else spec.design.kind.replace("_", " ")
    facts["design"] = f"{design}, pruner {spec.pruner}, seed {spec.search.seed}"
    if len(study.seeds) > 1:
        facts["seeds"] = ", ".join(map(str, study.seeds))
    facts["begun"] = moment(study.view.created_at_s)
    return facts


def _provenance(study: StudyInFolder) -> dict[str, str]:
    """Return the code, packages and machine that it ran on last; nobody's name, as reports are handed on."""
    from tracking.outbox.study_state import read_sessions

    facts = dict(study.view.environment)
    if sessions := read_sessions(study.layout.outbox):
        last = sessions[-1]
        machine = {name: value for name, value in last.machine.items() if name not in ("user", "host")}
        packages = {"packages": ", ".join(f"{name} {version}" for name, version in last.packages.items())}
        facts = {name: value for name, value in facts.items() if name not in last.packages}
        facts |= {**machine, **last.code, **(packages if last.packages else {})}
    return facts


def _commands(study: StudyInFolder, chosen: Sequence[Entry]) -> Iterator[str]:
    """Yield the commands that make the study and its best trial again, and that ask further."""
    layout = study.layout
    again = shlex.quote(f"{study.name}-again")
    yield f"study run {shlex.quote(short_path(str(layout.study_file)))} --name {again}{layout.results_option}"
    if chosen and chosen[0].best is not None:
        yield layout.command("rerun", chosen[0].best.trial)
    yield layout.command("compare")
