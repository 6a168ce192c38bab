"""What bytes depend on has a name, and whoever has that name simulates the same bytes."""

import contextlib
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from running import cli, clis, file_of, recipe

import sandbox
from sandbox import catalogue, mathematics
from sandbox.trajectory import shards
from sandbox.world import determinism

HIDDEN = mathematics.VARIANTS[1]  # glibc without fused multiply-add.
WORLD = "pendulum_chain"  # Its bytes depend on how sine and cosine are rounded.
REPLAYING = (
    ("render", "--image-size", "16"),
    ("branch", "--episode", "1", "--step", "150", "--with", "noop"),
)
Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """What commands say in one process without FMA; they follow each other.

    `generate` makes the run `hidden` of the folder that holds the recipe, and all others read it,
    or the run `plain`, which this library of mathematics has made before of the same recipe.
    """
    folder = tmp_path_factory.mktemp("classes")
    plain, hidden = folder / "plain", folder / "hidden"
    wanted = recipe(WORLD, episodes=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(folder / "home of plain"))
        sandbox.generate(wanted, plain)
    commands: dict[str, list[str | Path]] = {
        "generate": ["generate", file_of(wanted, folder), "--out", hidden],
        "verify": ["verify", plain],
        **{words[0]: made(words, hidden, folder / words[0]) for words in REPLAYING},
    }
    home = str(folder / "home of hidden")
    done = clis(*commands.values(), SANDBOX_HOME=home, **HIDDEN)
    return dict(zip(commands, done, strict=True))


def made(words: Sequence[str], run: Path, out: Path) -> list[str | Path]:
    return [words[0], run, *words[1:], "--out", out]


@pytest.fixture(scope="module")
def runs(told: dict[str, Done]) -> dict[str, Path]:
    """The same recipe, made by this library of mathematics and by one without FMA."""
    done = told["generate"]
    assert done.returncode == 0, done.stderr
    hidden = Path(done.args[-1])
    return {"plain": hidden.with_name("plain"), "hidden": hidden}


def rows(run: Path) -> dict[str, bytes]:
    with h5py.File(shards(run)[0]) as file:
        return {name: file[name][()].tobytes() for name in file}


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    assert mathematics.elsewhere({}) == mathematics.fingerprint()
    assert len(mathematics.fingerprint()) == 32


def test_where_bytes_differ_the_fingerprint_does(runs: dict[str, Path]) -> None:
    plain, hidden = (sandbox.open_run(runs[name]).identity for name in ("plain", "hidden"))
    assert plain.engine == determinism.engine()
    assert hidden.engine["mathematics"] == mathematics.elsewhere(HIDDEN)
    same = plain.engine == hidden.engine
    assert (plain.run == hidden.run) == same
    assert (rows(runs["plain"]) == rows(runs["hidden"])) == same
    cpu = Path("/proc/cpuinfo")
    if platform.libc_ver()[0] == "glibc" and " fma " in (cpu.read_text() if cpu.exists() else ""):
        assert not same


def test_verify_takes_the_variant_that_a_run_names(
    runs: dict[str, Path], told: dict[str, Done]
) -> None:
    report = sandbox.verify(runs["hidden"])
    assert (report.faults, report.replayed, report.undecided) == ([], 2, {})
    same = sandbox.open_run(runs["hidden"]).identity.engine == determinism.engine()
    assert any("replayed in processes with GLIBC_TUNABLES" in n for n in report.notes) != same
    assert sandbox.audit(runs["hidden"], fraction=0.9).report.faults == []
    done = told["verify"]  # And the other way round.
    assert (done.returncode, "2 simulated again bit for bit" in done.stdout) == (0, True)


@pytest.mark.parametrize("words", REPLAYING)
def test_what_replays_elsewhere_says_in_which_class_to_do_it(
    words: tuple[str, ...], runs: dict[str, Path], told: dict[str, Done], tmp_path: Path
) -> None:
    done = cli(*made(words, runs["hidden"], tmp_path / "out"))
    if rows(runs["plain"]) != rows(runs["hidden"]):
        assert (done.returncode, "GLIBC_TUNABLES=" in done.stderr) == (2, True), done.stderr
    assert told[words[0]].returncode == 0, told[words[0]].stderr


def test_a_lie_is_found_in_the_variant_that_a_run_names(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(runs["hidden"], tmp_path / "run"))
    with h5py.File(shards(run)[0], "r+") as file:
        file["reward"][5] += 1e-9
    report = sandbox.verify(run)
    assert list(report.failed) == [0]
    assert report.replayed == 1


def test_another_class_decides_nothing_unless_it_must(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mathematics, "VARIANTS", ())  # As if nobody knew how it was made.
    done = cli("verify", runs["hidden"])
    assert (done.returncode, "VERIFIED" in done.stdout) == (0, True), done.stdout
    report = sandbox.verify(runs["hidden"])
    same = sandbox.open_run(runs["hidden"]).identity.engine == determinism.engine()
    assert (report.replayed == 2) == same
    assert report.replayed + len(report.undecided) == 2
    if not same:
        assert any("mathematics was" in note for note in report.notes)
        assert "are not verified by replay" in report.notes[-1] + "".join(report.notes)
        assert cli("audit", runs["hidden"]).returncode == 1  # Nothing was shown.


def test_a_run_of_a_class_by_names_is_compared_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("sandbox.sources.rollout.engine", determinism._by_names)
        sandbox.generate(recipe(WORLD, episodes=1), tmp_path / "run")
    assert "cpu" in sandbox.open_run(tmp_path / "run").identity.engine
    report = sandbox.verify(tmp_path / "run")
    assert (report.faults, len(report.notes), report.replayed) == ([], 1, 1)  # Not signed.
    assert determinism.variables(determinism._by_names()) == {}
    other = {**determinism._by_names(), "cpu": "x86_64 Pentium"}
    assert "cpu was 'x86_64 Pentium' and is" in determinism.unlike(other)
    assert determinism.variables(other) is None
    monkeypatch.setattr(determinism, "_cpu", lambda: "x86_64 Pentium")
    determinism._by_names.cache_clear()
    report = sandbox.verify(tmp_path / "run")
    determinism._by_names.cache_clear()
    assert (report.faults, report.replayed) == ([], 1)  # The same bytes all the same.
    assert any("cpu was" in note and "proves nothing" in note for note in report.notes)


def test_a_class_that_is_not_what_its_parts_say_is_another() -> None:
    forged = {**determinism.engine(), "class": "0" * 16}
    assert "class was '0000000000000000'" in determinism.unlike(forged)
    assert determinism.variables(forged) is None


def test_a_machine_says_what_it_is() -> None:
    assert all(part in determinism.machine() for part in (platform.machine(), "NumPy", "Python"))


@pytest.mark.parametrize("neighbour", ["panda_reach", "push_t"])  # Of another contact threshold.
def test_a_world_is_not_changed_by_another_in_its_process(neighbour: str) -> None:
    def states(beside: bool) -> list[bytes]:
        with (
            contextlib.closing(catalogue.environment("pour")(account=None)) as env,
            contextlib.closing(catalogue.environment(neighbour)(account=None)) as second,
        ):
            env.reset(seed=0)
            if beside:
                second.reset(seed=0)
            act, found = env.play(np.random.default_rng(0)), list[bytes]()
            for _ in range(40):
                found.append(env.step(act())[4]["state"].tobytes())
                if beside:
                    second.step(np.zeros(second.action_size, np.float32))
            return found

    assert states(beside=True) == states(beside=False)
