"""Goal sets and their runs take any agent, any account and any stranger's file."""

import base64
import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sandbox.errors import (
    BudgetExhaustedError,
    FormatError,
    InvalidInputError,
    LockedError,
    SandboxError,
)
from sandbox.goals import calls, results
from sandbox.goals.results import Filed, Results
from sandbox.ledger import Ledger
from sandbox.ledger.locks import alone
from tests.running import cli, recipe

RECIPE = recipe("two_room", policies={"play": 1.0, "scripted_noisy": 1.0}, seed=900, episodes=50)
AGENT = "tests.test_goals_hostile:Odd"


@pytest.fixture(scope="module")
def two_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("goals") / "set.json"
    calls.make(RECIPE, path, pairs=2, offset=10, account=None)
    return path


class UntoldError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Odd:
    """Somebody's agent, which says odd things of itself, or does other things each time."""

    def __init__(self, fault: str = "", **said: Any) -> None:
        self.fault = fault
        vars(self).update(said)

    def begin(self, trial: Any) -> None:
        if self.fault == "untold":
            raise UntoldError

    def act(self, observation: Any, goal: Any) -> Any:
        if self.fault == "writes":
            observation[:] = 7.0
            goal["state"][:] = 7.0
        if self.fault == "differs":
            return np.frombuffer(os.urandom(2), np.uint8) / 255.0
        return np.zeros(2)


def test_every_run_is_paid_also_one_that_was_made_before(two_pairs: Path, tmp_path: Path) -> None:
    ledger = Ledger()
    for account in ("one", "other"):
        ledger.open_account(account, "postpaid")
    charged = 0
    for n in range(2):
        for agent, options in (("noop", {}), (AGENT, {"fault": "differs"})):
            out = tmp_path / f"{n}{len(options)}.json"
            filed = calls.run(two_pairs, out, agent, options, seeds=1, account="one")
            charged += filed.results.charge_micro
    assert ledger.balance("one").posted_micro == -charged
    filed = calls.run(two_pairs, tmp_path / "other.json", "noop", seeds=1, account="other")
    assert ledger.balance("other").posted_micro == -filed.results.charge_micro


def test_a_run_is_gone_on_with_by_the_account_that_pays(two_pairs: Path, tmp_path: Path) -> None:
    half = calls.quote(two_pairs, "noop", seeds=1) / 2e6
    ledger, out = Ledger(), tmp_path / "o.json"
    for account in ("first", "second"):
        ledger.open_account(account, "postpaid")
    with pytest.raises(BudgetExhaustedError):
        calls.run(two_pairs, out, "noop", seeds=1, account="first", budget=half)
    with pytest.raises(FormatError, match="'first' pays for the run"):
        calls.run(two_pairs, out, "noop", seeds=1, account="second")
    filed = calls.run(two_pairs, out, "noop", seeds=1, account="first")
    assert ledger.balance("first").posted_micro == -filed.results.charge_micro
    assert ledger.balance("second").posted_micro == 0


def test_a_set_costs_what_it_costs_and_a_limit_of_that_suffices(tmp_path: Path) -> None:
    spent = [0]

    def make(name: str, **more: Any) -> None:
        def tell(done: int, total: int, micro: int) -> None:
            spent[0] = micro

        calls.make(RECIPE, tmp_path / name, pairs=2, offset=10, progress=tell, **more)

    make("a.json", account=None)
    cost = spent[0]
    make("b.json", account=None, max_credits=cost / 1e6)
    ledger = Ledger()
    ledger.grant("prepaid", 2 * cost)
    for name in ("c.json", "d.json"):
        make(name, account="prepaid")
    assert ledger.balance("prepaid").available_micro == 0
    with pytest.raises(BudgetExhaustedError, match="what is done is kept"):
        make("e.json", account="prepaid")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"observation": 5}, "observation is 5"),
        ({"observation": []}, "observation is"),
        ({"image_size": "big"}, "image_size is 'big'"),
        ({"fault": "untold"}, "UntoldError: it cannot say why"),
    ],
)
def test_an_agent_that_says_odd_things_is_refused(
    two_pairs: Path, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        calls.run(two_pairs, tmp_path / "o.json", AGENT, options, account=None)


def test_an_agent_that_cannot_begin_in_a_process_of_its_own_is_named(
    two_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    with pytest.raises(InvalidInputError, match="observation is 5"):
        calls.run(
            two_pairs, tmp_path / "o.json", AGENT, {"observation": 5}, account=None, workers=2
        )


def test_an_agent_that_writes_into_what_it_is_given_changes_nothing(
    two_pairs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o.json"
    writes = calls.run(two_pairs, out, AGENT, {"fault": "writes"}, seeds=1, account=None)
    noop = calls.run(two_pairs, tmp_path / "noop.json", "noop", seeds=1, account=None)
    assert [one.states for one in writes.results.outcomes] == [
        one.states for one in noop.results.outcomes
    ]
    assert calls.verify(out, two_pairs) == []


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_timeout_is_a_time(two_pairs: Path, tmp_path: Path, seconds: float) -> None:
    with pytest.raises(InvalidInputError, match="timeout_s must be"):
        calls.run(two_pairs, tmp_path / "o.json", account=None, timeout_s=seconds)


def _forge(filed: Filed, path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Write changed results with the digest that they have then, as whoever forges does."""
    data = json.loads(filed.path.read_text())
    change(data)
    made = Results.model_validate(data["results"])
    results.write(path, made, data["seconds"], None)


def _fewer(data: dict[str, Any]) -> None:
    data["results"]["head"]["pairs"] = 1
    del data["results"]["outcomes"][1:], data["seconds"][1:]


def _twice(data: dict[str, Any]) -> None:
    data["results"]["head"]["seeds"] = [0, 0]
    data["results"]["outcomes"] *= 2
    data["seconds"] *= 2


def _more(data: dict[str, Any]) -> None:
    data["results"]["head"]["pairs"] = 3
    data["results"]["outcomes"].append({**data["results"]["outcomes"][0], "pair": 2})
    data["seconds"].append(0.0)


def _huge(data: dict[str, Any]) -> None:
    data["results"]["head"]["pairs"] = 10**15


def _slow(data: dict[str, Any]) -> None:
    data["seconds"] = [10**400] * 2


@pytest.mark.parametrize("change", [_fewer, _twice, _more, _huge, _slow])
def test_results_that_are_not_of_the_whole_set_are_refused(
    two_pairs: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    filed = calls.run(two_pairs, tmp_path / "o.json", seeds=1, account=None)
    forged = tmp_path / "forged.json"
    _forge(filed, forged, change)
    with pytest.raises(FormatError):
        calls.verify(forged, two_pairs)
    with pytest.raises(FormatError):
        calls.write_page([forged], two_pairs, tmp_path / "page.html")
    with pytest.raises((FormatError, InvalidInputError)):
        calls.read_results([filed.path, forged])


@pytest.mark.parametrize("steps", [0, 5, 21])
def test_a_try_that_ends_when_it_suits_somebody_is_named(
    two_pairs: Path, tmp_path: Path, steps: int
) -> None:
    filed = calls.run(two_pairs, tmp_path / "o.json", seeds=1, account=None)
    taken = base64.b64encode(np.zeros((steps, 2), np.float32).tobytes()).decode()

    def shorter(data: dict[str, Any]) -> None:
        data["results"]["outcomes"][1]["actions"] = f"2:{taken}"

    _forge(filed, tmp_path / "forged.json", shorter)
    assert any(
        f"has {steps} actions" in one for one in calls.verify(tmp_path / "forged.json", two_pairs)
    )


@pytest.fixture
def full() -> Iterator[Callable[[int], None]]:
    """Have files no larger than so many bytes, as if the disk were full; -1 frees it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("most", [100, 1000])
def test_a_full_disk_ends_a_run_that_goes_on_when_there_is_room(
    two_pairs: Path, tmp_path: Path, most: int, full: Callable[[int], None]
) -> None:
    full(most)
    with pytest.raises(SandboxError, match="cannot be written"):
        calls.run(two_pairs, tmp_path / "o.json", seeds=1, account=None)
    with pytest.raises(SandboxError, match="cannot be written"):
        calls.make(RECIPE, tmp_path / "set.json", pairs=2, offset=10, account=None)
    full(-1)
    assert (
        len(calls.run(two_pairs, tmp_path / "o.json", seeds=1, account=None).results.outcomes) == 2
    )


def test_no_pair_is_in_a_set_twice(tmp_path: Path) -> None:
    import sandbox

    sandbox.generate(RECIPE.model_copy(update={"episodes": 1}), tmp_path / "run")
    with pytest.raises(InvalidInputError, match=r"0 of 2|1 of 2"):
        calls.make(tmp_path / "run", tmp_path / "set.json", "task", pairs=2, account=None)


def test_a_place_is_made_or_refused_before_there_is_work(tmp_path: Path) -> None:
    path = tmp_path / "no" / "such" / "set.json"
    calls.make(RECIPE, path, pairs=2, offset=10, account=None)
    assert path.is_file()
    with pytest.raises(InvalidInputError, match="too long"):
        calls.make(RECIPE, tmp_path / ("n" * 235), pairs=2, offset=10, account=None)


def test_two_processes_do_not_make_one_set(tmp_path: Path) -> None:
    with alone(tmp_path / ".set.json.lock"), pytest.raises(LockedError):
        calls.make(RECIPE, tmp_path / "set.json", pairs=2, offset=10, account=None)


def test_pictures_and_pages_replace_no_other_file(two_pairs: Path, tmp_path: Path) -> None:
    filed = calls.run(two_pairs, tmp_path / "o.json", seeds=1, account=None)
    before = two_pairs.read_bytes()
    assert cli("goals", "show", str(two_pairs), "--out", str(two_pairs)).returncode == 2
    for precious in (two_pairs, filed.path):
        with pytest.raises(InvalidInputError, match="is another file"):
            calls.write_page([filed.path], two_pairs, precious)
    assert two_pairs.read_bytes() == before
    for _ in range(2):  # A page is written over an older one.
        calls.write_page([filed.path], two_pairs, tmp_path / "page.html")


@pytest.mark.parametrize("given", [float("nan"), "\ud800", np.float32(1.0)])
def test_options_that_no_file_can_keep_are_refused_before_a_try(
    two_pairs: Path, tmp_path: Path, given: Any
) -> None:
    with pytest.raises(InvalidInputError, match="not plain JSON"):
        calls.run(two_pairs, tmp_path / "o.json", AGENT, {"fault": given}, account=None)
    assert not (tmp_path / "o.json").exists()


def test_wrong_arguments_of_plain_python_are_said(two_pairs: Path) -> None:
    from sandbox import goals as sets

    env = sets.GoalEnv(two_pairs)
    for pair in ("x", None, 2, -1):
        with pytest.raises(InvalidInputError, match="the set has 2"):
            env.reset(options={"pair": pair})
    env.close()
    with pytest.raises(InvalidInputError, match="whole number from 1 to 1,000"):
        sets.score(two_pairs, Odd(), seeds=0)
    with pytest.raises(InvalidInputError, match="observation must be"):
        sets.open(two_pairs)[0].reset(observation=5)  # type: ignore[arg-type]
