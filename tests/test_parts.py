"""Recipes of several worlds: one order, one run, one bill; shards of each part apart."""

import os
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from running import SHORT, cli, content, file_of

import sandbox
from sandbox import jsonfile, keeping, prices
from sandbox.errors import FormatError, InvalidInputError, SandboxError
from sandbox.ledger import Ledger
from sandbox.run import recipe as recipes
from sandbox.run.filling import Filling
from sandbox.run.recipe import EpisodeChance, Recipe
from sandbox.run.stages import Stages
from sandbox.sweeping import sweep

TESTS = Path(__file__).parent
PARTS: list[dict[str, Any]] = [
    {"environment": "billiards", "scenario": SHORT, "policies": {"random": 1.0}, "share": 2.0},
    {
        "environment": "push_t",
        "scenario": str(TESTS / "short_push_t.yaml"),
        "policies": {"random": 1.0, "scripted": 1.0},
    },
]
MICRO = prices.MICRO


def wanted(**changes: Any) -> Recipe:
    given = {"format": 1, "parts": PARTS, "episodes": 9, "seed": 4, "shard_episodes": 2}
    return recipes.of(given, **changes)


@pytest.fixture(scope="module")
def mixed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(folder / "home"))
        sandbox.generate(wanted(), folder / "run")
    return folder / "run"


def test_parts_have_exact_shares_one_order_and_shards_of_their_own(mixed_run: Path) -> None:
    folder = sandbox.open_run(mixed_run)
    records = sorted(folder.records(), key=lambda one: one.episode)
    assert [one.episode for one in records] == list(range(9))
    assert Counter(one.environment for one in records) == {"billiards": 6, "push_t": 3}
    for until in range(1, 10):
        here = sum(one.environment == "billiards" for one in records[:until])
        assert abs(here - until * 2 / 3) < 1
    assert len({one.seed for one in records}) == 9
    for shard in folder.shards():
        assert len({one.environment for one in shard.records}) == 1
        (world,) = {one.environment for one in shard.records}
        assert shard.reader.header["environment"] == world
        assert ("goal" in shard.reader.schema.names) == (world == "push_t")
    assert [folder.episode(n).record["episode"] for n in range(9)] == list(range(9))
    folder.close()


def test_it_is_one_run_with_one_bill_that_verifies(mixed_run: Path, tmp_path: Path) -> None:
    bill = sandbox.generate(wanted(), tmp_path / "run", workers=2)
    assert content(tmp_path / "run") == content(mixed_run)
    assert bill.amount == -Ledger().balance("local").posted_micro
    report = sandbox.verify(tmp_path / "run", workers=2)
    assert (report.faults, report.episodes, report.replayed) == ([], 9, 9)
    again = sandbox.generate(wanted(), tmp_path / "run")
    assert again.already == again.episodes == 9


def test_episodes_start_as_those_of_a_run_of_one_world_do(mixed_run: Path) -> None:
    """At the same place in the run, of the same seed."""
    alone = recipes.of(
        {k: v for k, v in PARTS[0].items() if k != "share"} | {"format": 1, "episodes": 9},
        seed=4,
    )
    mixed = wanted()
    for index in range(9):
        if mixed.turn(index).part == 0:
            assert EpisodeChance(mixed, index).seed == EpisodeChance(alone, index).seed


def test_a_run_of_parts_that_was_interrupted_goes_on_to_the_same_bytes(
    mixed_run: Path, tmp_path: Path
) -> None:
    made, whole = Filling._made, list[int]()  # pyright: ignore[reportPrivateUsage]

    def until(self: Filling, shard: int, index: int) -> bool:
        whole.append(index)
        if len(whole) % 3 == 0:
            raise KeyboardInterrupt
        return made(self, shard, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Filling, "_made", until)
        for _ in range(20):
            try:
                sandbox.generate(wanted(), tmp_path / "run")
                break
            except KeyboardInterrupt:
                assert "not finished" in " ".join(sandbox.verify(tmp_path / "run").faults)
    assert len(whole) > 9
    assert content(tmp_path / "run") == content(mixed_run)


def test_credits_end_it_in_the_order_of_episodes(tmp_path: Path) -> None:
    priced = recipes.of(wanted(), credits=60)
    bill = sandbox.generate(priced, tmp_path / "run")
    longer = sandbox.generate(recipes.of(wanted(), episodes=bill.episodes + 1), tmp_path / "more")
    assert bill.amount <= 60 * MICRO < longer.amount
    assert sandbox.verify(tmp_path / "run").faults == []
    sandbox.generate(priced, tmp_path / "two", workers=2)
    assert content(tmp_path / "two") == content(tmp_path / "run")


def test_every_kill_while_the_last_shards_are_sealed_leads_to_the_same_bytes(
    tmp_path: Path,
) -> None:
    priced = recipes.of(wanted(), credits=60)
    sandbox.generate(priced, tmp_path / "whole")
    for call in range(1, 40, 3):
        out = tmp_path / f"run-{call}"
        if not _killed(call, priced, out):
            assert call > 4
            break
        sandbox.generate(priced, out)
        assert content(out) == content(tmp_path / "whole"), call


def _killed(call: int, priced: Recipe, out: Path) -> bool:
    """Generate in a child that kills itself at its n-th replacing of a file."""
    child = os.fork()
    if child == 0:
        try:
            left, real = [call], os.replace

            def dying(*args: Any) -> None:
                real(*args)
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            os.replace = dying
            sandbox.generate(priced, out)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_a_greedy_run_that_ends_for_want_of_credit_verifies_and_goes_on(tmp_path: Path) -> None:
    greedy = recipes.of(wanted(), credits=90, account="lab", admission="greedy")
    book = Ledger()
    book.open_account("lab", "prepaid")
    book.grant("lab", 45 * MICRO)
    assert sandbox.generate(greedy, tmp_path / "run").ended
    assert sandbox.verify(tmp_path / "run").faults == []
    book.grant("lab", 60 * MICRO)
    bill = sandbox.generate(greedy, tmp_path / "run", workers=2)
    report = sandbox.verify(tmp_path / "run")
    assert (report.faults, report.episodes, bill.ended) == ([], bill.episodes, "")


def test_it_is_swept_over_keys_and_not_over_factors(tmp_path: Path) -> None:
    found = sweep(wanted(), tmp_path / "swept", {"seed": [1, 2]})
    assert [one.bill.episodes for one in found.cells] == [9, 9]
    with pytest.raises(InvalidInputError, match="factors stand in each part"):
        sweep(wanted(), tmp_path / "other", {"t_mass_kg": [0.5]})


def test_credits_of_episodes_that_cost_nothing_are_refused(tmp_path: Path) -> None:
    free = tmp_path / "free-2026.yaml"
    rates = "{physics_step: 0, pixel: 0, raw_byte: 0, reset: 0}"
    free.write_text(f"format: 1\nversion: free-2026\neffective_from: 2026-01-01\nrates: {rates}\n")
    with pytest.raises(SandboxError, match="an episode costs nothing"):
        sandbox.generate(recipes.of(wanted(), credits=5), tmp_path / "run", prices=free)


def test_a_part_is_chosen_from_it_and_its_columns_in_common_read(mixed_run: Path) -> None:
    with pytest.raises(FormatError, match="columns"):
        sandbox.Dataset(mixed_run)
    common = sandbox.Dataset(mixed_run, columns="common")
    assert len(common) == 9
    assert {"action", "reward", "seed"} - {"action"} <= {*common.schema.names}
    balls = sandbox.Dataset(mixed_run, environment="billiards")
    assert len(balls) == 6
    assert balls.rows(0, ["state"])["state"].dtype == np.float64


def test_it_is_extended_part_by_part_and_a_subset_keeps_its_proofs(
    mixed_run: Path, tmp_path: Path
) -> None:
    sandbox.generate(wanted(), tmp_path / "run")
    before = content(tmp_path / "run")
    assert keeping.extend(tmp_path / "run", 14).episodes == 14
    after = content(tmp_path / "run")
    assert all(after[name] == data for name, data in before.items() if name.startswith("shards/"))
    report = sandbox.verify(tmp_path / "run")
    assert (report.faults, report.replayed) == ([], 14)
    keeping.subset(tmp_path / "run", tmp_path / "balls", environment="billiards")
    report = sandbox.verify(tmp_path / "balls")
    assert (report.faults, report.replayed) == ([], report.episodes)
    (world,) = sandbox.open_run(tmp_path / "balls").identities
    assert world.recipe.environment == "billiards"
    assert "push_t" not in (tmp_path / "balls" / "README.md").read_text()


def test_what_needs_one_world_says_so(mixed_run: Path, tmp_path: Path) -> None:
    for call in (
        lambda: sandbox.render(mixed_run, tmp_path / "drawn"),
        lambda: sandbox.branch(mixed_run, tmp_path / "branched", episode=0, step=3, kinds=["noop"]),
        lambda: sandbox.surprises(mixed_run, tmp_path / "pairs", kinds=["vanish"]),
    ):
        with pytest.raises(SandboxError, match="holds episodes of 2 runs or parts"):
            call()


def test_a_part_that_is_edited_is_found(mixed_run: Path, tmp_path: Path) -> None:
    for path, value in ((("parts", 1, "code"), "0" * 64), (("code",), "0" * 64)):
        run = shutil.copytree(mixed_run, tmp_path / f"run-{len(path)}")
        data = dict(jsonfile.read(run / "run.json").data)
        place: Any = data
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        jsonfile.write(run / "run.json", data)
        assert any("its work is" in fault for fault in sandbox.verify(run, sample=0).faults)


def test_its_card_has_a_configuration_for_each_layout_of_columns(mixed_run: Path) -> None:
    told = yaml.safe_load((mixed_run / "README.md").read_text().split("---\n")[1])
    names = [one["config_name"] for one in told["configs"]]
    assert names == [one["config_name"] for one in told["dataset_info"]]
    assert sorted(names) == ["billiards", "push_t"]
    paths = [path for one in told["configs"] for path in one["data_files"][0]["path"]]
    assert sorted(paths) == [f"shards/shard-{n:05d}.h5" for n in range(len(paths))]
    features = {one["config_name"]: one["features"] for one in told["dataset_info"]}
    assert any(one["name"] == "goal" for one in features["push_t"])
    assert not any(one["name"] == "goal" for one in features["billiards"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"environment": "push_t"}, "must have parts or environment, not both"),
        ({"split": "train"}, "must have parts or split, not both"),
        ({"parts": []}, "must name environment, or parts"),
        ({"parts": [3]}, r"parts\.0 must be a mapping"),
        ({"parts": [{**PARTS[0], "share": 0.0}]}, r"parts\.0\.share must be greater than 0"),
        ({"parts": [{**PARTS[0], "colour": 1}]}, r"parts\.0\.colour is not a known key"),
        ({"parts": [{**PARTS[0], "episodes": 2}]}, "for each part a share or episodes, not both"),
        ({"parts": [{**PARTS[1], "episodes": 2}]}, "must have episodes for each part, or for all"),
        ({"parts": [PARTS[1], {**PARTS[0], "share": 1e308}]}, "none is 10,000 times another"),
        ({"parts": [PARTS[0]] * 65}, "parts must have at most 64 items"),
    ],
)
def test_a_recipe_that_is_no_whole_is_refused(changes: dict[str, Any], said: str) -> None:
    given = {"format": 1, "parts": PARTS, "episodes": 9}
    with pytest.raises(InvalidInputError, match=said):
        recipes.of({**given, **changes})


def test_parts_may_say_their_episodes() -> None:
    parts = [{**one, "episodes": n} for one, n in zip(PARTS, (5, 2), strict=True)]
    parts[0].pop("share")
    made = recipes.of({"format": 1, "parts": parts})
    assert made.episodes == 7
    assert "episodes" not in made.model_dump()
    assert recipes.of(made.model_dump()) == made
    assert Counter(made.turn(n).part for n in range(7)) == {0: 5, 1: 2}


def test_every_episode_has_one_place_and_shards_are_numbered_as_they_open() -> None:
    for shares in ((2.0, 1.0), (1.0, 1.0, 1.0), (500.0, 7.0, 1.0), (1.0001, 3.0)):
        one = [{**PARTS[0], "share": share} for share in shares]
        made = recipes.of({"format": 1, "parts": one, "episodes": 60, "shard_episodes": 4})
        for ends in ((50,), (7, 30, 31), (3,)):
            stages = Stages.of(made, ends)
            shards = [stages.shard(n) for n in range(stages.shards)]
            assert sorted(n for shard in shards for n in shard) == list(range(ends[-1]))
            assert [number for _, _, number in stages.turns(range(stages.shards))] == list(
                range(ends[-1])
            )
            for stage, end in enumerate(ends):
                first = shards[: stages.shards_until(stage + 1)]
                assert sorted(n for shard in first for n in shard) == list(range(end))
            for number, shard in enumerate(shards):
                assert {made.turn(n).part for n in shard} == {stages.part(number)}
                assert [stages.episode(number, n) for n in range(len(shard))] == list(shard)


def test_the_commands_show_a_run_of_parts(tmp_path: Path) -> None:
    file, run = file_of(wanted(), tmp_path), tmp_path / "run"
    said = {
        ("quote", file): "9 episodes of billiards, push_t",
        ("generate", file, "--out", run): "Bill: 9 episodes",
        ("verify", run): "VERIFIED",
        ("inspect", run): "push_t",
        ("preview", run): "contact_sheet.png",
        ("doctor", run): "",
        ("coverage", run): "push_t (short_push_t): 3 episodes",
    }
    for command, text in said.items():
        told = cli(*command)
        print(told.stdout, told.stderr)
        assert told.returncode == 0, command
        assert text in told.stdout
