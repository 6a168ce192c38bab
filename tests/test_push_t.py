"""The reward of PushT is the exact overlap."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sandbox.envs.push_t import (
    FENCE_M,
    HALF_HEIGHT_M,
    RAIL_M,
    T_UNITS,
    TABLE_HALF_M,
    UNIT_M,
    overlap,
)

from sandbox import scene as sc
from sandbox.world import World


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


@pytest.mark.parametrize("around", range(8))
def test_what_is_lifted_over_a_rail_stays_on_the_table(around: int) -> None:
    """A finger can wedge the T onto a rail; here a tilted gravity throws a block over it."""
    out = (math.cos(around * math.pi / 4), math.sin(around * math.pi / 4))
    table = sc.railed_table(TABLE_HALF_M, RAIL_M, 0.03, sc.GREY, fence_m=FENCE_M)
    block = sc.Shape("box", (0.05, 0.05, HALF_HEIGHT_M), sc.GREY)
    place = sc.turned(0.3 * out[0], 0.3 * out[1], 0.1, 0.4)
    gravity = (25 * out[0], 25 * out[1], -9.81)
    world = World()
    world.build(
        sc.Scene((table, sc.Body("block", (block,), 0.1, place)), engine=sc.Engine(240, gravity))
    )
    world.watch(["block"], [])
    world.step(480)
    x, y, z = world.read()[:3]
    world.close()
    assert max(abs(x), abs(y)) < TABLE_HALF_M
    assert z > 0.0
