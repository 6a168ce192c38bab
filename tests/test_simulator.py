"""Without PyBullet, as on a newer Python: what reads works; what simulates is refused in a line."""

import json
import subprocess
from pathlib import Path

import pytest
from running import clis, content, python, recipe

import sandbox
from sandbox import simulator
from sandbox.errors import NoSimulatorError

BLOCK = "import sys; sys.modules.update(dict.fromkeys(('pybullet', 'numba', 'pybullet_data')))"
TEACHES = 'pip install "worldmodel-sandbox[sim]"'
INTERACTIVE = """
import gymnasium, sandbox
from sandbox import catalogue
from sandbox.errors import NoSimulatorError
for name in catalogue.environments():
    try:
        gymnasium.make(f"sandbox:{catalogue.gym_id(name)}")
    except NoSimulatorError as error:
        print(error)
"""
WORKERS = """
import sandbox
if __name__ == "__main__":
    print(sandbox.verify("run", workers=2).episodes)
"""


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of two shards, and a folder `path` that hides the simulator."""
    folder = tmp_path_factory.mktemp("lone")
    (folder / "path").mkdir()
    (folder / "path" / "sitecustomize.py").write_text(BLOCK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(folder / "home"))
        drawn = recipe("push_t", observation=["proprio", "pixels"], image_size=16, shard_episodes=2)
        sandbox.generate(drawn, folder / "run")
    return folder


@pytest.fixture
def without(lone: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, in processes of which PyBullet is absent; nothing is at home."""
    monkeypatch.chdir(lone)
    monkeypatch.setenv("PYTHONPATH", str(lone / "path"))
    return lone


def ran(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a file, where PyBullet is absent."""
    (folder / "code.py").write_text(f"{BLOCK}\n{code}")
    return python("-W", "error::DeprecationWarning", "code.py", cwd=folder)


def test_what_simulates_is_refused_in_one_sentence_and_nothing_is_done(without: Path) -> None:
    before = content(without / "run")
    done = clis(
        ["generate", "push_t_demo", "--out", "made"],
        ["quote", "push_t_demo"],
        ["sweep", "push_t_demo", "--set", "seed=1,2", "--out", "made"],
        ["render", "run", "--out", "made"],
        ["extend", "run", "--episodes", "9"],
        ["branch", "run", "--episode", "0", "--step", "2", "--with", "noop", "--out", "made"],
        ["surprises", "run", "--out", "made"],
        ["verify", "run", "--sample", "1"],
        ["audit", "run"],
        ["preview", "run", "--columns", "depth", "--out", "seen"],
        ["gallery", "gallery"],
        PYTHONPATH=str(without / "path"),
    )
    for one in done:
        assert (one.returncode, one.stdout) == (2, ""), (one.args, one.stdout)
        assert one.stderr.startswith("error: simulation needs PyBullet and Numba"), one.args
        assert one.stderr.count("\n") == 1
        assert TEACHES in one.stderr
    assert content(without / "run") == before
    assert not (without / "made").exists()
    assert not (without / "seen").exists()


def test_what_reads_works_and_verify_says_what_it_left_out(without: Path) -> None:
    done = clis(
        ["verify", "run", "--json"],
        ["verify", "run", "--sample", "0"],
        ["inspect", "run"],
        ["coverage", "run", "--out", "covered.png"],
        ["preview", "run", "--out", "drawn"],
        ["doctor", "run"],
        ["diff", "run", "run"],
        ["subset", "run", "--policy", "random", "--out", "few"],
        ["merge", "run", "--out", "all"],
        ["verify", "all"],
        ["export", "run", "--to", "robomimic", "--out", "r.hdf5"],
        ["envs"],
        ["factors", "push_t"],
        ["scenarios"],
        PYTHONPATH=str(without / "path"),
    )
    told = [(one.args, one.stdout, one.stderr) for one in done if one.returncode]
    assert told == []
    report = json.loads(done[0].stdout)
    assert (report["ok"], report["episodes"], report["replayed"]) == (True, 3, 0)
    left = [note for note in report["notes"] if note.startswith("no episode was simulated again")]
    assert len(left) == 1
    assert TEACHES in left[0]
    assert "no episode was simulated again" not in done[1].stdout
    assert "VERIFIED" in done[1].stdout
    assert "no episode was simulated again" in done[9].stdout


def test_gymnasium_knows_every_world_and_making_one_is_refused(without: Path) -> None:
    done = ran(INTERACTIVE, without)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert len(lines) == len(list((Path(sandbox.__file__).parent.parent / "envs").glob("*.py")))
    assert all(TEACHES in line for line in lines)


def test_workers_verify_without_it(without: Path) -> None:
    done = ran(WORKERS, without)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")


@pytest.mark.parametrize(
    ("version", "lacking", "words"),
    [
        ((3, 11), ["pybullet"], ["needs PyBullet, which", "Python 3.11", "installs"]),
        ((3, 13), ["pybullet"], ["needs PyBullet, which", "up to Python 3.11", "15 minutes"]),
        ((3, 14), ["pybullet", "numba"], ["PyBullet and Numba", "Python 3.14", "compiles"]),
    ],
)
def test_the_sentence_says_what_is_missing_why_and_what_to_do(
    version: tuple[int, int], lacking: list[str], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulator, "is_installed", lambda package: package not in lacking)
    monkeypatch.setattr(simulator, "VERSION", version)
    with pytest.raises(NoSimulatorError, match=r"^simulation needs [^\n]*\.$") as caught:
        simulator.require()
    assert [word for word in [*words, TEACHES] if word not in str(caught.value)] == []
