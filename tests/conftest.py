from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import catalogue
from sandbox.env import SandboxEnv


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a ledger of its own."""
    monkeypatch.setenv("SANDBOX_HOME", str(tmp_path / "home"))


@pytest.fixture(params=catalogue.environments())
def name(request: pytest.FixtureRequest) -> str:
    """Every environment of the catalogue: a contract over it cannot shrink."""
    return request.param


@pytest.fixture
def env(name: str) -> Iterator[SandboxEnv]:
    made = catalogue.environment(name)(account=None)
    yield made
    made.close()
