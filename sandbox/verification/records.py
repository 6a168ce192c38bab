"""Compare what an episode's record says with what it should say."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from sandbox import jsonfile
from sandbox.errors import FormatError, shown
from sandbox.run.record import Record
from sandbox.scenario.disturbance import reset_options
from sandbox.trajectory import Rows


def difference(data: Mapping[str, Any], due: Mapping[str, Any], whose: str) -> str:
    """Return the first key of `due` that a record has otherwise, or "".

    Args:
        data: the record, plain JSON.
        due: the keys to compare, with the values that they should have.
        whose: what says so, for the message.
    """
    for key in sorted(due):
        if data.get(key, ...) != due[key]:
            return f"its record says {key} {shown(data.get(key))}, and {whose} {shown(due[key])}."
    return ""


def start_fault(rows: Rows, record: Record) -> str:
    """Return which column of an episode's start is not what its record says, or "".

    A replay compares them too; this needs none.
    """
    if "seed" not in rows:  # Format 1.
        return ""
    if (rows["seed"] != record.seed).any():
        return f"its column 'seed' is not the record's {record.seed}."
    runs, texts = rows["run"], rows["reset_options"]
    if (runs != runs[0]).any() or runs[0].tobytes().hex() != record.run:
        return f"its column 'run' is not the record's {record.run}."
    first = texts[0].tobytes().rstrip(b" ")
    told: Any = None
    known: Any = ...
    with suppress(FormatError, UnicodeDecodeError, TypeError):  # A stranger wrote both.
        known = reset_options(record.disturbances, record.factors, record.goal)
        told = jsonfile.parse(first.decode("ascii"), "reset_options")
    if (texts != texts[0]).any() or told != known:
        return "its column 'reset_options' does not say what its record does."
    return ""
