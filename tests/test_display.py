"""How far work is, where there is no terminal."""

import json
import time

import pytest

from sandbox.cli.progress import JsonLines


def test_the_time_left_does_not_count_what_was_done_before_it_began(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    display = JsonLines("Generating", "episodes")
    now[0] += 50.0  # The renderer is compiled.
    with display:
        for done in (1, 2):
            now[0] += 3.0
            display.update(done, 10)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["done"], line["seconds_left"]) for line in lines] == [(1, 27.0), (2, 24.0)]
