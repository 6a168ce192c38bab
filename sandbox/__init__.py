"""World-model simulation sandbox: metered, replayable PyBullet environments.

Importing it registers the environments with Gymnasium, so that
`gymnasium.make("sandbox:sandbox/PushT-v0")` works anywhere. It imports no simulator, and the
functions below only when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sandbox import importing

if TYPE_CHECKING:
    from sandbox.api import branch, estimate, generate, open_run, overlap, quote, render, surprises
    from sandbox.checking import Trust, audit, settle, verify
    from sandbox.dataset.batches import Batches
    from sandbox.dataset.dataset import Dataset
    from sandbox.dataset.diagnosis import doctor
    from sandbox.dataset.windows import Windows
    from sandbox.dreaming import dream
    from sandbox.evaluation.evaluate import evaluate
    from sandbox.experiments.experiment import experiment
    from sandbox.exporting import export, import_run, view
    from sandbox.keeping import (
        card,
        diff,
        extend,
        keep_tries,
        merge,
        migrate,
        recompress,
        split,
        subset,
    )
    from sandbox.learning.learn import learn
    from sandbox.publishing import publish
    from sandbox.refunding import refund
    from sandbox.repairing import repair
    from sandbox.sweeping import sweep
    from sandbox.training.train import train
    from sandbox.valuation.worth import worth

__version__ = "0.1.0"
__all__ = [
    "Batches",
    "Dataset",
    "Trust",
    "Windows",
    "audit",
    "branch",
    "card",
    "diff",
    "doctor",
    "dream",
    "estimate",
    "evaluate",
    "experiment",
    "export",
    "extend",
    "generate",
    "import_run",
    "keep_tries",
    "learn",
    "merge",
    "migrate",
    "open_run",
    "overlap",
    "publish",
    "quote",
    "recompress",
    "refund",
    "render",
    "repair",
    "settle",
    "split",
    "subset",
    "surprises",
    "sweep",
    "train",
    "verify",
    "view",
    "worth",
]

ELSEWHERE = {
    "doctor": "sandbox.dataset.diagnosis",
    "Batches": "sandbox.dataset.batches",
    "Dataset": "sandbox.dataset.dataset",
    "Windows": "sandbox.dataset.windows",
    **dict.fromkeys(("export", "import_run", "view"), "sandbox.exporting"),
    **dict.fromkeys(
        (
            "card",
            "diff",
            "extend",
            "keep_tries",
            "merge",
            "migrate",
            "recompress",
            "split",
            "subset",
        ),
        "sandbox.keeping",
    ),
    **dict.fromkeys(("Trust", "audit", "settle", "verify"), "sandbox.checking"),
    "dream": "sandbox.dreaming",
    "evaluate": "sandbox.evaluation.evaluate",
    "experiment": "sandbox.experiments.experiment",
    "learn": "sandbox.learning.learn",
    "publish": "sandbox.publishing",
    "refund": "sandbox.refunding",
    "repair": "sandbox.repairing",
    "sweep": "sandbox.sweeping",
    "train": "sandbox.training.train",
    "worth": "sandbox.valuation.worth",
}

importing.after("gymnasium", "sandbox.catalogue", "register")


def __getattr__(name: str) -> Any:
    """Return a function or class of the library, imported when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'sandbox' has no attribute {name!r}")
    return getattr(import_module(ELSEWHERE.get(name, "sandbox.api")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
