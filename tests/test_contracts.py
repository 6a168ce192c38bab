"""Promises that every environment of the catalogue keeps."""

import hashlib
import json
import re
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from running import python

from sandbox import catalogue
from sandbox.env import SandboxEnv
from sandbox.errors import InvalidInputError
from sandbox.observation import MODALITIES
from sandbox.scene import movable


def live(env: SandboxEnv, steps: int, seed: int = 3, options: dict[str, Any] | None = None) -> str:
    """Return a digest of everything that random actions show."""
    rng = np.random.default_rng(seed)
    total = hashlib.sha256()
    observation, info = env.reset(seed=seed, options=options)
    for _ in range(steps):
        total.update(np.asarray(observation).tobytes() + info["state"].tobytes())
        action = rng.uniform(-1, 1, env.action_size).astype(np.float32)
        observation, reward, terminated, truncated, info = env.step(action)
        total.update(repr((reward, terminated, truncated, info["success"])).encode())
        if terminated or truncated:
            break
    return total.hexdigest()


@pytest.mark.parametrize("observation", ["proprio", "pixels", list(MODALITIES)])
def test_gymnasiums_checker_finds_nothing(environment: str, observation: Any) -> None:
    env = gymnasium.make(
        f"sandbox:{catalogue.gym_id(environment)}", observation=observation, render_mode="rgb_array"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    env.close()


def test_the_specification_is_plain_json_and_has_the_length_of_an_episode(environment: str) -> None:
    env = gymnasium.make(
        f"sandbox:{catalogue.gym_id(environment)}", observation=["proprio"], budget=2.5
    )
    assert env.spec is not None
    assert env.spec.to_json()
    assert env.spec.max_episode_steps == catalogue.environment(environment).max_episode_steps()
    env.close()


def test_the_same_seed_gives_the_same_bytes_in_another_process_with_another_hash_seed(
    environment: str, env: SandboxEnv
) -> None:
    code = (
        "from test_contracts import live\n"
        "from sandbox import catalogue\n"
        f"env = catalogue.environment({environment!r})(account=None)\n"
        "live(env, 7, seed=99)\n"  # What happened before in the process does not matter.
        "print(live(env, 60, options={'variation': ['all']}))"
    )
    other = python("-c", code, hash_seed="12345")
    assert other.stdout.strip() == live(env, 60, options={"variation": ["all"]}), other.stderr


def test_another_seed_gives_other_bytes(env: SandboxEnv) -> None:
    assert live(env, 5, seed=1) != live(env, 5, seed=2)


def test_a_refused_step_costs_nothing_and_changes_nothing(env: SandboxEnv) -> None:
    env.reset(seed=0)
    good = np.zeros(env.action_size, np.float32)
    env.step(good)
    before = (env.world.physics_steps, env.meter.spent, env.t, env.world.read())
    for bad in (
        np.full(env.action_size, np.nan),
        np.full(env.action_size, 1.001),
        np.zeros(env.action_size + 1),
        np.zeros((1, env.action_size)),
        "left",
        None,
        [None] * env.action_size,
    ):
        with pytest.raises(InvalidInputError, match="Nothing was done"):
            env.step(bad)
    assert (env.world.physics_steps, env.meter.spent, env.t, env.world.read()) == before
    env.step(good)


def test_the_meter_counts_what_the_world_did(env: SandboxEnv) -> None:
    for seed in range(2):
        before = env.world.physics_steps, env.world.builds
        live(env, 9, seed=seed)
        counted = env.meter.quantities
        assert counted["physics_step"] == env.world.physics_steps - before[0] > 0
        assert counted["reset"] == env.world.builds - before[1] == 1


def test_the_extremes_of_the_action_space_stay_inside_the_observation_space(
    env: SandboxEnv,
) -> None:
    rng = np.random.default_rng(0)
    for episode, options in enumerate([{}, {"variation": ["all"]}, {"variation": ["all"]}]):
        observation, _ = env.reset(seed=episode, options=options)
        for t in range(env.max_steps):
            assert env.observation_space.contains(observation), (t, observation)
            if t % 7 == 0:
                action = rng.choice([-1.0, 1.0], env.action_size).astype(np.float32)
            observation, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                break
        assert env.observation_space.contains(observation)


def test_every_observation_element_varies(env: SandboxEnv) -> None:
    rows: list[Any] = []
    rng = np.random.default_rng(0)
    for seed in range(40):
        observation, _ = env.reset(seed=seed, options={"variation": ["all"]})
        for _ in range(12):
            rows.append(observation)
            action = rng.uniform(-1, 1, env.action_size).astype(np.float32)
            observation, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                break
    constant = np.ptp(np.array(rows), axis=0) == 0
    assert not constant.any(), [e.name for e, c in zip(env.elements, constant, strict=True) if c]


def test_no_observation_shares_memory_with_the_next(env: SandboxEnv) -> None:
    first, info = env.reset(seed=0)
    kept, state = first.copy(), info["state"].copy()
    env.step(np.ones(env.action_size, np.float32))
    assert np.array_equal(first, kept)
    assert np.array_equal(info["state"], state)


def test_another_value_of_a_factor_leaves_the_layout_as_it_was(env: SandboxEnv) -> None:
    _, info = env.reset(seed=4)
    places = _positions(env, info["state"])
    for factor in env.factors:
        _, info = env.reset(seed=4, options={"variation": [factor]})
        moved = _positions(env, info["state"])
        both = (places != 0) & (moved != 0)  # A count may add or remove bodies.
        assert np.array_equal(places[both], moved[both]), factor


def _positions(env: SandboxEnv, state: Any) -> Any:
    """The horizontal positions of bodies, and of joints: heights may follow from sizes."""
    names = env.state_names()
    wanted = [n for n, s in enumerate(names) if re.search(r"\.(x|y|position)$", s)]
    return state[wanted]


def test_a_variation_moves_its_factor_and_no_other(env: SandboxEnv) -> None:
    env.reset(seed=4)
    before = dict(env.values)
    for factor in env.factors:
        env.reset(seed=4, options={"variation": [factor]})
        assert env.values[factor] != before[factor]
        assert {k: v for k, v in env.values.items() if k != factor} == {
            k: v for k, v in before.items() if k != factor
        }


def test_every_factor_changes_the_scene(env: SandboxEnv) -> None:
    env.reset(seed=4)
    plain = env.world.scene.digest
    for factor in env.factors:
        if factor in ("action_delay_steps", "action_noise"):  # Of actions, not of the scene.
            continue
        env.reset(seed=4, options={"variation": [factor]})
        assert env.world.scene.digest != plain, factor


def test_the_state_holds_every_body_that_can_move(env: SandboxEnv) -> None:
    env.reset(seed=0, options={"variation": ["all"]})
    assert set(movable(env.world.scene)) <= set(env.state_bodies)
    jointed = {
        (body.name, link.name)
        for body in env.world.scene.bodies
        for link in getattr(body, "links", ())
        if link.joint.kind != "fixed"
    }
    assert jointed <= set(env.state_joints)


def test_the_documentation_says_what_there_is(env: SandboxEnv) -> None:
    text = type(env).__doc__ or ""
    for line in ("Observation", "Action", "Reward", "Ends"):
        assert re.search(rf"^    {line}\b.*:", text, re.MULTILINE), line
    assert f"float32 ({len(env.elements)},)" in text
    assert f"float32 ({env.action_size},)" in text


def test_factors_are_physical_and_visual(env: SandboxEnv) -> None:
    assert len(env.factors) >= 8
    told = " ".join(env.factors)
    for kind in (
        "mass|density|payload",
        "friction|damping|strength|drag",
        "color",
        "light_",
        "camera_",
        "action_",
    ):
        assert re.search(kind, told), kind


def test_every_environment_has_three_scenarios_with_splits(environment: str) -> None:
    from sandbox.scenario import load

    mine = [load(s)[0] for s in catalogue.scenarios() if load(s)[0].environment == environment]
    assert len(mine) >= 3
    for scenario in mine:
        scenario.check(catalogue.environment(environment).factors, environment)
        assert len(scenario.splits) >= 2
        assert scenario.summary.endswith(("?", "."))


def test_a_scenario_has_the_splits_that_generalisation_is_measured_on(environment: str) -> None:
    from sandbox.scenario import load

    it, factors = load(f"{environment}_varied")[0], catalogue.environment(environment).factors
    assert list(it.splits) == ["train", "interpolation", "extrapolation", "combination"]
    (varied,) = it.splits["interpolation"]
    (same,) = it.splits["extrapolation"]
    assert varied == same
    seen = {
        split: [float(it.sample(factors, seed, split)[varied]) for seed in range(60)]  # pyright: ignore
        for split in it.splits
    }
    trained, hole, shell = (seen[s] for s in ("train", "interpolation", "extrapolation"))
    assert min(trained) < min(hole) <= max(hole) < max(trained)
    assert all(v < min(trained) or v > max(trained) for v in shell)
    assert min(shell) < min(trained)
    assert max(trained) < max(shell)
    assert len(it.splits["combination"]) == 3  # Two that are rare together, and not in the hole.


def test_the_scripted_policy_succeeds_in_at_least_18_of_20_seeds(env: SandboxEnv) -> None:
    done = 0
    for seed in range(20):
        env.reset(seed=seed)
        policy = env.scripted(np.random.default_rng(seed))
        over = False
        while not over:
            _, _, terminated, truncated, info = env.step(policy())
            over = terminated or truncated
        done += info["success"]
    assert done >= 18, done


def test_an_episode_of_fixed_length_never_ends_sooner(env: SandboxEnv) -> None:
    ends: set[int] = set()
    for seed in range(4):
        env.reset(seed=seed)
        policy = env.scripted(np.random.default_rng(seed))
        over = False
        while not over:
            _, _, terminated, truncated, _ = env.step(policy())
            over = terminated or truncated
        ends.add(env.t)
    assert (ends == {env.max_steps}) == env.fixed_length, ends


def test_factors_are_observed_when_asked_for_and_physical_ones_hidden_otherwise(
    environment: str,
) -> None:
    make = catalogue.environment(environment)
    env = make(account=None, observation=["proprio", "factors"])
    plain, _ = env.reset(seed=2)
    assert env.observation_space.contains(plain)
    hidden = [e for e in env.elements_of("factors") if e.unit == "kg" or "friction" in e.name]
    for element in hidden:
        varied, _ = env.reset(seed=2, options={"variation": [element.name]})
        place = [e.name for e in env.elements_of("factors")].index(element.name)
        assert varied["factors"][place] == np.float32(env.values[element.name])
        assert (varied["factors"] != plain["factors"]).sum() == 1
        assert np.array_equal(varied["proprio"], plain["proprio"]), element.name
    env.close()


def test_factors_are_json_and_make_the_same_scene_again(env: SandboxEnv) -> None:
    env.reset(seed=8, options={"variation": ["all"]})
    digest, factors = env.world.scene.digest, json.loads(json.dumps(env.values.plain()))
    env.reset(seed=8, options={"variation_values": factors})
    assert env.world.scene.digest == digest


def test_the_picture_shows_every_body_that_is_visible(environment: str) -> None:
    env = catalogue.environment(environment)(
        account=None, observation=["segmentation", "depth", "pixels"]
    )
    observation, _ = env.reset(seed=1)
    shown = set(np.unique(observation["segmentation"]).tolist()) - {0}
    visible = {
        place
        for place, body in enumerate(env.world.scene.bodies, start=1)
        if any(
            shape.visible
            for part in (body, *getattr(body, "links", ()))
            for shape in getattr(part, "shapes", ())
        )
    }
    assert shown == visible
    assert observation["pixels"].std() > 10
    assert 0 < observation["depth"].min() < observation["depth"].max()
    env.close()


def test_every_camera_sees_something(environment: str) -> None:
    plain = catalogue.environment(environment)(account=None)
    plain.reset(seed=0)
    cameras = [camera.name for camera in plain.world.scene.cameras]
    assert cameras[0] == "main"
    assert len(cameras) >= 2
    env = catalogue.environment(environment)(account=None, observation=["pixels"], camera=cameras)
    for seed in range(3):
        observation, _ = env.reset(seed=seed, options={"variation": ["all"]} if seed else None)
        assert all(observation[f"pixels.{camera}"].std() > 3 for camera in cameras)
    env.close()
