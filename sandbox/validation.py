"""Say in plain words what pydantic found wrong in somebody's data."""

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, cast, get_args

from pydantic import BaseModel, ValidationError

from sandbox.errors import shown

Facts = Mapping[str, Any]
_RULES: dict[str, Callable[[Facts], str]] = {
    "missing": lambda c: "is missing",
    "extra_forbidden": lambda c: "is not a known key",
    "string_type": lambda c: "must be text",
    "int_type": lambda c: "must be a whole number",
    "int_from_float": lambda c: "must be a whole number",
    "float_type": lambda c: "must be a number",
    "bool_type": lambda c: "must be true or false",
    "list_type": lambda c: "must be a list",
    "dict_type": lambda c: "must be a mapping",
    "model_type": lambda c: "must be a mapping",
    "none_required": lambda c: "must be null",
    "date_type": lambda c: "must be a date such as 2027-01-31",
    "finite_number": lambda c: "must be a finite number",
    "literal_error": lambda c: f"must be {c['expected']}",
    "greater_than": lambda c: f"must be greater than {c['gt']}",
    "greater_than_equal": lambda c: f"must be at least {c['ge']}",
    "less_than": lambda c: f"must be less than {c['lt']}",
    "less_than_equal": lambda c: f"must be at most {c['le']}",
    "string_too_short": lambda c: f"must have at least {c['min_length']} characters",
    "string_pattern_mismatch": lambda c: f"must be spelled as {c['pattern']}",
    "too_short": lambda c: f"must have at least {c['min_length']} items",
    "too_long": lambda c: f"must have at most {c['max_length']} items",
    "value_error": lambda c: str(c["error"]),
}
_WITHOUT_VALUE = ("missing", "extra_forbidden", "size")


def key(error: ValidationError, whole: str = "the document") -> str:
    """Return the path of the first key that is wrong, such as `splits.train.t_mass_kg`."""
    return ".".join(_path(error)) or whole


def rule(error: ValidationError, of: type[BaseModel] | None = None) -> str:
    """Return the rule that the first wrong key breaks, and its value: "must be text, not 3".

    Args:
        error: what pydantic found.
        of: the model that was wanted: an unknown key is told the known one nearest to it.
    """
    first = error.errors(include_url=False)[0]
    if first["type"] == "extra_forbidden" and of is not None:
        return "is not a known key" + _hint(first["loc"], of)
    kind, context = first["type"], cast(Facts, first.get("ctx") or {})
    said = _RULES[kind](context) if kind in _RULES else first["msg"]
    return said if kind in _WITHOUT_VALUE else f"{said}, not {shown(first['input'])}"


def first_fault(error: ValidationError, of: type[BaseModel] | None = None) -> str:
    """Return what is wrong: the first wrong key, and the rule that it breaks; `of` as in `rule`."""
    return f"{key(error)}: {rule(error, of)}."


def more(error: ValidationError) -> str:
    """Return how many faults there are besides the first, such as " (and 2 more)"; or ""."""
    count = error.error_count() - 1
    return f" (and {count} more)" if count else ""


def _path(error: ValidationError) -> list[str]:
    """Return the keys to the fault, without the names of types that pydantic tried in turn."""
    parts = error.errors(include_url=False)[0]["loc"]
    return [str(part)[:80] for part in parts if isinstance(part, int) or _is_key(part)]


def _is_key(part: str) -> bool:
    """Return whether a part of a location is a key of the document, not a type such as `float`."""
    named = part in ("float", "int", "str", "bool") or part.startswith(
        ("constrained-", "function-")
    )
    return not named and "[" not in part and not part[:1].isupper()


def _hint(place: tuple[int | str, ...], of: type[BaseModel]) -> str:
    """Return the known keys beside an unknown one, the nearest first; "" if they are not found."""
    for part in place[:-1]:
        field = of.model_fields.get(str(part))
        inner = next(_models(field.annotation), None) if field else None
        if inner is None:
            return ""
        of = inner
    known = sorted(one.alias or name for name, one in of.model_fields.items())
    near = get_close_matches(str(place[-1])[:80], known, n=1)
    return (f". Did you mean {near[0]!r}?" if near else ".") + f" Known: {', '.join(known)}"


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in an annotation such as `Model | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
