"""Compare what an episode's record says with what it should say."""

from collections.abc import Mapping
from typing import Any


def difference(data: Mapping[str, Any], due: Mapping[str, Any], whose: str) -> str:
    """Return the first key of `due` that a record has otherwise, or "".

    Args:
        data: the record, plain JSON.
        due: the keys to compare, with the values that they should have.
        whose: what says so, for the message.
    """
    for key in sorted(due):
        if data.get(key, ...) != due[key]:
            return f"its record says {key} {data.get(key)!r:.80}, and {whose} {due[key]!r:.80}."
    return ""
