"""Leave no run RUNNING that nobody runs: what an interruption cut off, and what an outage made twice."""

from __future__ import annotations

from study.events import StudyStarted
from tracking.sending.registry import Registry
from tracking.server.door import Door, Run
from tracking.server.refusals import unless_refused
from tracking.telling.content import INTERRUPTED, Batch, study_key, time_ms, trial_key

DUPLICATE = "duplicate"


def end_running(door: Door, registry: Registry, study: StudyStarted, at_s: float) -> None:
    """Mark the trials that were left RUNNING; the next TrialStarted makes them run again.

    A run that an outage made twice is marked as a duplicate; that of a trial nests below the one that is used.
    """
    parent = registry.parent(study)
    where = f"tags.`study.id` = '{study_key(study.study_id)}' and attributes.status = 'RUNNING'"
    for run in list(door.search([parent.experiment_id], where)):
        if run.id == parent.id:
            continue
        used = _used(door, registry, study, run)
        tags = {"study.state": INTERRUPTED} if used == run.id else _duplicate_tags(run, used)
        unless_refused(door.send, run.id, Batch(tags=tags))
        unless_refused(door.set_status, run.id, "KILLED", time_ms(at_s))


def _used(door: Door, registry: Registry, study: StudyStarted, run: Run) -> str:
    """Return the id of the run that is used for what this one was made for."""
    trial = run.tags.get("study.trial")
    if trial is None:
        return registry.parent(study).id
    found = [one.id for one in door.find_runs(run.experiment_id, trial_key(study.study_id, int(trial)))]
    known = registry.run_id(int(trial))
    return known if known in found else found[0] if found else run.id


def _duplicate_tags(run: Run, used: str) -> dict[str, str]:
    below = {"mlflow.parentRunId": used} if "study.trial" in run.tags else {}
    return {"study.state": INTERRUPTED, "study.kind": DUPLICATE, "study.duplicate_of": used, **below}
