"""The reference of the commands and of the Python functions, in Markdown, from their code."""

import inspect
import re
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cached_property
from inspect import Parameter
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo, CommandInfo, OptionInfo

import sandbox
from sandbox import api, checking, exporting, keeping, publishing, repairing, sweeping
from sandbox.dataset.diagnosis import doctor
from sandbox.dreaming import dream
from sandbox.evaluation.evaluate import evaluate
from sandbox.experiments.experiment import experiment
from sandbox.learning.learn import learn
from sandbox.refunding import refund
from sandbox.report.reference import parsed, table
from sandbox.run.watcher import Watcher
from sandbox.training.train import train
from sandbox.valuation.worth import worth

TYPES = {  # Types of arguments and options, in words.
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "switch",
    "Path": "path",
    "list[str]": "text, repeatable",
    "list[Path]": "path, repeatable",
}


def pages(app: typer.Typer) -> dict[str, tuple[str, str]]:
    """Return the pages of an app's commands and of the functions: name to title and text."""
    return {"commands": ("Commands", commands(app)), "python": ("Python", functions())}


def commands(app: typer.Typer) -> str:
    """Return every command in Markdown, by the groups of `--help`."""
    found = list(_commands(app))
    lines: list[str] = []
    for group in dict.fromkeys(group for group, _, _ in found):
        mine = [(name, info) for its, name, info in found if its == group]
        lines += [f"## {group}", ""]
        lines += table(("command", "what it does"), [_contents(name, info) for name, info in mine])
        for name, info in mine:
            lines += _command(name, info)
    return "\n".join(lines)


def _commands(app: typer.Typer) -> Iterator[tuple[str, str, CommandInfo]]:
    """Yield the group, the name and the description of every command."""
    for info in app.registered_commands:
        yield str(info.rich_help_panel), f"sandbox {_name(info)}", info
    for below in app.registered_groups:
        assert below.typer_instance is not None
        for info in below.typer_instance.registered_commands:
            yield str(below.rich_help_panel), f"sandbox {below.name} {_name(info)}", info


def _name(info: CommandInfo) -> str:
    return info.name or _callback(info).__name__.replace("_", "-")


def _callback(info: CommandInfo) -> Callable[..., Any]:
    assert info.callback is not None
    return info.callback


def _contents(name: str, info: CommandInfo) -> tuple[str, str]:
    first = parsed(_callback(info))[0].partition("\n\n")[0]
    return f"[`{name}`](#{name.replace(' ', '-')})", " ".join(first.split())


def _command(name: str, info: CommandInfo) -> list[str]:
    callback = _callback(info)
    rows = list(_parameters(callback))
    usage = [name]
    for shown, _, default, _ in rows:
        if not shown.startswith("-"):
            usage.append(shown if default == "required" else f"[{shown}]")
        elif default == "required":
            usage.append(f"{shown} {shown[2:].upper()}")
    lines = [f"### {name}", "", parsed(callback)[0], ""]
    lines += ["```text", f"{' '.join(usage)} [OPTIONS]", "```", ""]
    head = ("argument or option", "type", "default", "meaning")
    return lines + table(head, [(f"`{shown}`", *rest) for shown, *rest in rows])


def _parameters(callback: Callable[..., Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield a row for each argument and option of a command."""
    hints = get_type_hints(callback, include_extras=True)
    for name, parameter in inspect.signature(callback).parameters.items():
        kind, *notes = get_args(hints[name])
        info = next(note for note in notes if isinstance(note, OptionInfo | ArgumentInfo))
        given = [str(one) for one in (info.default, *(info.param_decls or ()))]
        option = [one for one in given if one.startswith("--")] or [f"--{name.replace('_', '-')}"]
        shown = name.upper() if isinstance(info, ArgumentInfo) else option[0]
        yield shown, _kind(kind), _default(parameter), str(info.help)


def _kind(kind: Any) -> str:
    """Return the type of an argument or option in words."""
    if inspect.isclass(kind) and issubclass(kind, Enum):
        return " or ".join(f"`{one.value}`" for one in kind)
    return TYPES[_spelled(kind).removesuffix(" | None")]


def _default(parameter: Parameter) -> str:
    if parameter.default is Parameter.empty:
        return "required"
    value = parameter.default.value if isinstance(parameter.default, Enum) else parameter.default
    return "" if value is None or value is False or value == "" else f"`{value}`"


def functions() -> str:
    """Return the public functions of the library, and what they return, in Markdown."""
    offered = {
        **vars(api),
        **vars(checking),
        **vars(exporting),
        **vars(keeping),
        **vars(repairing),
        **vars(publishing),
        **vars(sweeping),
        "train": train,
        "evaluate": evaluate,
        "dream": dream,
        "learn": learn,
        "experiment": experiment,
        "refund": refund,
        "worth": worth,
        "doctor": doctor,
    }  # In the order of the files.
    public = [name for name in offered if name in sandbox.__all__]
    names = [name for name in public if inspect.isfunction(offered[name])]
    lines: list[str] = []
    for name in (*names, "Dataset", "Windows", "Batches", "Trust"):
        lines += [f"## sandbox.{name}", "", *_function(getattr(sandbox, name))]
    lines += ["## What they return and take", ""]
    made = [inspect.signature(offered[name]).return_annotation for name in names]
    for found in dict.fromkeys((*made, Watcher)):
        lines += _class(found)
    return "\n".join(lines)


def _function(function: Callable[..., Any]) -> list[str]:
    """Return the description of a function, or of how an object of a class is made."""
    text, sections = parsed(function)
    signature = inspect.signature(function)
    said = sections.get("Args") or sections.get("Attributes", {})
    rows = [
        (f"`{key}`", f"`{_spelled(one.annotation)}`", _value(one), said.get(key, ""))
        for key, one in signature.parameters.items()
    ]
    lines = [text, "", *table(("argument", "type", "default", "meaning"), rows)]
    if inspect.isfunction(function):
        kind = _spelled(signature.return_annotation)
        returned = sections.get("Returns", {}).get("", "")
        lines += [f"Returns [{kind}](#{kind.lower()}){f': {returned}' if returned else '.'}", ""]
    if raised := sections.get("Raises"):
        lines += [*(f"* raises `{key}`: {said}" for key, said in raised.items()), ""]
    if inspect.isclass(function) and (found := [*_members(function)]):
        lines += table(("member", "what it is"), [(f"`{name}`", text) for name, text in found])
    return lines


def _class(found: type) -> list[str]:
    """Return the description of a class: its attributes and methods."""
    text, sections = parsed(found)
    lines = [f"### {found.__name__}", "", text, ""]
    if said := sections.get("Attributes"):
        kinds = get_type_hints(found)
        rows = [(f"`{name}`", f"`{_spelled(kinds[name])}`", text) for name, text in said.items()]
        lines += table(("attribute", "type", "meaning"), rows)
    rows = [(f"`{name}`", summary) for name, summary in _members(found)]
    return lines + (table(("member", "what it is"), rows) if rows else [])


def _members(found: type) -> Iterator[tuple[str, str]]:
    """Yield the public methods and properties of a class, each with the first line about it."""
    for name, member in vars(found).items():
        summary = (member.__doc__ or "").partition("\n")[0]
        if name.startswith("_"):
            continue
        if inspect.isfunction(member):
            yield f"{name}({', '.join([*inspect.signature(member).parameters][1:])})", summary
        elif isinstance(member, classmethod):
            yield f"{found.__name__}.{name}()", summary
        elif isinstance(member, property | cached_property):
            yield name, summary


def _value(parameter: Parameter) -> str:
    if parameter.default is Parameter.empty:
        return "" if parameter.kind is Parameter.VAR_KEYWORD else "required"
    return "" if callable(parameter.default) else f"`{parameter.default!r}`"


def _spelled(annotation: Any) -> str:
    """Return a type as one writes it, without the names of modules."""
    text = inspect.formatannotation(_plain(annotation))
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", text)


def _plain(annotation: Any) -> Any:
    """Return a type without the bounds of its values, which errors say."""
    inner = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return inner[0]
    if isinstance(annotation, UnionType) or get_origin(annotation) is Union:
        found = _plain(inner[0])
        for one in inner[1:]:
            found = found | _plain(one)
        return found
    return annotation
