"""The released stable-worldmodel evaluates from our files: exactly, or with a sentence why not."""

import re
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from running import recipe
from test_docs import run_lines

import sandbox
from sandbox import catalogue, goals
from sandbox.errors import InvalidInputError
from sandbox.goals import calls, scores

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # It tells which games are not installed.
    import stable_worldmodel as swm
    from stable_worldmodel.world.world import _extract_init_goal

SIZE, PAIRS, OFFSET = 32, 8, 10
AIMED = [n for n in catalogue.environments() if not isinstance(catalogue.environment(n).aim, str)]
SCENARIOS = {"two_room": "two_room_varied", "push_t": None, "panda_reach": None}


class Made:
    """A run, a file that is exported from it, and a set of goals of its episodes."""

    def __init__(self, name: str, path: Path) -> None:
        seen = {"observation": ["proprio", "pixels"], "image_size": SIZE}
        acting = {"policies": {"play": 1.0}, "episodes": 30, "scenario": SCENARIOS[name]}
        self.name, self.run, self.path = name, path / "run", path
        sandbox.generate(recipe(name, **seen, **acting), self.run)
        sandbox.export(self.run, "swm", path / "all.h5")
        self.file = path / "set.json"
        goals.make(self.run, self.file, pairs=PAIRS, offset=OFFSET, account=None)
        self.set = goals.open(self.file)
        self.dataset = swm.data.load_dataset(str(path / "all.h5"))

    def evaluate(self, policy: Any, level: str = "strict", **changes: Any) -> dict[str, Any]:
        """What the released `World.evaluate` says of a policy on the pairs."""
        wrappers = [goals.Recorded(self.run, level)]
        given = {"callables": goals.CALLABLES, "dataset": self.dataset} | changes
        with self.world(pre_wrappers=wrappers) as world:
            world.set_policy(policy)
            return world.evaluate(**{**self.set.rows(self.dataset), **given})

    def world(self, envs: int = PAIRS, **keywords: Any) -> closing[Any]:
        given = {"observation": ["proprio"], "account": None, "image_size": SIZE}
        given |= {"image_shape": (SIZE, SIZE), "scenario": SCENARIOS[self.name]}
        return closing(
            swm.World(f"sandbox:{catalogue.gym_id(self.name)}", envs, **given, **keywords)
        )


@pytest.fixture(scope="module", params=SCENARIOS)
def there(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    with pytest.MonkeyPatch.context() as patch:  # Before the ledger of a test.
        patch.setenv("SANDBOX_HOME", str(tmp_path_factory.mktemp("home")))
        return Made(request.param, tmp_path_factory.mktemp("there"))


@pytest.fixture
def rooms(there: Made) -> Made:
    if there.name != "two_room":
        pytest.skip("one world tells it")
    return there


class Fixed(swm.policy.BasePolicy):
    """Takes given actions, and remembers what it was told."""

    def __init__(self, actions: list[NDArray[np.float32]]) -> None:
        super().__init__()
        self.actions, self.told = actions, list[dict[str, Any]]()

    def get_action(self, infos: Any, **_: Any) -> NDArray[np.float32]:
        step = len(self.told)
        self.told.append({k: np.array(v) for k, v in infos.items() if isinstance(v, np.ndarray)})
        return np.stack([one[step] if step < len(one) else 0 * one[0] for one in self.actions])


def recorded(made: Made) -> Fixed:
    return Fixed([pair.known for pair in made.set])


def idle(made: Made) -> Fixed:
    return Fixed([0 * pair.known for pair in made.set])


@pytest.mark.parametrize("level", ["moderate", "strict"])
def test_recorded_actions_always_succeed_and_doing_nothing_never(there: Made, level: str) -> None:
    assert there.evaluate(recorded(there), level)["success_rate"] == 100.0
    assert there.evaluate(idle(there), level)["success_rate"] == 0.0


def test_every_row_is_the_recorded_one_and_the_goal_is_in_it(there: Made) -> None:
    policy = recorded(there)
    there.evaluate(policy)
    rows = there.set.rows(there.dataset)
    for n, pair in enumerate(there.set):
        episode = there.dataset.load_episode(rows["episodes_idx"][n])
        first, last = rows["start_steps"][n], rows["start_steps"][n] + OFFSET
        hit = there.set.set.pairs[n].hits.strict or OFFSET  # Then it is frozen.
        for t, told in enumerate(policy.told[:hit]):
            for name in ("state", "proprio"):
                assert told[name][n, 0].tobytes() == episode[name][first + t].numpy().tobytes()
            pixels = np.moveaxis(episode["pixels"].numpy(), 1, -1)
            np.testing.assert_array_equal(told["pixels"][n, 0], pixels[first + t])
            np.testing.assert_array_equal(told["goal"][n, 0], pixels[last])
            assert told["goal_state"][n, 0].tobytes() == pair.goal.tobytes()


def test_a_random_policy_has_the_rate_that_goals_run_says(there: Made) -> None:
    out, seeds = there.path / f"{there.name}.json", 4
    found = calls.run(there.file, out, "random", seeds=seeds, account=None).results
    said, measured = goals.rate(found, "moderate"), list[float]()
    for seed in range(seeds):
        tried = found.outcomes[seed * PAIRS : (seed + 1) * PAIRS]
        again = there.evaluate(Fixed([one.actions for one in tried]), "moderate")
        expected = [one.hits.moderate is not None for one in tried]
        assert again["episode_successes"].tolist() == expected
        drawn = there.evaluate(swm.policy.RandomPolicy(seed=seed), "moderate")
        measured.append(drawn["success_rate"] / 100)
    theirs = scores.wilson(float(np.mean(measured)), PAIRS)
    assert theirs.low <= said.high
    assert said.low <= theirs.high


def test_the_next_release_resets_every_environment_at_its_row(there: Made) -> None:
    """What its `evaluate` does since 1109ecf: options of a row, and one reset of all."""
    rows, policy = there.set.rows(there.dataset), recorded(there)
    named = {name: rows[name] for name in ("episodes_idx", "start_steps", "goal_offset")}
    first, last, _ = _extract_init_goal(there.dataset, **named)
    with there.world(pre_wrappers=[goals.Recorded(there.run, "strict")]) as world:
        world.set_policy(policy)
        options = [
            env.unwrapped.reset_options_from_dataset(
                {name: column[n] for name, column in first.items()},
                {name: column[n] for name, column in last.items()},
            )
            for n, env in enumerate(world.envs.envs)
        ]
        world.reset(seed=[int(seed) for seed in first["seed"]], options=options)
        for name in ("state", "proprio", "pixels"):
            np.testing.assert_array_equal(world.infos[name][:, 0], first[name])
        done = np.zeros(PAIRS, bool)

        def watch(world: Any) -> None:
            np.logical_or(done, world.terminateds, out=done)

        world._run(max_steps=rows["eval_budget"], mode="wait", on_step=watch)
    assert done.all()


@pytest.mark.parametrize("name", AIMED)
def test_recorded_actions_succeed_in_every_world_that_has_goals(name: str, tmp_path: Path) -> None:
    small = {"observation": ["proprio", "pixels"], "image_size": 16, "policies": {"play": 1.0}}
    sandbox.generate(recipe(name, episodes=4, scenario=None, **small), tmp_path / "run")
    sandbox.export(tmp_path / "run", "swm", tmp_path / "all.h5")
    rows = swm.data.load_dataset(str(tmp_path / "all.h5"))
    starts = [int(n) - 1 - OFFSET - k for k, n in enumerate(rows.lengths)]
    actions = [rows.load_episode(n)["action"].numpy()[starts[n] :][:OFFSET] for n in range(4)]
    given = {"observation": ["proprio"], "account": None, "image_size": 16}
    wrappers = [goals.Recorded(tmp_path / "run", "strict")]
    made = swm.World(
        f"sandbox:{catalogue.gym_id(name)}",
        4,
        image_shape=(16, 16),
        max_episode_steps=None,
        pre_wrappers=wrappers,
        **given,
    )
    with closing(made) as world:
        world.set_policy(Fixed(actions))
        told = world.evaluate(
            dataset=rows,
            episodes_idx=[*range(4)],
            start_steps=starts,
            goal_offset=OFFSET,
            eval_budget=OFFSET,
            callables=goals.CALLABLES,
        )
    assert told["success_rate"] == 100.0


def test_files_that_do_not_say_their_moments_are_refused(rooms: Made, tmp_path: Path) -> None:
    few = ["state", "proprio", "pixels", "seed", "action"]
    sandbox.export(rooms.run, "swm", tmp_path / "few.h5", columns=few)
    with rooms.world() as world:
        world.set_policy(swm.policy.RandomPolicy(seed=3))
        world.collect(tmp_path / "foreign.h5", PAIRS, seed=11, format="hdf5", progress=False)
    named = {**rooms.set.rows(rooms.dataset), "episodes_idx": [*range(PAIRS)]}
    named["start_steps"] = [5] * PAIRS
    for name in ("few.h5", "foreign.h5"):
        foreign = swm.data.load_dataset(str(tmp_path / name))
        with pytest.raises(InvalidInputError, match="does not say its moment"):
            rooms.evaluate(idle(rooms), dataset=foreign, **named)
        if name == "foreign.h5":
            with pytest.raises(InvalidInputError, match="no columns seed and episode_idx"):
                rooms.set.rows(foreign)


def test_what_a_configuration_of_other_worlds_asks_for_is_refused(rooms: Made) -> None:
    theirs = [
        {"method": "_set_state", "args": {"state": {"value": "state"}}},
        {"method": "_set_goal_state", "args": {"goal_state": {"value": "goal_state"}}},
    ]
    with pytest.raises(InvalidInputError, match=r"has no run, episode_idx, step_idx.*CALLABLES"):
        rooms.evaluate(idle(rooms), callables=theirs)
    with rooms.world() as world:
        world.set_policy(idle(rooms))
        with pytest.raises(InvalidInputError, match=r"sandbox\.goals\.Recorded"):
            world.evaluate(dataset=rooms.dataset, callables=theirs, **rooms.set.rows(rooms.dataset))


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # Its PNG, read by torch.
def test_a_table_of_lance_is_refused_because_its_reader_hides_the_moment(
    rooms: Made, tmp_path: Path
) -> None:
    sandbox.export(rooms.run, "lance", tmp_path / "all.lance")
    table = swm.data.load_dataset(str(tmp_path / "all.lance"))
    with pytest.raises(InvalidInputError, match="has no episode_idx, step_idx, and does not say"):
        rooms.evaluate(recorded(rooms), dataset=table)


def test_the_example_of_the_documents_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs" / "goals.md").read_text()
    section = text.split("## stable-worldmodel\n")[1].split("\n## ")[0]
    for kind, name, block in re.findall(r"^```(\w+) ?(\S*)\n(.*?)^```$", section, re.M | re.S):
        if kind == "yaml":
            Path(name).write_text(block)
        elif kind == "sh":
            run_lines(block.splitlines())
        else:
            exec(compile(block, "goals.md", "exec"), {})
    assert 0.0 <= float(capsys.readouterr().out.split()[-1]) <= 100.0
