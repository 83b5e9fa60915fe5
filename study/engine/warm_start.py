"""Give a new study the finished trials of earlier ones, as its file asks."""

from __future__ import annotations

from study.config.study_config import StudySpec
from study.errors import StudyStorageError
from study.paths import StudyLayout, encode_name
from study.search.prior_trials import PriorTrial, prior_trials
from study.storage.study_storage import StudyStorage


def prior_trials_of(spec: StudySpec, layout: StudyLayout) -> tuple[tuple[PriorTrial, ...], tuple[str, ...]]:
    """Return the points of the studies that ``warm_start`` names, and what there is to say of them.

    Raises:
        StudyStorageError: a study is not there, or none of its trials fits.
    """
    found: list[PriorTrial] = []
    notices: list[str] = []
    for name in spec.warm_start:
        other = StudyLayout(layout.root.parent / encode_name(name))
        if not other.journal.exists():
            known = ", ".join(sorted(one.parent.name for one in layout.root.parent.glob("*/ledger.journal"))[:10])
            raise StudyStorageError(
                f"warm_start must name studies of this results folder, got `{name}`; there are: {known}"
            )
        points, left_out, why = prior_trials(spec, StudyStorage.open(other))
        if not points:
            raise StudyStorageError(
                f"warm_start: no finished trial of `{name}` fits this study{': ' + why if why else ''}; "
                "remove it or widen the space"
            )
        found += points
        beside = f"; {left_out} left out: {why}" if left_out else ""
        notices.append(f"warm start: the sampler knows {len(points)} points of `{name}`{beside}")
    return tuple(found), tuple(notices)
