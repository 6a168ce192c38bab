"""Policies in a run: in exact proportion after every episode, in an order by chance."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import recipe

from sandbox.run import mixture
from sandbox.run.recipe import EpisodeChance

WEIGHTS = st.one_of(
    st.integers(1, 9).map(float), st.floats(1e-3, 1e3, exclude_min=True, allow_subnormal=False)
)


@given(st.lists(WEIGHTS, min_size=1, max_size=6), st.integers(0, 2**64))
@settings(max_examples=250 if "SANDBOX_SOAK" in os.environ else 10, deadline=None)
def test_after_every_episode_each_policy_has_had_its_share(weights: list[float], seed: int) -> None:
    named = {f"policy_{n}": weight for n, weight in enumerate(weights)}
    exact = {name: Fraction(str(weight)) for name, weight in named.items()}
    total, counts = sum(exact.values()), Counter[str]()
    for index in range(300):
        counts[mixture.policy(named, (seed,), index)] += 1
        for name, weight in exact.items():
            assert abs(counts[name] - (index + 1) * weight / total) < 1


def test_a_long_run_of_odd_weights_keeps_the_proportions() -> None:
    weights = {"a": 0.333, "b": 0.66666, "c": 1e-4}
    order = [mixture.policy(weights, (1,), index) for index in range(3 * mixture.BLOCK)]
    assert order == [mixture.policy(weights, (1,), index) for index in range(len(order))]
    for name, weight in weights.items():
        assert abs(order.count(name) - len(order) * weight / sum(weights.values())) < 1


@pytest.mark.parametrize("weights", [{"a": 1.0001, "b": 1.0}, {"a": 1.0, "b": 1.0}])
def test_threads_that_ask_at_once_are_told_the_same(weights: dict[str, float]) -> None:
    places = [n % 5000 for n in range(0, 400_000, 641)]
    alone = {place: mixture.policy(weights, (2,), place) for place in places}
    for _ in range(3):
        mixture._order.cache_clear()  # pyright: ignore[reportPrivateUsage]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda place: mixture.policy(weights, (2,), place), places))
        assert found == [alone[place] for place in places]


def test_weights_of_any_size_are_taken_as_they_are() -> None:
    for weights in ({"a": 1e308, "b": 1e308}, {"a": 5e-324, "b": 5e-324}, {"a": 0.1, "b": 0.1}):
        order = [mixture.policy(weights, (0,), index) for index in range(8)]
        assert Counter(order) == {"a": 4, "b": 4}
    rare = [mixture.policy({"a": 1e300, "b": 1e-300}, (0,), index) for index in range(50)]
    assert set(rare[1:]) == {"a"}


def order_of(count: int, **changes: object) -> list[str]:
    mixed = {"random": 2.0, "ou_noise": 2.0, "scripted": 1.0, "play": 1.0}
    wanted = recipe(**{"policies": mixed, "episodes": count, **changes})  # pyright: ignore[reportArgumentType]
    return [EpisodeChance(wanted, index).policy for index in range(count)]


def test_every_world_seed_and_split_has_its_own_order_of_the_same_mixture() -> None:
    orders = [order_of(24, environment=name) for name in ("push_t", "tower", "pour")]
    orders += [order_of(24, seed=seed) for seed in (6, 7)]
    orders += [order_of(24, scenario="cartpole_swingup_varied", split=split) for split in "ab"]
    assert len({tuple(order) for order in orders}) == len(orders)
    for order in orders:
        assert Counter(order) == {"random": 8, "ou_noise": 8, "scripted": 4, "play": 4}


@pytest.mark.parametrize("one", ["environment", "scenario", "split", "seed"])
def test_runs_that_differ_share_no_seed(one: str) -> None:
    usual = {"environment": "push_t", "scenario": "push_t_varied", "split": "train", "seed": 0}
    other = {"environment": "tower", "scenario": "push_t_slippery", "split": "test", "seed": 1}
    changed = usual | {one: other[one]}
    first, second = (
        {EpisodeChance(recipe(**given), index).seed for index in range(500)}  # pyright: ignore[reportArgumentType]
        for given in (usual, changed)
    )
    assert len(first) == len(second) == 500
    assert not first & second
