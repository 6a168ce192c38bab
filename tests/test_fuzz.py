"""Files that are damaged where their structure is: every reader says so in one line."""

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fuzzing
import pytest
from running import cli, recipe

import sandbox
from sandbox import document, jsonfile
from sandbox.evidence import keys
from sandbox.run.recipe import Recipe
from sandbox.verification import prove
from sandbox.world import World  # Imported here, so that no file's time has it.

SOAK = bool(os.environ.get("SANDBOX_SOAK"))
RUNS, SMALL = (5000, 5000) if SOAK else (60, 140)
TEXT = "format: 1\nenvironment: billiards\npolicies: {random: 1, play: 2.5}\nepisodes: 3\nseed: 5\n"
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("verify", "--sample", "1"),
    ("inspect",),
    ("coverage", "--json"),
    ("settle",),
    ("prove", "--episode", "1", "--step", "3", "--out"),
    ("audit", "--fraction", "0.9"),
    ("branch", "--episode", "1", "--step", "3", "--with", "noop", "--out"),
    ("preview", "--episodes", "1", "--image-size", "16"),
    ("surprises", "--with", "recolor", "--pairs", "1", "--out"),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of two shards, with a key, in a home of its own."""
    assert World
    path = tmp_path_factory.mktemp("fuzz") / "run"
    before, os.environ["SANDBOX_HOME"] = os.environ.get("SANDBOX_HOME"), str(path.parent / "home")
    keys.new()
    sandbox.generate(recipe("billiards", shard_episodes=2), path)
    yield path
    os.environ.pop("SANDBOX_HOME")
    if before is not None:
        os.environ["SANDBOX_HOME"] = before


def test_a_run_changed_anywhere_is_one_line_for_every_command(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANDBOX_HOME", str(whole.parent / "home"))
    outside = tmp_path / "outside"
    outside.mkdir()
    monkeypatch.chdir(outside)
    for seed in range(RUNS):
        chance = random.Random(seed)
        run = fuzzing.copied(whole, tmp_path / "changed")
        name = fuzzing.change(run, chance)
        command = COMMANDS[0] if seed % 2 else chance.choice(COMMANDS[1:])
        words = [command[0], run, *command[1:]]
        words += [tmp_path / f"out{seed}"] if command[-1] == "--out" else []
        began = time.monotonic()
        with fuzzing.room_for(fuzzing.LARGEST):
            done = cli(*words)  # Raises what it does not catch: that is a traceback.
        said = f"seed {seed}: {command[0]} of a changed {name}: {done.stderr}"
        assert time.monotonic() - began < fuzzing.LONGEST_S, said
        assert done.returncode in (0, 1, 2), said
        assert not fuzzing.WANTED_MORE.search(done.stdout + done.stderr), said
        errors = [line for line in done.stderr.splitlines() if "UserWarning" not in line]
        assert len(errors) <= (1 if done.returncode == 2 else 0), said
        assert os.listdir(outside) == [], said


def test_memory_beyond_the_room_is_refused() -> None:
    with pytest.raises(MemoryError), fuzzing.room_for(fuzzing.LARGEST):
        bytearray(2 * fuzzing.LARGEST)
    assert len(bytearray(fuzzing.LARGEST // 8)) == fuzzing.LARGEST // 8


@pytest.mark.parametrize("kind", ["yaml", "json", "proof", "key", "checkpoint"])
def test_a_small_file_changed_anywhere_is_read_or_refused_in_one_line(
    kind: str, whole: Path, tmp_path: Path
) -> None:
    episode = json.dumps(prove.episode(sandbox.open_run(whole), 1, 3))
    public = (whole.parent / "home" / "keys" / "default.pub").read_bytes()
    checkpoint, path = (whole / "checkpoint").read_bytes(), tmp_path / f"it.{kind[:3]}"
    path = path.with_suffix(".pub") if kind == "key" else path
    trusted = [keys.verifier(public.decode().strip())]
    makers: dict[str, Callable[[random.Random], bytes]] = {
        "yaml": lambda c: fuzzing.yaml_text(TEXT, c),
        "json": lambda c: fuzzing.json_text(episode, c),
        "proof": lambda c: fuzzing.json_text(episode, c),
        "key": lambda c: fuzzing.torn(public, c),
        "checkpoint": lambda c: fuzzing.torn(checkpoint, c),
    }
    readers: dict[str, Callable[[], Any]] = {
        "yaml": lambda: document.read(path, Recipe),
        "json": lambda: jsonfile.read(path),
        "proof": lambda: prove.check(jsonfile.read(path).data, trusted, signed=True),
        "key": lambda: keys.verifier(str(path)),
        "checkpoint": lambda: cli("verify", whole, "--checkpoint", path, "--sample", "0"),
    }
    refused = 0
    for seed in range(SMALL // 5):
        path.write_bytes(makers[kind](random.Random(seed)))
        refused += bool(fuzzing.refusal(readers[kind]))
    assert refused > 3 or kind in ("proof", "checkpoint")
