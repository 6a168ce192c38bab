"""A simulation whose numbers are not finite ends its episode, uncharged, and says which number."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import recipe

import sandbox
from sandbox import catalogue, prices
from sandbox.errors import InvalidInputError, SimulationError
from sandbox.ledger import Ledger


def test_a_state_that_is_not_finite_ends_the_episode_and_is_not_charged() -> None:
    world: Any = catalogue.environment("billiards")

    class Wild(world):
        def act(self, action: list[float]) -> None:
            if self.t == 2:
                self.world.push("ball_0", (1e308, 1e308, 0.0), self.body("ball_0")[:3])

    env = Wild(account="local")
    env.reset(seed=0)
    act = np.zeros(env.action_size, np.float32)
    env.step(act)
    env.step(act)
    row, spent = list(env.row), env.meter.spent
    with pytest.raises(SimulationError, match=r"seed 0, step 3: .* diverged: ball_0\.x is nan"):
        env.step(act)
    assert (env.t, list(env.row), env.meter.spent) == (2, row, spent)
    with pytest.raises(InvalidInputError, match="call reset"):
        env.step(act)
    _, info = env.reset(seed=1)
    assert np.isfinite(info["state"]).all()
    env.close()


def test_a_run_stops_at_an_episode_that_diverges_and_keeps_and_charges_those_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of three: the first is a row of the bill, the others are not."""
    (tmp_path / "wild_balls.py").write_text(
        "from sandbox import catalogue\n\n\n"
        'class Wild(catalogue.environment("billiards")):\n'
        "    seeds = set()\n\n"
        "    def act(self, action):\n"
        "        self.seeds.add(self.seed)\n"
        "        if len(self.seeds) == 2 and self.t == 1:\n"
        '            self.world.push("ball_0", (1e308, 1e308, 0.0), self.body("ball_0")[:3])\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    wild = recipe(environment="wild_balls:Wild")
    with pytest.raises(SimulationError, match=r"step 2: .* diverged: ball_0\.x is nan"):
        sandbox.generate(wild, tmp_path / "run")
    run = sandbox.open_run(tmp_path / "run")
    (usage,) = run.kept().usages
    run.close()
    (post,) = (one.move for one in Ledger().transfers() if one.move.kind == "post")
    assert post.amount == prices.load(usage.price_version).cost(usage.quantities)
