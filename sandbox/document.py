"""Read YAML documents of limited size; errors name the file, the line, the key and the rule.

A stranger may have written them, so this is a part of YAML: no tags, no merges, and a scalar means
what YAML 1.2 says. Older readers take 010 for 8, 1:30 for 90 and `no` for false.
"""

import datetime
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

import yaml
from pydantic import BaseModel, ValidationError

from sandbox import files, validation
from sandbox.errors import InvalidInputError

MAX_BYTES = 256 * 1024
MAX_NODES = 20_000  # Keys, values and items, those counted again that an alias repeats.
MAX_LEVELS = 32
_TEXT = "tag:yaml.org,2002:str"
_SCALARS: tuple[tuple[str, Callable[[str], Any]], ...] = (
    (r"~|null|Null|NULL|", lambda text: None),
    (r"true|True|TRUE|false|False|FALSE", lambda text: text[0] in "tT"),
    (r"[-+]?(0|[1-9][0-9]*)", int),
    (r"0o[0-7]+", lambda text: int(text[2:], 8)),
    (r"0x[0-9a-fA-F]+", lambda text: int(text[2:], 16)),
    (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", float),
    (r"[-+]?\.(inf|Inf|INF)", lambda text: float(text.replace(".", ""))),
    (r"\.(nan|NaN|NAN)", lambda text: float("nan")),
    (r"[0-9]{4}-[0-9]{2}-[0-9]{2}", datetime.date.fromisoformat),
)
_OCTAL = re.compile(r"[-+]?0[0-9]+")
Model = TypeVar("Model", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """Composes nodes, and no more of them than a document may have."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._count = self._level = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._count, self._level = self._count + 1, self._level + 1
        if self._count > MAX_NODES or self._level > MAX_LEVELS:
            _refuse_size(cast(Any, self).peek_event())
        node = super().compose_node(parent, index)  # pyright: ignore
        self._level -= 1
        return node


def read(path: str | Path, model: type[Model]) -> Model:
    """Read a YAML file and validate it as a `model`.

    Raises:
        InvalidInputError: the file cannot be read, is larger than 256 KiB, is not YAML, has a key
            twice, a tag, a merge, too many parts or levels, or breaks a rule of the model.
    """
    node, data = _parsed(_text(path), path)
    try:
        return model.model_validate(data)
    except (ValidationError, RecursionError) as error:
        if isinstance(error, RecursionError):
            raise InvalidInputError(f"{path}: nested too deeply.") from None
        line = _line(node, error.errors(include_url=False)[0]["loc"])
        raise InvalidInputError(
            f"{path}:{line}: {validation.key(error)}: {validation.rule(error, model)}."
            f"{validation.more(error)}"
        ) from None


def value(text: str, where: str) -> Any:
    """Return what a short YAML text says, such as `[1, 2]` or `true`.

    Raises:
        InvalidInputError: it is not YAML, or has what `read` refuses.
    """
    return _parsed(text[:MAX_BYTES], where)[1]


def _parsed(text: str, where: object) -> tuple[yaml.Node | None, Any]:
    """Return the node of a YAML text, and what it says (InvalidInputError if it is none)."""
    try:
        node = cast(yaml.Node | None, _Loader(text).get_single_node())  # pyright: ignore
        return node, None if node is None else _built(node, {}, [])
    except yaml.MarkedYAMLError as error:
        raise InvalidInputError(f"{where}: this is not YAML: {_oneline(error)}") from None
    except _RuleError as error:
        raise InvalidInputError(f"{where}:{error.line}: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{where}: this is not YAML: {_oneline(error)}") from None


class _RuleError(Exception):
    """A part of YAML that no document here may have."""

    def __init__(self, at: Any, message: str) -> None:
        super().__init__(message)
        self.line = at.start_mark.line + 1


def _refuse_size(at: Any) -> NoReturn:
    raise _RuleError(
        at, f"more than {MAX_NODES:,} parts, or {MAX_LEVELS} levels; this is no document."
    )


def _text(path: str | Path) -> str:
    data = files.read(files.place(path), MAX_BYTES, InvalidInputError)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path}: this is not UTF-8 text.") from None


def _built(node: yaml.Node, made: dict[int, tuple[Any, int]], above: list[yaml.Node]) -> Any:
    """Return what a node says, as plain data.

    Args:
        node: the node.
        made: what other nodes say, and how many parts they have: an alias is the same node.
        above: those that hold this one.
    """
    if node in above:
        raise _RuleError(node, "an alias that holds itself.")
    if id(node) not in made:
        made[id(node)] = _counted(node, made, [*above, node])
    return made[id(node)][0]


def _counted(
    node: yaml.Node, made: dict[int, tuple[Any, int]], above: list[yaml.Node]
) -> tuple[Any, int]:
    """Return what a node says, and how many parts it has when aliases are spelled out."""
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node), 1
    found: Any
    if isinstance(node, yaml.MappingNode):
        found, parts = {}, [value for _, value in node.value]
        for key, value in node.value:
            name = _key(key)
            if name in found:
                raise _RuleError(key, f"the key {name[:80]!r} is there twice.")
            found[name] = _built(value, made, above)
    else:
        parts = cast(list[yaml.Node], node.value)
        found = [_built(item, made, above) for item in parts]
    _refuse_tag(node, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
    count = 1 + sum(made[id(part)][1] for part in parts)
    if count > MAX_NODES:
        _refuse_size(node)
    return found, count


def _key(node: yaml.Node) -> str:
    """Return the text of a key."""
    if not isinstance(node, yaml.ScalarNode):
        raise _RuleError(node, "a key that is no text.")
    if node.value == "<<" and not node.style:
        raise _RuleError(node, "a merge (<<), which no document here may have; write it out.")
    text = cast(object, _scalar(node))
    if not isinstance(text, str):
        raise _RuleError(node, f"the key {node.value[:80]!r} is no text; write it in quotes.")
    return text


def _scalar(node: yaml.ScalarNode) -> Any:
    """Return what a scalar says: text in quotes, and otherwise what YAML 1.2 says."""
    text = cast(str, node.value)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise _RuleError(node, f"{text[:80]!r}: is not Unicode text.")
    if node.style or not text.isascii():
        _refuse_tag(node, _TEXT)
        return text
    _refuse_tag(node, *_IMPLICIT)
    if _OCTAL.fullmatch(text):
        raise _RuleError(
            node, f"{text[:80]}: some read it as octal; write it without the 0, or in quotes."
        )
    for pattern, value in _SCALARS:
        if len(text) <= 400 and re.fullmatch(pattern, text):
            try:
                return value(text)
            except (ValueError, OverflowError) as error:
                raise _RuleError(node, f"{text[:80]!r}: {error}.") from None
    return text


_IMPLICIT = tuple(
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "null", "bool", "int", "float", "timestamp", "value", "merge")
)


def _refuse_tag(node: yaml.Node, *allowed: str) -> None:
    """Refuse a node with a tag of its own."""
    if node.tag not in allowed:
        raise _RuleError(node, f"this is not YAML that is read here: the tag {node.tag[:80]!r}.")


def _line(node: yaml.Node | None, loc: tuple[int | str, ...]) -> int:
    """Return the line number of the deepest key of `loc` that exists in the file."""
    line = 1 if node is None else node.start_mark.line + 1
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            found = [(k, v) for k, v in node.value if k.value == str(part)]
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1 if node is not None else line
    return line


def _oneline(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
