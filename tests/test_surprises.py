"""Pairs for violation of expectation: one past, then what was recorded, and what cannot be."""

from pathlib import Path
from typing import Any

import pytest
from running import cli, recipe
from test_generate import generate

from sandbox.errors import FormatError, InvalidInputError, UnknownNameError
from sandbox.run.folder import recipe_of
from sandbox.run.recipe import with_pictures
from sandbox.run.run import Run
from sandbox.sources.branching import Branching, pairs, surprises
from sandbox.sources.kinds import IMPOSSIBLE
from sandbox.sources.plan import read
from sandbox.sources.rendering import Rendering
from sandbox.verification.verify import verify

WORLDS = ("billiards", "dominoes", "ramp_occluder", "tower")


def recorded(name: str, folder: Path, episodes: int = 8, **changes: Any) -> Path:
    given = {"policies": {"scripted": 1.0}, "labels": True, "image_size": 32}
    wanted = recipe(name, episodes=episodes, observation=["proprio", "pixels"], **(given | changes))
    generate(wanted, folder)
    return folder


def lived(run: Path, plan: dict[str, Any], folder: Path) -> Path:
    source = Branching.of(run, plan)
    carried = Run(source.recipe, folder, None, source)
    carried.generate()
    carried.close()
    return folder


@pytest.mark.parametrize("world", WORLDS)
def test_a_pair_shares_its_past_and_parts_when_the_surprise_shows(
    world: str, tmp_path: Path
) -> None:
    run = recorded(world, tmp_path / "run")
    made = lived(run, surprises(run, IMPOSSIBLE, 1), tmp_path / "pairs")
    report = verify(made)
    assert report.faults == []
    assert report.replayed == 2 * len(IMPOSSIBLE)
    found = pairs(made)
    assert tuple(pair.kind.partition(":")[0] for pair in found) == IMPOSSIBLE
    for pair in found:
        possible, impossible = read(made, pair.possible), read(made, pair.impossible)
        original = read(run, possible.record["branch"]["episode"])
        for name in ("pixels", "state"):
            past = original.rows[name][: pair.step + 1].tobytes()
            assert possible.rows[name].tobytes() == original.rows[name].tobytes()
            assert impossible.rows[name][: pair.step + 1].tobytes() == past
        assert not possible.record["branch"]["impossible"]
        assert impossible.record["branch"]["impossible"]
        assert pair.parts_at is not None
        assert pair.parts_at > pair.step


def test_what_happens_behind_a_screen_shows_when_the_object_does(tmp_path: Path) -> None:
    run = recorded("ramp_occluder", tmp_path / "run", 16)
    plan = surprises(run, ["vanish", "recolor"], 4, during="hidden")
    made = lived(run, plan, tmp_path / "pairs")
    waits: list[int] = []
    for pair in pairs(made):
        hidden = read(made, pair.possible).rows["event.hidden"]
        assert hidden[pair.step]
        assert pair.parts_at is not None
        waits.append(pair.parts_at - pair.step)
    assert max(waits) > 2


def test_the_same_plan_for_the_same_seed_and_another_for_another(tmp_path: Path) -> None:
    run = recorded("tower", tmp_path / "run", 6)
    assert surprises(run, IMPOSSIBLE, 2) == surprises(run, IMPOSSIBLE, 2)
    assert surprises(run, IMPOSSIBLE, 2) != surprises(run, IMPOSSIBLE, 2, seed=1)


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
            surprises(run, kinds, wanted, during)
    with pytest.raises(FormatError, match="no pair of surprises"):
        pairs(run)


def test_the_command_makes_pairs_and_says_when_they_part(tmp_path: Path) -> None:
    run = recorded("dominoes", tmp_path / "run", 3)
    done = cli("surprises", run, "--with", "vanish,reshape", "--pairs", 2, "--out", tmp_path / "p")
    assert done.returncode == 0, done.stderr
    assert "rows until they part" in done.stdout
    assert len(pairs(tmp_path / "p")) == 4
    refused = cli("surprises", run, "--pairs", "99", "--out", tmp_path / "q")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "q").exists()


def test_kinds_that_are_not_named_are_those_with_moments_enough(tmp_path: Path) -> None:
    run = recorded("push_t", tmp_path / "run", 3)
    plan = surprises(run, None, 2)  # A T is not one shape, and touches nothing that moves freely.
    kinds = {one["kind"].partition(":")[0] for one in plan["branches"]}
    assert {"same", "vanish", "recolor"} <= kinds
    assert "reshape" not in kinds
    with pytest.raises(InvalidInputError, match="0 episodes have a moment for reshape"):
        surprises(run, ["reshape"], 2)
    done = cli(
        "branch", run, "--episode", "0", "--step", "9", "--with", "reshape", "--out", tmp_path / "x"
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is not one box" in done.stderr
    nothing = recorded("cartpole_swingup", tmp_path / "nothing", 3)
    with pytest.raises(InvalidInputError, match="any surprise"):
        surprises(nothing, None, 1)


def test_pairs_are_drawn_anew_and_are_no_pasts_of_more_surprises(tmp_path: Path) -> None:
    run = recorded("tower", tmp_path / "run", 4, image_size=16)
    made = lived(run, surprises(run, ["vanish"], 2), tmp_path / "pairs")
    wanted = with_pictures(recipe_of(made), ["depth"], ["main"])
    drawing = Run(wanted, tmp_path / "depth", None, Rendering(wanted, made))
    drawing.generate()
    drawing.close()
    assert verify(tmp_path / "depth").faults == []
    plan = surprises(made, ["recolor"], 2)
    assert {past["episode"] for past in plan["pasts"]} == {0, 2}
    with pytest.raises(InvalidInputError, match="2 episodes have a moment"):
        surprises(made, ["recolor"], 3)
    ways = ["--episode", "1", "--step", "90", "--with", "noop", "--out", tmp_path / "off"]
    assert cli("branch", made, *ways).returncode == 0
    assert read(tmp_path / "off", 0).record["branch"]["impossible"]
