"""Runs made of the episodes of others: subset, merge, split, recompress, with proof of each."""

import inspect
import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import h5py
import numpy as np
import pytest
from running import cli, content, recipe

import sandbox
from sandbox import digest, jsonfile
from sandbox.dataset.filters import Choice
from sandbox.errors import FormatError, InvalidInputError, RunConflictError, SandboxError
from sandbox.evidence import keys, log, merkle
from sandbox.evidence.parts import Part
from sandbox.ledger import Ledger
from sandbox.run import deriving
from sandbox.run.derived import DERIVED
from sandbox.run.folder import MANIFEST, Folder
from sandbox.trajectory import ShardWriter
from sandbox.verification.report import Report
from sandbox.verification.trust import Trust

WANTED = recipe(
    "cartpole_swingup", episodes=7, shard_episodes=3, policies={"random": 1.0, "ou_noise": 1.0}
)


@pytest.fixture(scope="module")
def origins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two signed runs of one schema, one of which was extended, and a subset."""
    home = tmp_path_factory.mktemp("derived")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(home / "home"))
        keys.new()
        sandbox.generate(WANTED, home / "one")
        sandbox.generate(WANTED, home / "two", seed=6, episodes=3)
        sandbox.extend(home / "two", 5)
        sandbox.subset(home / "one", home / "some", policy="ou_noise")
        sandbox.merge([home / "one", home / "two"], home / "all", compression="none")
    return home


@pytest.fixture
def place(origins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of these."""
    found = shutil.copytree(origins, tmp_path / "place")
    monkeypatch.setenv("SANDBOX_HOME", str(found / "home"))
    return found


def alone(run: Path) -> Path:
    """A derived run where nothing else is."""
    return shutil.copytree(run, run.parent.parent / "elsewhere" / run.name)


def verified(run: Path, **keywords: Any) -> Report:
    trust = Trust(None, keys.trusted(), signed=True)
    return sandbox.verify(run, trust=trust, **keywords)


def rows_of(run: Path) -> dict[tuple[str, int], bytes]:
    return {
        (one.record["run"], one.record["episode"]): b"".join(
            one.rows[name].tobytes() for name in sorted(one.rows)
        )
        + digest.encode_plain(one.record)
        for one in Folder(run).episodes()
    }


@pytest.mark.parametrize("size", [1, 2, 5, 8, 13])
def test_a_part_of_a_tree_gives_its_root_and_no_other(size: int) -> None:
    leaves = [merkle.leaf_hash(bytes([n])) for n in range(size)]
    root = merkle.root(leaves)
    for mask in range(1 << min(size, 8)):
        places = [n for n in range(size) if mask >> n & 1]
        part = Part.of(leaves, places)
        assert part.root() == root
        assert part.narrowed(places[::2]) == Part.of(leaves, places[::2])
        if places:
            changed = Part(size, {**part.leaves, places[0]: bytes(32)}, part.nodes)
            assert changed.root() != root
        if part.nodes:
            with pytest.raises(FormatError, match="lacks a hash"):
                Part(size, part.leaves, part.nodes[1:]).root()
        with pytest.raises(FormatError, match="more hashes"):
            Part(size, part.leaves, (*part.nodes, bytes(32))).root()
    with pytest.raises(InvalidInputError, match="does not have it"):
        Part.of(leaves, [0]).narrowed([size])


@pytest.mark.simulates
def test_a_subset_keeps_records_and_rows_and_is_verified_without_its_origin(place: Path) -> None:
    some = alone(place / "some")
    mine, theirs = rows_of(some), rows_of(place / "one")
    assert 0 < len(mine) < len(theirs)
    assert all(theirs[name] == rows for name, rows in mine.items())
    report = verified(some)
    assert report.faults == []
    assert (report.episodes, report.replayed) == (len(mine), len(mine))
    assert any(f"{len(mine)} episodes are in the log" in text for text in report.checked)
    assert verified(some, sample=1, workers=2).replayed == 1
    dataset = sandbox.Dataset(some)
    assert set(dataset.facts.texts("policy")) == {"ou_noise"}
    assert len(sandbox.Windows(some, columns=["state"], length=4)) > 0
    assert sandbox.open_run(some).episode(0).record["policy"] == "ou_noise"


def test_nothing_is_charged_and_nothing_else_is_written(place: Path) -> None:
    before, booked = content(place / "one"), Ledger().balance("local")
    made = sandbox.subset(place / "one", place / "few", where=lambda record: record.episode > 4)
    assert (made.episodes, content(place / "one")) == (2, before)
    assert Ledger().balance("local") == booked


@pytest.mark.simulates
def test_merged_runs_follow_to_the_log_of_each_also_of_one_that_was_extended(place: Path) -> None:
    every = alone(place / "all")
    assert rows_of(every) == rows_of(place / "one") | rows_of(place / "two")
    report = verified(every)
    assert (report.faults, report.episodes, report.replayed) == ([], 12, 12)
    sandbox.merge([place / "two", place / "one"], place / "again", compression="none")
    assert content(place / "again") == content(place / "all"), "the order of paths does not count"


@pytest.mark.simulates
def test_a_derived_run_of_derived_runs_follows_to_the_same_logs(place: Path) -> None:
    sandbox.split(place / "all", place / "parts", fraction=0.5, seed=1, twins="skip")
    train, val = place / "parts" / "train", place / "parts" / "val"
    assert {*rows_of(train)} & {*rows_of(val)} == set()
    for part in (train, val):
        assert verified(part, sample=1).faults == []
    sandbox.merge([train, val], place / "joined")
    joined = alone(place / "joined")
    assert rows_of(joined) == rows_of(place / "all")
    assert verified(joined).faults == []
    with pytest.raises(InvalidInputError, match="and so has"):
        sandbox.merge([train, place / "one"], place / "twice")
    assert not (place / "twice").exists()


def test_recompressed_and_back_has_the_same_rows(place: Path) -> None:
    for kind in ("none", "gzip"):
        sandbox.recompress(place / "one", place / kind, kind)
        assert rows_of(place / kind) == rows_of(place / "one")
        assert verified(place / kind, sample=0).faults == []
    with h5py.File(place / "none" / "shards" / "shard-00000.h5") as file:
        assert file["state"].chunks is None
    with pytest.raises(SandboxError, match="compression"):
        sandbox.recompress(place / "one", place / "odd", "lzma")


def test_runs_of_other_columns_are_not_merged(place: Path) -> None:
    sandbox.generate(WANTED, place / "named", episodes=2, seed=7)
    sandbox.generate(recipe(observation=["proprio", "factors"], seed=8), place / "more")
    with pytest.raises(FormatError, match="factors"):
        sandbox.merge([place / "named", place / "more"], place / "mixed")
    assert not (place / "mixed").exists()


# Forgeries: whoever makes one has no key of the origin, and a key of their own at most.


def rewrite(run: Path, change: Callable[[list[Any]], list[Any]]) -> None:
    """Write a derived run with other episodes, and all that follows from them anew."""
    folder = Folder(run)
    known = folder.derived
    assert known is not None
    episodes = list(zip(known.episodes, folder.episodes(), strict=True))
    schema = folder.shards()[0].reader.schema
    folder.close()
    changed = change(episodes)
    made = type(known).of(
        known.how, known.homes, [one[0] for one in changed], known.compression, 1000
    )
    shutil.rmtree(run / "shards")
    (run / "shards").mkdir()
    header = {"run": made.run, "shard": 0}
    with ShardWriter(run / "shards" / "shard-00000.h5", schema, header, "none") as writer:
        for _, episode in changed:
            writer.append(episode)
    jsonfile.write(run / DERIVED, made.plain)
    resign(run)


def resign(run: Path) -> None:
    """Make log, checkpoint and manifest of a derived run say what it holds."""
    folder = Folder(run)
    assert folder.derived is not None
    manifest = deriving.of_folder(folder)
    leaves = [folder.derived.leaf, *(one.leaf for one in folder.records()), log.leaf(manifest)]
    (run / "log").unlink()
    log.append(run, leaves)
    log.write_checkpoint(run, log.checkpoint(folder.derived.run, leaves), keys.default())
    jsonfile.write(run / MANIFEST, manifest)
    folder.close()


def row_changed(episodes: list[Any]) -> list[Any]:
    pair, one = episodes[2]
    rows = {name: column.copy() for name, column in one.rows.items()}
    rows["state"][3] += 1e-9
    return [*episodes[:2], (pair, type(one)(rows, one.record)), *episodes[3:]]


def row_left_out(episodes: list[Any]) -> list[Any]:
    pair, one = episodes[0]
    rows = {name: np.delete(column, 4, axis=0) for name, column in one.rows.items()}
    rows["step_idx"] = np.arange(len(rows["step_idx"]), dtype=np.int32)
    record = {
        **one.record,
        "charge_micro": int(rows["charge"].sum()),
        "steps": len(rows["run"]) - 1,
    }
    return [(pair, type(one)(rows, record)), *episodes[1:]]


def record_changed(episodes: list[Any]) -> list[Any]:
    pair, one = episodes[1]
    return [
        episodes[0],
        (pair, type(one)(one.rows, {**one.record, "success": True})),
        *episodes[2:],
    ]


FORGERIES: dict[str, Callable[[list[Any]], list[Any]]] = {
    "a row is another": row_changed,
    "a row is left out": row_left_out,
    "a record is another": record_changed,
    "two are exchanged": lambda them: [
        (them[1][0], them[0][1]),
        (them[0][0], them[1][1]),
        *them[2:],
    ],
    "one is there twice": lambda them: [*them, them[0]],
    "one is of another origin": lambda them: [((1, them[0][0][1]), them[0][1]), *them[1:]],
}


@pytest.mark.parametrize("what", FORGERIES)
def test_a_forgery_fails_though_all_that_is_its_own_was_signed_again(
    place: Path, what: str
) -> None:
    rewrite(place / "all", lambda them: them)
    assert verified(place / "all", sample=0).faults == []
    rewrite(place / "all", FORGERIES[what])
    assert verified(place / "all", sample=0).faults


def test_an_episode_left_out_of_the_shards_fails(place: Path) -> None:
    run = place / "all"
    before = jsonfile.read(run / DERIVED).data
    rewrite(run, lambda them: [*them[:3], *them[4:]])
    assert any("lacks a hash" in fault for fault in verified(run, sample=0).faults)
    assert jsonfile.read(run / DERIVED).data["run"] != before["run"]
    jsonfile.write(run / DERIVED, before)
    resign(run)
    assert verified(run, sample=0).faults


def test_no_value_of_the_evidence_can_be_another(place: Path) -> None:
    run = place / "all"
    for path in (run / DERIVED, run / "origins" / "00001.json", run / MANIFEST):
        known = path.read_text()
        data = json.loads(known)
        for key, value in data.items():
            for other in changes(value):
                jsonfile.write(path, {**data, key: other})
                assert faulty(run), f"{path.name}: {key} is {str(other)[:80]}"
        path.write_text(known)
    assert verified(run, sample=0).faults == []


def changes(value: Any) -> list[Any]:
    match value:
        case int():
            return [value + 1]
        case str():
            return ["none" if value == "gzip" else "gzip", value[:-1]]
        case list() if value:
            return [value[:-1], [*value, value[-1]], [*changes(value[0])[:1], *value[1:]]]
        case dict() if value:
            name = min(value)
            return [{**value, name: other} for other in changes(value[name])[:1]]
        case _:
            return [{"a": 1} if isinstance(value, dict) else [1]]


def faulty(run: Path) -> bool:
    try:
        return bool(verified(run, sample=0).faults)
    except FormatError:
        return True


def test_the_origin_must_be_signed_where_a_signature_is_required(place: Path) -> None:
    keys.new("mine")
    sandbox.subset(place / "one", place / "few", policy="random", key=keys.load("mine"))
    theirs, mine = keys.load("default").verifier, keys.load("mine").verifier
    for known, fault in ((mine, "origin 0"), (theirs, "checkpoint")):
        report = sandbox.verify(place / "few", sample=0, trust=Trust(None, [known], signed=True))
        assert any(fault in text for text in report.faults), report.faults
    both = Trust(None, [mine, theirs], signed=True)
    assert sandbox.verify(place / "few", sample=0, trust=both).faults == []


def dying(real: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    """A function that kills its process when it is called, and others like it, often enough."""

    def call(*args: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)

    return call


@pytest.mark.parametrize("call", [1, 2, 4, 6, 8])
def test_a_kill_leaves_a_folder_that_the_same_call_finishes(place: Path, call: int) -> None:
    child = os.fork()
    if child == 0:
        try:
            left = [call]
            for owner, name in ((jsonfile, "write"), (ShardWriter, "commit"), (log, "append")):
                setattr(owner, name, dying(getattr(owner, name), left))
            sandbox.merge([place / "one", place / "two"], place / "out", compression="none")
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    sandbox.merge([place / "one", place / "two"], place / "out", compression="none")
    assert content(place / "out") == content(place / "all")


def test_a_folder_of_something_else_is_left_as_it_is(place: Path) -> None:
    for out in (place / "some", place / "two", place):
        before = content(out)
        with pytest.raises(RunConflictError, match="Nothing was done"):
            sandbox.subset(place / "one", out, policy="random")
        assert content(out) == before
    with pytest.raises(SandboxError):
        sandbox.subset(place / "one", place / "one")


def test_what_the_log_does_not_have_is_not_taken(place: Path) -> None:
    run = place / "one"
    lines = (run / "log").read_bytes()
    (run / "log").write_bytes(lines[: 65 * 4])
    with pytest.raises(FormatError, match="sandbox settle"):
        sandbox.subset(run, place / "few")
    assert not (place / "few").exists()


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("extend", "--episodes", "99"), marks=pytest.mark.simulates),
        pytest.param(("render", "--out", "drawn"), marks=pytest.mark.simulates),
        pytest.param(
            ("branch", "--episode", "0", "--step", "1", "--with", "noop", "--out", "other"),
            marks=pytest.mark.simulates,
        ),
        ("settle",),
        ("audit",),
        ("prove", "--episode", "0", "--out", "proof.json"),
    ],
)
def test_what_needs_a_recipe_refuses_a_derived_run_in_one_line(
    place: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    before = content(place / "all")
    done = cli(command[0], place / "all", *command[1:])
    assert (done.returncode, done.stdout) == (2, "")
    assert "was derived from other runs" in done.stderr
    assert content(place / "all") == before


@pytest.mark.simulates
def test_the_command_line_derives_and_looks(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    asked = ("--policy", "random", "--where", "steps>=5", "--where", "episode != 0", "--json")
    done = cli("subset", "one", *asked, "--out", "few")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["origins"] == [Folder(place / "one").run]
    for record in Folder(place / "few").records():
        assert record.policy == "random"
        assert record.episode
    assert cli("merge", "one", "two", "--out", "both").returncode == 0
    assert cli("split", "one", "--out", "parts", "--fraction", "0.5").returncode == 0
    assert cli("recompress", "one", "--compression", "gzip", "--out", "gz").returncode == 0
    for run in ("few", "both", "parts/train", "parts/val", "gz"):
        assert cli("verify", run, "--sample", "0", "--key", "default").returncode == 0
        assert cli("inspect", run).returncode == 0
    done = cli("coverage", "both", "--json")
    assert json.loads(done.stdout)["episodes"] == 12, done.stderr
    assert cli("preview", "few", "--out", "sheet", "--episodes", "1").returncode == 0
    assert cli("preview", "both", "--out", "sheets", "--episodes", "2").returncode == 0
    assert cli("generate", "push_t_demo", "--out", "few").returncode == 2


@pytest.mark.parametrize(
    "words",
    [
        ("--where", "steps"),
        ("--where", "nothing==1"),
        ("--where", "policy>1"),
        ("--where", "steps<0"),
        ("--factor", "pole_mass_kg"),
        ("--policy", "none"),
        ("--compression", "lzma"),
    ],
)
def test_a_choice_that_is_none_is_one_line_and_nothing_is_written(
    place: Path, words: tuple[str, ...]
) -> None:
    done = cli("subset", place / "one", *words, "--out", place / "few")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("error:") == 1
    assert not (place / "few").exists()


@pytest.mark.parametrize("chooses", [sandbox.Dataset, sandbox.Dataset.select, sandbox.subset])
def test_whatever_chooses_episodes_takes_the_filters_of_a_choice(chooses: Any) -> None:
    taken = inspect.signature(chooses, eval_str=True).parameters
    for one in fields(Choice):
        assert taken[one.name].default is None
        assert taken[one.name].annotation == get_type_hints(Choice)[one.name], one.name
    own = {"self", "path", "columns", "runs", "out", "how", "compression", "key", "progress"}
    assert {*taken} - own == {one.name for one in fields(Choice)}
