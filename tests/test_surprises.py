"""Pairs for violation of expectation: one past, then what was recorded, and what cannot be."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from running import cli, recipe

import sandbox
from sandbox.errors import FormatError, InvalidInputError, UnknownNameError
from sandbox.run.folder import Folder
from sandbox.sources.kinds import IMPOSSIBLE
from sandbox.sources.surprises import pairs, planned

WORLDS = ("ramp_occluder", "tower", "billiards", "dominoes")
SOAK = "SANDBOX_SOAK" in os.environ


def recorded(name: str, path: Path, episodes: int = 5, **changes: Any) -> Folder:
    given = {"policies": {"scripted": 1.0}, "labels": True, "image_size": 32}
    seen = {"observation": ["proprio", "pixels"]}
    wanted = recipe(name, episodes=episodes, **(seen | given | changes))
    sandbox.generate(wanted, path)
    return sandbox.open_run(path)


def paired(run: Folder, path: Path, kinds: Sequence[str], count: int, **ways: Any) -> Folder:
    sandbox.surprises(run.path, path, kinds=kinds, pairs=count, **ways)
    return sandbox.open_run(path)


@pytest.mark.parametrize("world", WORLDS if SOAK else WORLDS[:1])
def test_a_pair_shares_its_past_and_parts_when_the_surprise_shows(
    world: str, tmp_path: Path
) -> None:
    run = recorded(world, tmp_path / "run")
    made = paired(run, tmp_path / "pairs", IMPOSSIBLE, 1)
    report = sandbox.verify(made.path)
    assert report.faults == []
    assert report.replayed == 2 * len(IMPOSSIBLE)
    found = pairs(made)
    assert tuple(pair.kind.partition(":")[0] for pair in found) == IMPOSSIBLE
    for pair in found:
        possible, impossible = made.episode(pair.possible), made.episode(pair.impossible)
        original = run.episode(possible.record["branch"]["episode"])
        for name in ("pixels", "state"):
            past = original.rows[name][: pair.step + 1].tobytes()
            assert possible.rows[name].tobytes() == original.rows[name].tobytes()
            assert impossible.rows[name][: pair.step + 1].tobytes() == past
        assert not possible.record["branch"]["impossible"]
        assert impossible.record["branch"]["impossible"]
        assert pair.parts_at is not None
        assert pair.parts_at > pair.step


def test_what_happens_behind_a_screen_shows_when_the_object_does(tmp_path: Path) -> None:
    run = recorded("ramp_occluder", tmp_path / "run", 8)
    made = paired(run, tmp_path / "pairs", ["vanish", "recolor"], 2, during="hidden")
    waits: list[int] = []
    for pair in pairs(made):
        hidden = made.episode(pair.possible).rows["event.hidden"]
        assert hidden[pair.step]
        assert pair.parts_at is not None
        waits.append(pair.parts_at - pair.step)
    assert max(waits) > 2


def test_the_same_plan_for_the_same_seed_and_another_for_another(tmp_path: Path) -> None:
    run = recorded("billiards", tmp_path / "run", 6)
    assert planned(run, IMPOSSIBLE, 2) == planned(run, IMPOSSIBLE, 2)
    assert planned(run, IMPOSSIBLE, 2) != planned(run, IMPOSSIBLE, 2, seed=1)


def test_numbers_out_of_range_are_refused(tmp_path: Path) -> None:
    run = recorded("billiards", tmp_path / "run", 1, observation=["proprio"])
    wrong: list[dict[str, Any]] = [{"pairs": 10**30}, {"pairs": 10**5000}]
    for one in (*wrong, {"seed": -1}, {"seed": 2**63}):
        with pytest.raises(InvalidInputError, match=r"surprises: (pairs|seed) must be"):
            sandbox.surprises(run.path, tmp_path / "out", **one)
    assert not (tmp_path / "out").exists()


def test_surprises_that_cannot_be_are_refused(tmp_path: Path) -> None:
    run = recorded("tower", tmp_path / "run", 4, labels=False)
    for kinds, wanted, during, says in (
        (["explode"], 1, None, "no surprise is called 'explode'"),
        (["vanish"], 0, None, "at least one"),
        (["vanish"], 9, None, "4 episodes have a moment"),
        (["vanish"], 1, "hidden", "no event is called 'hidden'"),
        (["vanish"], 1, "toppled", "labels: true"),
        (["ghost"], 1, None, "labels: true"),
    ):
        with pytest.raises((InvalidInputError, UnknownNameError), match=says):
            planned(run, kinds, wanted, during)
    with pytest.raises(FormatError, match="no pair of surprises"):
        pairs(run)


def test_the_command_makes_pairs_and_says_when_they_part(tmp_path: Path) -> None:
    run = recorded("billiards", tmp_path / "run", 3)
    done = cli(
        "surprises", run.path, "--with", "vanish,reshape", "--pairs", "1", "--out", tmp_path / "p"
    )
    assert done.returncode == 0, done.stderr
    assert "rows until they part" in done.stdout
    assert len(pairs(Folder(tmp_path / "p"))) == 2
    refused = cli("surprises", run.path, "--pairs", "99", "--out", tmp_path / "q")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "q").exists()


def test_kinds_that_are_not_named_are_those_with_moments_enough(tmp_path: Path) -> None:
    run = recorded("push_t", tmp_path / "run", 3, scenario=None)
    plan = planned(run, None, 2)  # A T is not one shape, and touches nothing that moves freely.
    kinds = {one["kind"].partition(":")[0] for one in plan["branches"]}
    assert {"same", "vanish", "recolor"} <= kinds
    assert "reshape" not in kinds
    with pytest.raises(InvalidInputError, match="0 episodes have a moment for reshape"):
        planned(run, ["reshape"], 2)
    done = cli(
        "branch",
        run.path,
        "--episode",
        "0",
        "--step",
        "9",
        "--with",
        "reshape",
        "--out",
        tmp_path / "x",
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is not one box" in done.stderr
    nothing = recorded("cartpole_swingup", tmp_path / "nothing", 3)
    with pytest.raises(InvalidInputError, match="any surprise"):
        planned(nothing, None, 1)


def test_pairs_are_drawn_anew_and_are_no_pasts_of_more_surprises(tmp_path: Path) -> None:
    run = recorded("billiards", tmp_path / "run", 4, image_size=16)
    made = paired(run, tmp_path / "pairs", ["vanish"], 2)
    sandbox.render(made.path, tmp_path / "depth", ["depth"], camera=["main"])
    assert sandbox.verify(tmp_path / "depth").faults == []
    plan = planned(made, ["recolor"], 2)
    assert {past["episode"] for past in plan["pasts"]} == {0, 2}
    with pytest.raises(InvalidInputError, match="2 episodes have a moment"):
        planned(made, ["recolor"], 3)
    ways = ["--episode", "1", "--step", "20", "--with", "noop", "--out", tmp_path / "off"]
    assert cli("branch", made.path, *ways).returncode == 0
    assert Folder(tmp_path / "off").episode(0).record["branch"]["impossible"]


def test_a_colour_shows_in_pictures_alone(tmp_path: Path) -> None:
    run = recorded("billiards", tmp_path / "run", 3, observation=["proprio"])
    assert "recolor" not in {
        one["kind"].partition(":")[0] for one in planned(run, None, 1)["branches"]
    }
    ways = ["--with", "recolor", "--pairs", "1", "--out", tmp_path / "pairs"]
    done = cli("surprises", run.path, *ways)
    assert done.returncode == 0, done.stderr
    assert "this run has none: `sandbox render` draws them" in done.stdout
    assert "leave them out" not in done.stdout
    sandbox.render(tmp_path / "pairs", tmp_path / "drawn", image_size=32)
    (pair,) = pairs(Folder(tmp_path / "drawn"))
    assert pair.pictured
    assert pair.parts_at is not None
