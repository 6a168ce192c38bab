"""What the command line prints, wherever it prints, and how it ends when it cannot go on."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import pytest
from running import cli, clis, recipe

import sandbox
from sandbox.cli import show
from sandbox.errors import MOST_CHARACTERS, SandboxError, UnknownNameError
from sandbox.ledger import Ledger
from sandbox.report.coverage import Coverage, Part
from sandbox.report.coverage_picture import draw
from sandbox.verification.prove import Proof
from sandbox.verification.report import Report

COMMAND = [sys.executable, "-m", "sandbox"]
ASCII = {
    "LC_ALL": "POSIX",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONIOENCODING": "",
}


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of three episodes of 40 steps."""
    path = tmp_path_factory.mktemp("output") / "run"
    before, os.environ["SANDBOX_HOME"] = os.environ.get("SANDBOX_HOME"), str(path.parent / "home")
    sandbox.generate(recipe("billiards"), path)
    yield path
    os.environ.pop("SANDBOX_HOME")
    if before is not None:
        os.environ["SANDBOX_HOME"] = before


def process(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return in_shell([*COMMAND, *map(str, arguments)], **environ)


def in_shell(
    words: Sequence[str], limit: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run a program, in a shell that first sets a limit; bytecode, which that cuts, is not kept."""
    environ = {"PYTHONDONTWRITEBYTECODE": "1", **environ}
    return subprocess.run(
        ["sh", "-c", f"{limit} {shlex.join(words)}"],
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, **environ},
        check=False,
    )


IN_TURN = """
import sys
from itertools import groupby
from sandbox.cli import main
for words in [list(some) for then, some in groupby(sys.argv[1:], "+".__eq__) if not then]:
    sys.argv[1:], status = words, 0
    try:
        main()
    except SystemExit as end:
        status = end.code or 0
    print(flush=True, end=chr(28))
    print(status, file=sys.stderr, flush=True, end=chr(28))
"""


def in_turn(
    *commands: Sequence[str | Path], limit: str = "", **environ: str
) -> list[subprocess.CompletedProcess[str]]:
    """Run commands one after another in one process, where each prints to the real stdout."""
    words = [str(word) for command in commands for word in (*command, "+")]
    done = in_shell([sys.executable, "-c", IN_TURN, *words], limit, **environ)
    assert done.returncode == 0, done.stderr
    found: list[subprocess.CompletedProcess[str]] = []
    pieces = zip(commands, done.stdout.split("\x1c"), done.stderr.split("\x1c"), strict=False)
    for command, out, said in pieces:
        found.append(subprocess.CompletedProcess(list(command), int(said[-1]), out, said[:-1]))
    assert len(found) == len(commands)
    return found


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line in which a command says what a user can put right; its status is 2."""
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_a_path_is_whole_where_nobody_reads_at_a_terminal(short: Path, tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a_folder_with_a_long_name"] * 6)
    for done, path in (
        (cli("coverage", short, "--out", deep.with_name("a.png")), deep.with_name("a.png")),
        (cli("settle", tmp_path), tmp_path),
        (cli("generate", "billiards_pixels", "--out", deep, "--episodes", "0"), None),
        (cli("prove", short, "--episode", "0", "--out", tmp_path / "p.json"), tmp_path / "p.json"),
    ):
        assert path is None or str(path) in done.stdout + done.stderr
    made = cli("generate", cli_recipe(tmp_path), "--out", deep)
    assert f"Run: {deep}\n" in made.stdout, made.stderr
    drawn = cli("preview", deep, "--image-size", "16", "--episodes", "1")
    assert f"Preview: {deep}/preview/preview.mp4\n" in drawn.stdout
    faults = cli("verify", deep, "--no-ledger", "--sample", "0")
    assert max(map(len, faults.stdout.splitlines())) > 80


@pytest.mark.parametrize("columns", ["0", "20", "80"])
def test_a_table_is_whole_where_nobody_reads_at_a_terminal(columns: str, tmp_path: Path) -> None:
    path = cli_recipe(tmp_path)
    for colors in ({}, {"FORCE_COLOR": "1"}):
        said = process("quote", path, COLUMNS=columns, **colors).stdout
        assert "microcredits each" in said
        assert "physics steps" in said
        assert "..." not in said
        assert "\u2026" not in said


def cli_recipe(folder: Path, **changes: object) -> Path:
    """A recipe in a file."""
    path = folder / "recipe.yaml"
    wanted = recipe("billiards", **changes)
    path.write_text(json.dumps(wanted.model_dump(mode="json", exclude_none=True)))
    return path


def test_an_ascii_terminal_shows_every_path_and_table(short: Path, tmp_path: Path) -> None:
    out, nothing = tmp_path / "gr\u00fc\u00df \u2603", tmp_path / "\u2603"
    *done, missing = in_turn(
        ("generate", cli_recipe(tmp_path), "--out", out),
        ("verify", out, "--sample", "1"),
        ("factors", "push_t"),
        ("inspect", nothing),
        **ASCII,
    )
    for one in (*done, missing):
        assert "Traceback" not in one.stderr, one.stderr
        assert one.returncode == (2 if one is missing else 0), one.stderr
        assert (one.stdout + one.stderr).isascii()
        assert one.stdout or one is missing
    assert sandbox.verify(out, sample=0).faults == []


def test_commands_do_without_docstrings_and_assertions() -> None:
    for done in clis(["envs"], ["factors", "push_t"], ["schema", "recipe"], PYTHONOPTIMIZE="2"):
        assert done.returncode == 0, done.stderr


def test_without_a_compiler_the_second_renderer_draws(short: Path, tmp_path: Path) -> None:
    done = process(
        *("preview", short, "--out", tmp_path / "p", "--image-size", "16", "--episodes", "1"),
        NUMBA_DISABLE_JIT="1",
    )
    assert done.returncode == 0, done.stderr
    assert "Bullet's TinyRenderer draws instead" in done.stderr
    assert (tmp_path / "p" / "contact_sheet.png").stat().st_size > 1000


def test_a_run_without_labels_has_surprises_of_the_kinds_that_need_none(
    short: Path, tmp_path: Path
) -> None:
    done = cli("surprises", short, "--out", tmp_path / "pairs", "--pairs", "1", "--json")
    assert done.returncode == 0, done.stderr
    kinds = {record.branch["kind"] for record in sandbox.open_run(tmp_path / "pairs").records()}  # type: ignore[index]
    named = {kind.partition(":")[0] for kind in kinds}
    assert named >= {"same", "vanish"}
    assert not named & {"ghost", "recolor"}  # The first needs labels, and the second pictures.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("coverage RUN --out TMP/a.xyz", "a picture cannot end in '.xyz'; use one of "),
        ("coverage RUN --out TMP/folder.png", "Is a directory"),
        ("coverage RUN --out /sys/a.png", "cannot be written: "),
        ("preview RUN --out TMP/file", "cannot be written: File exists"),
        ("preview RUN --out /sys/a", "cannot be written: "),
        ("prove RUN --episode 0 --out TMP/folder.png", "Is a directory"),
        ("prove RUN --episode 0 --out TMP/none/a.json", "No such file or directory"),
        ("generate TMP/recipe.yaml --out TMP/file", "cannot be written: File exists"),
        ("generate TMP/recipe.yaml --out TMP/file/run", "cannot be written: Not a directory"),
        ("generate TMP/recipe.yaml --out /sys/run", "cannot be written: "),
        ("generate TMP/folder.png.yaml", "there is no such file"),
        ("gallery TMP/file", "the gallery cannot be written: File exists"),
        ("reference /sys/docs", "the reference cannot be written: "),
    ],
)
def test_what_cannot_be_written_is_one_line(
    arguments: str, said: str, short: Path, tmp_path: Path
) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    cli_recipe(tmp_path)
    words = arguments.replace("RUN", str(short)).replace("TMP", str(tmp_path)).split()
    assert said in one_line(cli(*words))


def test_no_output_replaces_what_is_not_its_own(short: Path, tmp_path: Path) -> None:
    home, pipe, link = Path(os.environ["SANDBOX_HOME"]), tmp_path / "pipe.png", tmp_path / "l.png"
    (home / "keys").mkdir(parents=True, exist_ok=True)
    run = Path(shutil.copytree(short, tmp_path / "run"))
    notes, ledger = tmp_path / "notes.json", home / "ledger.db"
    notes.write_text("{}")
    if not ledger.exists():
        ledger.write_bytes(b"")
    link.symlink_to(notes)
    os.mkfifo(pipe)
    kept = {path: path.read_bytes() for path in (notes, ledger, run / "run.json", run / "log")}
    refused = [pipe, link, notes, ledger, run / "run.json", run / "log", run / "p.json"]
    refused += [home / "keys" / "a.pub", run / "shards" / "c.png"]
    for out in refused:
        assert str(out) in one_line(cli("prove", run, "--episode", "0", "--out", out))
    for out in (pipe, link, run / "shards" / "c.png", home / "keys" / "c.png"):
        assert str(out) in one_line(cli("coverage", run, "--out", out))
    for out in (run / "shards", home / "prices"):
        assert str(out) in one_line(cli("preview", run, "--out", out))
    assert {path: path.read_bytes() for path in kept} == kept
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert sorted(p.name for p in (run / "shards").glob("*.png")) == []
    proof = tmp_path / "proof.json"
    for episode in ("0", "1"):  # A proof may be made again.
        done = cli("prove", run, "--episode", episode, "--out", proof)
        assert done.returncode == 0, done.stderr
    assert cli("coverage", run).returncode == 0  # In the run, its own place.


def test_a_disk_that_takes_no_more_is_one_line(short: Path, tmp_path: Path) -> None:
    """A process that may write files of some KiB only meets what a full disk gives it."""
    drawn = ("coverage", short, "--out", tmp_path / "c.png")
    made = ("generate", cli_recipe(tmp_path), "--out", tmp_path / "new")
    proved = ("prove", short, "--episode", "0", "--step", "3", "--out", tmp_path / "p.json")
    home = str(tmp_path / "h")
    for limit, commands in (("ulimit -f 8;", (made, drawn)), ("ulimit -f 1;", (proved,))):
        for done in in_turn(*commands, limit=limit, SANDBOX_HOME=home):
            one_line(done)


def test_a_full_disk_behind_stdout_is_one_line_and_a_closed_pipe_is_none() -> None:
    with open("/dev/full", "wb") as nowhere:
        full = subprocess.run(
            [*COMMAND, "schema", "recipe"],
            stdout=nowhere,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (full.returncode, len(full.stderr.splitlines())) == (2, 1), full.stderr
    assert "No space left on device" in full.stderr
    for command in (["schema", "nothing"], ["--nothing"]):  # What refuses stays a refusal.
        with open("/dev/full", "wb") as nowhere:
            full = subprocess.run([*COMMAND, *command], stderr=nowhere, check=False)
        assert full.returncode == 2
    for command in ("schema recipe", "envs"):  # By print, and as a table.
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "wb") as nobody:
            ended = subprocess.run(
                [*COMMAND, *command.split()],
                stdout=nobody,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize(
    ("at", "is_folder", "command", "says"),
    [
        ("ledger.db", True, ("ledger", "balance"), "ledger.db: is a folder, no ledger"),
        ("keys", False, ("keys", "new"), "keys: is no folder"),
    ],
)
def test_what_lies_in_the_place_of_ledger_or_keys_is_named(
    tmp_path: Path, at: str, is_folder: bool, command: tuple[str, ...], says: str
) -> None:
    place = tmp_path / "home" / at
    place.parent.mkdir()
    place.mkdir() if is_folder else place.touch()
    assert says in one_line(cli(*command))


def test_the_end_of_credit_with_several_workers_is_one_line(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.open_account("lab", "prepaid")
    ledger.grant("lab", 25_000_000, b"0" * 16)
    wanted = cli_recipe(tmp_path, account="lab", admission="greedy", episodes=6, shard_episodes=1)
    done = process("generate", wanted, "--workers", "2", "--out", tmp_path / "run")
    assert "Traceback" not in done.stderr, done.stderr
    assert len([line for line in done.stderr.splitlines() if line]) <= 1


def test_a_verdict_says_how_many_faults_there_are_and_of_what_kind(
    short: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", short, copy], check=True)
    path = next(copy.glob("shards/*.h5"))
    with h5py.File(path, "r+") as file:
        file["reward"][5] += 1.0
        file["reward"][60] += 1.0
    (copy / "checkpoint").write_text("none\n")
    done = cli("verify", copy, "--no-ledger")
    (verdict,) = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    report = sandbox.verify(copy)
    assert report.kinds["episodes recorded"] == 2
    assert report.kinds["log"] == 1
    assert sum(report.kinds.values()) == len(report.faults)
    assert "2 of the episodes recorded" in verdict
    assert "1 of the log" in verdict


def test_a_quote_says_what_to_expect_beside_the_most(tmp_path: Path) -> None:
    wanted = recipe("two_room", episodes=24, policies={"scripted": 1.0})
    quoted = sandbox.quote(wanted)
    bill = sandbox.generate(wanted, tmp_path / "run")
    assert not quoted.exact
    assert quoted.expected is not None
    assert quoted.expected < quoted.amount
    assert abs(quoted.expected - bill.amount) < 0.3 * bill.amount < quoted.amount - bill.amount
    assert sandbox.quote(recipe("billiards")).expected is None  # Exact: nothing to expect.


def test_a_message_is_one_line_of_limited_length_that_controls_no_terminal() -> None:
    told = str(SandboxError("a\nb\x1b[31m\ud800" + "x" * 70_000))
    assert told.startswith("a b\\x1b[31m\\ud800xxx")
    assert len(told) < MOST_CHARACTERS + 20
    assert len(str(UnknownNameError("factor", "y" * 70_000, ["t_mass_kg"]))) < 200


def test_what_a_stranger_wrote_controls_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    bad = "\x1b]0;taken\x07\x1b[2J :skull: [red]"
    column = {"name": bad, "dtype": bad, "shape": (), "unit": bad, "meaning": bad}
    policy = {"policy": bad, "episodes": 1, "success": 1.0, "mean_steps": 1.0, "mean_return": 1.0}
    facts = {"path": bad, "episodes": 1, "environments": [bad], "rows": 1, "shards": 1}
    facts |= {"bytes": 1, "raw_bytes": 1, "charge_micro": 1, "columns": [column]}
    show.summary({**facts, "policies": [{**policy, "charge_micro": 1}]})
    part = Part(bad, policies=[policy], warnings=[bad], moved={bad: 1.0}, events={bad: 1})
    show.coverage(Coverage([part]))
    show.proof(Proof(shown=[bad], notes=[bad], faults=[bad]))
    show.report(Report(checked=[bad], notes=[bad], faults=[bad]))
    show.table(bad, [{bad: [bad]}])
    show.warn(bad)
    said = "".join(capsys.readouterr())
    assert not {"\x1b", "\x07"} & set(said)
    assert said.count(r"\x1b]0;taken\x07\x1b[2J :skull: [red]") == 22


def test_a_picture_of_a_coverage_has_any_name(tmp_path: Path) -> None:
    names = ("\x1b[31m", "$x^{$", "\u4e2d\u6587", "x" * 10_000)
    policies = [{"policy": name, "success": 1.0, "mean_return": 1.0} for name in names]
    part = Part("billiards", scenario="$x^{$.yaml", episodes=1, policies=policies)
    for n, parts in enumerate(([part], [part, part])):
        draw(Coverage(parts), tmp_path / f"{n}.png")
        assert (tmp_path / f"{n}.png").stat().st_size
