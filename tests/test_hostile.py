"""What a stranger may hand over: every way in refuses it in one line, and writes nowhere else."""

import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import fuzzing
import h5py
import pytest
from running import SHORT, cli, file_of, python, recipe

import sandbox
from sandbox import jsonfile
from sandbox.errors import InvalidInputError, SandboxError
from sandbox.evidence import keys
from sandbox.ledger import Ledger
from sandbox.run import recipe as recipes

GOOD = "format: 1\nenvironment: billiards\npolicies: {random: 1}\nepisodes: 3\n"


@pytest.fixture(scope="module")
def handed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run that a stranger made, in two shards."""
    path = tmp_path_factory.mktemp("hostile") / "run"
    before, os.environ["SANDBOX_HOME"] = os.environ.get("SANDBOX_HOME"), str(path.parent / "home")
    sandbox.generate(recipe("billiards", shard_episodes=2), path)
    yield path
    os.environ.pop("SANDBOX_HOME")
    if before is not None:
        os.environ["SANDBOX_HOME"] = before


@pytest.fixture
def copied(handed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be changed, where the ledger is that charged it."""
    monkeypatch.setenv("SANDBOX_HOME", str(handed.parent / "home"))
    return shutil.copytree(handed, tmp_path / "copied")


FILES = ("run.json", "manifest.json", "log", "checkpoint", ".ledger.json", "shards/shard-00000.h5")
FILES += ("shards/shard-00000.episodes.jsonl",)
SMALL = ("--image-size", "16", "--episodes", "1")
COMMANDS = (("settle",), ("inspect",), ("preview", *SMALL))
SOAK = "SANDBOX_SOAK" in os.environ  # The long version tries every command on every one.


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("form", fuzzing.FORMS)
def test_a_file_of_a_run_that_is_none_is_refused_at_once(
    form: str, name: str, copied: Path
) -> None:
    path = copied / name
    content = path.read_bytes()
    fuzzing.become(path, form)
    verified = cli("verify", copied, "--sample", "0")
    turn = FILES.index(name) + fuzzing.FORMS.index(form)
    for command in COMMANDS if SOAK else [COMMANDS[turn % 3]]:
        done = cli(command[0], copied, *command[1:])
        assert "Traceback" not in done.stderr
        assert done.returncode in (0, 1, 2)
        assert len(done.stderr.splitlines()) <= 1
    assert verified.returncode in (1, 2)
    assert path.name in verified.stdout + verified.stderr
    assert path.with_name("elsewhere").read_bytes() == content


def test_nothing_is_written_through_links_of_a_run(handed: Path, copied: Path) -> None:
    precious = copied.parent / "precious"
    precious.write_text("mine")
    names = ["coverage.png", "preview/contact_sheet.png", "preview/preview.mp4", ".lock"]
    names += [".manifest.json.tmp", ".checkpoint.tmp", "manifest.json", "checkpoint", "log"]
    names += ["shards/shard-00001.h5.part.new", "shards/shard-00001.h5.finished"]
    names += ["shards/shard-00001.episodes.jsonl.new", ".coverage.png.tmp"]
    (copied / "preview").mkdir()
    for name in names:
        (copied / name).unlink(missing_ok=True)
        (copied / name).symlink_to(precious)
    for command in (("settle",), ("coverage",), ("preview", *SMALL)):
        cli(command[0], copied, *command[1:])
    shutil.rmtree(copied / "shards")
    (copied / "shards").mkdir()
    for name in names[9:]:
        (copied / name).unlink(missing_ok=True)
        (copied / name).symlink_to(precious)
    cli("generate", cli_recipe(copied.parent), "--out", copied)
    assert precious.read_text() == "mine"


def test_nothing_is_written_into_a_folder_that_is_a_link(handed: Path, copied: Path) -> None:
    outside = copied.parent / "outside"
    outside.mkdir()
    (copied / "preview").symlink_to(outside)
    assert "is a link" in cli("preview", copied, "--episodes", "1").stderr
    shutil.rmtree(copied / "shards")
    (copied / "manifest.json").unlink()
    (copied / "log").unlink()
    (copied / "checkpoint").unlink()
    (copied / "shards").symlink_to(outside)
    done = cli("generate", cli_recipe(copied.parent), "--out", copied)
    assert (done.returncode, "is a link" in done.stderr) == (2, True), done.stderr
    assert os.listdir(outside) == []


def test_a_run_may_be_named_by_a_link_and_nothing_in_it_is_followed(copied: Path) -> None:
    named = copied.parent / "named"
    named.symlink_to(copied)
    for command in ("verify", "inspect", "settle", "coverage"):
        assert cli(command, named).returncode == 0
    assert not (copied / "coverage.png").is_symlink()
    outside = copied.parent / "outside"
    (copied / "shards").rename(outside)
    (copied / "shards").symlink_to(outside)
    before = {path.name: path.read_bytes() for path in outside.iterdir()}
    for command in ("verify", "inspect", "settle", "coverage", "preview", "audit"):
        for run in (copied, named):
            done = cli(command, run)
            assert (done.returncode, "shards: is a link" in done.stderr) == (2, True), done
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == before


def cli_recipe(folder: Path) -> Path:
    path = folder / "recipe.yaml"
    wanted = recipe("billiards", shard_episodes=2)
    path.write_text(json.dumps(wanted.model_dump(mode="json", exclude_none=True)))
    return path


def test_a_stray_copy_is_no_data(copied: Path) -> None:
    shards = copied / "shards"
    for name in ("shard-00000 (1).h5", "shard-00000.copy.h5", "shard-1.h5", "shard-x.h5.part"):
        shutil.copy(shards / "shard-00000.h5", shards / name)
    assert sandbox.open_run(copied).count() == 3
    assert sandbox.verify(copied, sample=0).faults == []


def test_workers_run_nothing_of_the_current_folder(tmp_path: Path) -> None:
    for name in ("pickle", "numpy", "sandbox", "yaml", "multiprocessing", "encodings"):
        (tmp_path / f"{name}.py").write_text("open('was_run', 'w')\n")
    command = Path(sys.executable).with_name("sandbox")
    if not command.exists():
        pytest.fail("the console script is missing")
    (tmp_path / "r.yaml").write_text(f"{GOOD}scenario: {SHORT}\nshard_episodes: 1\n")
    for words in (
        ["generate", "r.yaml", "--out", "run", "--workers", "2"],
        ["verify", "run", "--workers", "2"],
    ):
        done = subprocess.run([command, *words], cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed: !!int ''", ":5: .*the tag"),
        ("seed: " + "9" * 5000, ":5: seed: must be a whole number"),
        ("seed: 010", ":5: 010: some read it as octal"),
        ("seed: 1:30", ":5: seed: must be a whole number"),
        ("labels: yes", ":5: labels: must be true or false"),
        ("account: &a [*a]", ":5: an alias that holds itself"),
        ("account: &a {x: 1}\ncamera: {<<: *a}", ":6: a merge"),
        ("\n".join(f"k{n}: 1" for n in range(20_000)), "more than 20,000 parts"),
        ("account: " + "[" * 100, "more than 20,000 parts, or 32 levels"),
        ("camera: " + "[" * 5000 + "]" * 5000, "more than 20,000 parts, or 32 levels"),
        (
            "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
            + "".join(
                f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n"
                for a, b in zip("abcd", "bcde", strict=True)
            ),
            "more than 20,000 parts",
        ),
        ("? [a]\n: 1", "a key that is no text"),
        ("1: 2", "the key '1' is no text"),
        ('account: "\\ud800"', "is not Unicode text"),
        ("account: " + "x" * 300_000, "larger than"),
        (f"y{'z' * 70_000}: 1", "this is not YAML"),
        ("environment: " + "x" * 70_000, "there twice"),
    ],
)
def test_yaml_means_what_it_says_and_stays_small(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"{GOOD}{text}\n")
    with pytest.raises(InvalidInputError, match=says) as error:
        recipes.load(str(path))
    assert len(str(error.value)) < 2100


def test_weights_that_add_to_infinity_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="add to infinity"):
        recipes.of({**recipe().model_dump(), "policies": {"random": 1e308, "play": 1e308}})


@pytest.mark.parametrize("path", ["a" * 300 + ".yaml", "a\0b.yaml", "a" * 300 + "/b.yaml"])
def test_a_name_that_no_file_has_is_one_line(path: str) -> None:
    with pytest.raises(SandboxError, match="no file has such a name"):
        recipes.load(path)
    with pytest.raises(SandboxError):
        sandbox.open_run(path).recipe  # noqa: B018


STRANGE = {
    "syntax": "def policy(:",
    "exits": "raise SystemExit(3)",
    "number": "policy = 3",
    "wants_more": "def policy(a, b, c): return None",
    "returns_none": "def policy(env, rng): return None",
    "fails_later": "def policy(env, rng): return lambda: 1 / 0",
    "exits_later": "import sys\ndef policy(env, rng): return lambda: sys.exit(0)",
    "exits_first": "import sys\ndef policy(env, rng): sys.exit(0)",
    "cancels": "import asyncio\ndef policy(env, rng): raise asyncio.CancelledError",
    "huge": "def policy(env, rng): return lambda: [10**400] * env.action_size",
    "longer": "def policy(env, rng): return lambda: [10**5000] * env.action_size",
    "masked": "import numpy as np\n"
    "def policy(env, rng): return lambda: np.ma.array(np.zeros(env.action_size), mask=True)",
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_policy_that_is_none_is_one_line(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"strange_{kind}.py").write_text(STRANGE[kind])
    monkeypatch.syspath_prepend(tmp_path)
    wanted = recipe("billiards", policies={f"strange_{kind}:policy": 1.0})
    with pytest.raises(InvalidInputError, match=r"policy 'strange_|give 2 finite numbers"):
        sandbox.generate(wanted, tmp_path / "run")


def test_a_policy_that_exits_is_an_error_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaves.py").write_text(STRANGE["exits_later"])
    monkeypatch.syspath_prepend(tmp_path)
    wanted = recipe("billiards", policies={"leaves:policy": 1.0})
    for workers in ("1", "2"):
        out = tmp_path / workers
        done = cli("generate", file_of(wanted, tmp_path), "--out", out, "--workers", workers)
        assert done.returncode == 2
        assert "error: policy 'leaves:policy': failed: SystemExit: 0." in done.stderr


CALLS = {
    "reset": "env.reset(seed=5)",
    "step": "env.step([0, 0])",
    "snapshot": "env.snapshot()",
    "restore": "env.restore(None)",
    "settle": "env.settle()",
    "close": "env.close()",
    "render": "(setattr(env, 'render_mode', 'rgb_array'), env.render())",
}


@pytest.mark.parametrize("call", CALLS)
def test_a_policy_reads_its_environment_and_changes_nothing_in_it(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"calls_{call}.py").write_text(
        f"def first(env, rng): {CALLS[call]}\n"
        f"def later(env, rng): return lambda: [0, 0] if env.t < 3 else {CALLS[call]}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    book = Ledger()
    book.grant("lab", 10**9)
    for which in ("first", "later"):
        name = f"calls_{call}:{which}"
        wanted = recipe("billiards", policies={name: 1.0}, account="lab")
        with pytest.raises(InvalidInputError, match=rf"policy '{name}': calls {call}\(\)"):
            sandbox.generate(wanted, tmp_path / which)
    assert (book.balance("lab").posted_micro, book.balance("lab").pending_micro) == (10**9, 0)


def test_a_branch_imports_no_policy_and_has_a_limited_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "theirs.py"
    module.write_text("from sandbox.env.policies import POLICIES\npolicy = POLICIES['random']\n")
    monkeypatch.syspath_prepend(tmp_path)
    wanted = recipe("billiards", policies={"theirs:policy": 1.0})
    sandbox.generate(wanted, tmp_path / "run")
    module.write_text("raise SystemExit('imported')\n")
    sys.modules.pop("theirs")
    for trust_code in (False, True):
        sandbox.branch(
            *(tmp_path / "run", tmp_path / f"branch{trust_code}"),
            episode=0,
            step=3,
            kinds=["noop"],
            trust_code=trust_code,
        )
    assert "theirs" not in sys.modules
    many = ("--episode", "0", "--step", "3", "--with", "random", "--k", "1000000000")
    done = cli("branch", tmp_path / "run", "--out", tmp_path / "many", *many)
    assert (done.returncode, "give at most" in done.stderr) == (2, True)


def test_a_ledger_and_keys_are_their_owners_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    keys.new()
    sandbox.generate(recipe(episodes=1), tmp_path / "run")
    modes = {path: path.stat().st_mode & 0o077 for path in (home, home / "keys")}
    modes |= {path: path.stat().st_mode & 0o077 for path in home.glob("ledger.db*")}
    modes[home / "keys/default.key"] = (home / "keys/default.key").stat().st_mode & 0o077
    assert not any(modes.values()), modes


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_of_another_owner_is_not_trusted() -> None:
    keys.new()
    os.chown(keys.folder() / "default.key", 65534, 65534)
    with pytest.raises(InvalidInputError, match="belongs to another user"):
        keys.load()


def bomb(path: Path, change: str) -> None:
    """Make a shard that asks for more memory than it has a right to."""
    with h5py.File(path, "r+") as file:
        rows = file["reward"].shape
        del file["reward"]
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((64,))
        known = {"h5py": h5py, "zlib": zlib, "zeros": zeros}
        exec(change, {**known, "file": file, "rows": rows, "plan": plan})


def zeros(count: int) -> bytes:
    """Return zeros, compressed by zlib, from a MiB of them that is repeated."""
    stream = zlib.compressobj()
    first = stream.compress(bytes(1 << 20)) + stream.flush(zlib.Z_FULL_FLUSH)
    end = b"\x03\x00" + (count % 65521 << 16 | 1).to_bytes(4, "big")  # Their Adler-32.
    return first[:2] + first[2:] * (count >> 20) + end


MAKE = """
space = h5py.h5s.create_simple(({rows},), (h5py.h5s.UNLIMITED,))
made = h5py.h5d.create(file.id, b"reward", h5py.h5t.NATIVE_DOUBLE, space, plan)
"""
BOMBS = {
    "deflate": "plan.set_deflate(9)"
    + MAKE.format(rows="rows[0]")
    + "made.write_direct_chunk((0,), zeros(1 << 29))",
    "repeated": "plan.set_deflate(9); plan.set_deflate(9)"
    + MAKE.format(rows="rows[0]")
    + "made.write_direct_chunk((0,), zlib.compress(zeros(1 << 28), 5))",
    "zstd": "plan.set_filter(32015, 0, (3,))"
    + MAKE.format(rows="rows[0]")
    + "made.write_direct_chunk((0,), bytes.fromhex('28b52ffde0000000000001'))",
    "rows": "plan.set_chunk((1 << 20,)); plan.set_deflate(9)"
    + MAKE.format(rows="300_000_000")
    + "packed = zeros(8 << 20)\n"
    + "for n in range(287): made.write_direct_chunk((n << 20,), packed)\n"
    + "file['ep_len'][0] = 300_000_000 - int(file['ep_len'][1:].sum())",
}
MEASURED = """
import re, sys
from pathlib import Path
from sandbox.cli import main
sys.argv = ["sandbox", "verify", {run!r}, "--sample", "0"]
try:
    main()
finally:
    status = Path("/proc/self/status").read_text()  # getrusage() counts the parent's memory too.
    sys.stdout.write("peak " + re.search(r"VmHWM:\\s+(\\d+)", status)[1])
"""


@pytest.mark.parametrize("kind", BOMBS)
def test_a_shard_takes_no_more_memory_than_it_has_a_right_to(kind: str, copied: Path) -> None:
    bomb(copied / "shards" / "shard-00000.h5", BOMBS[kind])
    done = python("-c", MEASURED.format(run=str(copied)))
    assert "Traceback" not in done.stderr, done.stderr
    said, _, peak = done.stdout.rpartition("peak ")
    assert int(peak) < 500_000, peak  # KiB.
    assert "shard-00000.h5" in said


PARTS = {"lists": b"[],", "objects": b"{},", "numbers": b"1,", "texts": b'"ab",'}


@pytest.mark.parametrize("kind", PARTS)
def test_json_takes_no_more_time_and_memory_than_it_has_a_right_to(
    kind: str, tmp_path: Path
) -> None:
    path, part = tmp_path / "about.json", PARTS[kind]
    path.write_bytes(b'{"a":[' + part * ((60 << 20) // len(part)) + b"0]}")
    said = fuzzing.refusal(lambda: jsonfile.read(path))
    assert said.startswith(f"{path}: has ")
    assert "made to harm" in said
    path.write_bytes(b'{"a":[' + part * 900_000 + b"0]}")
    assert len(jsonfile.read(path).data["a"]) == 900_001
