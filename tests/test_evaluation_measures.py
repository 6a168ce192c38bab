"""The measures of an evaluation: those of scikit-image, and worse for what is worse."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu, spearmanr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from sandbox.evaluation import events, factors, numbers, ranks
from sandbox.evaluation.pictures import MEASURES, MOST_DB, Sums, Truth, psnr, score, shifted
from sandbox.evaluation.ridge import Ridge
from sandbox.evaluation.similarity import Smoothed, inside, similarity

F64 = NDArray[np.float64]
SIDE = 24


def pictures(seed: int = 0, count: int = 3) -> tuple[Tensor, Tensor]:
    """A last row, and one in which a bright square has moved: uint8 (count, 3, SIDE, SIDE)."""
    rng = np.random.default_rng(seed)
    last = rng.integers(40, 90, (count, 3, SIDE, SIDE)).astype(np.uint8)
    later = last.copy()
    last[:, :, 4:10, 4:10], later[:, :, 9:15, 6:12] = 220, 220
    return torch.from_numpy(last), torch.from_numpy(later)


def scores(predicted: Tensor, seed: int = 0) -> dict[str, float]:
    last, true = pictures(seed)
    sums = Sums(len(true), 1)
    sums.put(0, 0, Truth.of(last, true).measured(predicted))
    return {name: float(score(sums.parts, name)[0]) for name in MEASURES}


def channels_last(picture: Tensor) -> Any:
    return picture.movedim(0, -1).numpy()


@pytest.mark.parametrize("seed", range(4))
def test_psnr_and_ssim_are_those_of_scikit_image(seed: int) -> None:
    _, true = pictures(seed, 1)
    noise = torch.from_numpy(np.random.default_rng(seed).normal(0, 0.1 * (seed + 1), true.shape))
    one, other = true[0].double() / 255, (true[0].double() / 255 + noise[0]).clamp(0, 1)
    both = channels_last(one), channels_last(other)
    theirs, their_map = structural_similarity(
        *both,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1,
        channel_axis=-1,
        full=True,
    )
    ours = similarity(Smoothed.of(one[None]), Smoothed.of(other[None]))
    assert np.allclose(channels_last(ours[0]), their_map, atol=1e-12)
    assert float(inside(ours).mean()) == pytest.approx(theirs, abs=1e-12)
    error = float((one - other).square().mean())
    assert float(psnr(np.array(error))) == pytest.approx(
        peak_signal_noise_ratio(*both, data_range=1)
    )


def test_moving_pixels_are_those_that_differ_from_the_last_row_by_more_than_ten() -> None:
    last, true = torch.full((1, 3, 12, 12), 100, dtype=torch.uint8), None
    true = last.clone()
    true[0, 1, 0, 0], true[0, 1, 0, 1], true[0, 1, 0, 2] = 110, 111, 89
    moves = Truth.of(last, true).moves
    assert moves.nonzero().tolist() == [[0, 0, 1], [0, 0, 2]]


def test_scores_on_moving_pixels_are_of_these_alone() -> None:
    last, true = pictures()
    moves = Truth.of(last, true).moves
    wrong = true.double() / 255 + 0.2 * (~moves[:, None])
    found = scores(wrong)
    assert found["psnr_moving"] == MOST_DB
    assert found["psnr"] < 20
    flat = (true.double() / 255).clone()
    flat[moves[:, None].expand_as(flat)] = 0.5
    error = float((flat - true.double() / 255).square().mean(1)[moves].mean())
    assert scores(flat)["psnr_moving"] == pytest.approx(-10 * math.log10(error))


@pytest.mark.parametrize("measure", MEASURES)
def test_more_noise_scores_worse(measure: str) -> None:
    _, true = pictures()
    noise = torch.from_numpy(np.random.default_rng(7).normal(0, 1, true.shape))
    every = [scores(true.double() / 255 + size * noise)[measure] for size in (0.0, 0.05, 0.3)]
    assert every[0] > every[1] > every[2]
    assert every[0] == (MOST_DB if "psnr" in measure else pytest.approx(1.0))


@pytest.mark.parametrize("measure", MEASURES)
def test_copying_scores_worse_than_the_truth(measure: str) -> None:
    last, true = pictures()
    assert scores(last.double() / 255)[measure] < scores(true.double() / 255)[measure]
    if measure == "iou":
        assert scores(last.double() / 255)[measure] == 0.0


def test_errors_are_pooled_and_not_averaged_in_decibels() -> None:
    parts = {name: np.zeros((2, 1)) for name in ("error", "count")}
    parts["error"][:, 0], parts["count"][:] = [0.01, 0.03], 1
    assert score(parts, "psnr").tolist() == pytest.approx([-10 * math.log10(0.02)])


def test_where_nothing_moves_there_is_no_score_of_moving_pixels() -> None:
    last, _ = pictures()
    sums = Sums(len(last), 1)
    sums.put(0, 0, Truth.of(last, last).measured(last.double() / 255))
    found = {name: float(score(sums.parts, name)[0]) for name in MEASURES}
    assert [name for name, one in found.items() if math.isnan(one)] == [
        "psnr_moving",
        "ssim_moving",
        "iou",
    ]
    assert found["psnr"] == MOST_DB


def test_small_pictures_have_no_similarity() -> None:
    tiny = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    found = Truth.of(tiny, tiny + 50).measured(tiny.double())
    assert "ssim" not in found
    assert found["moving"].tolist() == [64]


def test_constant_velocity_goes_on_and_is_clipped() -> None:
    before, last = torch.full((1, 3, 2, 2), 0.2), torch.full((1, 3, 2, 2), 0.4)
    assert torch.allclose(shifted(last, before, 2), torch.tensor(0.8))
    assert torch.equal(shifted(last, before, 9), torch.ones(1, 3, 2, 2))


def test_an_error_of_numbers_is_in_deviations_and_constants_are_left_out() -> None:
    truth = np.zeros((5, 2, 3))
    predicted = truth + np.array([1.0, 2.0, 1000.0])
    found = numbers.nrmse(predicted, truth, np.array([1.0, 2.0, np.nan]))
    assert found.tolist() == [1.0, 1.0]
    worse = numbers.nrmse(2 * predicted, truth, np.array([1.0, 2.0, np.nan]))
    assert worse.tolist() == [2.0, 2.0]


def test_skill_is_one_for_the_truth_none_for_copying_and_less_for_worse() -> None:
    rng = np.random.default_rng(3)
    truth, noise = rng.normal(size=(2, 30, 4, 2))
    copied = np.zeros_like(truth)

    def skill(predicted: F64) -> list[float]:
        return numbers.skill(predicted, copied, truth).tolist()

    assert skill(truth) == [1.0] * 4
    assert skill(copied) == [0.0] * 4
    for good, bad in zip(skill(truth + 0.1 * noise), skill(truth + 3 * noise), strict=True):
        assert bad < 0 < good < 1
    where = np.zeros(truth.shape, np.bool_)
    assert np.isnan(numbers.skill(truth, copied, truth, where)).all()


def test_ridge_finds_what_is_linear_and_beats_copying() -> None:
    rng = np.random.default_rng(5)

    def drawn(count: int) -> tuple[F64, F64]:
        actions = rng.uniform(-1, 1, (count, 7, 2))
        place = np.cumsum(np.concatenate([rng.normal(size=(count, 1, 2)), actions[:, :-1]], 1), 1)
        return place, actions

    ridge = Ridge.fitted(*drawn(300), context=3, horizons=(1, 4))
    rows, actions = drawn(40)
    found, truth = ridge(rows, actions), rows[:, [3, 6]]
    copied = np.repeat(rows[:, 2:3], 2, axis=1)
    assert numbers.nrmse(found, truth, np.ones(2)).max() < 0.02
    assert numbers.nrmse(copied, truth, np.ones(2)).min() > 0.4


@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_the_auc_is_that_of_a_rank_test(noise: float) -> None:
    rng = np.random.default_rng(6)
    labels = rng.random(80) < 0.3
    said = np.round(labels + noise * rng.normal(size=80), 1)  # With ties.
    theirs = mannwhitneyu(said[labels], said[~labels]).statistic / (labels.sum() * (~labels).sum())
    assert events.auc(said, labels) == pytest.approx(theirs)


def test_the_auc_falls_with_noise_and_needs_both_kinds() -> None:
    labels = np.arange(200) < 60
    noise = np.random.default_rng(8).normal(size=200)
    every = [events.auc(labels + size * noise, labels) for size in (0.0, 0.5, 5.0)]
    assert every[0] == 1.0 > every[1] > every[2] > 0.4
    assert math.isnan(events.auc(noise, np.zeros(200, np.bool_)))
    assert events.auc(np.zeros(200), labels) == 0.5


def test_rewards_are_scored_beside_their_mean() -> None:
    truth, noise = np.random.default_rng(9).normal(size=(2, 50, 3))
    near, far = (events.rewards(truth + size * noise, truth) for size in (0.1, 1.0))
    assert (near["rmse"] < far["rmse"]).all()
    assert (near["correlation"] > far["correlation"]).all()
    assert near["rmse of the mean"].tolist() == pytest.approx(truth.std(0).tolist())
    flat = events.rewards(np.zeros_like(truth), truth)
    assert np.isnan(flat["correlation"]).all()
    assert np.corrcoef(truth[:, 0], (truth + noise)[:, 0])[0, 1] == pytest.approx(
        far["correlation"][0]
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_rank_correlation_is_that_of_scipy(seed: int) -> None:
    said, true = np.random.default_rng(seed).integers(0, 9, (2, 40)).astype(float)  # With ties.
    said += seed * true
    theirs: Any = spearmanr(said, true)
    assert ranks.spearman(said, true) == pytest.approx(theirs.statistic)
    assert ranks.spearman(-said, true) == pytest.approx(-ranks.spearman(said, true))


def test_a_worse_order_of_plans_has_less_correlation_and_more_regret() -> None:
    true, noise = np.random.default_rng(11).normal(size=(2, 200))
    every = [true + size * noise for size in (0.0, 0.5, 5.0)]
    correlations = [ranks.spearman(one, true) for one in every]
    assert correlations[0] == 1.0 > correlations[1] > correlations[2]
    picked = [ranks.regret(one, true) for one in every]
    assert picked[0] == 0.0 < picked[1] < picked[2]
    assert ranks.regret(np.zeros(200), true) == pytest.approx(1.0)  # All are alike to it.
    assert ranks.spearman(np.zeros(200), true) == 0.0
    assert math.isnan(ranks.spearman(true, np.zeros(200)))
    assert math.isnan(ranks.regret(true, np.zeros(200)))
    fails = np.append(true, np.inf)
    assert ranks.regret(np.append(true, np.inf), fails) == 0.0
    assert ranks.regret(-fails, fails) > 1.0


def _skill(features: F64, values: F64, groups: NDArray[np.int64]) -> float:
    both = np.stack([values, values[::-1]], 1)  # The second is another factor.
    said, mean = (one[:, 0] for one in factors.predicted(factors.kernel(features), both, groups, 0))
    return float(1 - np.square(said - values).sum() / np.square(mean - values).sum())


def test_a_factor_is_read_as_well_as_the_features_tell_it() -> None:
    rng = np.random.default_rng(12)
    groups = np.repeat(np.arange(30), 4)
    values = rng.normal(size=30)[groups]  # As a factor is, the same in all of an episode.
    noise = rng.normal(size=(120, 50))
    told = values[:, None] * rng.normal(size=50)
    every = [_skill(told + size * noise, values, groups) for size in (0.01, 1.0, 5.0)]
    assert every[0] > 0.99 > every[1] > every[2]
    episodes = rng.normal(size=(30, 50))[groups]  # These name the episode, and say no more.
    assert _skill(episodes, values, groups) < 0.3


def test_ridge_in_its_dual_form_is_that_of_the_primal() -> None:
    rng = np.random.default_rng(13)
    features, values = rng.normal(size=(60, 7)), rng.normal(size=60)
    values += features[:, 0]
    fit, test = np.arange(40), np.arange(40, 60)
    found = factors.ridge(features @ features.T, values[:, None], fit, test)
    mean, centre = values[fit].mean(), features[fit].mean(0)
    x = features[fit] - centre
    for said, strength in zip(found, factors.STRENGTHS, strict=True):
        weights = np.linalg.solve(x.T @ x + strength * 40 * np.eye(7), x.T @ (values[fit] - mean))
        assert np.allclose(said[:, 0], mean + (features[test] - centre) @ weights)
