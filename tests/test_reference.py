"""The generated pages say what the code says, and the README names every room."""

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import sandbox
from sandbox import catalogue
from sandbox.cli import describe
from sandbox.cli.app import app
from sandbox.report import reference

ROOT = Path(__file__).parent.parent
PAGES = {**describe.pages(app), **reference.documents()}


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    page = (ROOT / "docs" / f"{name}.md").read_text()
    assert page == reference.filled(page, PAGES[name][1]), "run `sandbox reference docs`"


def test_every_command_argument_and_option_is_in_the_page() -> None:
    sections = parts(PAGES["commands"][1], "### ")
    commands = list(typed(app, "sandbox"))
    assert [*sections] == commands
    for command in commands:
        done = CliRunner().invoke(app, [*command.split()[1:], "--help"], env={"COLUMNS": "200"})
        options = set(re.findall(r"(--[a-z][a-z-]*)", done.output)) - {"--help"}
        listed = set(re.findall(r"^\| `(--[a-z-]+)`", sections[command], re.MULTILINE))
        assert listed <= options, command
        for option in options:
            assert option in sections[command], command


def typed(group: typer.Typer, name: str) -> Iterator[str]:
    """Yield every command as one types it, in the order of `--help`: by its groups there."""
    every = (*group.registered_commands, *group.registered_groups)
    for panel in dict.fromkeys(one.rich_help_panel for one in every):
        for command in group.registered_commands:
            if command.rich_help_panel == panel:
                yield f"{name} {command.name or command.callback.__name__}"
        for below in group.registered_groups:
            if below.rich_help_panel == panel:
                yield from typed(below.typer_instance, f"{name} {below.name}")


def parts(text: str, heading: str) -> dict[str, str]:
    """Return the parts of a page by their headings."""
    found = f"\n{text}".split(f"\n{heading}")[1:]
    return {name: part for name, _, part in (one.partition("\n") for one in found)}


def test_every_argument_and_option_says_what_it_is() -> None:
    for line in PAGES["commands"][1].splitlines():
        if line.startswith(("| `", "| [`")):
            assert line.split("|")[-2].strip() not in ("", "None"), line


def test_every_public_function_and_argument_is_in_the_page_and_described() -> None:
    sections = parts(PAGES["python"][1], "## ")
    for name in sandbox.__all__:
        section = sections[f"sandbox.{name}"]
        for argument in inspect.signature(getattr(sandbox, name)).parameters:
            row = re.search(rf"^\| `{argument}` \|.*\| (.*) \|$", section, re.MULTILINE)
            assert row, f"sandbox.{name}: {argument}"
            assert row[1].strip(), f"sandbox.{name}: {argument}: no meaning"


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
    keys = json.loads(CliRunner().invoke(app, ["schema", "recipe"]).stdout)["properties"]
    assert keys["episodes"]["description"] == "number of episodes."
    assert keys["shard_episodes"]["default"] == 1000


def test_writing_the_reference_keeps_what_people_wrote(tmp_path: Path) -> None:
    (tmp_path / "recipes.md").write_text("# Mine\n\nMy words.\n")
    for _ in range(2):
        done = CliRunner().invoke(app, ["reference", str(tmp_path), "--json"])
        assert done.exit_code == 0
        assert [Path(name).stem for name in json.loads(done.stdout)] == [*PAGES]
    page = (tmp_path / "recipes.md").read_text()
    assert page.startswith("# Mine\n\nMy words.\n")
    assert page.count("| `shard_episodes` |") == 1


def test_units_in_the_help_of_an_option_are_not_taken_for_markup() -> None:
    done = CliRunner().invoke(app, ["generate", "--help"], env={"COLUMNS": "200"})
    assert "[credits]" in done.output


def test_the_readme_names_every_world_and_the_architecture_every_room() -> None:
    text = (ROOT / "README.md").read_text()
    for name in catalogue.environments():
        assert catalogue.class_name(name) in text
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = [path.parent.name for path in ROOT.glob("sandbox/*/__init__.py")]
    for room in (room for room in rooms if room != "envs"):
        assert f"`{room}`" in text or f"`sandbox/{room}`" in text, room


@pytest.mark.parametrize("page", PAGES)
def test_every_row_of_a_table_is_whole(page: str) -> None:
    """A cell of several lines ends its table, and what follows is shown as text."""
    for line in PAGES[page][1].splitlines():
        if line.startswith("| "):
            assert line.endswith(" |"), line
