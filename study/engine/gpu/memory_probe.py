"""Measure how much GPU memory each kind of trial takes, before the trials start."""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError, RayTaskError

from study.config.study_config import StudySpec
from study.engine.gpu.memory_key import MemoryKey, memory_keys
from study.engine.gpu.packing import GIB, GpuModel, MemoryNeed, ProbeResult, too_large_error
from study.engine.ray.cluster import Slots, accelerator_types
from study.engine.trial_result import is_out_of_memory
from study.files import write_text_atomic
from study.paths import cache_dir

if TYPE_CHECKING:
    import torch


FORMAT = 1
"""To be raised when trials need another amount of memory than before."""
_DAMAGE = (OSError, ValueError, TypeError, AttributeError, LookupError)
_log = logging.getLogger(__name__)

Known = Mapping[str, Mapping[MemoryKey, MemoryNeed]]
"""Needs by ``signature`` and key."""


def signature(gpu: str, torch_version: str) -> str:
    """Return the name of a GPU model with its software."""
    return f"{gpu}, torch {torch_version}, form {FORMAT}"


def known_needs() -> Known:
    """Return all that is remembered, nothing where the file is missing or damaged."""
    try:
        read = json.loads(_path().read_text(encoding="utf-8"))
        return {
            name: {MemoryKey(*json.loads(key)): MemoryNeed(*map(int, need)) for key, need in needs.items()}
            for name, needs in read.items()
        }
    except FileNotFoundError:
        return {}
    except _DAMAGE as error:
        _log.warning("%s is damaged, GPU memory is measured again: %s", _path(), error)
        return {}


def store_needs(gpu: str, torch_version: str, needs: Mapping[MemoryKey, MemoryNeed]) -> None:
    """Cache what was measured; if that fails, a warning is logged and the next study measures again."""
    known, name = known_needs(), signature(gpu, torch_version)
    if all(known.get(name, {}).get(key) == need for key, need in needs.items()):
        return
    merged = {**known, name: {**known.get(name, {}), **needs}}
    text = json.dumps(
        {name: {json.dumps(key): astuple(need) for key, need in by_key.items()} for name, by_key in merged.items()},
        indent=1,
    )
    try:
        write_text_atomic(_path(), text)
    except OSError as error:
        _log.warning("cannot remember what trials take of a GPU's memory: %s", error)


def _path() -> Path:
    return cache_dir() / "gpu_memory.json"


MOST_PROBES = 8
WAIT_S = 300.0
LARGEST_CONTEXT_BYTES = GIB
"""A new process usually has half of that; memory in use beyond it belongs to others."""

TIMES = ("latency_ms", "images_per_s", "epoch_s")
"""Metrics that neighbours on the same GPU change."""

Probing = Sequence[ray.ObjectRef[Any]]


def start_probe(spec: StudySpec, slots: Slots) -> Probing:
    """Start one measurement on each GPU model of the cluster; none without ``gpus_per_trial: auto``.

    Of more than ``MOST_PROBES`` kinds of trial, ordered by ``memory_bound``, the heaviest and evenly spaced others are
    measured; each of the rest counts as the next heavier one that was measured. A study with one of ``TIMES`` as
    objective measures nothing: each of its trials has a GPU of its own.
    """
    if (
        spec.resources.gpus_per_trial != "auto"
        or not slots.gpus
        or any(objective.metric in TIMES for objective in spec.objective_list)
    ):
        return ()
    keys, known = memory_keys(spec), known_needs()
    tasks = [_probe.options(accelerator_type=model) for model in accelerator_types()] or [_probe]
    return tuple(task.remote(keys, known) for task in tasks)


def wait_for_probe(probing: Probing, say: Callable[[str], None]) -> tuple[ProbeResult, ...]:
    """Wait for the results of ``start_probe``, and cache them for the next study.

    Raises:
        EngineError: one trial alone needs more memory than a GPU has.
    """
    if not probing:
        return ()
    say("measuring how much of a GPU's memory a trial takes")
    ready, late = ray.wait(list(probing), num_returns=len(probing), timeout=WAIT_S)
    for task in late:
        ray.cancel(task)
    results = tuple(map(_result, ready))
    for result in results:
        if result.card and result.too_large:
            raise too_large_error(result.too_large, result.card)
        if result.card:
            store_needs(result.card.name, result.card.torch_version, result.needs)
    return (*results, ProbeResult(fault=f"no GPU was free within {WAIT_S:g} s")) if late else results


def _result(done: ray.ObjectRef[Any]) -> ProbeResult:
    try:
        result: ProbeResult = ray.get(done)
    except RayTaskError as error:
        return ProbeResult(fault=f"{type(error.cause).__name__}: {error.cause}")
    except RayError as error:
        return ProbeResult(fault=type(error).__name__)
    return result


# The process ends after one call: GPU memory is free again only when the process that used it is gone.
@ray.remote(num_cpus=1, num_gpus=1, max_calls=1, max_retries=1)
def _probe(keys: Sequence[MemoryKey], known: Known) -> ProbeResult:
    import torch

    return probe_memory(keys, known, torch.device("cuda")) if torch.cuda.is_available() else ProbeResult()


def probe_memory(keys: Sequence[MemoryKey], known: Known, device: torch.device) -> ProbeResult:
    """Measure the kinds of trial not yet measured on such a GPU; stops at one that does not fit.

    Args:
        keys: the keys of all trials.
        known: what was measured earlier.
        device: a GPU that nobody else uses meanwhile.
    """
    card, context = _inspect_gpu(device)
    earlier = known.get(signature(card.name, card.torch_version), {})
    result = ProbeResult(card, stand_ins=_stand_ins(keys))
    for key in dict.fromkeys(result.stand_ins.values()):
        need = earlier.get(key) or _measure(key, device, context)
        if need is None:
            return replace(result, too_large=key)
        result = replace(result, needs={**result.needs, key: need})
    return result


def _inspect_gpu(device: torch.device) -> tuple[GpuModel, int]:
    """Return the GPU, and the memory that this process takes before it does anything."""
    import torch

    free, total = torch.cuda.mem_get_info(device)
    context = min(total - free, LARGEST_CONTEXT_BYTES)
    return GpuModel(torch.cuda.get_device_name(device), str(torch.__version__), free + context), context


def _measure(key: MemoryKey, device: torch.device, context: int) -> MemoryNeed | None:
    """Return the memory that a trial takes, None if it does not fit."""
    import torch

    from study.training.memory_estimate import run_sample_steps

    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    free, held = torch.cuda.mem_get_info(device)[0], torch.cuda.memory_reserved(device)
    try:
        run_sample_steps(key.hyperparameters, key.image_size_px, device)
        torch.cuda.synchronize(device)
    except Exception as error:
        if is_out_of_memory(error):
            return None
        raise
    taken = free - torch.cuda.mem_get_info(device)[0]
    libraries = taken - (torch.cuda.memory_reserved(device) - held)  # kernels and libraries loaded meanwhile
    return MemoryNeed(
        reserved_bytes=torch.cuda.max_memory_reserved(device),
        allocated_bytes=torch.cuda.max_memory_allocated(device),
        context_bytes=context + max(0, libraries),
    )


def _stand_ins(keys: Sequence[MemoryKey]) -> dict[MemoryKey, MemoryKey]:
    """Return for every key the one to measure in its place: itself, or the next heavier of a few."""
    if len(keys) <= MOST_PROBES:
        return {key: key for key in keys}
    from study.training.memory_estimate import estimate_memory_bytes

    ordered = sorted(keys, key=lambda key: estimate_memory_bytes(key.hyperparameters, key.image_size_px), reverse=True)
    chosen = [at * len(ordered) // MOST_PROBES for at in range(MOST_PROBES)]
    return {key: ordered[max(index for index in chosen if index <= position)] for position, key in enumerate(ordered)}
