"""Price schedule 2: nominal CPU time, known before the work is done and the same everywhere."""

import json
from pathlib import Path
from typing import Any

import pytest
from running import cli, recipe

import sandbox
from sandbox import catalogue, prices
from sandbox.errors import UnknownNameError
from sandbox.ledger import Ledger
from sandbox.prices import Load, local
from sandbox.testing.load import measure

SECOND = prices.load("2")


@pytest.fixture(autouse=True)
def _newest() -> None:
    local.use("2")


def test_every_world_has_a_load_and_nothing_else_has() -> None:
    assert sorted(SECOND.loads) == catalogue.environments()
    assert all(load.step_us > 0 for load in SECOND.loads.values())


def test_a_run_costs_what_its_work_nominally_takes(tmp_path: Path) -> None:
    seen: dict[str, Any] = {"observation": ["proprio", "pixels", "depth"], "image_size": 16}
    wanted = recipe("billiards", episodes=2, camera=["main", "top"], **seen)
    quoted, bill = sandbox.quote(wanted), sandbox.generate(wanted, tmp_path / "run")
    assert quoted.exact
    assert (bill.amount, bill.quantities) == (quoted.amount, quoted.quantities)
    load = SECOND.loads["billiards"]
    assert bill.quantities["simulation_us"] == 2 * (load.reset_us + 30 * load.step_us)
    assert bill.quantities["drawing_us"] == 2 * 31 * 2 * load.drawing_us(16)  # Two cameras.
    work = sum(1000 * bill.quantities[unit] for unit in ("simulation_us", "drawing_us"))
    assert bill.amount == work + 5 * bill.quantities["raw_byte"]
    assert sandbox.verify(tmp_path / "run").faults == []
    assert Ledger().check() == []


def test_an_environment_charges_by_its_load_step_by_step() -> None:
    env = catalogue.environment("two_room")(render_mode="rgb_array")
    load = SECOND.loads["two_room"]
    _, info = env.reset(seed=0)
    assert info["charged"] == 1000 * load.reset_us
    assert env.step(env.action_space.sample())[4]["charged"] == 1000 * load.step_us
    env.render()
    assert env.meter.quantities["drawing_us"] == load.drawing_us(env.pictures.size)
    kept = env.snapshot()
    env.restore(kept, exact=True)
    simulated = 2 * load.reset_us + 2 * load.step_us
    assert env.meter.quantities["simulation_us"] == simulated
    env.close()


def test_a_world_without_a_load_is_estimated_and_a_longer_state_costs_more() -> None:
    class Unknown(catalogue.environment("two_room")):  # type: ignore[misc]
        pass

    env = Unknown()
    assert env.name() not in SECOND.loads
    _, info = env.reset(seed=0)
    assert info["charged"] == 1000 * Load.estimated(2, env.physics_steps).reset_us
    env.close()
    few, many = Load.estimated(2, 8), Load.estimated(9, 8)
    assert few.step_us < many.step_us


def test_loads_are_part_of_a_schedules_identity_and_travel_with_it() -> None:
    again = prices.parse(SECOND.plain)
    assert (again.digest, dict(again.loads)) == (SECOND.digest, dict(SECOND.loads))
    dearer = SECOND.plain
    dearer["loads"]["push_t"]["step_us"] += 1
    assert prices.parse(dearer).digest != SECOND.digest
    assert "loads" not in prices.load("1").plain


def test_a_schedule_meters_only_what_it_has_rates_for(tmp_path: Path) -> None:
    bill = sandbox.generate(recipe("billiards", episodes=1), tmp_path / "run", prices="1")
    assert "simulation_us" not in bill.quantities
    assert bill.amount == prices.load("1").cost(bill.quantities) > 0


def test_the_command_shows_loads() -> None:
    told = json.loads(cli("prices", "show", "2", "--json").stdout)
    assert told["loads"]["pour"]["step_us"] == SECOND.loads["pour"].step_us
    assert "panda_pick_stack" in cli("prices", "show", "2").stdout


def test_the_homes_choice_comes_before_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_PRICES", "1")
    assert prices.current().version == "2"
    local.use(None)
    assert prices.current().version == "1"
    monkeypatch.setenv("SANDBOX_PRICES", "9000")
    with pytest.raises(UnknownNameError, match="no price schedule is called '9000'"):
        prices.current()


def test_a_load_is_measured() -> None:
    found = measure(catalogue.environment("cartpole_swingup"), rounds=1)
    assert 20 < found.step_us < 5000
    assert found.reset_us >= 1
    assert found.drawing_us(64) >= found.picture_us >= 1
