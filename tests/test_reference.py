"""The generated pages say what the code says, and the README names every room."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from running import cli
from typer.models import ArgumentInfo, OptionInfo

import sandbox
from sandbox import catalogue
from sandbox.cli import describe
from sandbox.cli.app import app
from sandbox.report import reference

ROOT = Path(__file__).parent.parent
PAGES = {**describe.pages(), **reference.documents()}


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    page = (ROOT / "docs" / f"{name}.md").read_text()
    assert page == reference.filled(page, PAGES[name][1]), "run `sandbox reference docs`"


def test_every_command_argument_and_option_is_in_the_page() -> None:
    text = PAGES["commands"][1]
    sections = dict(part.partition("\n")[::2] for part in text.split("\n### ")[1:])
    for said in cli_commands():
        assert said in sections
        help_ = cli(*said.split()[1:], "--help").stdout
        for line in sections[said].splitlines():
            if line.startswith("| `--"):
                assert line.split("`")[1] in help_, f"{said}: {line}"


def cli_commands() -> list[str]:
    """Return every command as one types it."""
    found = [f"sandbox {c.name or _function(c).__name__}" for c in app.registered_commands]
    for group in app.registered_groups:
        assert group.typer_instance
        commands = group.typer_instance.registered_commands
        found += [f"sandbox {group.name} {c.name or _function(c).__name__}" for c in commands]
    return found


def _function(command: Any) -> Any:
    return command.callback


def test_every_argument_and_option_says_what_it_is() -> None:
    for line in PAGES["commands"][1].splitlines():
        if line.startswith(("| `-", "| `")) and line.count("|") == 5:
            assert line.split("|")[4].strip() not in ("", "None"), line


def test_every_public_function_and_argument_is_in_the_page_and_described() -> None:
    text = PAGES["python"][1]
    sections = dict(part.partition("\n")[::2] for part in text.split("\n## ")[0:])
    sections = {key.removeprefix("## "): value for key, value in sections.items()}
    for name in sandbox.__all__:
        section = sections[f"sandbox.{name}"]
        for argument in inspect.signature(getattr(sandbox, name)).parameters:
            row = next(r for r in section.splitlines() if r.startswith(f"| `{argument}` |"))
            assert row.rstrip(" |").count(" | ") == 3, f"sandbox.{name}: {argument}: no meaning"


@pytest.mark.parametrize(("name", "model"), [(n, m) for n, (_, m) in reference.DOCUMENTS.items()])
def test_every_key_is_in_the_page_and_described(name: str, model: Any) -> None:
    whole = reference.schema(model)
    for part in reference.models(model):
        keys = whole if part is model else whole["$defs"][part.__name__]
        for field, info in part.model_fields.items():
            key = info.alias or field
            assert f"| `{key}` |" in PAGES[name][1]
            assert keys["properties"][key].get("description"), f"{part.__name__}.{key}"


def test_the_schema_carries_meanings_and_defaults() -> None:
    done = cli("schema", "recipe")
    keys = json.loads(done.stdout)["properties"]
    assert keys["episodes"]["description"] == "number of episodes."
    assert keys["shard_episodes"]["default"] == 1000


def test_writing_the_reference_keeps_what_people_wrote(tmp_path: Path) -> None:
    (tmp_path / "recipes.md").write_text("# Mine\n\nMy words.\n")
    for _ in range(2):
        done = cli("reference", tmp_path, "--json")
        assert (done.returncode, done.stderr) == (0, "")
    assert [Path(name).stem for name in json.loads(done.stdout)] == [*PAGES]
    page = (tmp_path / "recipes.md").read_text()
    assert page.startswith("# Mine\n\nMy words.\n")
    assert page.count("| `shard_episodes` |") == 1


def test_units_in_the_help_of_an_option_are_not_taken_for_markup() -> None:
    assert "[credits]" in cli("generate", "--help").stdout


def test_the_readme_names_every_world_and_every_room() -> None:
    text = (ROOT / "README.md").read_text()
    for name in catalogue.environments():
        assert catalogue.class_name(name) in text
    rooms = [path.parent.name for path in ROOT.glob("sandbox/*/__init__.py")]
    for room in (room for room in rooms if room != "envs"):
        assert f"`{room}`" in text or f"`sandbox/{room}`" in text, room
