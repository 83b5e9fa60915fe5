"""Measure how fast models train here: a few short epochs of the real training loop, as many at once as in a study."""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median
from threading import Barrier, BrokenBarrierError
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from study.config.hyperparameters import TrialConfig
from study.config.search_config import Objective
from study.errors import EngineError
from study.planning.schedule import Machine
from study.planning.throughput import Speed

if TYPE_CHECKING:
    from study.training.training_data import TrainingData


STEPS = 2
"""Batches of a measured epoch."""
SCORED = 128
LEAST_EPOCHS = 2
ENOUGH_S, AT_MOST_S = 6.0, 20.0
"""How long a model is measured after its first epoch, and at most in all (one epoch may end later)."""
MOST_TOGETHER = 16
_START_TIMEOUT_S = 300.0
_PR_SET_PDEATHSIG = 1
_barrier: Barrier | None = None


class EpochTiming(NamedTuple):
    """One measured epoch in seconds: per training image, per scored image, and the rest."""

    train_image_s: float
    scored_image_s: float
    rest_s: float


def expected_s(models: int) -> float:
    """Return the approximate duration of a calibration in seconds."""
    return models * (ENOUGH_S + AT_MOST_S) / 2 + 5


def calibrate(
    configs: Sequence[TrialConfig], image_size_px: int, machine: Machine, say: Callable[[str], None]
) -> Iterator[Speed]:
    """Yield the speed of each configuration on random images, with as many trials at once as in a study.

    Trials on one machine share caches and memory bandwidth, so each is slower than it would be alone.

    Raises:
        EngineError: a configuration cannot be run.
    """
    together = min(machine.together, MOST_TOGETHER)
    context = multiprocessing.get_context("spawn")  # a forked process cannot use a GPU
    started = context.Barrier(together)
    with ProcessPoolExecutor(together, mp_context=context, initializer=_start_process, initargs=(started,)) as pool:
        for number, config in enumerate(configs, start=1):
            say(f"measuring {config.family} {config.depth} ({number} of {len(configs)}), {together} at once")
            work = partial(_measure, config, image_size_px, machine.kind, machine.cpus_per_trial, ENOUGH_S)
            try:
                runs = list(pool.map(work, range(together)))
            except (BrokenProcessPool, BrokenBarrierError, RuntimeError, ValueError, OSError) as error:
                raise EngineError(f"{config.family} {config.depth} could not be measured: {error}") from error
            yield _combined(runs, together)


def _combined(runs: Sequence[tuple[EpochTiming, float]], together: int) -> Speed:
    epochs, starts = [epoch for epoch, _ in runs], [start_s for _, start_s in runs]
    return Speed(
        train_image_s=median(epoch.train_image_s for epoch in epochs),
        scored_image_s=median(epoch.scored_image_s for epoch in epochs),
        epoch_s=median(epoch.rest_s for epoch in epochs),
        trial_s=median(starts),
        source="measured" if together == 1 else f"measured with {together} at once",
    )


def _start_process(started: Barrier) -> None:
    """Keep the barrier at which processes wait for each other, and die with the parent."""
    global _barrier
    _barrier = started
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the pool
    with suppress(OSError, AttributeError):  # only Linux has prctl
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    import study.training.trainer  # noqa: F401  # so that the first trial does not measure the import


def _measure(
    config: TrialConfig, image_size_px: int, kind: str, threads: int, enough_s: float, process: int
) -> tuple[EpochTiming, float]:
    """Run ``measure`` once all processes are ready; ``process`` only numbers them."""
    import torch

    assert _barrier is not None
    _barrier.wait(_START_TIMEOUT_S)
    torch.set_num_threads(threads)
    return measure(config, image_size_px, torch.device(kind), enough_s)


def measure(
    config: TrialConfig, image_size_px: int, device: object, enough_s: float = ENOUGH_S
) -> tuple[EpochTiming, float]:
    """Train on random images for ``enough_s`` seconds after the first epoch, as a trial does, checkpoints included.

    Returns:
        The median of the epochs after the first, and the seconds that the first took beyond it.
    """
    import torch

    from study.training.trainer import train

    assert isinstance(device, torch.device)
    data = _random_data(config, image_size_px)
    objective = Objective(metric="val_loss", mode="min")
    epochs, begun, first_s = list[EpochTiming](), time.perf_counter(), 0.0
    with tempfile.TemporaryDirectory(prefix="study-plan-") as folder:
        before = begun
        for progress in train(_endless(config), data, objective, Path(folder), device=device):
            now, values = time.perf_counter(), progress.history[-1].values
            learning_s = len(data.train_labels) / values["images_per_s"]
            scoring_s = max(0.0, values["epoch_s"] - learning_s)
            epoch = EpochTiming(1 / values["images_per_s"], scoring_s / SCORED, now - before - values["epoch_s"])
            epochs, first_s, before = [*epochs, epoch], first_s or now - begun, now
            if _is_enough(len(epochs), now - begun, first_s, enough_s):
                break
    typical = EpochTiming(*map(median, zip(*(epochs[1:] or epochs), strict=True)))
    usual_s = len(data.train_labels) * typical.train_image_s + SCORED * typical.scored_image_s + typical.rest_s
    return typical, max(0.0, first_s - usual_s)


def _is_enough(epochs: int, spent_s: float, first_s: float, enough_s: float) -> bool:
    return spent_s >= AT_MOST_S or (epochs > LEAST_EPOCHS and spent_s - first_s >= enough_s)


def _endless(config: TrialConfig) -> TrialConfig:
    """Return a configuration that neither ends nor learns much, with random weights instead of given ones."""
    from study.training.models.initialization import INITIALIZERS

    init = config.init if config.init in INITIALIZERS else "kaiming"
    return config.model_copy(
        update={"init": init, "max_epochs": 10_000, "early_stopping_patience": None, "learning_rate": 1e-6}
    )


def _random_data(config: TrialConfig, image_size_px: int) -> TrainingData:
    from study.training.training_data import TrainingData

    rng = np.random.default_rng(0)
    count = STEPS * config.batch_size
    images = rng.integers(0, 256, (count + SCORED, image_size_px, image_size_px, 3), dtype=np.uint8)
    labels = (np.arange(count + SCORED) % 2).astype(np.int64)
    return TrainingData(
        images[:count], labels[:count], images[count:], labels[count:], classes=("no", "yes"), fingerprint="random"
    )
