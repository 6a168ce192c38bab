"""An episode's start can be restored from the columns of any of its rows, with h5py alone."""

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from running import recipe

import sandbox
from sandbox import catalogue
from sandbox.env import SandboxEnv
from sandbox.run.record import Record
from sandbox.scenario.disturbance import Disturbance
from sandbox.sources import setup
from sandbox.verification.records import start_fault

EVENTFUL: dict[str, Any] = {
    "format": 1,
    "environment": "two_room",
    "limit_s": 2.0,
    "factors": {
        "agent_mass_kg": {"uniform": [0.3, 1.0]},
        "agent_color": {"choice": ["red", "gold"]},
    },
    "disturbances": [
        {
            "at_s": {"uniform": [0.2, 1.5]},
            "change": {"agent_mass_kg": {"uniform": [1.1, 1.4]}, "agent_color": "teal"},
        },
        {"at_s": 0.5, "place": {"body": "goal", "at": [0.1, {"uniform": [-0.1, 0.1]}, 0.0007]}},
    ],
}


def eventful(folder: Path) -> str:
    """Write a scenario in which factors change and bodies move; return its path."""
    path = folder / "eventful.yaml"
    path.write_text(json.dumps(EVENTFUL))
    return str(path)


def restored(run: Path, row: int) -> tuple[int, dict[str, Any]]:
    """Return seed and options of the reset that gives the start of a row's episode."""
    with h5py.File(run / "shards" / "shard-00000.h5") as file:
        values = {name: file[name][row] for name in file if name.startswith("variation.")}
        options = json.loads(bytes(file["reset_options"][row]))
        known = {name.removeprefix("variation."): value for name, value in values.items()}
        options["variation_values"] = known | options.get("variation_values", {})
        return int(file["seed"][row]), options


def first_row(run: Path, row: int, columns: Sequence[str]) -> dict[str, bytes]:
    """Return the bytes of columns in the first row of a row's episode."""
    with h5py.File(run / "shards" / "shard-00000.h5") as file:
        first = row - int(file["step_idx"][row])
        return {name: file[name][first].tobytes() for name in columns}


def seen(env: SandboxEnv, seed: int, options: dict[str, Any]) -> dict[str, bytes]:
    observation, info = env.reset(seed=seed, options=options)
    told = {**observation, "state": info["state"], "goal": info["goal"]}
    return {name: np.asarray(value).tobytes() for name, value in told.items()}


def test_any_row_restores_the_start_of_its_episode(tmp_path: Path) -> None:
    run, observed = tmp_path / "run", ["proprio", "factors", "pixels"]
    where = eventful(tmp_path)
    wanted = recipe("two_room", scenario=where, observation=observed, image_size=16)
    sandbox.generate(wanted, run)
    given = {"scenario": where, "observation": observed, "image_size": 16}
    with h5py.File(run / "shards" / "shard-00000.h5") as file:
        masses, lengths = file["variation.agent_mass_kg"][()], file["ep_len"][()].tolist()
        named = {bytes(one).hex() for one in file["run"][()]}
    assert named == {json.loads((run / "run.json").read_text())["run"]}
    assert lengths == [21, 21, 21]
    count = len(masses)
    changed = [row for row in range(count) if masses[row] != masses[row - row % 21]]
    assert len(changed) > 10, "the rows after a change hold another value than the first"
    given: Any = {"scenario": where, "observation": observed, "image_size": 16}
    with closing(catalogue.environment("two_room")(account=None, **given)) as env:
        for row in (0, 20, 21 + 20, 50, count - 1, changed[0]):
            seed, options = restored(run, row)
            again = seen(env, seed, options)
            assert again == first_row(run, row, list(again))


def test_a_branch_is_restored_from_its_rows_too(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "branches"
    where = eventful(tmp_path)
    sandbox.generate(recipe("two_room", scenario=where, observation=["proprio"]), run)
    kinds = ["same", "factor:wall_friction=0.7"]
    sandbox.branch(run, out, episode=1, step=5, kinds=kinds)
    given: Any = {"scenario": where, "observation": ["proprio"]}
    with closing(catalogue.environment("two_room")(account=None, **given)) as env:
        for row in (0, 20, 30, 41):
            seed, options = restored(out, row)
            again = seen(env, seed, options)
            assert again == first_row(out, row, list(again))
            changes = [one.get("change", ()) for one in options["disturbances"]]
            assert sum("wall_friction" in change for change in changes) == (row > 20)
    report = sandbox.verify(out)
    assert (report.faults, report.replayed) == ([], 2)


def test_the_quote_is_the_bill_however_long_the_texts_are(tmp_path: Path) -> None:
    wanted = recipe("two_room", scenario=eventful(tmp_path), episodes=4)
    bill = sandbox.generate(wanted, tmp_path / "run")
    assert bill.quantities == sandbox.quote(wanted).quantities
    with h5py.File(tmp_path / "run" / "shards" / "shard-00000.h5") as file:
        texts = {len(bytes(text).rstrip()) for text in file["reset_options"][()]}
        width = sum(file[name].dtype.itemsize * int(np.prod(file[name].shape[1:])) for name in file)
        rows = len(file["reward"])
    assert len(texts) > 1
    own = 4 + 8 + 8  # Of `ep_len`, `ep_offset` and `row`, which are the file's.
    assert bill.quantities["raw_byte"] == rows * (width - own)


@pytest.mark.parametrize("name", catalogue.scenarios())
def test_no_text_is_longer_than_its_column(name: str) -> None:
    from sandbox.scenario import load

    it, _ = load(name)
    known = catalogue.environment(it.environment).factors
    size = setup._longest_of(it.disturbances)
    for seed in range(20):
        values = it.sample(known, seed, None)
        happening = [one.plain() for one in it.happenings(known, values, seed)]
        assert len(setup._text(happening, values.plain())) <= size


def test_numbers_at_their_longest_fit() -> None:
    longest = -2.2250738585072014e-308
    ranges = [{"uniform": [-1.0, 1.0]}] * 3
    drawn = [longest] * 3
    asked = Disturbance.model_validate({"at_s": 0.5, "kick": {"body": "ü", "impulse_ns": ranges}})
    given = {"at_s": abs(longest), "kick": {"body": "ü", "impulse_ns": drawn}}
    text = setup._text([Disturbance.model_validate(given).plain()], {})
    assert len(text) <= setup._longest_of([asked])
    assert setup._longest_of([]) == len('{"disturbances":[]}')


def forged(rows: Any, name: str, value: Any) -> Any:
    """Return rows with another value in a column, in all of it or in the last row."""
    column = rows[name].copy()
    column[value[0]] = value[1]
    return {**rows, name: column}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", (slice(None), 7)),
        ("seed", (-1, 7)),
        ("run", (slice(None), 0)),
        ("run", (-1, 0)),
        ("reset_options", (-1, 32)),
        ("reset_options", (slice(None), 32)),
        ("reset_options", (slice(None), 255)),
    ],
)
def test_a_start_that_is_not_the_records_is_a_fault_without_a_replay(
    name: str, value: Any, tmp_path: Path
) -> None:
    sandbox.generate(recipe("two_room", scenario=eventful(tmp_path), episodes=1), tmp_path / "run")
    episode = sandbox.open_run(tmp_path / "run").episode(0)
    record = Record.parse(episode.record)
    assert start_fault(episode.rows, record) == ""
    assert f"its column {name!r} " in start_fault(forged(episode.rows, name, value), record)
    for odd in ({"change": 5}, {"change": [[]]}):
        hostile = record.model_copy(update={"disturbances": [odd]})
        assert "'reset_options'" in start_fault(episode.rows, hostile)
