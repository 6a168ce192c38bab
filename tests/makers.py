"""Make runs by another Python, where this one cannot simulate: those tests read what it made.

SANDBOX_PYTHON names a Python that can, with this checkout installed.
"""

import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from sandbox import api, errors, keeping
from sandbox.run.recipe import Recipe

MADE = {  # Functions that simulate, and where they are.
    **dict.fromkeys(("generate", "render", "branch", "surprises"), api),
    "extend": keeping,
}
CODE = """
import pickle, sys
import sandbox
from sandbox.errors import SandboxError
name, values, named = pickle.load(sys.stdin.buffer)
try:
    told = getattr(sandbox, name)(*values, **named), "", ""
except SandboxError as error:
    told = None, type(error).__name__, str(error)
sys.stdout.buffer.write(pickle.dumps(told))
"""


def elsewhere(patch: Callable[[object, str, Any], None]) -> None:
    """Let the functions that simulate do so in a process of the other Python."""
    for name, module in MADE.items():
        patch(module, name, _made(name))


def _made(name: str) -> Callable[..., Any]:
    def made(*values: Any, **named: Any) -> Any:
        told = name, [*map(_plain, values)], {key: _plain(value) for key, value in named.items()}
        done = subprocess.run(
            [os.environ["SANDBOX_PYTHON"], "-c", CODE],
            input=pickle.dumps(told),
            stdout=subprocess.PIPE,
            check=True,
            timeout=300,
        )
        bill, error, text = pickle.loads(done.stdout)
        if error:
            kind = getattr(errors, error)
            raise kind.__new__(kind, text)
        return bill

    return made


def _plain(value: Any) -> Any:
    """Return what another Python can read: 3.13 pickles paths as 3.11 does not know them."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in cast(list[Any], value)]
    return value.model_dump(exclude_none=True) if isinstance(value, Recipe) else value
