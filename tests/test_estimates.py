"""Interquartile means and intervals say what samples say, and the same each time."""

import numpy as np
import pytest
from scipy import stats

from sandbox.estimates import Interval, bootstrap, crossed, iqm, iqms


def test_the_interquartile_mean_is_that_of_scipy() -> None:
    values = np.random.default_rng(1).normal(size=40)
    assert iqm(values.tolist()) == pytest.approx(stats.trim_mean(values, 0.25))
    assert np.isnan(iqm([]))
    assert iqms(np.array([[1.0, 2.0, 3.0, 100.0], [5.0, 5.0, 5.0, 5.0]])).tolist() == [2.5, 5.0]


def found(values: list[float], strata: list[int] | None = None, seed: int = 0) -> Interval:
    given = np.array(values)
    groups = np.array(strata or [0] * len(values))
    one = bootstrap(groups, lambda chosen: given[chosen].mean(1, keepdims=True), seed)[0]
    assert one is not None
    return one


def test_an_interval_is_that_of_scipy_and_narrows_with_more_episodes() -> None:
    drawn = np.random.default_rng(2).normal(size=200)
    few, many = found(drawn[:20].tolist()), found(drawn.tolist())
    theirs = stats.bootstrap((drawn[:20],), np.mean, method="percentile", rng=3).confidence_interval
    assert few.low == pytest.approx(theirs.low, abs=0.05)
    assert few.high == pytest.approx(theirs.high, abs=0.05)
    assert few.low < few.value < few.high
    assert many.high - many.low < 0.5 * (few.high - few.low)


def test_nine_of_ten_intervals_have_the_true_mean() -> None:
    rng = np.random.default_rng(4)
    drawn = [found(rng.normal(1.0, 1.0, 30).tolist(), seed=n) for n in range(100)]
    assert sum(one.low < 1.0 < one.high for one in drawn) >= 90


def test_a_stratum_keeps_its_number_of_episodes() -> None:
    values, strata = [0.0] * 10 + [10.0] * 10, [0] * 10 + [1] * 10
    assert found(values, strata) == Interval(5.0, 5.0, 5.0)
    assert found(values).high > 6.0


def test_the_same_seed_gives_the_same_interval_and_one_episode_gives_none() -> None:
    values = np.arange(9.0).tolist()
    assert found(values, seed=5) == found(values, seed=5) != found(values, seed=6)
    assert bootstrap(np.zeros(1), lambda chosen: chosen.astype(float)) == [None]
    with_nan = np.array([1.0, np.nan])
    assert bootstrap(np.zeros(2), lambda chosen: with_nan[chosen].mean(1, keepdims=True)) == [None]


def test_several_runs_are_drawn_again_as_episodes_are() -> None:
    rng = np.random.default_rng(7)
    episodes = rng.normal(size=(1, 40))
    alike = np.repeat(episodes, 4, axis=0)
    apart = episodes + np.array([-2.0, -1.0, 1.0, 2.0])[:, None]
    strata = np.zeros(40)
    one, other = crossed(alike, strata), crossed(apart, strata)
    assert one is not None
    assert other is not None
    assert other.value == pytest.approx(stats.trim_mean(apart.reshape(-1), 0.25))
    assert other.high - other.low > 2 * (one.high - one.low)
    same = found(episodes[0].tolist())
    assert one.high - one.low == pytest.approx(same.high - same.low, rel=0.5)
    assert crossed(apart, strata) == other != crossed(apart, strata, seed=1)
    worse = crossed(apart - 5.0, strata)
    assert worse is not None
    assert worse.high < other.low
    assert crossed(episodes, strata) is None
    lacking = apart.copy()
    lacking[1, 0] = np.nan  # That episode is left out, of every run.
    assert crossed(lacking, strata) == crossed(apart[:, 1:], strata[1:])
