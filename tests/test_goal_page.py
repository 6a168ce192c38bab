"""The page of results opens in a browser, without network and without console errors."""

import shutil
import subprocess
from pathlib import Path

import pytest

from sandbox import goals
from tests.running import recipe

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed here")
def test_the_page_opens_in_a_browser(tmp_path: Path) -> None:
    assert BROWSER is not None
    source = recipe("two_room", policies={"play": 1.0}, seed=900, episodes=20)
    made = goals.make(source, tmp_path / "set.json", pairs=2, offset=8, account=None)
    files = [tmp_path / f"{agent}.json" for agent in ("noop", "recorded")]
    for file in files:
        goals.run(made, file, file.stem, seeds=1, account=None)
    goals.write_page(files, made, tmp_path / "page.html")
    done = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1000,1600"),
            *(f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={tmp_path / 'page.png'}"),
            *("--dump-dom", f"file://{tmp_path / 'page.html'}"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "two_room, ahead: 2 pairs" in done.stdout
    assert done.stdout.count("<img ") == 4  # Each agent's two tries.
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert (tmp_path / "page.png").stat().st_size > 10_000
