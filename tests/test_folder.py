"""A run folder is read once, strictly, and its records keep their bytes."""

import copy
import pickle
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from running import recipe

import sandbox
from sandbox import jsonfile
from sandbox.errors import FormatError, InvalidInputError
from sandbox.evidence import log
from sandbox.run.folder import RUN, Folder
from sandbox.run.identity import Identity
from sandbox.run.record import Record
from sandbox.trajectory import Episode, ShardReader, ShardWriter, shards, untrusted

WANTED = recipe(episodes=5, shard_episodes=2)  # Three shards.


@pytest.fixture(scope="module")
def three_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of three shards in `run` and its ledger in `home`; nothing is written."""
    folder = tmp_path_factory.mktemp("three_shards")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(folder / "home"))
        sandbox.generate(WANTED, folder / "run")
    return folder


@pytest.fixture
def kept_run(three_shards: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SANDBOX_HOME", str(three_shards / "home"))
    return three_shards / "run"


@pytest.fixture
def opened_files(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file of a run is opened from now on, by its name."""
    count: Counter[str] = Counter()
    read, open_file = jsonfile.read, untrusted.open_file

    def counted_read(path: Path, *most: int) -> Any:
        count[path.name] += 1
        return read(path, *most)

    def counted_open(path: Path, *, growing: bool) -> Any:
        count[path.name] += 1
        return open_file(path, growing=growing)

    monkeypatch.setattr(jsonfile, "read", counted_read)
    monkeypatch.setattr(untrusted, "open_file", counted_open)
    return count


def opened_once(count: Mapping[str, int], run: Path) -> bool:
    """Whether run.json and every shard were opened once, and no other shard."""
    seen = {name: n for name, n in count.items() if name == RUN or ".h5" in name}
    return seen == dict.fromkeys([RUN, *(path.name for path in shards(run))], 1)


# Each part of a run is read once.


@pytest.mark.simulates
def test_an_audit_parses_run_json_once_and_opens_every_shard_once(
    kept_run: Path, opened_files: Counter[str]
) -> None:
    found = sandbox.audit(kept_run, confidence=0.5, fraction=0.5)
    assert found.report.faults == []
    assert found.report.episodes == 5
    assert len(shards(kept_run)) == 3
    assert opened_once(opened_files, kept_run), opened_files


def test_verifying_parses_run_json_once_and_opens_every_shard_once(
    kept_run: Path, opened_files: Counter[str]
) -> None:
    assert sandbox.verify(kept_run).faults == []
    assert opened_once(opened_files, kept_run), opened_files


@pytest.mark.simulates
def test_generating_a_finished_run_parses_run_json_once_and_opens_every_shard_once(
    kept_run: Path, opened_files: Counter[str]
) -> None:
    bill = sandbox.generate(WANTED, kept_run)
    assert bill.already == bill.episodes == 5
    assert opened_once(opened_files, kept_run), opened_files


def test_a_folder_that_is_asked_for_everything_opens_each_file_once(
    kept_run: Path, opened_files: Counter[str]
) -> None:
    folder = sandbox.open_run(kept_run)
    for _ in range(2):
        assert len(list(folder.records())) == len(folder.kept().records) == folder.count() == 5
        assert [int(one.rows["episode_idx"][0]) for one in folder.episodes()] == [0, 1, 2, 3, 4]
        assert (folder.episode(3).record["episode"], folder.recipe.episodes) == (3, 5)
    folder.close()
    assert opened_once(opened_files, kept_run), opened_files


# What is read is strict, and stays as it was written.


@pytest.fixture(params=["record", "identity"])
def parsed(request: pytest.FixtureRequest, kept_run: Path) -> tuple[Any, dict[str, Any]]:
    """A function that parses plain JSON strictly, and JSON that it takes."""
    folder = Folder(kept_run)
    if request.param == "record":
        return Record.parse, dict(next(folder.records()).plain)
    return (lambda data: Identity.parse(data, "run.json")), dict(folder.identity.plain)


def test_what_was_parsed_is_kept_as_the_very_object_that_it_was(
    parsed: tuple[Any, dict[str, Any]],
) -> None:
    parse, data = parsed
    assert parse(data).plain is data
    backwards = dict(reversed(data.items()))
    assert list(parse(backwards).plain) == list(reversed(data))
    assert parse(data).leaf == parse(backwards).leaf == log.leaf(data)


def test_a_key_that_this_version_does_not_know_is_kept_and_changes_the_leaf(
    parsed: tuple[Any, dict[str, Any]],
) -> None:
    parse, data = parsed
    more = parse({**data, "weather": ["rain"]})
    assert more.plain["weather"] == ["rain"]
    assert more.leaf != parse(data).leaf


def test_a_missing_key_is_refused_by_its_name(parsed: tuple[Any, dict[str, Any]]) -> None:
    parse, data = parsed
    for key in data:
        if key in ("branch", "digest"):  # Not every record has them.
            continue
        less = {name: value for name, value in data.items() if name != key}
        says = "not of run format" if key == "format" else f"{key}: is missing"
        with pytest.raises(FormatError, match=says):
            parse(less)


def test_a_value_of_another_type_is_refused_by_its_key(parsed: tuple[Any, dict[str, Any]]) -> None:
    parse, data = parsed
    for key, value in data.items():
        wrong: Any = 7 if isinstance(value, str | dict | list) or value is None else str(value)
        says = "not of run format" if key == "format" else rf"{key}\b"
        with pytest.raises(FormatError, match=says):
            parse({**data, key: wrong})


@pytest.mark.parametrize("value", [1.0, True, "3", None, [3]])
def test_a_number_of_steps_that_is_no_whole_number_is_refused(
    kept_run: Path, value: object
) -> None:
    data = dict(next(Folder(kept_run).records()).plain)
    with pytest.raises(FormatError, match=r"its record: steps: must be a whole number, not "):
        Record.parse({**data, "steps": value})


def test_a_record_cannot_be_changed(kept_run: Path) -> None:
    record = next(Folder(kept_run).records())
    with pytest.raises(ValueError, match="frozen"):
        record.steps = 3  # pyright: ignore[reportAttributeAccessIssue]


# Episodes by their number.


def test_an_episode_is_found_by_its_number_or_refused(kept_run: Path) -> None:
    folder = Folder(kept_run)
    for number in (4, 0, 3):
        episode = folder.episode(number)
        assert episode.record["episode"] == int(episode.rows["episode_idx"][0]) == number
    for number in (-1, 5):
        with pytest.raises(InvalidInputError, match=f"episode {number}: the run has 0 to 4"):
            folder.episode(number)


def test_an_episode_of_a_run_with_gaps_is_found_by_its_number(
    kept_run: Path, tmp_path: Path
) -> None:
    """Two workers fill its shards at once: the second has finished before the first."""
    copy = Path(shutil.copytree(kept_run, tmp_path / "run"))
    (copy / "manifest.json").unlink()
    first = shards(copy)[0]
    with ShardReader(first) as reader:
        schema, header, one = reader.schema, reader.header, reader.read(0)
    first.unlink()
    record = {key: value for key, value in one.record.items() if key != "digest"}
    writer = ShardWriter(first, schema, header, sync=False)
    writer.append(Episode(one.rows, record))
    writer.abandon()
    folder = Folder(copy)
    assert folder.count() == 4
    for number in (0, 2, 3, 4):
        assert folder.episode(number).record["episode"] == number
    with pytest.raises(InvalidInputError, match="episode 1: not kept yet"):
        folder.episode(1)
    kept = folder.kept()
    assert [record.episode for record in kept.records] == [0]  # Up to the first that is missing.
    assert [usage.episode for usage in kept.usages] == [0, 2, 3, 4]
    assert kept.growing


def test_another_episode_in_the_place_of_one_is_refused_in_a_finished_run(
    kept_run: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(kept_run, tmp_path / "run"))
    first, second, _ = shards(copy)
    shutil.copy(second, first)
    with pytest.raises(FormatError, match="another episode stands where 0 should be"):
        Folder(copy).episode(0)


def test_a_run_that_was_read_goes_into_another_process(tmp_path: Path) -> None:
    sandbox.generate(recipe(episodes=1), tmp_path / "run")
    run = sandbox.open_run(tmp_path / "run")
    whole = run.episode(0)
    for other in (pickle.loads(pickle.dumps(run)), copy.deepcopy(run)):
        assert other.episode(0).digest == whole.digest
