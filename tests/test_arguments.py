"""An argument of another type is refused in one sentence, before anything is done."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

import sandbox
from sandbox import Batches, Dataset, Windows, catalogue, content
from sandbox.errors import InvalidInputError

SHARD = Path(__file__).parent / "older" / "format_1" / "shards" / "shard-00000.h5"
MADE = catalogue.environment("cartpole_swingup")
WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "no recipe": (
        lambda: sandbox.generate(None, "x"),  # type: ignore[arg-type]
        "generate: recipe must be text, a path, a Recipe or a mapping, not None.",
    ),
    "no folder": (
        lambda: sandbox.generate("push_t_demo", 5),  # type: ignore[arg-type]
        "generate: out must be text or a path, not 5.",
    ),
    "workers as text": (
        lambda: sandbox.generate("push_t_demo", "x", workers="2"),  # type: ignore[arg-type]
        "generate: workers must be a whole number, not '2'.",
    ),
    "no trust": (
        lambda: sandbox.verify("x", trust=5),  # type: ignore[arg-type]
        "verify: trust must be a Trust or None, not 5.",
    ),
    "a number as nonce": (
        lambda: sandbox.audit("x", nonce=5),  # type: ignore[arg-type]
        "audit: nonce must be text or None, not 5.",
    ),
    "no run": (
        lambda: sandbox.open_run(None),  # type: ignore[arg-type]
        "open_run: path must be text or a path, not None.",
    ),
    "no sweep": (
        lambda: sandbox.sweep(None, "x", {}),  # type: ignore[arg-type]
        "sweep: recipe must be text, a path, a Recipe or a mapping, not None.",
    ),
    "a dataset of a number": (
        lambda: Dataset(5),  # type: ignore[arg-type]
        "dataset of 5: give the path of a run, a list of paths, or a glob.",
    ),
    "a batch as text": (
        lambda: Batches("x", batch="3"),  # type: ignore[arg-type]
        "batch '3': give a whole number above 0",
    ),
    "columns of a number": (
        lambda: Windows(SHARD, columns=3),  # type: ignore[arg-type]
        "columns 3: give a list of at least one column",
    ),
    "an observation": (
        lambda: MADE(observation=5),  # type: ignore[arg-type]
        "SandboxEnv: observation must be text or a list of text, not 5.",
    ),
    "no camera": (
        lambda: MADE(camera=None),  # type: ignore[arg-type]
        "SandboxEnv: camera must be text or a list of text, not None.",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_another_type_is_one_sentence_and_nothing_is_done(kind: str) -> None:
    call, said = WRONG[kind]
    with pytest.raises(InvalidInputError, match=re.escape(said)):
        call()
    assert not Path("x").exists()
    assert not (content.home() / "ledger.db").exists()


@pytest.mark.parametrize("seed", ["7", 1.5, True, -1, 2**63])
def test_a_seed_is_a_whole_number(seed: Any) -> None:
    with MADE(account=None) as env, pytest.raises(InvalidInputError, match="a whole number"):
        env.reset(seed=seed)


def test_options_and_snapshots_of_another_type_are_refused() -> None:
    with MADE(account=None) as env:
        with pytest.raises(InvalidInputError, match="reset: options must be a dict or None"):
            env.reset(seed=0, options=5)  # type: ignore[arg-type]
        env.reset(seed=0)
        with pytest.raises(InvalidInputError, match="give what snapshot"):
            env.restore(None)  # type: ignore[arg-type]
        env.step([0.0])


def test_numbers_of_numpy_are_numbers() -> None:
    with MADE(account=None, budget=np.float64(2.5)) as env:
        assert env.meter.balance == 2_500_000


@pytest.mark.parametrize("name", sandbox.__all__)
def test_every_public_function_checks_its_arguments(name: str) -> None:
    """Annotations that cannot be evaluated would be found by the first user."""
    found = getattr(sandbox, name)
    if inspect.isfunction(found):
        assert hasattr(found, "__wrapped__"), f"decorate {name} by @checked"
        assert get_type_hints(found)
