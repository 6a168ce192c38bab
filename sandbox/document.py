"""Read YAML documents of limited size; errors name the file, the line, the key and the rule."""

from pathlib import Path
from typing import TypeVar, cast

import yaml
from pydantic import BaseModel, ValidationError

from sandbox import files, validation
from sandbox.errors import InvalidInputError

MAX_BYTES = 1_000_000
Model = TypeVar("Model", bound=BaseModel)


def read(path: str | Path, model: type[Model]) -> Model:
    """Read a YAML file and validate it as a `model`.

    Raises:
        InvalidInputError: the file cannot be read, is larger than 1 MB, is not YAML, has a key
            twice, or breaks a rule of the model.
    """
    text = _text(path)
    try:
        node = cast(
            yaml.Node | None,
            yaml.compose(text, Loader=yaml.SafeLoader),  # pyright: ignore[reportUnknownMemberType]
        )
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path}: this is not YAML: {_oneline(error)}") from None
    _refuse_twice(path, node, set())
    try:
        return model.model_validate(data)
    except ValidationError as error:
        line = _line(node, error.errors(include_url=False)[0]["loc"])
        raise InvalidInputError(
            f"{path}:{line}: {validation.key(error)}: {validation.rule(error)}."
            f"{validation.more(error)}"
        ) from None


def _text(path: str | Path) -> str:
    data = files.read(files.place(path), MAX_BYTES, InvalidInputError)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidInputError(f"{path}: this is not UTF-8 text.") from None


def _refuse_twice(path: str | Path, node: yaml.Node | None, seen: set[int]) -> None:
    """Refuse a mapping that has a key twice, of which YAML would silently keep the last."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: list[str] = []
        for key, value in node.value:
            if key.value in keys:
                raise InvalidInputError(
                    f"{path}:{key.start_mark.line + 1}: the key {key.value!r} is there twice."
                )
            keys.append(key.value)
            _refuse_twice(path, value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_twice(path, item, seen)


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
