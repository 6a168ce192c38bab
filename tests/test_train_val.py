"""Training and validation sets share no episode, no seed, no past, no value and no frame."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from episodes import record, run
from hypothesis import example, given, settings
from hypothesis import strategies as st
from running import recipe

import sandbox
from sandbox import Dataset
from sandbox.dataset import halves
from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.run.folder import Folder

COUNT = 40


def made(path: Path, changes: Sequence[dict[str, Any]], **how: Any) -> Dataset:
    """A dataset of one run whose records have these changes, one after another."""
    records = [record("a" * 64, n, **one) for n, one in enumerate(changes)]
    return Dataset(run(path, records, shard_episodes=16, **how))


def masses(dataset: Dataset) -> list[float]:
    """The mass in each episode."""
    return dataset.facts.factor("t_mass_kg").tolist()


def seeds(dataset: Dataset) -> list[int]:
    """The seed of each episode."""
    return [one.seed for one in dataset.records]


@pytest.fixture(scope="session")
def parted(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Episodes of distinct seeds and masses, of three counts and two colours; nothing is shared."""
    rng = np.random.default_rng(0)
    values = [
        {
            "t_mass_kg": float(mass),
            "count": n % 3,
            "t_color": [255 * (n % 2), 0, 0],
        }
        for n, mass in enumerate(rng.uniform(0.2, 2.0, COUNT))
    ]
    changes = [
        {"factors": one, "environment": ("push_t", "pour")[n % 2]} for n, one in enumerate(values)
    ]
    return made(tmp_path_factory.mktemp("parted") / "run", changes)


@pytest.mark.parametrize("fraction", [0.9, 0.5, 0.025, 0.975, 1 / 3, np.float32(0.25)])
def test_the_fraction_is_exact_and_both_parts_are_all(parted: Dataset, fraction: float) -> None:
    train, val = parted.train_val(fraction, seed=3)
    assert len(train) == int(np.floor(COUNT * float(fraction) + 0.5))
    assert sorted(seeds(train) + seeds(val)) == sorted(seeds(parted))
    for part in (train, val):
        numbers = [one.episode for one in part.records]
        assert numbers == sorted(numbers)


def test_the_fraction_is_meant_as_it_is_written(tmp_path: Path) -> None:
    dataset = made(tmp_path / "run", [{} for _ in range(50)])
    assert len(dataset.train_val(0.29, twins="skip")[0]) == 15  # 14.5; as floats, 14.499999.


def test_the_choice_depends_on_its_seed_alone(parted: Dataset) -> None:
    first, again, other = (seeds(parted.train_val(0.7, seed)[0]) for seed in (1, 1, 2))
    assert first == again != other
    assert first != seeds(parted)[:28]  # By chance, not the first.
    assert seeds(Dataset(parted.index.paths).train_val(0.7, 1)[0]) == first


def test_a_factor_keeps_a_range_for_validation(parted: Dataset) -> None:
    ranges: set[tuple[float, float]] = set()
    for seed in range(5):
        train, val = parted.train_val(0.8, seed, by="t_mass_kg")
        assert (len(train), len(val)) == (32, 8)
        low, high = min(masses(val)), max(masses(val))
        assert not any(low <= mass <= high for mass in masses(train))
        ranges.add((low, high))
    assert len(ranges) > 1


def test_a_factor_whose_values_repeat_keeps_whole_values(parted: Dataset) -> None:
    train, val = parted.train_val(2 / 3, by="count")
    ours, theirs = ({*part.facts.factor("count").tolist()} for part in (train, val))
    assert len(ours) == 2
    assert ours | theirs == {0, 1, 2}
    train, val = parted.train_val(0.5, by="t_color")
    ours, theirs = ({*part.facts.factor("t_color", color=True).tolist()} for part in (train, val))
    assert sorted([*ours, *theirs]) == [0, 255 << 16]


def test_episodes_of_one_environment_and_seed_stay_together(tmp_path: Path) -> None:
    changes = [{"seed": n // 2, "environment": "push_t"} for n in range(30)]
    changes += [{"seed": n, "environment": "pour"} for n in range(10)]  # Others, of these seeds.
    dataset = made(tmp_path / "run", changes)
    for seed in range(5):
        train, val = dataset.train_val(0.75, seed)
        assert (len(train), len(val)) == (30, 10)
        ours, theirs = (
            {(one.environment, one.seed) for one in part.records} for part in (train, val)
        )
        assert not ours & theirs


def test_branches_and_what_they_branch_off_stay_together(tmp_path: Path) -> None:
    """Also branches of branches, and those whose past is not there; each has another seed."""
    a, b = "a" * 64, "b" * 64
    records = [record(a, n) for n in range(12)]
    records += [record(b, n, branch={"run": a, "episode": n % 6, "step": 1}) for n in range(9)]
    records += [record(b, 9 + n, branch={"run": b, "episode": n, "step": 1}) for n in range(3)]
    records += [record(b, 12 + n, branch={"run": "c" * 64, "episode": n // 2}) for n in range(4)]
    dataset = Dataset(run(tmp_path / "run", records))
    families: list[set[tuple[str, int]]] = [
        {("a", 0), ("b", 0), ("b", 6), ("b", 9)},
        {("a", 1), ("b", 1), ("b", 7), ("b", 10)},
        {("a", 2), ("b", 2), ("b", 8), ("b", 11)},
        *({("a", n), ("b", n)} for n in (3, 4, 5)),
        {("b", 12), ("b", 13)},
        {("b", 14), ("b", 15)},
    ]
    for seed in range(8):
        train, val = dataset.train_val(0.5, seed)
        assert (len(train), len(val)) == (14, 14)
        ours = {(one.run[0], one.episode) for one in train.records}
        assert all(family <= ours or not family & ours for family in families)
    assert len({*halves.related(dataset.facts).tolist()}) == 6 + len(families)


def test_pairs_of_our_own_surprises_stay_together(tmp_path: Path) -> None:
    sandbox.generate(recipe("billiards", episodes=6), tmp_path / "run")
    sandbox.surprises(tmp_path / "run", tmp_path / "pairs", kinds=["recolor"], pairs=4)
    dataset = Dataset([tmp_path / "run", tmp_path / "pairs"], columns="common")
    assert len(dataset) == 14
    groups = halves.related(dataset.facts).tolist()
    for n, one in enumerate(dataset.records):
        if one.branch is not None:
            past = next(
                k
                for k, other in enumerate(dataset.records)
                if (other.run, other.episode) == (one.branch["run"], one.branch["episode"])
            )
            assert groups[n] == groups[past]
    assert len({*groups}) == Folder(tmp_path / "run").count()


def test_groups_that_allow_no_exact_fraction_come_as_near_as_they_can(tmp_path: Path) -> None:
    dataset = made(tmp_path / "run", [{"seed": n // 4} for n in range(20)])
    for fraction, nearest in ((0.5, (8, 12)), (0.3, (4, 8)), (0.05, (4,)), (0.95, (16,))):
        assert len(dataset.train_val(fraction)[0]) in nearest


@settings(deadline=None, max_examples=60)
@example(sizes=[1, 2, 1, 1, 1, 1, *[2] * 8], part=0.9375, seed=0)
@example(sizes=[1, *[2] * 30], part=0.34, seed=3)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=40),
    part=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
)
def test_no_other_choice_of_groups_is_nearer(sizes: list[int], part: float, seed: int) -> None:
    total, reached = sum(sizes), 1
    for size in sizes:
        reached |= reached << size
    count = min(max(1, round(total * part)), total - 1)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    chosen = halves._fitting(groups, count, np.random.default_rng(seed))
    assert all(chosen[groups == n].all() or not chosen[groups == n].any() for n in groups)
    best = min(abs(n - count) for n in range(1, total) if reached >> n & 1)
    assert abs(int(chosen.sum()) - count) == best


@settings(deadline=None, max_examples=60)
@given(
    values=st.lists(st.integers(0, 12), min_size=2, max_size=60),
    part=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
)
def test_a_range_is_whole_and_no_other_is_nearer(values: list[int], part: float, seed: int) -> None:
    blocks = np.unique(values, return_inverse=True)[1]
    sizes = np.bincount(blocks)
    if len(sizes) < 2:
        return
    count = min(max(1, round(len(values) * part)), len(values) - 1)
    chosen = halves._range(blocks, count, np.random.default_rng(seed))
    inside = sorted({*blocks[chosen].tolist()})
    assert inside == list(range(inside[0], inside[-1] + 1))
    assert not {*blocks[~chosen].tolist()} & {*inside}
    ways = [sizes[a:b].sum() for a in range(len(sizes)) for b in range(a + 1, len(sizes) + 1)]
    best = min(abs(n - count) for n in ways if n < len(values))
    assert abs(int(chosen.sum()) - count) == best


def test_frames_on_both_sides_are_refused_or_named(tmp_path: Path) -> None:
    dataset = made(tmp_path / "run", [{} for _ in range(12)], looks=(None, None, 7))
    with pytest.raises(InvalidInputError, match=r"or \d+ of \d+ frames, with episodes to train"):
        dataset.train_val(0.5, seed=1)
    with pytest.warns(UserWarning, match=r"push_t seed \d+ \(episode \d+ of aaaaaaaa\)") as told:
        train, val = dataset.train_val(0.5, seed=1, twins="name")
    alike = {one.episode for one in val.records} & {2, 5, 8, 11}
    assert str(told[0].message).count("(episode") == len(alike) > 0
    assert all(f"(episode {n} of" in str(told[0].message) for n in alike)
    silent, _ = dataset.train_val(0.5, seed=1, twins="skip")
    assert seeds(silent) == seeds(train)
    alone = dataset.select(where=lambda one: one.episode not in (2, 5, 8))
    assert sum(map(len, alone.train_val(0.5))) == 9


def test_a_sweep_whose_cells_share_seeds_is_refused_or_its_twins_are_named(tmp_path: Path) -> None:
    """Every mass begins from the same seeds."""
    grid = {"pole_mass_kg": [0.05, 0.1, 0.2, 0.3]}
    sandbox.sweep(recipe(episodes=2), tmp_path / "sweep", grid)
    dataset = Dataset(tmp_path / "sweep")
    assert len(dataset) == 8
    with pytest.raises(InvalidInputError, match=r"by pole_mass_kg alone with twins='name'"):
        dataset.train_val(0.75, by="pole_mass_kg")
    with pytest.warns(UserWarning, match="2 episodes to validate by share the seed"):
        train, val = dataset.train_val(0.75, by="pole_mass_kg", twins="name")
    ours, theirs = ({*part.facts.factor("pole_mass_kg").tolist()} for part in (train, val))
    assert (len(train), len(ours), len(theirs)) == (6, 3, 1)
    assert not ours & theirs


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"fraction": 0}, "fraction 0: give a number between 0 and 1"),
        ({"fraction": 1.0}, "fraction 1.0: give"),
        ({"fraction": "0.9"}, "fraction '0.9': give"),
        ({"fraction": float("nan")}, "fraction nan: give"),
        ({"fraction": True}, "fraction True: give"),
        ({"fraction": 0.001}, "leaves 0 to train on and 40 to validate"),
        ({"seed": -1}, "seed -1: give a whole number"),
        ({"seed": 1.5}, "seed 1.5: give a whole number"),
        ({"by": "t_mas_kg"}, "no factor is called 't_mas_kg'. Did you mean 't_mass_kg'"),
        ({"by": 3}, "no factor is called 3"),
        ({"twins": "allow"}, "no way to treat twins is called 'allow'"),
    ],
)
def test_a_parting_that_cannot_be_made_is_refused(
    keywords: dict[str, Any], says: str, parted: Dataset
) -> None:
    with pytest.raises(InvalidInputError) as told:
        parted.train_val(**keywords)
    assert says in str(told.value)


def test_a_factor_that_some_episodes_lack_is_refused(tmp_path: Path) -> None:
    changes = [{"factors": {"x": n} if n % 3 else {"y": 1}} for n in range(9)]
    dataset = made(tmp_path / "run", changes)
    with pytest.raises(InvalidInputError, match="3 of 9 episodes have no number for factor 'x'"):
        dataset.train_val(0.5, by="x")
    with pytest.raises(UnknownNameError, match="Known: x, y"):
        dataset.train_val(0.5, by="z")


def test_episodes_that_cannot_be_parted_are_refused(tmp_path: Path) -> None:
    dataset = made(tmp_path / "run", [{"seed": 1} for _ in range(5)])
    with pytest.raises(InvalidInputError, match="cannot be parted by episode"):
        dataset.train_val(0.5)
    with pytest.raises(InvalidInputError, match="cannot be parted by t_mass_kg"):
        dataset.train_val(0.5, by="t_mass_kg")
