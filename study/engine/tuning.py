"""Let Tune run a conductor's trials; of Tune's own files nothing stays."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from ray import tune

from study.engine.adapters import EventCallback, InterruptStopper, LedgerScheduler, LedgerSearcher
from study.engine.cluster import Slots
from study.engine.conductor import Conductor
from study.engine.stateless import without_state
from study.engine.storage import TrialStorage, default_storage
from study.engine.warm import mark, workers_kept
from study.layout import StudyLayout

SCRATCH = ".tune-"


def remove_scratch(layout: StudyLayout) -> None:
    """Remove what a killed driver left of Tune's own files."""
    for left in layout.root.glob(f"{SCRATCH}*"):
        shutil.rmtree(left, ignore_errors=True)


def run_trials(
    conductor: Conductor,
    layout: StudyLayout,
    trainable: Any,
    slots: Slots,
    *,
    storage: TrialStorage | None = None,
    resources_for: Callable[[dict[str, Any]], tune.PlacementGroupFactory] | None = None,
    worker_retries: int = 0,
    on_interrupt: Callable[[], None] = lambda: None,
) -> None:
    """Run trials until the conductor has no more.

    Args:
        conductor: hands trials out and takes what they report.
        layout: the study's paths.
        trainable: what Tune makes workers of; it takes a LedgerSearcher's configurations and returns a
            TrialReport as ``report`` from every step.
        slots: what one trial gets and how many run at once.
        storage: where trials keep their files; default: the study's own folder.
        resources_for: what a trial with a configuration gets, where that differs from trial to trial.
        worker_retries: how often a trial is placed again after its worker died.
        on_interrupt: called once when a run is to stop before its trials ended.
    """

    def resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        same = [{"CPU": slots.cpus, "GPU": slots.gpus}]
        return mark(resources_for(config) if resources_for else tune.PlacementGroupFactory(same), config["number"])

    # Tune's own files are disposable: the ledger has all there is.
    scratch = tempfile.mkdtemp(prefix=SCRATCH, dir=layout.root.absolute())
    try:
        tuner = tune.Tuner(
            tune.with_resources(trainable, resources),
            tune_config=tune.TuneConfig(
                search_alg=LedgerSearcher(conductor, storage or default_storage(layout)),
                scheduler=LedgerScheduler(conductor),
                num_samples=-1,
                max_concurrent_trials=slots.count,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: f"trial-{trial.trial_id}",
            ),
            run_config=tune.RunConfig(
                name="study",
                storage_path=scratch,
                callbacks=[EventCallback(conductor)],
                stop=InterruptStopper(conductor, on_interrupt),
                failure_config=tune.FailureConfig(max_failures=worker_retries),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # trials write their own
                verbose=0,
                log_to_file=False,
            ),
        )
        with workers_kept(slots.count), without_state():
            tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
