"""Garbage collections leave out what was there before a run was made."""

import gc
from pathlib import Path

from running import opened, recipe

from sandbox.memory import settled


def test_while_episodes_are_made_what_was_there_before_is_left_out(tmp_path: Path) -> None:
    seen: list[int] = []
    with opened(recipe(), tmp_path / "run") as run:
        run.generate(lambda record, bill: seen.append(gc.get_freeze_count()))
    assert len(seen) == 3
    assert min(seen) > 10_000
    assert gc.get_freeze_count() == 0


def test_what_a_caller_froze_stays_frozen() -> None:
    gc.freeze()
    try:
        before = gc.get_freeze_count()
        with settled():
            assert gc.get_freeze_count() == before
        assert gc.get_freeze_count() == before
    finally:
        gc.unfreeze()
