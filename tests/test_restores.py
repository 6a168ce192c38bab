"""What restores threw away: it is in the evidence, and nobody pays for what did not arrive.

The long version (SANDBOX_SOAK=1, `make soak`) interrupts at every line.
"""

import os
from contextlib import suppress
from typing import Any, cast

import numpy as np
import pytest
from faulty import PUSH, interrupted, made

from sandbox import catalogue, digest, prices
from sandbox.errors import InvalidInputError
from sandbox.ledger import Ledger
from sandbox.ledger.statement import statement


def derived(begun: dict[str, Any], done: list[Any]) -> tuple[dict[str, int], str]:
    """The work and the digest of the evidence, from a list of actions, and of snapshots restored.

    An item is an action, or ("restore", the number of actions before the snapshot was taken).
    """
    path, since, count = list[list[float]](), list[list[float]](), 0
    kept, thrown, restores = {0: list[list[float]]()}, "", 0
    for one in done:
        if isinstance(one, tuple):
            to = cast("tuple[str, int]", one)[1]
            thrown, restores = digest.sha256([thrown, since, to]), restores + 1
            path, since = list(kept[to]), []
            continue
        path, since, count = [*path, one], [*since, one], count + 1
        kept[count] = path
    evidence = {
        **begun,
        "steps": len(path),
        "actions": path,
        "simulated": count,
        "restores": restores,
        "thrown_away": thrown,
    }
    return {"physics_step": count, "reset": 1}, digest.sha256(evidence)


def test_what_restores_threw_away_is_in_the_evidence_and_the_charge_follows_from_it() -> None:
    book = Ledger()
    book.grant("lab", prices.micro(1000))
    env: Any = catalogue.environment("cartpole_swingup")(account="lab")
    env.reset(seed=3)
    rng, kept, done = np.random.default_rng(0), [(0, env.snapshot())], list[Any]()
    for turn in range(6):
        for _ in range(turn + 1):
            action = np.float32(rng.uniform(-1, 1))
            env.step([action])
            done.append([float(action)])
            kept.append((sum(isinstance(one, list) for one in done), env.snapshot()))
        number, snapshot = kept[(7 * turn) % len(kept)]
        env.restore(snapshot)
        done.append(("restore", number))
    env.step([1.0])
    done.append([1.0])
    told, surviving = env.evidence(), env.t
    env.close()
    work, evidence = derived(told, done)
    (post,) = [line for line in statement(book, "lab") if line["kind"] == "post"]
    assert post["evidence"] == evidence
    assert post["work"] == {"reset": 1, "physics_step": work["physics_step"] * env.physics_steps}
    assert told["simulated"] == work["physics_step"] == 22 > surviving
    for n in range(len(done)):  # Whatever is left out shows.
        with suppress(KeyError):  # A snapshot of what was not simulated.
            assert derived(told, [*done[:n], *done[n + 1 :]])[1] != evidence


def test_the_simulated_steps_of_a_planner_are_bounded_by_credit_alone() -> None:
    env: Any = catalogue.environment("cartpole_swingup")(account=None, budget=0.4 + 0.12 * 40)
    env.reset(seed=0)
    start, steps, cut, info = env.snapshot(), 0, False, dict[str, Any]()
    while not cut:
        env.restore(start)
        for _ in range(7):
            *_, cut, info = env.step([1.0])
            steps += 1
            if cut:
                break
    assert info["budget"]["reason"] == "exhausted"
    assert env.evidence()["simulated"] == steps
    assert env.meter.quantities["physics_step"] == steps * env.physics_steps
    env.close()


@pytest.mark.parametrize("exact", [False, True])
def test_an_interrupt_at_any_line_of_a_restore_leaves_it_uncharged(
    exact: bool, book: Ledger
) -> None:
    book.grant("lab", prices.micro(10_000))
    env, after, cut, ended = made(book), 0, True, 0
    every = 1 if "SANDBOX_SOAK" in os.environ else 5
    while cut:
        env.reset(seed=0)
        for _ in range(2):
            env.step(PUSH)
        kept = env.snapshot()
        env.step(-PUSH)
        told, spent = env.evidence(), env.meter.spent
        with suppress(KeyboardInterrupt), interrupted(after, KeyboardInterrupt) as where:
            env.restore(kept, exact=exact)
        cut, after = bool(where), after + every
        physics = env.meter.quantities["physics_step"]
        assert physics == env.evidence()["simulated"] * env.physics_steps, where
        if env.episode.failed:
            ended += 1
            assert (env.evidence(), env.meter.spent) == (told, spent), where
            with pytest.raises(InvalidInputError, match=r"call reset.*last restore.*was not ch"):
                env.step(PUSH)
        elif (env.evidence(), env.meter.spent) != (told, spent):  # It had arrived.
            assert (env.t, env.row) == (2, kept.row), where
            assert env.world.read() == env.row[: -len(env.state_measures)], where
            env.step(PUSH)
    assert ended > 5
    env.close()
    assert book.balance("lab").pending_micro == 0
    assert book.check() == []


def test_an_exact_restore_that_does_not_reach_the_state_is_not_charged(book: Ledger) -> None:
    book.grant("lab", prices.micro(100))
    env = made(book)
    env.reset(seed=0)
    env.step(PUSH)
    kept = env.snapshot()
    kept.row[0] += 1.0
    env.step(PUSH)
    told, spent = env.evidence(), env.meter.spent
    with pytest.raises(InvalidInputError, match="did not reach the state"):
        env.restore(kept, exact=True)
    assert (env.evidence(), env.meter.spent) == (told, spent)
    with pytest.raises(InvalidInputError, match="was not charged"):
        env.step(PUSH)
    env.close()
    (post,) = [line for line in statement(book, "lab") if line["kind"] == "post"]
    assert post["evidence"] == digest.sha256(told)
    assert -post["amount_micro"] == spent
