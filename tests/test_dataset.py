"""A dataset has the episodes that are asked for, in one order, or says why it has none."""

import os
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from episodes import SCHEMA, record, run
from running import cli, recipe

import sandbox
from sandbox import Dataset, Windows
from sandbox.errors import FormatError, InvalidInputError, SandboxError, UnknownNameError
from sandbox.run.record import Record
from sandbox.trajectory import Column, Schema, ShardReader, layout, untrusted

SPLITS, POLICIES = ("train", "interpolation", "extrapolation"), ("random", "scripted")
COUNT = 11


def records(name: str = "a", count: int = COUNT, **changes: Any) -> list[dict[str, Any]]:
    """Records of a run whose splits, policies, masses and colours come in turn."""
    made: list[dict[str, Any]] = []
    for n in range(count):
        factors = {"t_mass_kg": n / 10, "count": n % 3, "t_color": [n, 0, 255]}
        varied = {"split": SPLITS[n % 3], "policy": POLICIES[n % 2], "factors": factors}
        made.append(record(name * 64, n, **{**varied, "success": n % 4 == 0, **changes}))
    return made


@pytest.fixture(scope="session")
def chosen_from(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two runs of three shards each; nothing is written there."""
    folder = tmp_path_factory.mktemp("chosen_from")
    run(folder / "a", records("a"))
    run(folder / "b", records("b", environment="two_room", scenario="two_room_varied"))
    return folder


def numbers(dataset: Dataset) -> list[tuple[str, int]]:
    """Run and number of every episode, as the records say."""
    return [(one.run[0], one.episode) for one in dataset.records]


EVERY = [(name, n) for name in "ab" for n in range(COUNT)]
A_NAMES: dict[str, tuple[Callable[[Path], Any], list[tuple[str, int]]]] = {
    "a shard": (lambda at: at / "a/shards/shard-00001.h5", [("a", n) for n in range(4, 8)]),
    "a run": (lambda at: at / "a", EVERY[:COUNT]),
    "a folder of runs": (lambda at: at, EVERY),
    "runs in another order": (lambda at: [at / "b", str(at / "a")], EVERY),
    "a glob of runs": (lambda at: f"{at}/*", EVERY),
    "a glob of shards": (
        lambda at: f"{at}/*/shards/shard-0000[02].*",
        [(name, n) for name in "ab" for n in (0, 1, 2, 3, 8, 9, 10)],
    ),
    "a glob of everything below": (lambda at: f"{at}/**", EVERY),
    "a run and a shard": (
        lambda at: (at / "b/shards/shard-00002.h5", at / "a"),
        [*EVERY[:COUNT], ("b", 8), ("b", 9), ("b", 10)],
    ),
}


@pytest.mark.parametrize("named", A_NAMES)
def test_a_dataset_has_the_episodes_of_what_is_named(named: str, chosen_from: Path) -> None:
    name, expected = A_NAMES[named]
    for _ in range(2):  # The second time by its index.
        dataset = Dataset(name(chosen_from))
        assert len(dataset) == len(dataset.lengths) == len(expected)
        assert numbers(dataset) == expected
        for n in (0, 3, -1):
            episode = dataset.episode(n)
            assert int(episode.rows["episode_idx"][0]) == expected[n][1]
            assert len(episode) == dataset.lengths[n] == dataset.record(n).steps + 1


CHOICES: dict[str, tuple[dict[str, Any], Callable[[Record], bool]]] = {
    "a split": ({"split": "train"}, lambda r: r.split == "train"),
    "splits": (
        {"split": ["extrapolation", "train"]},
        lambda r: r.split in ("train", "extrapolation"),
    ),
    "a policy and success": (
        {"policy": "random", "success": True},
        lambda r: r.policy == "random" and r.success,
    ),
    "failures": ({"success": False}, lambda r: not r.success),
    "an environment": ({"environment": "TwoRoom"}, lambda r: r.environment == "two_room"),
    "a scenario": ({"scenario": ("push_t_varied",)}, lambda r: r.scenario == "push_t_varied"),
    "a range": (
        {"factors": {"t_mass_kg": (0.2, 0.5)}},
        lambda r: 0.2 <= r.factors["t_mass_kg"] <= 0.5,
    ),
    "a value": ({"factors": {"count": 2}}, lambda r: r.factors["count"] == 2),
    "values": ({"factors": {"count": [0, 2]}}, lambda r: r.factors["count"] != 1),
    "ranges": (
        {"factors": {"t_mass_kg": [(0, 0.1), (0.9, np.inf)]}},
        lambda r: not 0.1 < r.factors["t_mass_kg"] < 0.9,
    ),
    "two factors": (
        {"factors": {"t_mass_kg": (np.float32(0.35), 1), "count": (1, 1)}},
        lambda r: r.factors["t_mass_kg"] > 0.35 and r.factors["count"] == 1,
    ),
    "colours": (
        {"factors": {"t_color": ["blue", (3, 0, 255), "#0500ff"]}},
        lambda r: r.factors["t_color"][0] in (0, 3, 5),
    ),
    "a function": ({"where": lambda r: r.episode % 5 == 1}, lambda r: r.episode % 5 == 1),
    "a function after all else": (
        {"split": "train", "where": lambda r: {"train": r.episode > 3}[r.split]},
        lambda r: r.split == "train" and r.episode > 3,
    ),
}


@pytest.mark.parametrize("named", CHOICES)
def test_what_is_chosen_is_what_the_records_say(named: str, chosen_from: Path) -> None:
    keywords, wanted = CHOICES[named]
    every = Dataset(chosen_from)
    expected = [(r.run[0], r.episode) for r in every.records if wanted(r)]
    assert 0 < len(expected) < len(every)
    assert numbers(Dataset(chosen_from, **keywords)) == expected
    chosen = every.select(**keywords)
    assert numbers(chosen) == expected
    assert len(every) == 2 * COUNT
    assert [int(chosen.episode(n).rows["episode_idx"][0]) for n in range(len(chosen))] == [
        n for _, n in expected
    ]


def test_choosing_twice_is_choosing_both(chosen_from: Path) -> None:
    dataset = Dataset(chosen_from, split="train").select(policy="scripted").select(success=False)
    at_once = Dataset(chosen_from, split="train", policy="scripted", success=False)
    assert numbers(dataset) == numbers(at_once) == [("a", 3), ("a", 9), ("b", 3), ("b", 9)]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a split that is none": ({"split": "trian"}, "no split is called 'trian'. Did you mean 'train"),
    "a policy that is none": ({"policy": ["random", "x"]}, "no policy is called 'x'. Known: ran"),
    "a factor that is none": ({"factors": {"t_mas_kg": 1}}, "Did you mean 't_mass_kg'"),
    "an environment that is none": ({"environment": "pushy"}, "no environment is called 'pushy'"),
    "nothing left": (
        {"split": "train", "factors": {"t_mass_kg": (5, 6)}},
        "none of 22 episodes has split 'train', t_mass_kg (5, 6)",
    ),
    "nothing left by a function": ({"where": lambda r: False}, "true for none of 22 episodes"),
    "no text": ({"policy": []}, "policy []: give a name"),
    "a number for a text": ({"split": 3}, "split 3: give a name"),
    "numbers for texts": ({"split": [3]}, "split [3]: give a name"),
    "a text for a flag": ({"success": "yes"}, "success 'yes': give True"),
    "a range backwards": ({"factors": {"count": (2, 1)}}, "(2, 1) is no value, and no range"),
    "a range of NaN": ({"factors": {"count": (0, np.nan)}}, "is no value, and no range"),
    "a range of three": ({"factors": {"count": (0, 1, 2, 3)}}, "is no value, and no range"),
    "a flag for a number": ({"factors": {"count": True}}, "True is no value"),
    "no values": ({"factors": {"count": []}}, "at least one value"),
    "no colour": ({"factors": {"t_color": "bluish"}}, "is no colour"),
    "factors that are no mapping": ({"factors": "t_mass_kg"}, "factors 't_mass_kg': give a map"),
    "a where that is no function": ({"where": "success"}, "where 'success': give a function"),
}


@pytest.mark.parametrize("named", REFUSED)
def test_a_choice_that_cannot_be_made_is_refused_in_a_line(named: str, chosen_from: Path) -> None:
    keywords, says = REFUSED[named]
    for choose in (lambda **asked: Dataset(chosen_from, **asked), Dataset(chosen_from).select):
        with pytest.raises(InvalidInputError) as told:
            choose(**keywords)
        assert says in str(told.value)
        assert "\n" not in str(told.value)


def test_places_without_episodes_are_refused_in_a_line(chosen_from: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.h5").write_text("no HDF5")
    run(tmp_path / "begun", records(count=0) or [], finished=False)
    for path, says in (
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path / "empty", "no shards/shard-"),
        (tmp_path / "begun", "no shards/shard-"),
        (tmp_path / "notes.h5", "cannot be read as HDF5"),
        (f"{tmp_path}/x*", "none of the 0 paths that match"),
        (f"{tmp_path}/e*", "none of the 1 paths that match"),
        ([], "dataset of []: give the path"),
        ([chosen_from, 7], "dataset of 7: give the path"),
        (7, "dataset of 7: give the path"),
        (None, "dataset of None: give the path"),
        (b"run", "dataset of 114: give the path"),
        (["a", ""], "does not exist"),
    ):
        with pytest.raises(SandboxError) as told:
            Dataset(path)  # pyright: ignore[reportArgumentType]
        assert says in str(told.value), path
    with pytest.raises(UnknownNameError, match="Did you mean 'common'"):
        Dataset(chosen_from, columns="comon")  # pyright: ignore[reportArgumentType]


def test_the_same_run_or_shard_twice_is_refused_by_whatever_names(
    chosen_from: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = chosen_from / "a"
    (tmp_path / "link").symlink_to(a)
    hard = tmp_path / "hard" / "shards"
    hard.mkdir(parents=True)
    os.link(a / "shards/shard-00000.h5", hard / "shard-00000.h5")
    monkeypatch.chdir(chosen_from)
    for twice in (
        [a, a],
        [str(a), "a"],
        [a, chosen_from],
        [a, a / "shards/shard-00001.h5"],
        [a, tmp_path / "link"],
        [a, hard.parent],
        [f"{chosen_from}/*", "b"],
    ):
        with pytest.raises(InvalidInputError, match="name each run once"):
            Dataset(twice)


def test_a_copy_of_a_run_or_a_shard_is_refused(chosen_from: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(chosen_from / "a", tmp_path / "copy"))
    with pytest.raises(InvalidInputError, match=r"episode 0 of run aaaaaaaa, and so has"):
        Dataset([chosen_from, copy])
    for path in list(copy.glob("shards/shard-00001.*")):
        shutil.copy(path, str(path).replace("00001", "00007"))
    for _ in range(2):
        with pytest.raises(InvalidInputError, match=r"shard-00007.h5: has episode 4 of run aaaa"):
            Dataset(copy)


PIXELS = Column("pixels", "uint8", (4, 4, 3), "RGB", "1")
OTHER = Schema(
    (
        PIXELS,
        *(replace(c, shape=(3,)) if c.name == "action" else c for c in SCHEMA.columns),
    )
)


def test_runs_of_other_columns_are_refused_or_share_what_both_have(tmp_path: Path) -> None:
    run(tmp_path / "a", records("a"))
    run(tmp_path / "b", records("b", environment="two_room"), schema=OTHER)
    with pytest.raises(FormatError, match=r"they differ in action, pixels\. Give runs"):
        Dataset(tmp_path)
    with pytest.raises(FormatError, match="they differ in action, pixels"):
        Dataset(tmp_path, where=lambda one: one.episode > 2)
    dataset = Dataset(tmp_path, columns="common")
    assert dataset.schema.names == tuple(n for n in SCHEMA.names if n != "action")
    assert len(dataset) == 2 * COUNT
    assert [*dataset.rows(COUNT)] == [*dataset.schema.names]
    assert dataset.episode(COUNT).rows["pixels"].shape[1:] == (4, 4, 3)
    for source in (
        dataset.select(environment="two_room"),
        Dataset(tmp_path, environment="two_room"),
        Dataset(tmp_path, where=lambda one: one.environment == "two_room"),
    ):
        assert source.schema == OTHER  # What is left has all of these.
    with pytest.raises(UnknownNameError, match="no column is called 'action'"):
        Windows(dataset, 2, ("action",))
    assert len(Windows(dataset, 3, ("state", "reward"))) == sum(dataset.lengths - 2)


def test_a_run_whose_records_say_little_is_read_and_cannot_be_chosen_from(tmp_path: Path) -> None:
    few = [{"episode": n, "seed": n} for n in range(3)]
    dataset = Dataset(run(tmp_path / "run", few))
    assert len(dataset) == 3
    assert len(dataset.episode(2)) == 4
    with pytest.raises(InvalidInputError, match="no record says its policy"):
        dataset.select(policy="random")
    with pytest.raises(FormatError, match=r"shard-00000.h5: episode 1: .*is missing"):
        dataset.record(1)


@pytest.mark.parametrize(
    ("key", "value"),
    [("policy", 3), ("seed", -1), ("seed", "x"), ("success", 1), ("factors", []), ("branch", "x")],
)
def test_a_record_of_another_type_is_refused_by_its_key(
    key: str, value: object, tmp_path: Path
) -> None:
    run(tmp_path / "run", [record("a" * 64, 0), {**record("a" * 64, 1), key: value}])
    with pytest.raises(FormatError, match=rf"shard-00000.h5: episode 1: its record: {key}: is "):
        Dataset(tmp_path / "run")


def test_factors_of_strange_values_are_no_factors(tmp_path: Path) -> None:
    factors = {"huge": 10**400, "text": "x", "pair": [1, 2], "flag": True, "mass": 1}
    dataset = Dataset(run(tmp_path / "run", [record("a" * 64, 0, factors=factors)]))
    assert dataset.facts.factors == ["mass"]


def test_an_index_out_of_range_is_refused(chosen_from: Path) -> None:
    dataset = Dataset(chosen_from / "a")
    for ask in (dataset.record, dataset.episode, dataset.rows, dataset.records.__getitem__):
        for number in (COUNT, -COUNT - 1):
            with pytest.raises(IndexError, match=f"no episode {number}; it has 11"):
                ask(number)
    assert [one.episode for one in dataset.records[2:8:3]] == [2, 5]


def test_a_damaged_episode_is_refused_when_it_is_read(chosen_from: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(chosen_from / "a", tmp_path / "copy"))
    path = copy / "shards/shard-00001.h5"
    with ShardReader(path) as reader:
        state = reader.arrays(2, ["state"])["state"]
    data = path.read_bytes()
    dataset = Dataset(copy)
    told: list[str] = []
    for n in range(0, len(data), 97):  # Wherever it is, the damage shows or does not matter.
        path.write_bytes(data[:n] + bytes([data[n] ^ 0x55]) + data[n + 1 :])
        dataset.close()
        try:
            assert np.array_equal(dataset.episode(6).rows["state"], state)
        except FormatError as error:
            told.append(str(error))
    assert len(told) > 10
    assert all(str(path) in one for one in told)


def test_windows_of_a_dataset_are_those_of_its_episodes(chosen_from: Path) -> None:
    dataset = Dataset(chosen_from, split=["train", "interpolation"], policy="random")
    windows = Windows(dataset, 3, ("state", "episode_idx"))
    expected = [
        episode.rows["state"][t : t + 3]
        for episode in map(dataset.episode, range(len(dataset)))
        for t in range(len(episode) - 2)
    ]
    found = windows.__getitems__(range(len(windows)))
    assert len(found) == len(expected) > 5
    for window, rows in zip(found, expected, strict=True):
        assert np.array_equal(window["state"].numpy(), rows)
    with pytest.raises(InvalidInputError, match="the longest of which has 5 rows"):
        Windows(dataset, 6, ("state",))
    again = pickle.loads(pickle.dumps(windows))
    assert torch.equal(again[2]["state"], windows[2]["state"])


def test_a_dataset_can_be_pickled_and_closed(chosen_from: Path) -> None:
    dataset = Dataset(chosen_from, policy="scripted")
    before = numbers(dataset)
    again = pickle.loads(pickle.dumps(dataset))
    dataset.close()
    assert numbers(again) == numbers(dataset) == before
    assert again.episode(4).digest == dataset.episode(4).digest


def test_a_dataset_says_what_it_holds(chosen_from: Path) -> None:
    said = repr(Dataset(chosen_from, split="train"))
    assert said.startswith(f"<Dataset {chosen_from}: 8 episodes, 24 rows; environment: push_t 4, ")
    assert "split: train 8; policy: random 4, scripted 4; succeeded: 2; columns: state" in said


def test_a_growing_run_has_the_episodes_that_it_has_now(tmp_path: Path) -> None:
    made = records("a")
    run(tmp_path / "run", made[:6], finished=False)
    before = Dataset(tmp_path / "run")
    assert numbers(before) == [("a", n) for n in range(6)]
    shutil.rmtree(tmp_path / "run" / "shards")
    run(tmp_path / "run", made[:7], finished=False)
    assert len(Dataset(tmp_path / "run")) == 7
    assert numbers(before) == [("a", n) for n in range(6)]


def test_runs_of_our_own_are_one_dataset_and_their_columns_say_the_same(tmp_path: Path) -> None:
    varied = {"scenario": "two_room_varied", "policies": {"play": 1.0, "random": 1.0}}
    for split in ("train", "extrapolation"):
        wanted = recipe("two_room", split=split, episodes=4, **varied)
        sandbox.generate(wanted, tmp_path / "runs" / split)
    dataset = Dataset(tmp_path / "runs")
    assert len(dataset) == 8
    numeric = [n for n in dataset.facts.factors if len(np.unique(dataset.facts.factor(n))) == 8]
    factor = numeric[0]
    middle = float(np.median(dataset.facts.factor(factor)))
    for part in (
        dataset.select(split="train", policy="play"),
        dataset.select(factors={factor: (middle, 1e9)}),
    ):
        assert 0 < len(part) < 8
        for n, one in enumerate(part.records):
            rows = part.episode(n).rows
            assert rows["seed"][0] == one.seed
            assert rows[f"variation.{factor}"][0] == one.factors[factor]
    assert (
        cli(
            "coverage", tmp_path / "runs" / "train", "--train", tmp_path / "runs" / "train"
        ).returncode
        == 0
    )


def test_reading_rows_parses_no_record(chosen_from: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset(chosen_from)
    parsed: list[str] = []
    objects = untrusted.objects

    def counted(text: str, what: str, count: int = 1) -> list[dict[str, Any]]:
        parsed.append(what)
        return objects(text, what, count)

    monkeypatch.setattr(untrusted, "objects", counted)
    windows = Windows(dataset, 3, ("state", "action"))
    windows.__getitems__(range(len(windows)))
    dataset.rows(5)
    assert "its records" not in parsed
    assert dataset.record(5).episode == 5
    assert parsed.count("its records") == 1


@pytest.mark.parametrize(
    ("records_text", "says"),
    [("[]", "it has 0 records for 4 episodes"), ("{}", "no list of objects"), ("[", "be read")],
)
def test_records_that_are_not_those_of_the_episodes_are_refused(
    records_text: str, says: str, chosen_from: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(chosen_from / "a/shards/shard-00000.h5", tmp_path / "shard.h5"))
    with h5py.File(path, "r+") as file:
        texts = {name: bytes(file.attrs[name]).decode() for name in layout.TEXTS}
        texts["episodes"] = records_text
        for name, text in {**texts, layout.SEAL: layout.seal(texts)}.items():
            file.attrs[name] = np.bytes_(text)
    with ShardReader(path) as reader:
        assert reader.arrays(1, ["state"])["state"].shape == (5, 2)
        for read in (lambda: reader.records, lambda: reader.read(1)):
            with pytest.raises(FormatError, match=says):
                read()
    with pytest.raises(FormatError, match=says):
        Dataset(path)


def test_more_shards_than_are_kept_open_are_read_by_several_threads(tmp_path: Path) -> None:
    dataset = Dataset(run(tmp_path / "run", records(count=60), shard_episodes=2))
    expected = [int(dataset.episode(n).rows["episode_idx"][0]) for n in range(60)]
    assert expected == list(range(60))
    order = np.random.default_rng(0).permutation(60).tolist()

    def read(n: int) -> bool:
        episode = dataset.episode(n)
        return int(episode.rows["episode_idx"][-1]) == n == dataset.record(n).episode

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, order * 2))
