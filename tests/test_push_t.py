"""The reward of PushT is the exact overlap."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sandbox.envs.push_t import T_UNITS, UNIT_M, overlap


def inside(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.any([(abs(x - cx) <= w) & (abs(y - cy) <= h) for cx, cy, w, h in T_UNITS], axis=0)


def sampled(t: tuple[float, float, float], goal: tuple[float, float, float]) -> float:
    """The overlap by throwing points at the T."""
    points = np.random.default_rng(0).uniform(-4, 4, (200_000, 2))
    px, py = points[inside(points[:, 0], points[:, 1])].T * UNIT_M
    cos, sin = math.cos(t[2]), math.sin(t[2])
    dx, dy = t[0] + px * cos - py * sin - goal[0], t[1] + px * sin + py * cos - goal[1]
    cos, sin = math.cos(goal[2]), math.sin(goal[2])
    return float(inside((dx * cos + dy * sin) / UNIT_M, (dy * cos - dx * sin) / UNIT_M).mean())


def test_the_overlap_is_1_on_the_outline_and_0_far_from_it() -> None:
    pose = (0.1, -0.05, 0.4)
    assert overlap(pose, pose, UNIT_M) == pytest.approx(1.0)
    assert overlap((0.4, 0.3, 0.4), pose, UNIT_M) == 0.0


@pytest.mark.parametrize("seed", range(40))
def test_the_overlap_is_what_points_thrown_at_the_t_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    away = 0.02 + 0.006 * seed  # From on the outline to beyond it.
    t = (*rng.uniform(-away, away, 2).tolist(), rng.uniform(-math.pi, math.pi))
    goal = (*rng.uniform(-0.02, 0.02, 2).tolist(), rng.uniform(-math.pi, math.pi))
    assert overlap(t, goal, UNIT_M) == pytest.approx(sampled(t, goal), abs=0.01)
