"""Time the phases of every Python process of a study, for `profile_study.py`; Python runs this at its start.

The functions that PHASES names are wrapped when their module is imported. A phase's time is its own, without that of
phases within it; where a function is called within another phase than it must be, it belongs to that. Each process
writes what it knows so far to a file named after its id in the folder that PROFILE_FOLDER names.
"""

import atexit
import functools
import json
import os
import sys
import threading
import time

DUMP_EVERY_S = 0.2
TRAINING = ("training loop",)
TRIAL = ("trial",)
# By module and attribute: the phase, and the phases in which alone it counts as one; None for any.
PHASES = {
    "ray": {"init": ("Ray: start", None), "shutdown": ("Ray: end", None), "put": ("object store", None)},
    "study.data": {"load_data": ("data", None)},
    "study.engine.ray.tuner": {"StorageSearcher.suggest": ("journal: suggestion", None)},
    "study.engine.trial_controller": {
        "TrialController.on_trial_result": ("journal: results", None),
        "TrialController.start_session": ("journal: results", None),
        "TrialController.end_session": ("journal: results", None),
    },
    "study.engine.files.checkpoint_retention": {
        "CheckpointRetention.on_trial_end": ("checkpoint retention", None),
        "CheckpointRetention.sweep": ("checkpoint retention", None),
    },
    "tracking.exporter.recorder": {
        "OutboxRecorder.record": ("outbox", None),
        "OutboxRecorder.close": ("wait for the exporter", None),
        "OutboxRecorder.__init__": ("outbox", None),
    },
    "study.figures.background_renderer": {"FigureRenderer._draw": ("pages of figures", None)},
    "study.engine.ray.trainable": {
        "TrialTrainable.step": ("trial", None),
        "TrialTrainable._begin": ("trial", None),
        "_free_memory": ("freeing memory", None),
    },
    "study.training.trainer": {
        "make_learner": ("model", None),
        "_images_for": ("images to tensors", None),
        "train_epoch": ("training loop", None),
        "predict": ("validation", TRIAL),
        "validation_metrics": ("metrics", None),
        "measure_latency_ms": ("latency", None),
        "_evaluate_selected": ("shifted sets", None),
        "_save": ("checkpoints", None),
    },
    "study.training.learner": {
        "build_augmenter": ("augmentation", TRAINING),
        "_step": ("optimizer", TRAINING),
    },
    "study.training.dataset": {
        "DeviceImages.take": ("batches", TRAINING),
        "DeviceImages.normalize": ("batches", TRAINING),
    },
    "study.training.models.architectures": {"Network.logits": ("forward", TRAINING)},
    "torch": {"Tensor.backward": ("backward", ("optimizer",))},
}
RETURNS_FUNCTION = {"build_augmenter"}  # and what that does is the phase

totals: dict = {}
first_s: dict = {}
first_end_s: dict = {}
stacks = threading.local()
lock = threading.Lock()
dumped_s = 0.0


class Running:
    """A phase that has begun."""

    __slots__ = ("cpu_s", "inner_cpu_s", "inner_wall_s", "name", "wall_s")

    def __init__(self, name):
        self.name, self.inner_wall_s, self.inner_cpu_s = name, 0.0, 0.0
        self.wall_s, self.cpu_s = time.perf_counter(), time.thread_time()


def stack():
    """Return the phases that run in this thread, the innermost last."""
    if not hasattr(stacks, "running"):
        stacks.running = []
    return stacks.running


def begin(name):
    """Begin a phase."""
    first_s.setdefault(name, time.time())
    stack().append(Running(name))


def end():
    """End the innermost phase."""
    running = stack()
    phase = running.pop()
    wall_s, cpu_s = time.perf_counter() - phase.wall_s, time.thread_time() - phase.cpu_s
    if running:
        running[-1].inner_wall_s += wall_s
        running[-1].inner_cpu_s += cpu_s
    first_end_s.setdefault(phase.name, time.time())
    with lock:
        total = totals.setdefault(phase.name, [0.0, 0.0, 0])
        total[0] += wall_s - phase.inner_wall_s
        total[1] += cpu_s - phase.inner_cpu_s
        total[2] += 1
    if not running and time.time() - dumped_s > DUMP_EVERY_S:
        dump()


def dump():
    """Write what is known so far."""
    global dumped_s
    dumped_s = time.time()
    with lock:
        text = json.dumps({"phases": totals, "first_s": first_s, "first_end_s": first_end_s})
    part = f"{FOLDER}/{os.getpid()}.part"
    with open(part, "w") as file:
        file.write(text)
    os.replace(part, f"{FOLDER}/{os.getpid()}.json")


def forget():
    """Begin anew, in a process that was forked."""
    for known in (totals, first_s, first_end_s):
        known.clear()


def timed(function, name, within):
    """Return a function as a phase of its own."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        running = stack()
        innermost = running[-1].name if running else None
        if innermost == name or (within is not None and innermost not in within):
            return function(*args, **kwargs)
        begin(name)
        try:
            return function(*args, **kwargs)
        finally:
            end()

    return wrapper


def wrap(module):
    """Wrap the functions of a module that are phases."""
    for path, (name, within) in PHASES[module.__name__].items():
        *owners, attribute = path.split(".")
        owner = functools.reduce(getattr, owners, module)
        function = getattr(owner, attribute)
        if attribute in RETURNS_FUNCTION:
            setattr(owner, attribute, returning(function, name, within))
        else:
            setattr(owner, attribute, timed(function, name, within))


def returning(make, name, within):
    """Return a function whose result, or the first part of it, is a phase."""

    @functools.wraps(make)
    def wrapper(*args, **kwargs):
        made = make(*args, **kwargs)
        if isinstance(made, tuple):
            return (timed(made[0], name, within), *made[1:])
        return timed(made, name, within)

    return wrapper


class Finder:
    """Times the imports of every module, and wraps phases once their module is there."""

    def __init__(self):
        self._busy = threading.local()

    def find_spec(self, name, path, target=None):
        """Return the module's own spec with a loader that is timed."""
        if getattr(self._busy, "yes", False):
            return None
        self._busy.yes = True
        begin("imports")
        try:
            others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
            spec = next(filter(None, others), None)
        finally:
            end()
            self._busy.yes = False
        if spec is None or spec.loader is None or isinstance(spec.loader, type):  # one of the interpreter's own
            return spec
        create, execute = spec.loader.create_module, spec.loader.exec_module

        def exec_module(module):
            timed(execute, "imports", None)(module)
            if name in PHASES:
                wrap(module)

        spec.loader.create_module = timed(create, "imports", None)  # which loads a library
        spec.loader.exec_module = exec_module
        return spec


FOLDER = os.environ.get("PROFILE_FOLDER")
if FOLDER:
    sys.meta_path.insert(0, Finder())
    atexit.register(dump)
    os.register_at_fork(before=dump, after_in_child=forget)
