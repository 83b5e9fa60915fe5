"""What a bundle's card says of the study its checkpoint comes from."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

from cli.queries.ranking import Ranking
from study.files import open_inside
from study.paths import TEST_SCORES, Layout
from study.records import SHIFTED_SET_PREFIX

if TYPE_CHECKING:
    from cli.queries.study_handle import StudyInFolder
    from study.analysis.ranking import RankedTrial
    from study.export import Provenance, ScoredSet, Selection, StudyFacts
    from study.records import TrialRecord


def provenance(study: StudyInFolder, ranking: Ranking, record: TrialRecord) -> Provenance:
    """Return where a bundle comes from."""
    from study.export import Provenance

    return Provenance(
        study=ranking.study, study_id=study.view.study_id, trial=record.trial, run_id=record.run_id,
        ranked_by=ranking.metric, candidates=sum(row.rank is not None for row in ranking.rows),
        trials=sum(each.state.is_finished for each in study.records),
    )  # fmt: skip


def study_facts(
    study: StudyInFolder, results: Path, ranking: Ranking, winner: RankedTrial, *, is_best: bool
) -> StudyFacts:
    """Return what a card says beyond the checkpoint's own."""
    from study.checkpoint_card import read_card
    from study.export import StudyFacts
    from study.export.card.reproduction import reproduction_file
    from study.utils.named_places import checkpoint_folder

    record, spec = winner.record, study.view.spec
    assert record.checkpoint is not None
    try:
        precision = read_card(checkpoint_folder(study.layout, record.trial, record.checkpoint)).precision
    except (OSError, ValueError):
        precision = None
    source = (
        "drawn faces" if spec.data.source == "faces" else f"pictures of the folder {Path(spec.data.path or '').name}"
    )
    return StudyFacts(
        data_source=source,
        class_counts={name.replace("/", ": "): counts for name, counts in study.class_counts.items()},
        selection=_selection(ranking, results, winner) if is_best else None,
        shifted=_shifted(study, results, record),
        test=_test(study, record),
        reproduction=reproduction_file(spec, record, precision),
    )


def _selection(ranking: Ranking, results: Path, winner: RankedTrial) -> Selection | None:
    from cli.queries.stored_predictions import NoPredictionsError, judge_stored
    from study.export import Selection

    try:
        stored = judge_stored(ranking, results)
        estimate = stored.judgement.winner
        if ranking.configurations:  # its value is the mean over seeds, not that of this checkpoint
            return Selection(stored.text)
        return Selection(stored.text, estimate.raw, estimate.corrected, estimate.low, estimate.high)
    except NoPredictionsError:
        return None


def _shifted(study: StudyInFolder, results: Path, record: TrialRecord) -> dict[str, ScoredSet]:
    """Return the stored scores on the evaluation-only image sets; those that cannot be read are left out."""
    from cli.queries.stored_predictions import NoPredictionsError, load_predictions
    from study.export import ScoredSet

    sets = [name.removeprefix(SHIFTED_SET_PREFIX) for name in study.class_counts if name.startswith(SHIFTED_SET_PREFIX)]
    scored = {}
    for name in sets:
        with suppress(NoPredictionsError):
            stored = load_predictions(Layout(results), record, name)
            scored[name] = ScoredSet(stored["scores"].astype("float64"), stored["labels"].astype("int64"))
    return scored


def _test(study: StudyInFolder, record: TrialRecord) -> ScoredSet | None:
    """Return the stored scores on the test images, None where there are none."""
    import numpy as np

    from study.export import ScoredSet

    path = study.layout.trial(record.trial) / TEST_SCORES
    try:
        with open_inside(path, path.parent) as file, np.load(file) as stored:
            scores, labels = stored["scores"].astype(np.float64), stored["labels"].astype(np.int64)
            return ScoredSet(scores, labels, stored.get("groups"))
    except (OSError, BadZipFile, EOFError, KeyError, ValueError):
        return None
