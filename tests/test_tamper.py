"""Whatever is changed in a run, its log or its ledger, `verify` fails and says where.

The long version (SANDBOX_SOAK=1, `make soak`) flips every byte; the short one every some.
"""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from running import cli, content, opened, recipe

import sandbox
from sandbox import content as places
from sandbox import jsonfile
from sandbox.errors import FormatError
from sandbox.evidence import keys, log
from sandbox.evidence.note import SigningKey
from sandbox.ledger import Ledger, Usage, charge_id
from sandbox.run.folder import BOOKING, Folder
from sandbox.trajectory import Episode, ShardReader, ShardWriter, shards
from sandbox.verification.report import Report
from sandbox.verification.trust import Trust

SOAK = "SANDBOX_SOAK" in os.environ
FLIPS = 100_000_000 if SOAK else 30  # Of a file, at most.
EPISODES = 4


def generate(folder: Path, seed: int = 5, key: SigningKey | None = None) -> None:
    wanted = recipe("billiards", episodes=EPISODES, seed=seed, compression="none", shard_episodes=2)
    with opened(wanted, folder, key) as run:  # Unsigned without a key, whatever keys there are.
        run.generate()


@pytest.fixture(scope="module")
def signed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed run, another one, and their ledger and keys."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(folder / "home"))
        key = keys.new()
        generate(folder / "run", key=key)
        generate(folder / "other", seed=6, key=key)
    return folder


@pytest.fixture
def signed_run(signed_folder: Path, tmp_path: Path) -> Path:
    for name in ("home", "run", "other"):
        shutil.copytree(signed_folder / name, tmp_path / name)
    return tmp_path / "run"


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed run of one episode, small enough to flip each of its bytes."""
    folder = tmp_path_factory.mktemp("one")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(folder / "home"))
        sandbox.generate(recipe(episodes=1), folder / "run", key=keys.new())
    return folder


@pytest.fixture
def small_run(small_folder: Path, tmp_path: Path) -> Path:
    for name in ("home", "run"):
        shutil.copytree(small_folder / name, tmp_path / name)
    return tmp_path / "run"


def check(run: Path, published: str | None = None) -> Report:
    """Everything but the replay."""
    required = {"signed": True, "charged": True}
    trust = Trust(Ledger(read_only=True), keys.trusted(), published=published, **required)
    return sandbox.verify(run, sample=0, trust=trust)


def test_what_nobody_touched_verifies_and_says_what_it_did_not_check(signed_run: Path) -> None:
    before = content(signed_run)
    report = check(signed_run)
    assert report.faults == []
    assert len(report.checked) == 3
    assert report.notes == ["4 of 4 episodes were not simulated again."]
    assert content(signed_run) == before


FILES = ["run.json", "manifest.json", "log", "checkpoint", BOOKING]
FILES += ["shards/shard-00000.h5", "shards/shard-00000.episodes.jsonl"]


@pytest.mark.timeout(0 if SOAK else 600)
@pytest.mark.parametrize("name", FILES)
def test_every_flipped_byte_of_a_run_is_noticed(small_run: Path, name: str) -> None:
    run, path = small_run, small_run / name
    data = path.read_bytes()
    places_in = range(len(data))
    chance = random.Random(name)
    for place in places_in if len(data) <= FLIPS else chance.sample(places_in, FLIPS):
        flipped = bytearray(data)
        flipped[place] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        faults = faults_of(run)
        named = Path(name).stem.removeprefix(".")
        if name == BOOKING and not faults:  # Under what name credit was held is no promise.
            booking = Folder(run).booking()
            assert booking is not None
            assert booking.ledger == json.loads(data)["ledger"]
        else:
            assert any(named in fault or "ledger" in fault for fault in faults), (place, faults)


def faults_of(run: Path) -> list[str]:
    """What is wrong with a run; a run.json that cannot be read is an error, not a report."""
    try:
        return check(run).faults
    except FormatError as error:
        return [str(error)]


@pytest.mark.timeout(0 if SOAK else 600)
def test_every_flipped_byte_of_the_ledger_is_noticed_or_changes_nothing(small_run: Path) -> None:
    run = small_run
    path = places.home() / "ledger.db"
    data = path.read_bytes()
    whole = rows(path)
    assert all(whole)  # Nothing waits beside the file, where no flip would reach it.
    chance = random.Random(0)
    places_in = range(len(data))
    unnoticed = 0
    for place in places_in if SOAK else chance.sample(places_in, 100):
        flipped = bytearray(data)
        flipped[place] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        path.with_name("ledger.checked.json").unlink(missing_ok=True)  # Trust no part of it.
        if not check(run).faults:
            unnoticed += 1
            assert rows(path) == whole, place
    assert unnoticed < len(data)


def test_an_account_renamed_behind_its_index_is_noticed(book: Ledger) -> None:
    """Found among all flipped bytes: the index said the name that was expected."""
    book.grant("tribe", 5)
    faults, point = book.checked(None)
    assert (faults, book.checked(point)[0]) == ([], [])
    book.close()
    data = book.path.read_bytes()
    renamed = 0
    for place in (n for n in range(len(data)) if data.startswith(b"tribe", n)):
        book.path.write_bytes(data[:place] + b"bribe" + data[place + 5 :])
        if rows(book.path)[1] == [("bribe", "prepaid", 0)]:
            renamed += 1
            assert Ledger(book.path, read_only=True).checked(point)[0] == [
                "the accounts are not those that were opened."
            ]
    assert renamed == 1


def rows(path: Path) -> list[Any]:
    """Everything that a ledger says."""
    connection = apsw.Connection(f"{path.as_uri()}?immutable=1", flags=65)
    tables = ("ledger", "account", "transfer", "entry")
    return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables]


# Whoever changes what an episode says, consistently with more and more of the rest.

Change = Callable[[list[Episode]], list[Episode]]


def edited(episodes: list[Episode]) -> list[Episode]:
    """Reward for nothing."""
    reward = episodes[1].rows["reward"].copy()
    reward[7] += 1.0
    changed = Episode({**episodes[1].rows, "reward": reward}, episodes[1].record)
    return [episodes[0], changed, *episodes[2:]]


CHANGES: dict[str, Change] = {
    "edit": edited,
    "delete": lambda e: [e[0], *e[2:]],
    "duplicate": lambda e: [e[0], e[0], *e[2:]],
    "swap": lambda e: [e[1], e[0], *e[2:]],
    "truncate": lambda e: e[:-1],
    "append": lambda e: [*e, e[-1]],
}


def forge(run: Path, change: Change) -> None:
    """Write the shards anew with other episodes, digests and all."""
    every: list[Episode] = []
    for path in shards(run):
        with ShardReader(path) as reader:
            every += [reader.read(n) for n in range(len(reader))]
            schema, header = reader.schema, reader.header
    lies = change(every)
    for number, path in enumerate(shards(run)):
        path.unlink()
        with ShardWriter(path, schema, {**header, "shard": number}, "none", sync=False) as writer:
            mine = lies[2 * number : 2 * number + 2] if number == 0 else lies[2:]
            for episode in mine:
                record = {k: v for k, v in episode.record.items() if k != "digest"}
                writer.append(Episode(episode.rows, record))


def forge_manifest(run: Path) -> None:
    folder = Folder(run)
    kept = folder.kept()
    jsonfile.write(run / "manifest.json", folder.manifest(kept.records, kept.usages))


def forge_log(run: Path, key: SigningKey | None) -> None:
    folder = Folder(run)
    manifest = json.loads((run / "manifest.json").read_text())
    leaves = [*folder.leaves(folder.kept().leaves), log.leaf(manifest)]
    for name in ("log", "checkpoint"):
        (run / name).unlink()
    log.append(run, leaves)
    log.write_checkpoint(run, log.checkpoint(folder.run, leaves), key)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("depth", ["shards", "manifest", "log", "signed by another"])
def test_a_forgery_is_noticed_however_much_of_the_rest_is_forged_too(
    signed_run: Path, change: str, depth: str
) -> None:
    forge(signed_run, CHANGES[change])
    if depth != "shards":
        forge_manifest(signed_run)
    if depth in ("log", "signed by another"):
        forge_log(signed_run, SigningKey.new("default") if depth == "signed by another" else None)
    faults = check(signed_run).faults
    said = "\n".join(faults)
    if depth == "shards":
        assert "its bytes are not those that the manifest names" in said
    elif depth == "manifest":
        assert "log: line" in said
    elif depth == "log":
        assert "checkpoint: not signed" in said
    else:
        assert "checkpoint: signed by default" in said
        assert "by no key that is required" in said
    if change == "truncate":
        assert "3 episodes where the recipe says 4" in said
    elif change == "edit":
        assert "ledger: the charge of episode 1: evidence" in said
    elif change != "append":
        assert any("episode" in fault and "stands where" in fault for fault in faults), said
    else:
        assert "5 episodes where the recipe says 4" in said


def test_a_spliced_shard_of_another_run_is_noticed(signed_run: Path) -> None:
    shutil.copy(shards(signed_run.parent / "other")[1], shards(signed_run)[1])
    faults = check(signed_run).faults
    assert any("shard-00001.h5: belongs to another run" in fault for fault in faults)
    assert any("episode 2: belongs to the run" in fault for fault in faults)


def test_the_log_and_checkpoint_of_another_run_are_noticed(signed_run: Path) -> None:
    for name in ("log", "checkpoint"):
        shutil.copy(signed_run.parent / "other" / name, signed_run / name)
    faults = check(signed_run).faults
    assert any("log: line 1" in fault and "run.json" in fault for fault in faults)
    assert any(fault.startswith("checkpoint: says") for fault in faults)


def test_a_published_checkpoint_tells_rewritten_from_appended(signed_run: Path) -> None:
    key, folder = keys.load(), Folder(signed_run)
    leaves = folder.leaves(folder.kept().leaves)
    early = log.checkpoint(folder.run, leaves[:3])
    assert any(
        "3 entries; 3 were appended since" in t for t in check(signed_run, early.text).checked
    )
    forge(signed_run, edited)
    forge_manifest(signed_run)
    forge_log(signed_run, key)  # A stolen key: the signature holds.
    assert not any("checkpoint: " in fault for fault in check(signed_run).faults)
    assert any("were rewritten" in fault for fault in check(signed_run, early.text).faults)
    other = log.checkpoint("another", leaves[:3])
    assert any("of another log" in fault for fault in check(signed_run, other.text).faults)


def test_a_charge_without_an_episode_and_an_episode_without_a_charge_are_noticed(
    signed_run: Path,
) -> None:
    book, name = Ledger(), json.loads((signed_run / "run.json").read_text())["run"]
    book.post("local", [Usage(charge_id(name, 9), {"reset": 1}, "1", "e" * 64, name, 9)])
    book.close()
    assert any("charged for episode 9, which is not there" in f for f in check(signed_run).faults)
    (places.home() / "ledger.db").unlink()
    Ledger().account("local")
    known = json.loads((signed_run / BOOKING).read_text())
    jsonfile.write(signed_run / BOOKING, {**known, "ledger": Ledger().id})
    assert "ledger: episodes 0, 1, 2, 3 were not charged." in check(signed_run).faults


def test_another_ledger_or_none_is_said(signed_run: Path, tmp_path: Path) -> None:
    home = places.home()
    shutil.move(home / "ledger.db", tmp_path / "moved.db")
    assert any("there is no ledger here" in fault for fault in check(signed_run).faults)
    Ledger().account("local")
    assert any("--no-ledger" in fault for fault in check(signed_run).faults)
    trust = Trust(None, keys.trusted(), signed=True)
    report = sandbox.verify(signed_run, sample=0, trust=trust)
    assert report.faults == []
    assert "charges were not compared with a ledger." in report.notes


def test_a_signature_stays_when_nobody_signs_again(signed_run: Path) -> None:
    before = content(signed_run)
    generate(signed_run)
    assert content(signed_run) == before


def test_a_missing_signature_is_a_fault_where_one_is_required_and_else_a_note(
    signed_run: Path,
) -> None:
    path = signed_run / log.CHECKPOINT
    path.write_bytes(path.read_bytes().split(b"\n\n")[0] + b"\n")
    for command in (("verify", "--sample", "0"), ("audit", "--fraction", "0.9")):
        done = cli(command[0], signed_run, *command[1:], "--key", "default")
        assert (done.returncode, "checkpoint: not signed, and a" in done.stdout) == (1, True)
        done = cli(command[0], signed_run, *command[1:])
        assert (done.returncode, "not signed: anybody could have" in done.stdout) == (0, True)


@pytest.mark.parametrize("signed", [True, False])
def test_nothing_can_be_appended_to_a_checkpoint_but_others_signatures(
    signed_run: Path, signed: bool
) -> None:
    path = signed_run / log.CHECKPOINT
    body, _, signature = path.read_text().partition("\n\n")
    end = f"\n\n{signature}" if signed else "\n"
    trust = Trust(Ledger(read_only=True), keys.trusted())
    path.write_text(f"{body}\nan extension{end}")
    faults = sandbox.verify(signed_run, sample=0, trust=trust).faults
    assert any("checkpoint" in fault for fault in faults)
    if signed:
        path.write_text(f"{body}{end}\N{EM DASH} witness AAAAAAAAAAAA\n")
        report = sandbox.verify(signed_run, sample=0, trust=trust)
        assert report.faults == []
        assert any("signature of witness+00000000 was not checked" in n for n in report.notes)


@pytest.mark.parametrize(
    "name", ["run.json", "manifest.json", "log", "checkpoint", "shards/shard-00000.h5"]
)
@pytest.mark.parametrize("change", ["cut", "empty", "longer", "twice"])
def test_a_file_that_is_cut_emptied_or_longer_is_noticed(
    signed_run: Path, name: str, change: str
) -> None:
    data = (signed_run / name).read_bytes()
    made = {"cut": data[:-1], "empty": b"", "longer": data + b"\n", "twice": data + data}
    (signed_run / name).write_bytes(made[change])
    try:
        faults = check(signed_run).faults
    except FormatError as error:
        faults = [str(error)]
    assert any(Path(name).name in fault for fault in faults), faults


def test_what_was_given_back_and_what_others_paid_is_noted(signed_run: Path) -> None:
    book, name = Ledger(), json.loads((signed_run / "run.json").read_text())["run"]
    book.refund(charge_id(name, 1))
    parent = "p" * 64
    other = Usage(charge_id(name, 0, parent), {"pixel": 10}, "1", "e" * 64, name, 0, parent)
    book.post("local", [other])
    report = check(signed_run)
    assert report.faults == []
    assert any("were given back in 1 refunds" in text for text in report.notes)
    assert any("0.0005 credits were charged for 1 episodes" in text for text in report.notes)


def test_another_name_price_or_scenario_in_run_json_is_noticed(signed_run: Path) -> None:
    key, known = keys.load(), json.loads((signed_run / "run.json").read_text())
    wrong = {
        "run": "f" * 64,
        "prices": "0" * 64,
        "scenario": {**known["scenario"], "summary": "certified"},
        "price_version": "99",
        "code": "0" * 64,
    }
    for name, value in wrong.items():
        jsonfile.write(signed_run / "run.json", {**known, name: value})
        forge_log(signed_run, key)
        assert any("run.json: " in fault for fault in check(signed_run).faults), name
