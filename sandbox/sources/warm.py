"""What simulating and drawing need, imported and loaded: workers are forked with it.

A process that is forked has all of this at once, where one that begins anew takes a second for it.
"""

import gc
from contextlib import suppress
from importlib import import_module

gc.disable()  # There is no garbage in what is imported.
with suppress(Exception):  # Where something lacks, whoever needs it says so.
    from sandbox.prices.schedule import schedules
    from sandbox.renderer.rasterizer import Rasterizer
    from sandbox.world import determinism

    for _name in ("sandbox.run.worker", "sandbox.sources.generation", "sandbox.world"):
        import_module(_name)
    determinism.engine()  # It is remembered,
    schedules()  # and so are these.
    if Rasterizer.is_compiled():  # Who compiles says so to a user; this takes half a minute.
        Rasterizer.load_code()
gc.freeze()  # Those that are forked share it.
gc.enable()
