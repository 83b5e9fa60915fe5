"""Write the time of the first optimizer step of any process to the file that FIRST_STEP_FILE names; Python runs this.

It imports nothing: a hook is registered once torch's optimizers are imported by whoever needs them.
"""

import importlib.abc
import importlib.util
import os
import sys
import time

WATCHED = "torch.optim.optimizer"


def note_first_step(optimizer, args, kwargs):
    """Write the time, unless somebody was faster."""
    try:
        file = os.open(os.environ["FIRST_STEP_FILE"], os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except OSError:
        return
    os.write(file, repr(time.time()).encode())
    os.close(file)


class Watcher(importlib.abc.MetaPathFinder):
    """Registers the hook right after the import."""

    def find_spec(self, name, path, target=None):
        """Return the module's own spec with a loader that registers the hook."""
        if name != WATCHED:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            module.register_optimizer_step_post_hook(note_first_step)

        spec.loader.exec_module = exec_module
        return spec


if "FIRST_STEP_FILE" in os.environ:
    sys.meta_path.insert(0, Watcher())
