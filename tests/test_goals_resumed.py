"""Work on goals that was stopped goes on, and what an agent prints is nobody's output."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sandbox.errors import BudgetExhaustedError, FormatError, InvalidInputError
from sandbox.goals import calls
from sandbox.ledger import Ledger
from tests.running import cli, recipe

RECIPE = recipe("two_room", policies={"play": 1.0, "scripted_noisy": 1.0}, seed=900, episodes=50)
MADE: dict[str, Any] = {"pairs": 3, "offset": 10}


def cost(path: Path, **more: Any) -> int:
    """Make a set, and return what that cost in all, what was done before included."""
    spent = [0]

    def tell(done: int, total: int, micro: int) -> None:
        spent[0] = micro

    calls.make(RECIPE, path, progress=tell, **{**MADE, **more})
    return spent[0]


@pytest.fixture(scope="module")
def made_whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    path = tmp_path_factory.mktemp("goals") / "set.json"
    return path, cost(path, account=None)


def test_a_set_whose_making_was_killed_is_paid_once(
    made_whole: tuple[Path, int], tmp_path: Path
) -> None:
    ledger, path = Ledger(), tmp_path / "set.json"
    ledger.open_account("making", "postpaid")
    code = (
        "from sandbox.goals import calls\n"
        "from tests.test_goals_resumed import MADE, RECIPE\n"
        "def tell(done, total, micro):\n"
        "    print(done, flush=True)\n"
        f"calls.make(RECIPE, {str(path)!r}, account='making', progress=tell, **MADE)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 2:
                process.send_signal(signal.SIGKILL)
                break
    part = tmp_path / "set.json.part"
    before = len(part.read_bytes().splitlines())
    assert before > 2
    with part.open("ab") as file:
        file.write(b'{"pair": {"st')  # What a kill leaves of a line.
    with pytest.raises(FormatError, match="another recipe, goals or code"):
        cost(path, account="making", offset=11)
    with pytest.raises(FormatError, match="'making' pays for the run"):
        cost(path, account=None)
    assert cost(path, account="making", workers=2) == made_whole[1]
    assert ledger.balance("making").posted_micro == -made_whole[1]
    assert path.read_bytes() == made_whole[0].read_bytes()
    assert not part.exists()


def test_a_set_that_could_not_be_paid_goes_on(made_whole: tuple[Path, int], tmp_path: Path) -> None:
    path, ledger = tmp_path / "set.json", Ledger()
    ledger.grant("short", made_whole[1] // 2)
    with pytest.raises(BudgetExhaustedError, match="what is done is kept"):
        cost(path, account="short")
    ledger.grant("short", made_whole[1] - made_whole[1] // 2)
    assert cost(path, account="short") == made_whole[1]
    assert ledger.balance("short").available_micro == 0
    assert path.read_bytes() == made_whole[0].read_bytes()


def test_a_damaged_line_is_made_again(made_whole: tuple[Path, int], tmp_path: Path) -> None:
    path, part = tmp_path / "set.json", tmp_path / "set.json.part"
    with pytest.raises(BudgetExhaustedError):
        cost(path, account=None, max_credits=made_whole[1] / 2e6)
    lines = part.read_bytes().split(b"\n")
    lines[2] = b'{"pair": 7, "reason": "odd", "work": {}}'
    part.write_bytes(b"\n".join(lines))
    assert cost(path, account=None) == made_whole[1]
    assert path.read_bytes() == made_whole[0].read_bytes()


def test_nobody_goes_on_with_a_set_that_cannot_be_made(tmp_path: Path) -> None:
    still = recipe("two_room", policies={"scripted": 1.0})
    with pytest.raises(InvalidInputError, match="lost: "):
        calls.make(still, tmp_path / "set.json", pairs=1, offset=90, account=None)
    assert not [one for one in tmp_path.iterdir() if not one.name.startswith(".")]


class Talker:
    """Somebody's agent, which prints wherever it can."""

    def __init__(self) -> None:
        print("made")

    def begin(self, trial: Any) -> None:
        print("begun")

    def act(self, observation: Any, goal: Any) -> Any:
        print("acted")
        return np.zeros(2)


def test_what_an_agent_prints_is_not_in_the_output(
    made_whole: tuple[Path, int], tmp_path: Path
) -> None:
    same = ("goals", "run", made_whole[0], "--agent", "tests.test_goals_resumed:Talker")
    done = cli(*same, "--out", tmp_path / "r.json", "--seeds", "1", "--no-floors", "--json")
    assert json.loads(done.stdout)[0]["agent"] == "tests.test_goals_resumed:Talker"
    assert {"made", "begun", "acted"} <= {*done.stderr.split()}
