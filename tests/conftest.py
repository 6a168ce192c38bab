import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import makers
import postgres
import pytest
import ramps
import written

from sandbox import catalogue, simulator
from sandbox.env import SandboxEnv
from sandbox.ledger import Ledger

if simulator.fault():
    makers.elsewhere(setattr)
os.environ["SANDBOX_PRICES"] = "1"  # Easy to reckon with: no load changes it.
COMPILE = """
import compileall
for folder in ("sandbox", "envs"):
    compileall.compile_dir(folder, quiet=2)
from sandbox import simulator
if not simulator.fault():
    from sandbox.renderer.rasterizer import Rasterizer
    Rasterizer().warm_up()
"""


def pytest_configure(config: pytest.Config) -> None:
    """Keep the user's ledger and keys out; let Ctrl-C interrupt; compile all once.

    Workers find their tests meanwhile. Not the renderer in each of them, nor every module in each
    process that a test starts, where PYTHONDONTWRITEBYTECODE is set.
    """
    if not hasattr(config, "workerinput"):  # Workers have it from here.
        os.environ["SANDBOX_HOME"] = home = tempfile.mkdtemp()
        config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # As shells do to what they start with &.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        file, name = tempfile.mkstemp()
        fcntl.flock(file, fcntl.LOCK_EX)  # Held as long as the compiling process has it open.
        compiling = subprocess.Popen(
            [sys.executable, "-c", COMPILE], pass_fds=[file], cwd=config.rootpath
        )
        os.close(file)
        os.environ["SANDBOX_COMPILING"] = name
        config.add_cleanup(lambda: (compiling.wait(), os.unlink(name)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Wait until the renderer is compiled."""
    if hasattr(session.config, "workerinput"):
        with open(os.environ["SANDBOX_COMPILING"]) as file:
            fcntl.flock(file, fcntl.LOCK_EX)


@pytest.fixture(scope="module", autouse=True)
def _home_of_a_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the fixtures of a module make is booked in a ledger of theirs, never in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a ledger of its own."""
    monkeypatch.setenv("SANDBOX_HOME", str(tmp_path / "home"))


@pytest.fixture
def book(book_place: str) -> Iterator[Ledger]:
    """An empty ledger, which is not this machine's; in each of the PLACES that the module names."""
    made = Ledger(book_place)
    yield made
    made.close()


@pytest.fixture
def book_place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a ledger may be: a file, or a database on a server. The same holds for both."""
    if getattr(request, "param", "file") == "file":
        return str(tmp_path / "book" / "ledger.db")
    server = request.getfixturevalue("postgresql")
    return server.url(server.database())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Try what a module says of ledgers in all its PLACES."""
    places = getattr(metafunc.module, "PLACES", None)
    if places and "book_place" in metafunc.fixturenames:
        metafunc.parametrize("book_place", places, indirect=True)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[postgres.Server]:
    """A PostgreSQL server, for all tests of this process that leave it as it is."""
    postgres.needed()
    made = postgres.Server()
    yield made
    made.close()


@pytest.fixture(scope="session")
def twelve_ramps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished shard of 12 ramps, not to be changed."""
    return written.write(tmp_path_factory.mktemp("finished"), 12)


@pytest.fixture(scope="module")
def ramped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ramps, not to be changed."""
    return ramps.write(tmp_path_factory.mktemp("exports") / "there" / "run")


@pytest.fixture(params=catalogue.environments(), scope="module")  # Tests of a world together.
def environment(request: pytest.FixtureRequest) -> str:
    """Every environment of the catalogue: a contract over it cannot shrink."""
    return request.param


@pytest.fixture
def env(environment: str) -> Iterator[SandboxEnv]:
    """An environment of each kind, which nobody pays for."""
    made = catalogue.environment(environment)(account=None)
    yield made
    made.close()
