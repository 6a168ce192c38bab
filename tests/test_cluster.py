"""A Ray cluster of several nodes makes a run: the bytes and the bill of one process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import cli, content, file_of, recipe

import sandbox
from sandbox import cluster
from sandbox.errors import BudgetExhaustedError, InvalidInputError, SandboxError
from sandbox.ledger import Ledger
from sandbox.run.bill import Bill
from sandbox.run.recipe import Recipe
from sandbox.run.record import Record
from sandbox.run.watcher import Watcher

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.timeout(240)
STORE = 100 << 20  # Bytes of memory for what tasks return, of each node.
TESTS = str(Path(__file__).parent)


def wanted(**changes: Any) -> Recipe:
    """A recipe of six shards."""
    return recipe(**{"episodes": 17, "shard_episodes": 3, **changes})


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A cluster of a head without processors, and two nodes of one each."""
    from ray.cluster_utils import Cluster

    variables = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": os.pathsep.join([TESTS, *sys.path])}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        with pytest.MonkeyPatch.context() as of_nodes:  # A node has no ledger and no keys of a lab.
            of_nodes.setenv("SANDBOX_HOME", str(tmp_path_factory.mktemp("node")))
            head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
            made: Any = Cluster(initialize_head=True, head_node_args=head)
            for _ in range(2):
                made.add_node(num_cpus=1, object_store_memory=STORE)
        patch.setenv("RAY_ADDRESS", made.address)
        yield made
        ray.shutdown()
        made.shutdown()


@pytest.fixture(scope="module")
def without_cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process, not to be changed."""
    out = tmp_path_factory.mktemp("without") / "run"
    sandbox.generate(wanted(), out)
    return out


@pytest.mark.parametrize("shared", [False, True])
def test_it_has_the_bytes_and_the_bill_of_one_process(
    shared: bool, nodes: Any, without_cluster: Path, tmp_path: Path
) -> None:
    book = Ledger()
    book.grant("lab", sandbox.quote(wanted()).amount)
    bill = sandbox.generate(wanted(), tmp_path / "run", account="lab", on="ray", shared=shared)
    balance = book.balance("lab")
    assert (balance.posted_micro, balance.pending_micro) == (0, 0)
    assert (bill.episodes, bill.already, bill.repeated) == (17, 0, 0)
    assert bill.amount == sandbox.quote(wanted()).amount
    sandbox.generate(wanted(account="lab"), tmp_path / "one", ledger=_granted(tmp_path))
    assert content(tmp_path / "run") == content(tmp_path / "one")
    assert sandbox.verify(tmp_path / "run").faults == []
    assert not list((tmp_path / "run" / "shards").glob(".*"))


def _granted(folder: Path) -> Ledger:
    """Another ledger with the same account."""
    book = Ledger(folder / "other" / "ledger.db")
    book.grant("lab", sandbox.quote(wanted()).amount)
    return book


def test_a_worker_that_is_killed_is_made_up_for(
    nodes: Any, without_cluster: Path, tmp_path: Path
) -> None:
    long = wanted(episodes=24, shard_episodes=4)
    killed = list[int]()

    def kill() -> None:
        """Kill the workers of the cluster, once."""
        if not killed:
            killed.extend(_workers())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    bill = _made(long, tmp_path / "run", kill)
    assert killed
    assert bill.repeated > 0
    assert bill.amount == sandbox.quote(long).amount
    assert -Ledger().balance("local").posted_micro == bill.amount
    sandbox.generate(long, tmp_path / "one")
    assert content(tmp_path / "run") == content(tmp_path / "one")


class Told(Watcher):
    """Calls a function for each episode that is kept."""

    def __init__(self, told: Callable[[], None]) -> None:
        self._told = told

    def kept(self, record: Record, bill: Bill) -> None:
        self._told()


def _made(long: Recipe, out: Path, told: Callable[[], None]) -> Bill:
    return sandbox.generate(long, out, on="ray", watcher=Told(told))


def _workers() -> list[int]:
    """The processes of the cluster that make shards."""
    found = subprocess.run(["pgrep", "-f", "ray::_make"], capture_output=True, text=True)
    return [int(pid) for pid in found.stdout.split()]


def test_a_node_that_is_lost_is_made_up_for(nodes: Any, tmp_path: Path) -> None:
    long = wanted(episodes=24, shard_episodes=4)
    third = nodes.add_node(num_cpus=1, object_store_memory=STORE)
    lost = list[Any]()

    def lose() -> None:
        """Lose a node that works, once."""
        if not lost:
            lost.append(third)
            nodes.remove_node(third, allow_graceful=False)

    bill = _made(long, tmp_path / "run", lose)
    assert lost
    assert bill.amount == sandbox.quote(long).amount
    assert -Ledger().balance("local").posted_micro == bill.amount
    sandbox.generate(long, tmp_path / "one")
    assert content(tmp_path / "run") == content(tmp_path / "one")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_is_stopped_goes_on(
    number: signal.Signals, nodes: Any, without_cluster: Path, tmp_path: Path
) -> None:
    out, path = tmp_path / "run", str(file_of(wanted(), tmp_path))
    command = [sys.executable, "-m", "sandbox", "generate", path, "--out", str(out), "--on", "ray"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        end = time.monotonic() + 60
        while not list(out.glob("shards/*.h5")) and time.monotonic() < end:
            time.sleep(0.005)
        process.send_signal(number)
        told = process.communicate()
    assert process.returncode in (-signal.SIGKILL, 130, 0), told
    assert sandbox.generate(wanted(), out, on="ray").episodes == 17
    assert content(out) == content(without_cluster)
    assert -Ledger().balance("local").posted_micro == sandbox.quote(wanted()).amount


def test_a_shard_that_another_process_left_growing_is_finished(
    nodes: Any, without_cluster: Path, tmp_path: Path
) -> None:
    count = list[int]()

    def stop() -> None:
        count.append(1)
        if len(count) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sandbox.generate(wanted(), tmp_path / "run", watcher=Told(stop))
    assert sandbox.generate(wanted(), tmp_path / "run", on="ray").episodes == 17
    assert content(tmp_path / "run") == content(without_cluster)


def test_a_shard_that_is_lost_again_and_again_ends_it(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_make", _dies)
    book = Ledger()
    book.grant("lab", sandbox.quote(wanted()).amount)
    with pytest.raises(SandboxError, match="was lost 5 times"):
        sandbox.generate(wanted(), tmp_path / "run", account="lab", on="ray")
    balance = book.balance("lab")
    assert (balance.posted_micro, balance.pending_micro) == (sandbox.quote(wanted()).amount, 0)


def _dies(references: Any, job: Any) -> None:
    os._exit(1)


def test_what_a_task_says_is_one_line(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_make", _fails)
    with pytest.raises(SandboxError, match=r"shard .: its task failed: it is broken"):
        sandbox.generate(wanted(), tmp_path / "run", on="ray")


def _fails(references: Any, job: Any) -> None:
    raise ValueError("it is broken")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"workers": 2}, "workers 2: the cluster says"),
        ({"rank": 0, "world_size": 2}, "rank: the cluster says"),
        ({"admission": "greedy"}, "admission greedy: credit may end"),
        ({"on": "slurm"}, "on 'slurm': give"),
    ],
)
def test_what_does_not_go_with_a_cluster_is_refused(
    given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        sandbox.generate(wanted(), tmp_path / "run", **{"on": "ray", **given})
    assert not (tmp_path / "run").exists()
    assert cli("generate", "push_t_demo", "--on", "slurm").returncode == 2


def test_an_account_that_cannot_pay_is_refused_before(nodes: Any, tmp_path: Path) -> None:
    Ledger().grant("lab", sandbox.quote(wanted()).amount - 1)
    with pytest.raises(BudgetExhaustedError, match="Nothing was done"):
        sandbox.generate(wanted(), tmp_path / "run", account="lab", on="ray")


def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    path = str(file_of(wanted(), tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "sandbox", "generate", path, "--on", "ray"],
        env={**os.environ, "RAY_ADDRESS": "127.0.0.1:1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "no Ray cluster can be reached there" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
