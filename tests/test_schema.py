"""Schemas: as JSON and back; what is none is refused."""

import json
from typing import Any

import pytest
from written import SCHEMA

from sandbox.errors import FormatError
from sandbox.trajectory import Schema


def test_a_schema_survives_json() -> None:
    assert Schema.from_json(json.loads(json.dumps(SCHEMA.to_json()))) == SCHEMA
    assert SCHEMA.row_bytes == 768 + 8 + 4 + 8 + 1 + 1 + 8 + 4 + 8 + 8


def _column(**changes: object) -> dict[str, Any]:
    return {"columns": [*SCHEMA.to_json()["columns"][1:], {**_PIXELS, **changes}]}


_PIXELS = SCHEMA.to_json()["columns"][0]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (None, "no list of `columns`"),
        ({"columns": 3}, "no list of `columns`"),
        ({"columns": [7]}, "expected an object"),
        ({"columns": []}, "has no column action"),
        (_column(name="a/b"), "letters"),
        (_column(name=".."), "letters"),
        (_column(name="reward"), "twice"),
        (_column(name="ep_len"), "the file's own"),
        (_column(dtype="object"), "'object'"),
        (_column(dtype=3), "must be text"),
        (_column(shape=[-1]), "at least 1"),
        (_column(shape=[True]), "list of int"),
        (_column(shape=[1 << 20, 1 << 20]), "bytes"),
        (_column(shape="16"), "list of int"),
        (_column(elements=["x"]), "names 1 elements"),
        (_column(elements=None), "list of str"),
    ],
)
def test_a_schema_that_is_none_is_refused(data: object, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        Schema.from_json(data)
