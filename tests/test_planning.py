"""Planners solve what chance does not, and their bytes depend on seed, settings and model alone."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from running import python

from sandbox.errors import InvalidInputError, PlanningError
from sandbox.planning import CEM, ICEM, MPPI, PLANNERS, Settings, planner
from sandbox.planning.noise import coloured

Array = NDArray[Any]
SMALL: Mapping[str, Any] = {"samples": 40, "iterations": 8, "horizon": 12, "action_block": 1}
GOAL = np.array([0.5, -0.3])


def mass(start: Any, actions: Array) -> Array:
    """A point mass in two dimensions: how far it is from the goal, and how fast, in all steps."""
    moved, speed = np.tile(start, (len(actions), 1)), np.zeros((len(actions), 2))
    costs = np.zeros(len(actions))
    for t in range(actions.shape[1]):
        speed = speed + 0.2 * actions[:, t]
        moved = moved + 0.2 * speed
        costs += ((moved - GOAL) ** 2).sum(1) + 0.02 * (speed**2).sum(1)
    return costs


def wells(start: Any, actions: Array) -> Array:
    """Where the actions lead to: ripples, a well on one side and a deeper one on the other."""
    reached = start + 0.2 * actions.astype(np.float64).sum(1)
    well = 1 - np.exp(-((reached - 0.8) ** 2).sum(1))
    deeper = 1 - 2 * np.exp(-2 * ((reached + 0.6) ** 2).sum(1))
    return np.minimum(well, deeper) + 0.05 * (1 - np.cos(20 * reached)).sum(1)


def shooting(model: Callable[[Any, Array], Array], settings: Settings, seed: int) -> float:
    """What the best of as many random sequences costs."""
    count = sum(settings.sizes(first=True))
    shape = (count, settings.steps, 2)
    actions = np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)
    return float(model(np.zeros(2), actions).min())


def small(name: str, **changes: Any) -> Settings:
    """Settings that plan at once, a whole horizon at a time."""
    elites = {} if name == "mppi" else {"elites": 6}
    warm = {"temperature": 0.02} if name == "mppi" else {}
    return planner(name, {**SMALL, **elites, **warm, "replan": 12, **changes})


def planned(settings: Settings, model: Any, plans: int = 1, seed: int = 0) -> Array:
    found = settings.make(2, np.random.default_rng(seed))
    return np.concatenate([found.plan(model, np.zeros(2)) for _ in range(plans)])


class Watched:
    """A model that keeps what it was asked."""

    def __init__(self, model: Callable[[Any, Array], Any]) -> None:
        self.model, self.asked, self.costs = model, list[Array](), list[Any]()

    def rollout(self, start: Any, actions: Array) -> Any:
        self.asked.append(actions.copy())
        self.costs.append(self.model(start, actions))
        actions[:] = np.nan  # A model may change its own copy.
        return self.costs[-1]


@pytest.mark.parametrize("model", [mass, wells])
@pytest.mark.parametrize("name", PLANNERS)
def test_a_planner_does_better_than_as_many_random_sequences(
    name: str, model: Callable[[Any, Array], Array]
) -> None:
    settings, seeds = small(name), range(6)
    plans = [planned(settings, model, seed=seed) for seed in seeds]
    chance = [shooting(model, settings, seed) for seed in seeds]
    assert model(np.zeros(2), np.stack(plans)).mean() < np.mean(chance) - 0.05


@pytest.mark.parametrize("name", PLANNERS)
def test_the_cheap_preset_drives_a_point_mass_to_its_goal(name: str) -> None:
    def model(start: Any, actions: Array) -> Array:
        speeds = start[1] + 0.2 * actions.cumsum(1)
        return ((start[0] + 0.2 * speeds.cumsum(1) - GOAL) ** 2).sum((1, 2))

    def left(seed: int) -> float:
        found, here, speed = planner(name, preset="cheap"), np.zeros(2), np.zeros(2)
        pair = found.make(2, np.random.default_rng(seed))
        for _ in range(4):
            for action in pair.plan(model, (here, speed)):
                speed = speed + 0.2 * action
                here = here + 0.2 * speed
        return float(np.hypot(*(here - GOAL)))

    assert np.mean([left(seed) for seed in range(4)]) < 0.2


def test_icem_does_better_than_cem_where_one_must_go_on_in_one_direction() -> None:
    def far(start: Any, actions: Array) -> Array:
        return np.hypot(*(actions.astype(np.float64).sum(1) - 20.0).T)

    def left(name: str, seed: int) -> float:
        settings = small(name, horizon=25, replan=25, samples=32, iterations=4, sigma=0.5)
        return float(far(None, planned(settings, far, seed=seed)[None])[0])

    assert all(left("icem", seed) < 0.5 * left("cem", seed) for seed in range(4))


def test_icem_tries_the_elites_of_the_last_plan_again_without_what_was_executed() -> None:
    settings = ICEM(samples=20, iterations=2, elites=10, keep=0.3, horizon=6, replan=2, decay=1)
    model = Watched(mass)
    planned(settings, model, plans=2)
    first, second, third, _ = model.asked
    assert [len(one) for one in model.asked] == [20, 20, 23, 20]
    before, costs = np.concatenate([second, first]), np.concatenate(model.costs[1::-1])
    elites = before[np.argsort(costs, kind="stable")[:3]]
    assert np.array_equal(third[20:, :4], elites[:, 2:])
    assert not np.array_equal(third[20:, 4:], np.zeros((3, 2, 2)))


def test_icem_executes_the_best_candidate_of_all_and_needs_no_elites_to_know_it() -> None:
    for keep in (0.0, 0.3):
        model = Watched(mass)
        plan = planned(small("icem", keep=keep), model)
        every = np.concatenate(model.asked)
        assert np.array_equal(plan, every[np.argmin(np.concatenate(model.costs))])


def test_icem_tries_fewer_candidates_from_one_iteration_to_the_next_and_its_mean_at_last() -> None:
    settings = ICEM(samples=40, iterations=6, elites=10)
    assert settings.sizes(first=True) == (40, 32, 25, 20, 20, 20)
    assert settings.sizes(first=False) == (43, 32, 25, 20, 20, 20)
    assert settings.simulated(0) == 0
    assert settings.simulated(3) == (157 + 2 * 160) * 30
    assert ICEM(replan=30).sizes(first=False) == (40, 32, 25)  # Nothing is left to be shifted.
    assert CEM().simulated(2) == 2 * 300 * 30 * 25
    model = Watched(mass)
    planned(small("icem", momentum=0.0, decay=1, keep=0.0), model)
    order = np.argsort(model.costs[-2], kind="stable")[:6]
    assert np.allclose(model.asked[-1][0], model.asked[-2][order].mean(0), atol=1e-6)


@pytest.mark.parametrize("name", PLANNERS)
def test_a_plan_goes_on_from_the_last_one_until_an_episode_begins(name: str) -> None:
    found, model = small(name, replan=4).make(2, np.random.default_rng(0)), Watched(mass)
    found.plan(model, np.zeros(2))
    count = len(model.asked)
    found.plan(model, np.zeros(2))
    found.begin()
    found.plan(model, np.zeros(2))
    again, afresh = (model.asked[n * count][:40].mean((0, 2)) for n in (1, 2))
    assert np.abs(again[:4]).max() > np.abs(afresh[:4]).max()
    if name != "icem":  # Which tries its mean in the last iteration alone.
        assert model.asked[count][0, :8].any()
        assert not model.asked[count][0, 8:].any()
        assert not model.asked[2 * count][0].any()


@pytest.mark.parametrize("held", [False, True])
def test_icem_repeats_the_last_action_of_its_mean_where_a_plan_ended(held: bool) -> None:
    settings = ICEM(iterations=1, horizon=6, replan=2, action_block=2, held=held, momentum=0)
    model = Watched(mass)
    planned(settings, model, plans=2)
    (first, second), elites = model.asked, np.argsort(model.costs[0], kind="stable")[:10]
    mean = first[elites].astype(np.float64).mean(0)
    expected = np.concatenate([mean[4:], np.repeat(mean[-1:], 4, axis=0)])
    assert np.array_equal(second[0], expected.astype(np.float32))


def test_icem_chooses_among_the_kept_elites_too() -> None:
    calls = iter((0.0, 9.0, 9.0))  # The first candidates are better than all that follow.
    model = Watched(lambda start, actions: mass(start, actions) + next(calls))
    planned(small("icem", iterations=3, momentum=0, decay=1, keep=0.5), model)
    (first, second, third), costs = model.asked, model.costs
    kept = first[np.argsort(costs[0], kind="stable")[:3]]
    others = second[np.argsort(costs[1], kind="stable")[:3]]
    assert np.allclose(third[0], np.concatenate([kept, others]).mean(0), atol=1e-6)


def test_the_best_are_kept_in_a_stable_order_and_ties_by_their_place() -> None:
    model = Watched(lambda start, actions: np.arange(len(actions)) % 3)
    plan = planned(small("cem", iterations=1, samples=300, elites=90), model)
    elites = model.asked[0][:270:3].astype(np.float64)
    assert np.array_equal(plan, elites.mean(0).astype(np.float32))
    plan = planned(small("icem", iterations=1), model)
    assert np.array_equal(plan, model.asked[1][0])


def test_elites_are_fewer_where_fewer_costs_are_finite() -> None:
    model = Watched(lambda start, a: np.where(np.arange(len(a)) == 5, 1.0, np.nan))
    assert np.array_equal(planned(small("cem", iterations=1), model), model.asked[0][5])


@pytest.mark.parametrize("name", PLANNERS)
def test_a_pairs_bytes_depend_on_its_own_seed_and_model_alone(name: str) -> None:
    """Not on the order of options, on other pairs, or on whether these fail."""
    settings = small(name, replan=5)
    told = [*settings.describe().items()][1:]
    alone = [planned(settings, mass, plans=3, seed=seed).tobytes() for seed in range(2)]
    again = planner(name, dict(reversed(told)))
    pairs = [again.make(2, np.random.default_rng(seed)) for seed in (1, 0)]
    found: list[list[bytes]] = [[], []]
    for _ in range(3):
        for pair, kept in zip(pairs, found, strict=True):
            kept.append(pair.plan(mass, np.zeros(2)).tobytes())
        other = again.make(2, np.random.default_rng(7))
        other.plan(wells, np.ones(2))
        with pytest.raises(PlanningError):
            other.plan(lambda start, actions: np.full(len(actions), np.nan), None)
    assert [b"".join(kept) for kept in found] == alone[::-1]
    assert alone[0] != alone[1]


def test_another_process_with_other_mathematics_threads_and_hash_seed_plans_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = (
        "import hashlib, sys, numpy as np\n"
        "from sandbox.planning import PLANNERS, planner\n"
        "found = hashlib.sha256()\n"
        "def model(start, actions): return (actions.cumsum(1) ** 2 - actions).sum((1, 2))\n"
        "for name in PLANNERS:\n"
        "    plans = planner(name, {'iterations': 3}).make(2, np.random.default_rng(3))\n"
        "    found.update(plans.plan(model, 0).tobytes() + plans.plan(model, 0).tobytes())\n"
        "print(found.hexdigest(), 'torch' in sys.modules)"
    )
    here = python("-c", code)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2")
    monkeypatch.setenv("NPY_DISABLE_CPU_FEATURES", "X86_V4 AVX512_ICL AVX512_SPR")
    there = python("-c", code, hash_seed="7")
    assert here.stdout == there.stdout, here.stderr + there.stderr
    assert here.stdout.split()[1:] == ["False"]


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize(("horizon", "block", "replan"), [(1, 1, 1), (3, 4, 2), (6, 1, 6)])
def test_a_ramp_of_settings_gives_plans_of_their_shapes(
    name: str, horizon: int, block: int, replan: int
) -> None:
    for held in (False, True):
        changes = {"horizon": horizon, "action_block": block, "replan": replan, "held": held}
        settings, model = small(name, samples=7, iterations=2, **changes), Watched(mass)
        plan = planned(settings, model, plans=3)
        assert (plan.shape, plan.dtype) == ((3 * replan * block, 2), np.float32)
        assert np.abs(plan).max() <= 1
        every = np.concatenate(model.asked)
        assert every.shape[1:] == (horizon * block, 2)
        assert (every.dtype, float(np.abs(every).max())) == (np.float32, 1.0)
        blocks = every.reshape(len(every), horizon, block, 2)
        assert (blocks == blocks[:, :, :1]).all() == (held or block == 1)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_noise_has_the_spectrum_of_its_exponent_and_variance_one(exponent: float) -> None:
    noise = coloured(np.random.default_rng(0), (1000, 128, 2), exponent)
    assert np.allclose(noise.var((0, 2)), 1, atol=0.12)
    power = (np.abs(np.fft.rfft(noise, axis=1)) ** 2).mean((0, 2))[1:-1]
    slope = np.polyfit(np.log(np.arange(1, 64)), np.log(power), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.03)
    first, second = noise[..., 0].ravel(), noise[..., 1].ravel()
    assert abs(float(np.corrcoef(first, second)[0, 1])) < 0.05


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_short_noise_has_variance_one_at_every_step(steps: int) -> None:
    noise = coloured(np.random.default_rng(0), (8000, steps, 1), 2.0)
    assert np.allclose(noise.var(0), 1, atol=0.06)


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_cost_that_is_not_finite_counts_as_the_worst(name: str, bad: float) -> None:
    def model(start: Any, actions: Array) -> Array:
        return np.where(actions[:, 0, 0] < 0.1, bad, mass(start, actions))

    plan = planned(small(name), model)
    assert np.isfinite(plan).all()
    assert plan[0, 0] >= 0.1


@pytest.mark.parametrize("name", PLANNERS)
def test_states_become_costs_by_a_function_and_tensors_become_arrays(name: str) -> None:
    def states(start: Any, actions: Array) -> Any:
        return {"cost": torch.from_numpy(mass(start, actions)).requires_grad_()}

    found = small(name).make(2, np.random.default_rng(0))
    plan = found.plan(states, np.zeros(2), lambda states: states["cost"])
    assert np.array_equal(plan, planned(small(name), mass))


def test_tensors_of_a_type_that_numpy_lacks_are_costs() -> None:
    plan = planned(small("cem"), lambda start, a: torch.from_numpy(mass(start, a)).bfloat16())
    assert mass(np.zeros(2), plan[None])[0] < mass(np.zeros(2), 0 * plan[None])[0]


ANSWERS: dict[str, tuple[Callable[[int], Any], str]] = {
    "a column": (
        lambda n: np.zeros((n, 1)),
        r"numbers of shape \(4\d, 1\) for 4\d candidates",
    ),
    "too few": (lambda n: np.zeros(n - 1), r"not costs of shape \(4\d,\)"),
    "one number": (lambda n: 1.0, r"of shape \(\)"),
    "nothing": (lambda n: None, "the model gave None for 4"),
    "texts": (lambda n: ["1"] * n, r"the model gave \['1'"),
    "ragged": (lambda n: [[1], [1, 2]], r"gave \[\[1\], \[1, 2\]\]"),
    "states": (lambda n: {"state": 1}, "give the planner a cost"),
    "no finite one": (
        lambda n: np.full(n, np.nan),
        r"not one of the 4\d costs .* first is nan",
    ),
    "infinity": (lambda n: np.full(n, -np.inf), "the first is -inf"),
}


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_that_is_no_cost_is_one_sentence_and_the_last_plan_is_kept(
    name: str, kind: str
) -> None:
    answer, said = ANSWERS[kind]
    found, other = (small(name, replan=6).make(2, np.random.default_rng(0)) for _ in range(2))
    for one in (found, other):
        one.plan(mass, np.zeros(2))
    with pytest.raises(PlanningError, match=said):
        found.plan(lambda start, actions: answer(len(actions)), None)
    found.rng.bit_generator.state = other.rng.bit_generator.state
    assert np.array_equal(found.plan(mass, np.zeros(2)), other.plan(mass, np.zeros(2)))


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "one sample": (
        lambda: CEM(samples=1, elites=1),
        "cem: samples must be a whole number from 2 to 100,000, not 1.",
    ),
    "more elites": (
        lambda: ICEM(samples=8, elites=9),
        "icem: 9 elites are more than the 8 samples that they are chosen from.",
    ),
    "no horizon": (lambda: MPPI(horizon=0), "mppi: horizon must be a whole number from 1 to"),
    "half a horizon": (lambda: MPPI(horizon=2.5), "not 2.5."),  # type: ignore[arg-type]
    "a late plan": (
        lambda: CEM(horizon=5, replan=6),
        "cem: replan 6 is more than the horizon of 5; a plan cannot be executed past its end.",
    ),
    "huge": (
        lambda: CEM(samples=100_000, horizon=10_000),
        "cem: 100,000 samples of 50,000 steps are more than 100,000,000 actions at once;",
    ),
    "a huge number": (lambda: CEM(samples=10**5000), "not int of"),
    "text": (lambda: planner("cem", {"samples": "64"}), "from 2 to 100,000, not '64'."),
    "true": (lambda: planner("cem", {"elites": True}), "not True."),
    "a number for held": (lambda: planner("cem", {"held": 1}), "held must be True or False, not 1"),
    "no sigma": (lambda: planner("cem", {"sigma": 0}), "a number from 1e-06 to 1,000,000, not 0."),
    "nan": (lambda: planner("mppi", {"temperature": float("nan")}), "not nan."),
    "growth": (lambda: planner("icem", {"decay": 0.5}), "decay must be a number from 1 to 1,000"),
    "share": (lambda: planner("icem", {"keep": 1.5}), "keep must be a number from 0 to 1, not 1.5"),
    "another option": (
        lambda: planner("mppi", {"elite": 3}),
        "mppi: no option is called 'elite'. Known: action_block, held, horizon, iterations, "
        "replan, samples, sigma, temperature.",
    ),
    "a slip": (lambda: planner("icem", {"elitse": 3}), "Did you mean 'elites'?"),
    "a number as option": (lambda: planner("cem", {3: 3}), "cem: no option is called 3. Known"),
    "another planner": (lambda: planner("cma"), "no planner is called 'cma'. Did you mean 'cem'?"),
    "another preset": (
        lambda: planner("cem", preset="fast"),
        "cem: no preset is called 'fast'. Known: cheap, published.",
    ),
    "no mapping": (
        lambda: planner("cem", [3]),  # type: ignore[arg-type]
        "planner: options must be a mapping or None, not [3].",
    ),
    "no numbers": (lambda: CEM().make(0, np.random.default_rng(0)), "above 0, not 0."),
    "half a number": (
        lambda: CEM().make(1.5, np.random.default_rng(0)),  # type: ignore[arg-type]
        "cem: action_size must be a whole number above 0, not 1.5.",
    ),
    "a seed": (
        lambda: ICEM().make(2, 7),  # type: ignore[arg-type]
        "icem: rng must be a numpy.random.Generator, not 7.",
    ),
    "no model": (
        lambda: small("cem").make(2, np.random.default_rng(0)).plan(5, None),  # type: ignore[arg-type]
        "model 5: give an object with rollout(start, actions), or such a function.",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_planned_is_refused_in_one_sentence(kind: str) -> None:
    call, said = REFUSED[kind]
    with pytest.raises(InvalidInputError, match=re.escape(said)):
        call()


def test_presets_and_evidence() -> None:
    assert planner("cem") == CEM() == planner("cem", {}, "published")
    cem, cheap = CEM(), planner("icem", {"replan": 5}, "cheap")
    assert (cem.samples, cem.iterations, cem.elites, cem.sigma) == (300, 30, 30, 1.0)
    assert (cem.horizon, cem.action_block, cem.replan, cem.executed) == (5, 5, 5, 25)
    assert cheap == ICEM(
        samples=64, iterations=5, elites=8, horizon=25, action_block=1, replan=5, decay=1
    )
    for name in PLANNERS:
        for preset in PLANNERS[name].presets:
            said = json.loads(json.dumps(planner(name, preset=preset).describe()))
            assert planner(said.pop("planner"), said) == planner(name, preset=preset)
    assert planner("mppi", {"temperature": 1}).describe()["temperature"] == 1.0
    assert json.dumps(CEM(samples=np.int64(64)).describe())  # type: ignore[arg-type]
    assert hash(CEM()) == hash(CEM())


def test_the_page_has_every_setting_and_its_default() -> None:
    page = (Path(__file__).parent.parent / "docs" / "planning.md").read_text()
    rows = [line.split("|") for line in re.findall(r"^\| (`\w+` .*) \|$", page, re.MULTILINE)]
    for column, name in enumerate(PLANNERS, 1):
        told = {row[0].strip(" `"): json.loads(row[column]) for row in rows if row[column].strip()}
        assert {"planner": name, **told} == planner(name).describe()
