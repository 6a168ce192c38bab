"""Ctrl-C in every command that takes long: it ends soon, in one line, and goes on when asked."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import cli, recipe

import sandbox
from sandbox.ledger import Ledger

pytestmark = pytest.mark.timeout(120)
FEW = {"batch": 2, "horizon": 3, "windows": 8, "checks": 2, "warm_up": 2}
SETTINGS = " ".join(f"--set {name}={value}" for name, value in FEW.items())
MODEL = f"--model mlp --size nano {SETTINGS}"
LATE = 99  # Exit status of what does not end in time.
BEGIN = """
import importlib, json, os, signal, sys, threading, time
for name in (
    "cli.app", "api", "env", "verification.verify", "training.train", "evaluation.evaluate",
    "learning.learn", "experiments.experiment", "valuation.worth", "goals.calls", "exporting",
):
    importlib.import_module(f"sandbox.{name}")

def works(main_thread, where):
    frame = sys._current_frames().get(main_thread)
    while frame is not None:
        if where in frame.f_code.co_filename:
            return True
        frame = frame.f_back

def interrupt(main_thread, where, times, late):
    while not works(main_thread, where):
        time.sleep(1e-4)
    for _ in range(times):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
    time.sleep(10)  # Five seconds are promised; others use this machine too.
    os._exit(late)

def begin(words, environ, cwd, out, *given):
    os.setsid()
    for stream in (1, 2):
        os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.chdir(cwd)
    os.environ.update(environ)
    sys.argv = ["sandbox", *words]
    sys.setswitchinterval(1e-4)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    told = (threading.main_thread().ident, *given)
    threading.Thread(target=interrupt, args=told, daemon=True).start()
    from sandbox.cli import main
    main()

for line in sys.stdin:
    if not (pid := os.fork()):
        begin(*json.loads(line))
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
COMMANDS = {  # The words of each; then a folder or file of the library in which it works.
    "generate recipe.yaml --out new": "/env/",
    "generate recipe.yaml --out new --workers 2": "/run/workers.py",
    "generate recipe.yaml --out new --rank 0 --world-size 1": "/env/",
    "quote recipe.yaml": "/env/",
    "sweep recipe.yaml --set seed=1,2 --out new": "/env/",
    "extend run --episodes 12": "/env/",
    "render run --out new --image-size 16": "/env/",
    "branch run --episode 0 --step 5 --with random --k 3 --out new": "/env/",
    "subset run --policy random --out new": "/run/deriving.py",
    "settle run": "/run/settle.py",
    "verify run": "/verification/",
    "verify run --workers 2": "/processes.py",
    "audit run": "/verification/",
    "repair run": "/repairing.py",
    "preview run --out new": "/report/",
    "coverage run": "/report/",
    "doctor run": "/dataset/",
    "export run --to minari --out new-v0": "/exports/",
    "publish run --to new --keep-paths": "/publishing.py",
    f"train run --updates 90 --out new.safetensors {MODEL}": "/training/",
    "evaluate model.safetensors test --windows 8 --horizons 1,2 --out new": "/evaluation/",
    "dream model.safetensors run --out new --episodes 6": "/imagination/",
    f"worth recipe.yaml --test test.yaml --credits 150 --updates 9 --seeds 1 --horizons 1 "
    f"--windows 8 --out new {MODEL}": "/valuation/",
    "experiment experiment.yaml --out new": "/experiments/",
    "learn two_room --out new --steps 64 --evaluations 1 --episodes 1 --no-film --set n_steps=16 "
    "--set net_arch=8,8 --set batch_size=16": "/learning/",
    "goals make room.yaml --out new.json --pairs 2 --offset 10": "/goals/",
    "goals check goals.json": "/goals/",
    "goals run goals.json --out new.json --seeds 1": "/goals/",
    "goals run goals.json --out new.json --seeds 1 --workers 2": "/processes.py",
    "goals verify results.json goals.json": "/goals/",
}


@pytest.fixture(scope="module")
def interrupted_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs, a model, goals and results, with the ledger that charged them; not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(folder / "home"))
        patch.setenv("SANDBOX_PRICES", "3")
        patch.chdir(folder)
        wanted = {
            "recipe": recipe(episodes=6, shard_episodes=2),
            "test": recipe(seed=900, episodes=3),
        }
        wanted["room"] = recipe("two_room", policies={"play": 1.0}, episodes=20)
        for name, one in wanted.items():
            (folder / f"{name}.yaml").write_text(json.dumps(plain(one)))
        experiment = {
            "format": 1, "name": "few", "sweep": {}, "evaluation": {"horizons": [1], "windows": 8},
            "train": plain(wanted["recipe"]), "test": plain(wanted["test"]),
            "model": {"name": "mlp", "size": "nano", "updates": 6, "settings": FEW},
        }  # fmt: skip
        (folder / "experiment.yaml").write_text(json.dumps(experiment))
        sandbox.generate(wanted["recipe"], "run")
        sandbox.generate(wanted["test"], "test")
        for words in (
            f"train run --updates 4 --out model.safetensors {MODEL}",
            "goals make room.yaml --out goals.json --pairs 2 --offset 10",
            "goals run goals.json --out results.json --seeds 1",
        ):
            assert cli(*words.split()).returncode == 0, words
    return folder


def plain(one: Any) -> dict[str, Any]:
    """A recipe as a file has it."""
    return one.model_dump(exclude_none=True, mode="json")


@pytest.fixture(scope="module")
def beginning() -> Iterator[subprocess.Popen[str]]:
    """A process that has imported all, and is forked to begin a command."""
    with subprocess.Popen(
        [sys.executable, "-c", BEGIN],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


@pytest.mark.parametrize("words", COMMANDS)
def test_it_ends_soon_in_one_line_and_goes_on_when_asked_again(
    words: str,
    interrupted_in: Path,
    beginning: subprocess.Popen[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, out = tmp_path / "here", tmp_path / "out"
    shutil.copytree(interrupted_in, here)
    variables = {"SANDBOX_HOME": str(here / "home"), "SANDBOX_PRICES": "3"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(here)
    times = 1 + [*COMMANDS].index(words) % 2  # Half of them twice.
    given = (words.split(), variables, str(here), str(out), COMMANDS[words], times, LATE)
    assert beginning.stdin is not None
    assert beginning.stdout is not None
    print(json.dumps(given), file=beginning.stdin, flush=True)
    status = int(beginning.stdout.readline())
    said = out.read_text()
    assert status in (130, -signal.SIGINT), said
    assert "Stopped" in said.strip().splitlines()[-1], said
    assert "Traceback" not in said
    assert "Exception" not in said
    book = Ledger()
    assert book.balance("local").pending_micro == 0
    assert book.check() == []
    if words.startswith("learn"):  # What was learned is lost, and said to be.
        words = words.replace("--out new", "--out other")
    again = cli(*words.split())
    assert again.returncode == 0, again.stderr
