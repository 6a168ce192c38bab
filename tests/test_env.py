"""The loop, its budget, its spaces, and Gymnasium's tools around it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from sandbox import catalogue, prices
from sandbox.errors import BudgetExhaustedError, InvalidInputError, UnknownNameError
from sandbox.ledger import Ledger
from sandbox.ledger.statement import statement
from sandbox.scene import Camera, Engine, Scene

ID = "sandbox:sandbox/PushT-v0"
STILL = np.zeros(2, np.float32)


def make(**keywords: Any) -> Any:
    return gymnasium.make(ID, **keywords).unwrapped


def cost(env: Any, **quantities: int) -> int:
    return prices.current().cost(quantities)


def test_a_step_costs_its_physics_steps_and_its_pixels() -> None:
    env = make(observation=["proprio", "pixels", "depth"], image_size=16)
    _, info = env.reset(seed=0)
    assert info["charged"] == cost(env, reset=1, pixel=2 * 256)
    info = env.step(STILL)[4]
    assert info["charged"] == cost(env, physics_step=24, pixel=2 * 256)


def test_a_budget_truncates_the_last_step_that_it_can_pay_and_a_top_up_heals() -> None:
    step = cost(None, physics_step=24) / 1e6
    env = make(budget=0.4 + 3.5 * step)
    env.reset(seed=0)
    ends = [env.step(STILL) for _ in range(3)]
    assert [truncated for _, _, _, truncated, _ in ends] == [False, False, True]
    assert ends[2][4]["budget"] == {
        "reason": "exhausted",
        "remaining": round(0.5 * step * 1e6),
        "needed": round(step * 1e6),
    }
    assert "budget" not in ends[1][4]
    work = env.world.physics_steps, env.world.builds, env.t
    with pytest.raises(BudgetExhaustedError, match="Nothing was done"):
        env.step(STILL)
    with pytest.raises(BudgetExhaustedError, match="before has ended and is charged; nothing else"):
        env.reset(seed=1)
    with pytest.raises(BudgetExhaustedError, match="Nothing was done"):
        env.reset(seed=1)  # There is none before it now.
    assert (env.world.physics_steps, env.world.builds, env.t) == work
    env.meter.top_up(prices.micro(10))
    env.reset(seed=0)
    assert not env.step(STILL)[3]


def test_a_top_up_lets_the_truncated_episode_go_on() -> None:
    env = make(budget=0.4 + 2 * 0.24)
    env.reset(seed=0)
    env.step(STILL)
    assert env.step(STILL)[3]
    env.meter.top_up(prices.micro(1))
    assert not env.step(STILL)[3]
    whole = make()
    whole.reset(seed=0)
    for _ in range(3):
        state = whole.step(STILL)[4]["state"]
    assert np.array_equal(np.array(env.row), state)


def test_a_prepaid_account_stops_hard_and_a_grant_heals() -> None:
    book = Ledger()
    book.grant("lab", prices.micro(1))  # A reset and two steps cost 0.88.
    env = make(account="lab")
    _, info = env.reset(seed=0)
    assert info["balance"] == prices.micro(0.6)
    env.step(STILL)
    truncated, info = env.step(STILL)[3:]
    assert truncated
    assert info["budget"]["remaining"] == info["balance"] == prices.micro(0.12)
    with pytest.raises(BudgetExhaustedError, match="sandbox ledger grant lab"):
        env.step(STILL)
    book.grant("lab", prices.micro(5))
    assert not env.step(STILL)[3]
    env.close()
    balance = book.balance("lab")
    assert balance.posted_micro == prices.micro(6 - 0.4 - 3 * 0.24)
    assert balance.pending_micro == 0
    assert book.check() == []


def test_an_unknown_account_is_refused_before_anything() -> None:
    Ledger().grant("lab", 1)
    with pytest.raises(UnknownNameError, match="Did you mean 'lab'"):
        make(account="lap")


def test_each_episode_is_posted_once_with_its_work_and_evidence() -> None:
    env = make()
    for seed in range(3):
        env.reset(seed=seed)
        env.step(STILL)
    env.close()
    env.close()
    posts = [line for line in statement(Ledger(), "local") if line["kind"] == "post"]
    assert [line["amount_micro"] for line in posts] == [-prices.micro(0.64)] * 3
    assert posts[0]["work"]["physics_step"] == 24
    assert len({line["evidence"] for line in posts}) == 3


def test_render_draws_what_pixels_would_show_and_charges_each_picture_once() -> None:
    env = make(render_mode="rgb_array", image_size=32)
    env.reset(seed=0)
    before = env.meter.spent
    picture = env.render()
    assert np.array_equal(picture, env.render())
    assert env.meter.spent - before == cost(env, pixel=1024)
    seen = make(observation="pixels", render_mode="rgb_array", image_size=32)
    pixels, _ = seen.reset(seed=0)
    spent = seen.meter.spent
    assert np.array_equal(picture, pixels)
    assert np.array_equal(seen.render(), pixels)
    assert seen.meter.spent == spent


class Filmed(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Draws every so many rows as they arrive, as RecordVideo does, inside reset and step."""

    every = 1

    def reset(self, **keywords: Any) -> Any:
        arrived = self.env.reset(**keywords)
        self.render()
        return arrived

    def step(self, action: Any) -> Any:
        arrived = self.env.step(action)
        if self.get_wrapper_attr("t") % self.every == 0:
            self.render()
        return arrived


@pytest.mark.parametrize("every", [1, 2, 50])
@pytest.mark.parametrize("left", range(0, 40, 3))
def test_a_film_is_paid_frame_by_frame_and_its_end_is_a_truncation(every: int, left: int) -> None:
    """Credit for pixels is of a grant of its own, and runs out before the other or after it."""
    frame, step = 0.0128, 0.24  # 16x16 pixels; 24 physics steps.
    book = Ledger()
    others = "physics_step", "raw_byte", "reset"
    book.grant("lab", prices.micro(0.4) + round((left % 13) / 2 * step * 1e6), meters=others)
    book.grant("lab", round((2 + left / 4) * frame * 1e6), meters=("pixel",))
    film = Filmed(make(account="lab", render_mode="rgb_array", image_size=16))
    film.every = every
    try:
        film.reset(seed=0)
    except BudgetExhaustedError:
        assert left % 13 < 2
        return
    truncated, rows, info = False, 1, {}
    while not truncated:
        *_, truncated, info = film.step(STILL)
        rows += 1
    env: Any = film.unwrapped
    frames = 1 + sum(t % every == 0 for t in range(1, rows))
    assert info["budget"]["needed"] in (round((step + n * frame) * 1e6) for n in (1, 2))
    assert env.meter.quantities == {
        "reset": 1,
        "physics_step": 24 * (rows - 1),
        "pixel": 256 * frames,
        "raw_byte": 0,
    }
    with pytest.raises(BudgetExhaustedError, match="Nothing was done"):
        env.step(STILL)
    book.grant("lab", prices.micro(1))
    assert not film.step(STILL)[3]
    film.close()
    assert book.balance("lab").pending_micro == 0
    assert book.check() == []


def test_a_budget_with_frames_that_the_observation_holds_counts_them_once() -> None:
    step = cost(None, physics_step=24, pixel=256)
    keywords = {"observation": "pixels", "image_size": 16, "render_mode": "rgb_array"}
    env = make(budget=(prices.micro(0.4) + 256 * 50 + 2 * step) / 1e6, **keywords)
    env.reset(seed=0)
    env.render()
    assert not env.step(STILL)[3]
    env.render()
    assert env.step(STILL)[3]
    assert env.render().shape == (16, 16, 3)
    assert env.meter.remaining == 0


def test_pictures_leave_the_state_as_it_was() -> None:
    states = []
    for observation in ("proprio", ["pixels", "segmentation"]):
        env = make(observation=observation)
        env.reset(seed=3)
        states.append(env.step(np.ones(2, np.float32))[4]["state"])
    assert np.array_equal(*states)


@pytest.mark.parametrize("single", ["proprio", "pixels", "depth", "segmentation"])
def test_one_observation_is_an_array_and_a_list_is_a_dict(single: str) -> None:
    plain, _ = (alone := make(observation=single)).reset(seed=0)
    listed, _ = (many := make(observation=[single])).reset(seed=0)
    assert isinstance(alone.observation_space, gymnasium.spaces.Box)
    assert isinstance(many.observation_space, gymnasium.spaces.Dict)
    assert np.array_equal(plain, listed[single])
    assert plain.dtype == {"proprio": "f4", "pixels": "u1", "depth": "f4"}.get(single, "i2")


def test_variation_follows_stable_worldmodels_convention() -> None:
    env = make()
    space = env.variation_space
    assert space.names() == list(env.factors)
    env.reset(seed=0)
    assert space["t_mass_kg"].value == space["t_mass_kg"].init_value == 0.5
    env.reset(seed=0, options={"variation": ["t_mass_kg"]})
    drawn = float(space["t_mass_kg"].value)
    assert drawn != 0.5
    assert space["t_scale"].value == 1.0
    env.reset(seed=0, options={"variation": ["all"], "variation_values": {"t_scale": 1.1}})
    assert float(space["t_mass_kg"].value) == drawn
    assert space["t_scale"].value == 1.1
    assert space.check()
    env.reset(seed=0, options={"variation_values": {"t_color": np.array([1, 2, 3], np.uint8)}})
    assert env.values["t_color"] == (1, 2, 3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"variation": ["t_mas_kg"]}, "Did you mean 't_mass_kg'"),
        ({"variation": "all"}, r"give a list of factor names"),
        ({"variation_values": {"t_mass_kg": 99}}, "is not a number from 0.1 to 2.0"),
        ({"variation_values": {"t_mass_kg": float("nan")}}, "is not a number from"),
        ({"variation_values": {"t_mass_kg": "heavy"}}, "is not a number from"),
        ({"variation_values": {"t_color": [1, 2]}}, "is no colour"),
        ({"variation_values": {"mass": 1}}, "no factor is called 'mass'"),
        ({"variation_values": [1]}, "give a mapping"),
        ({"variations": []}, "Did you mean 'variation'"),
    ],
)
def test_options_that_cannot_be_are_refused_and_nothing_is_done(options: Any, says: str) -> None:
    env = make()
    env.reset(seed=0)
    before = env.world.builds, env.meter.spent, env.values
    with pytest.raises(InvalidInputError, match=says):
        env.reset(seed=1, options=options)
    assert (env.world.builds, env.meter.spent, env.values) == before
    env.step(STILL)


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"scenario": "push_t_varid"}, "Did you mean 'push_t_varied'"),
        ({"scenario": "push_t_varied", "split": "extrapolate"}, "Did you mean 'extrapolation'"),
        ({"split": "heavy"}, "no split is called"),
        ({"observation": "pixel"}, "Did you mean 'pixels'"),
        ({"observation": []}, "name each of"),
        ({"observation": ["pixels", "pixels"]}, "name each of"),
        ({"image_size": 4}, "from 8 to 1024"),
        ({"image_size": 64.0}, "image_size must be a whole number, not 64.0"),
        ({"budget": -1}, "is no amount of credits"),
        ({"budget": float("nan")}, "is no amount of credits"),
    ],
)
def test_keywords_that_cannot_be_are_refused(keywords: Any, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        make(**keywords)


def test_a_camera_that_the_scene_has_not_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"no camera.*'mian'.*Did you mean 'main'"):
        make(camera="mian").reset(seed=0)


def test_a_step_outside_an_episode_is_refused() -> None:
    env = make()
    with pytest.raises(InvalidInputError, match="call reset"):
        env.step(STILL)


def test_a_scenario_moves_its_factors_and_a_split_narrows_them() -> None:
    env = make(scenario="push_t_varied", split="extrapolation")
    masses = []
    for seed in range(20):
        env.reset(seed=seed)
        masses.append(env.values["t_mass_kg"])
    assert len(set(masses)) == 20
    assert all(0.1 <= mass <= 0.19 or 1.2 <= mass <= 2.0 for mass in masses)


def test_a_scenario_for_another_environment_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="this scenario is for 'push_t'"):
        gymnasium.make("sandbox:sandbox/Billiards-v0", scenario="push_t_varied")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_vector_environments_step_and_reset(asynchronous: bool) -> None:
    mode = gymnasium.VectorizeMode.ASYNC if asynchronous else gymnasium.VectorizeMode.SYNC
    options = {"context": "spawn"} if asynchronous else {}
    envs = gymnasium.make_vec(ID, num_envs=2, vectorization_mode=mode, vector_kwargs=options)
    observation, info = envs.reset(seed=1)
    assert observation.shape == (2, 11)
    assert info["state"].shape == (2, 17)
    observation, reward, *_ = envs.step(np.zeros((2, 2), np.float32))
    assert reward.shape == (2,)
    envs.close()


def test_info_holds_scalars_and_arrays() -> None:
    env = make()
    _, info = env.reset(seed=0)
    assert {k: type(v) for k, v in info.items() if k != "state"} == {
        "success": np.ndarray,
        "is_success": np.ndarray,
        "charged": np.int64,
        "balance": np.int64,
        "goal": np.ndarray,
    }
    assert info["state"].shape == (len(env.state_names()),)
    json.dumps({k: v.tolist() for k, v in info.items()})


def test_several_cameras_give_a_column_each() -> None:
    env = make(observation=["proprio", "pixels", "depth"], camera=["top", "main"], image_size=16)
    observation, _ = env.reset(seed=3)
    drawn = ["pixels.top", "pixels.main", "depth.top", "depth.main"]
    assert list(observation) == ["proprio", *drawn]
    assert env.observation_space.contains(observation)
    assert env.work(prices.load("1"), 0)["pixel"] == 4 * 16**2
    one, _ = make(observation="pixels", camera="top", image_size=16).reset(seed=3)
    assert np.array_equal(one, observation["pixels.top"])
    assert not np.array_equal(one, observation["pixels.main"])


def test_a_camera_inside_a_body_is_refused_and_costs_nothing(monkeypatch: Any) -> None:
    env = make(observation="pixels", image_size=16)
    env.reset(seed=1)
    whole = env.scene

    def inside(f: Any, rng: Any) -> Scene:
        scene = whole(f, rng)
        cameras = {
            "finger": Camera("main", (0, 0, 0.01), (1, 0, 0), body="finger", link="y"),
            "table": Camera("main", (0, 0, -0.01), (1, 0, 0)),
        }
        return replace(scene, cameras=(cameras[where],))

    before = env.meter.total
    monkeypatch.setattr(env, "scene", inside)
    for where in ("finger", "table"):
        with pytest.raises(InvalidInputError, match=f"its eye at .* is inside '{where}'"):
            env.reset(seed=2)
    env.settle()
    assert env.meter.total == before
    monkeypatch.undo()
    env.reset(seed=2)


@pytest.mark.parametrize("renderer", ["raster", "tiny"])
def test_what_draws_is_named_with_its_determinism_class(renderer: str) -> None:
    drawn_by = make(observation="pixels", renderer=renderer).pictures.drawn_by
    assert drawn_by is not None
    assert drawn_by["name"] == renderer
    assert drawn_by["class"]
    assert make(renderer=renderer).pictures.drawn_by is None


def test_a_scene_of_another_physics_rate_is_refused() -> None:
    class Slow(catalogue.environment("push_t")):
        physics_hz = 480

        def scene(self, f: Any, rng: Any) -> Scene:
            return replace(super().scene(f, rng), engine=Engine())

        @classmethod
        def name(cls) -> str:
            return "push_t"

    with pytest.raises(InvalidInputError, match=r"an engine of 240 Hz, but physics_hz is 480"):
        Slow(account=None).reset(seed=0)


@pytest.mark.parametrize(
    "action",
    [
        np.full(2, 0.5 + 1j),
        ["0.5", "1"],
        b"01",
        np.zeros(2, "datetime64[s]"),
        np.zeros(2, "timedelta64[s]"),
        torch.zeros(2, requires_grad=True),
        [10**400, 0],
    ],
    ids=repr,
)
def test_what_is_no_array_of_real_numbers_is_no_action(action: Any) -> None:
    env = make()
    env.reset(seed=0)
    with pytest.raises(InvalidInputError, match="Nothing was done"):
        env.step(action)
    env.step([True, np.int8(0)])
    env.close()


def test_a_scenario_may_be_a_path_and_nothing_else() -> None:
    path = Path(__file__).parent / "short_push_t.yaml"
    env = make(scenario=path)
    assert env.unwrapped.scenario.limit_s == 6.0
    env.close()
    given: Any = 5
    with pytest.raises(InvalidInputError, match="scenario must be text, a path, a map"):
        make(scenario=given)
