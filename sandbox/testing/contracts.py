"""The promises over one environment; every world of the catalogue keeps them."""

import hashlib
import importlib
import json
import math
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from sandbox.env import Policy, SandboxEnv
from sandbox.errors import InvalidInputError
from sandbox.observation import MODALITIES
from sandbox.scene import movable
from sandbox.testing import returning
from sandbox.testing.rollouts import FEW, rolled_out, rollouts, then_still

DISCOUNTS = (1.0, 0.99)  # By which returns are compared.
BESIDE_S = 0.3  # So long before success a policy stops, to compare what it earns.
OF_ACTIONS = ("action_delay_steps", "action_noise")  # Factors that are not of the scene.
VARIED: dict[str, Any] = {"variation": ["all"]}


class WorldContract:
    """The promises of a world. In pytest: `class TestMyWorld(WorldContract): world = MyWorld`.

    Attributes:
        world: the class that keeps them.
        seeds: how many episodes the scripted policy is tried in.
    """

    world: type[SandboxEnv]
    seeds = 20

    @contextmanager
    def made(self, **keywords: Any) -> "Generator[SandboxEnv]":
        """Make an environment for which nobody pays, and close it."""
        with closing(self.world(account=None, **keywords)) as env:
            yield env

    def lived_elsewhere(self) -> str:
        """Return the digest of an episode in another process with another hash seed."""
        return elsewhere(self.world)[0]

    def test_gymnasiums_checker_finds_nothing(self) -> None:
        """`gymnasium.utils.env_checker` accepts the world, whatever it observes."""
        for observation in ("proprio", "pixels", list(MODALITIES)):
            with self.made(observation=observation, render_mode="rgb_array") as env:
                asked = {"account": None, "observation": observation}
                make: Any = self.world
                env.spec = EnvSpec("sandbox/Tested-v0", make, kwargs=asked)
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    check_env(env)

    def test_the_same_seed_gives_the_same_bytes_in_another_process_with_another_hash_seed(
        self,
    ) -> None:
        """Chance comes from the seed alone: not from sets, the clock, or what happened before."""
        with self.made() as env:
            here = lived(env, 60, options=VARIED)
        assert self.lived_elsewhere() == here, "the bytes differ."

    def test_a_snapshot_brings_back_all_that_has_state(self) -> None:
        """While nothing touches, the same actions give the same bytes after `restore`."""
        with self.made(labels=True) as env:
            for seed in range(2):
                fault = returning.fault(env, seed, exact=False)
                assert not fault, f"at seed {seed} {fault}"

    def test_an_exact_restore_gives_the_same_bytes_in_contact_too(self) -> None:
        """`restore(exact=True)` replays the episode."""
        with self.made(labels=True) as env:
            fault = returning.fault(env, 3, exact=True)
            assert not fault, fault

    def test_another_seed_gives_other_bytes(self) -> None:
        """Episodes are not all the same."""
        with self.made() as env:
            assert lived(env, 5, seed=1) != lived(env, 5, seed=2), "seeds 1 and 2 are the same."

    def test_a_refused_step_costs_nothing_and_changes_nothing(self) -> None:
        """What is no action of the world is refused before anything is done."""
        with self.made(actions="refuse") as env:
            env.reset(seed=0)
            size, good = env.action_size, np.zeros(env.action_size, np.float32)
            env.step(good)
            before = (env.world.physics_steps, env.meter.spent, env.t, env.world.read())
            bad: list[Any] = [np.full(size, np.nan), np.full(size, 1.001), np.zeros(size + 1)]
            bad += [np.zeros((1, size)), "left", None, [None] * size]
            for action in bad:
                assert _is_refused(env, action), f"the action {action!r} was taken."
            after = (env.world.physics_steps, env.meter.spent, env.t, env.world.read())
            assert after == before, "a refused step changed something."
            env.step(good)

    def test_an_action_outside_the_action_space_is_taken_as_the_nearest_inside(self) -> None:
        """Planners and policies of other libraries overshoot; what is applied is recorded."""
        rows: list[Any] = []
        with self.made() as env:
            for scale in (1.0, 1.5, 1e300):
                env.reset(seed=0)
                info: dict[str, Any] = {}
                for sign in (1.0, -1.0):
                    _, _, _, _, info = env.step(np.full(env.action_size, sign * scale))
                rows.append((info["state"].tobytes(), env.episode.actions))
            assert rows[0] == rows[1] == rows[2], "an action outside does something else."

    def test_the_meter_counts_what_the_world_did(self) -> None:
        """The meter's physics steps and resets are those of the simulation."""
        with self.made() as env:
            for seed in range(2):
                before = env.world.physics_steps, env.world.builds
                lived(env, 9, seed=seed)
                counted = env.meter.quantities
                steps = env.world.physics_steps - before[0]
                assert counted["physics_step"] == steps > 0, f"{steps} steps, and {counted}."
                assert counted["reset"] == env.world.builds - before[1] == 1, f"{counted}."

    def test_the_extremes_of_the_action_space_stay_inside_the_observation_space(self) -> None:
        """Full actions for whole episodes never leave the bounds of `elements`."""
        rng = np.random.default_rng(0)
        with self.made() as env:
            for seed in range(2):
                observation, _ = env.reset(seed=seed, options=VARIED if seed else None)
                action, over = np.zeros(env.action_size, np.float32), False
                while not over:
                    assert env.observation_space.contains(observation), _outside(env, observation)
                    if env.t % 7 == 0:
                        action = rng.choice([-1.0, 1.0], env.action_size).astype(np.float32)
                    observation, _, ended, cut, _ = env.step(action)
                    over = ended or cut
                assert env.observation_space.contains(observation), _outside(env, observation)

    def test_every_observation_element_varies(self) -> None:
        """No number of the observation is the same in all episodes."""
        rng = np.random.default_rng(0)
        with self.made() as env:
            first, _ = env.reset(seed=0, options=VARIED)
            constant = np.ones(first.shape, bool)
            for seed in range(40):
                observation, _ = env.reset(seed=seed, options=VARIED)
                for _ in range(12):
                    constant &= observation == first
                    observation, _, ended, cut, _ = env.step(_drawn(env, rng))
                    if ended or cut:
                        break
                if not constant.any():
                    break
            names = [e.name for e, c in zip(env.elements, constant, strict=True) if c]
            assert not names, f"{', '.join(names)} never changes."

    def test_no_observation_shares_memory_with_the_next(self) -> None:
        """What was observed stays as it was."""
        with self.made() as env:
            first, info = env.reset(seed=0)
            kept, state = first.copy(), info["state"].copy()
            env.step(np.ones(env.action_size, np.float32))
            assert np.array_equal(first, kept), "a step changed the observation before."
            assert np.array_equal(info["state"], state), "a step changed the state before."

    def test_rewards_are_finite_and_success_is_true_or_false(self) -> None:
        """Every step has a reward that is a number, and says whether the task is done."""
        for name in ("scripted", "random", "play"):
            for it in rollouts(self.world, self.seeds)[name]:
                for reward, success in zip(it.rewards, it.successes, strict=True):
                    assert np.asarray(success).dtype == np.bool_, f"success is {success!r}."
                    assert isinstance(reward, int | float | np.floating), f"reward {reward!r}."
                    assert np.isfinite(reward), f"reward {reward!r}."

    def test_policies_act_inside_the_action_space(self) -> None:
        """`scripted` and `play` always return an action that the world takes."""
        with self.made() as env:
            for seed, name in enumerate(("scripted", "play")):
                env.reset(seed=seed, options=VARIED)
                act: Policy = getattr(env, name)(np.random.default_rng(seed))
                over = False
                while not over:
                    action = act()
                    assert env.action_space.contains(action), f"{name}: {action!r}."
                    _, _, ended, cut, _ = env.step(action)
                    over = ended or cut

    def test_the_scripted_policy_succeeds_in_nine_of_ten_seeds(self) -> None:
        """The task can be done, and `scripted` does it."""
        done = sum(it.successes[-1] for it in rollouts(self.world, self.seeds)["scripted"])
        assert done >= 0.9 * self.seeds, f"it succeeds in {done} of {self.seeds}."

    def test_the_scripted_policy_earns_more_than_chance_and_play(self) -> None:
        """The reward teaches the task: on average, discounted or not, success pays."""
        found = rollouts(self.world, self.seeds)
        for discount in DISCOUNTS:
            mean = {
                name: np.mean([it.earned(discount) for it in many[:FEW]])
                for name, many in found.items()
            }
            for other in ("random", "play"):
                told = f"discounted by {discount}, {other} earns {mean[other]:.3f}"
                assert mean["scripted"] > mean[other], f"{told}, scripted {mean['scripted']:.3f}."

    def test_to_stand_still_beside_the_goal_earns_less_than_to_reach_it(self) -> None:
        """A policy that stops just before success, and waits, earns less than one that goes on."""
        with self.made() as env:
            for seed, it in enumerate(rollouts(self.world, self.seeds)["scripted"][:2]):
                if not any(it.successes):
                    continue
                stops = max(0, it.successes.index(True) - math.ceil(BESIDE_S * env.control_hz))
                waits = rolled_out(env, seed, then_still(it.actions[:stops], env.action_size))
                for discount in DISCOUNTS if not any(waits.successes) else ():
                    worse, better = waits.earned(discount), it.earned(discount)
                    told = f"discounted by {discount}, to stand still from step {stops} on"
                    assert worse < better, f"{told} earns {worse:.3f}, to go on {better:.3f}."

    def test_an_episode_of_fixed_length_never_ends_sooner(self) -> None:
        """`fixed_length` is true if, and only if, no episode terminates."""
        found = rollouts(self.world, self.seeds)
        ends = {len(it.rewards) for many in found.values() for it in many}
        same = (ends == {self.world.max_episode_steps()}) == self.world.fixed_length
        assert same, f"fixed_length is {self.world.fixed_length}; steps: {sorted(ends)}."

    def test_another_value_of_a_factor_leaves_the_layout_as_it_was(self) -> None:
        """`scene` draws from `rng` alone, in an order that no factor changes."""
        with self.made() as env:
            _, info = env.reset(seed=4)
            places = _positions(env, info["state"])
            for factor in env.factors:
                _, info = env.reset(seed=4, options={"variation": [factor]})
                moved = _positions(env, info["state"])
                both = (places != 0) & (moved != 0)  # A count may add or remove bodies.
                assert np.array_equal(places[both], moved[both]), f"{factor} moves something."

    def test_a_variation_moves_its_factor_and_no_other(self) -> None:
        """To vary one factor leaves the others as they are."""
        with self.made() as env:
            env.reset(seed=4)
            before = dict(env.values)
            for factor in env.factors:
                env.reset(seed=4, options={"variation": [factor]})
                changed = [name for name, value in env.values.items() if value != before[name]]
                assert changed == [factor], f"{factor} varies {changed}."

    def test_every_factor_changes_the_scene(self) -> None:
        """No factor is without effect."""
        with self.made() as env:
            env.reset(seed=4)
            plain = env.world.scene.digest
            for factor in env.factors:
                if factor in OF_ACTIONS:
                    continue
                env.reset(seed=4, options={"variation": [factor]})
                assert env.world.scene.digest != plain, f"{factor} changes nothing."

    def test_factors_are_json_and_make_the_same_scene_again(self) -> None:
        """What is recorded of the factors is enough to build the scene."""
        with self.made() as env:
            env.reset(seed=8, options=VARIED)
            digest, factors = env.world.scene.digest, json.loads(json.dumps(env.values.plain()))
            env.reset(seed=8, options={"variation_values": factors})
            assert env.world.scene.digest == digest, "the scene is another."

    def test_factors_are_observed_when_asked_for_and_physical_ones_hidden_otherwise(self) -> None:
        """A mass or a friction is not to be read off the first observation."""
        with self.made(observation=["proprio", "factors"]) as env:
            plain, _ = env.reset(seed=2)
            assert env.observation_space.contains(plain), f"{plain} is out of bounds."
            names = [element.name for element in env.elements_of("factors")]
            for place, element in enumerate(env.elements_of("factors")):
                if element.unit != "kg" and "friction" not in element.name:
                    continue
                varied, _ = env.reset(seed=2, options={"variation": [element.name]})
                told = varied["factors"]
                value: Any = env.values[element.name]
                assert told[place] == np.float32(value), f"{element.name} is observed as another."
                others = [
                    n for n, a, b in zip(names, told, plain["factors"], strict=True) if a != b
                ]
                assert others == [element.name], f"{element.name} varies {others}."
                same = np.array_equal(varied["proprio"], plain["proprio"])
                assert same, f"the observation tells {element.name}."

    def test_the_state_holds_every_body_that_can_move(self) -> None:
        """`state_bodies` and `state_joints` leave nothing out that moves."""
        with self.made() as env:
            env.reset(seed=0, options=VARIED)
            bodies = set(movable(env.world.scene)) - set(env.state_bodies)
            assert not bodies, f"state_bodies lacks {', '.join(sorted(bodies))}."
            jointed = {
                (body.name, link.name)
                for body in env.world.scene.bodies
                for link in getattr(body, "links", ())
                if link.joint.kind != "fixed"
            }
            joints = sorted(jointed - set(env.state_joints))
            assert not joints, f"state_joints lacks {joints}."

    def test_the_picture_shows_every_body_that_is_visible(self) -> None:
        """The first camera sees all of the scene, in colours that differ."""
        with self.made(observation=["segmentation", "depth", "pixels"]) as env:
            observation, _ = env.reset(seed=1)
            shown = set(np.unique(observation["segmentation"]).tolist()) - {0}
            names = dict(enumerate((body.name for body in env.world.scene.bodies), start=1))
            visible = {
                place
                for place, body in enumerate(env.world.scene.bodies, start=1)
                if any(
                    shape.visible
                    for part in (body, *getattr(body, "links", ()))
                    for shape in getattr(part, "shapes", ())
                )
            }
            hidden = [names[place] for place in sorted(shown ^ visible)]
            assert not hidden, f"the first camera and the scene differ in {', '.join(hidden)}."
            assert observation["pixels"].std() > 10, "the picture is almost of one colour."
            assert 0 < observation["depth"].min() < observation["depth"].max(), "depth is flat."

    def test_every_camera_sees_something(self) -> None:
        """The first camera is called main, and no camera looks at nothing."""
        with self.made() as plain:
            plain.reset(seed=0)
            cameras = [camera.name for camera in plain.world.scene.cameras]
        assert cameras[:1] == ["main"], f"the cameras are {cameras}; call the first 'main'."
        with self.made(observation=["pixels"], camera=cameras) as env:
            for seed in range(3):
                observation, _ = env.reset(seed=seed, options=VARIED if seed else None)
                for camera in cameras:
                    seen = observation[f"pixels.{camera}"].std() > 3
                    assert seen, f"the camera {camera!r} sees one colour at seed {seed}."


def lived(env: SandboxEnv, steps: int, seed: int = 3, options: dict[str, Any] | None = None) -> str:
    """Return a digest of everything that random actions show."""
    rng = np.random.default_rng(seed)
    total = hashlib.sha256()
    observation, info = env.reset(seed=seed, options=options)
    for _ in range(steps):
        total.update(np.asarray(observation).tobytes() + info["state"].tobytes())
        observation, reward, ended, cut, info = env.step(_drawn(env, rng))
        total.update(repr((float(reward), bool(ended), cut, bool(info["success"]))).encode())
        if ended or cut:
            break
    return total.hexdigest()


def elsewhere(*worlds: type[SandboxEnv]) -> list[str]:
    """Return digests of an episode of each world, in one other process with another hash seed."""
    names = [(world.__module__, world.__qualname__) for world in worlds]
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", f"from sandbox.testing import contracts; contracts.tell({names})"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": paths},
        check=False,
    )
    assert done.returncode == 0, f"the other process cannot make it: {done.stderr[-500:]}"
    return done.stdout.split()[-len(names) :]


def tell(names: list[tuple[str, str]]) -> None:
    """Write the digest of an episode of each world to stdout: what the process of `elsewhere` does.

    Args:
        names: module and class of each world.
    """
    for module, name in names:
        world = getattr(importlib.import_module(module), name)
        with closing(world(account=None)) as env:
            lived(env, 7, seed=99)  # What happened before in the process does not matter.
            sys.stdout.write(f"\n{lived(env, 60, options=VARIED)}\n")


def _drawn(env: SandboxEnv, rng: np.random.Generator) -> Any:
    return rng.uniform(-1, 1, env.action_size).astype(np.float32)


def _is_refused(env: SandboxEnv, action: Any) -> bool:
    try:
        env.step(action)
    except InvalidInputError as error:
        return "Nothing was done" in str(error)
    return False


def _outside(env: SandboxEnv, observation: Any) -> str:
    """Return which numbers of an observation are out of their bounds."""
    wrong = [
        f"{e.name} is {x:.4g}, and its element says {e.low} to {e.high}"
        for e, x in zip(env.elements, observation.tolist(), strict=True)
        if not np.float32(e.low) <= x <= np.float32(e.high)
    ]
    return f"at step {env.t}: {'; '.join(wrong)}."


def _positions(env: SandboxEnv, state: Any) -> Any:
    """Return the horizontal positions of bodies, and of joints: heights may follow from sizes."""
    names = env.state_names()
    return state[[n for n, s in enumerate(names) if re.search(r"\.(x|y|position)$", s)]]
