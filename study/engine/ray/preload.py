"""Import what trials need; Ray imports this module in each new worker while the driver still reads the data.

What libraries make as they are imported is no garbage, but the collector looks through all of it again and again, which
takes a third of the time.
"""

from __future__ import annotations

import atexit
import gc
from importlib import import_module

MODULES = ("torch", "torchvision", "study.training.trainer", "study.engine.ray.trainable")


def preload() -> None:
    """Import the modules with the collector switched off, and let it leave alone what they made."""
    gc.disable()
    try:
        for name in MODULES:
            import_module(name)
    finally:
        gc.freeze()
        gc.enable()
        atexit.register(gc.unfreeze)  # else libraries complain of objects that are left


preload()
