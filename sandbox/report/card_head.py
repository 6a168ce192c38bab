"""The YAML at the head of a card, as Hugging Face reads it."""

import json
import re
from collections.abc import Sequence

from sandbox.report.card_facts import Facts
from sandbox.trajectory.schema import ROW, Column

TASKS = ("robotics", "reinforcement-learning")
TAGS = ("world-model", "simulation", "pybullet", "gymnasium", "hdf5")
_SPLIT = re.compile(r"\w+(\.\w+)*", re.ASCII)  # What may be the name of a split.
_SIZES = (
    *((10**3, "1K"), (10**4, "10K"), (10**5, "100K"), (10**6, "1M"), (10**7, "10M")),
    *((10**8, "100M"), (10**9, "1B"), (10**10, "10B"), (10**11, "100B"), (10**12, "1T")),
)
_MOST_AXES = 5  # Of a column's rows, that `datasets` reads.


def head(facts: Facts, licence: str | None, name: str) -> str:
    """Return the head of a card, between its two lines of dashes.

    Without a licence it names none, which Hugging Face allows. `dataset_info` names the columns
    of rows: `datasets` reads no file whose columns have different lengths, and so learns to leave
    out those of one entry an episode.
    """
    tags = [*TAGS, *(one for one in facts.environments if one.isidentifier())]
    lines = [
        "---",
        *([] if licence is None else [f"license: {licence}"]),
        f"pretty_name: {_quoted(name)}",
        "task_categories:",
        *(f"- {one}" for one in TASKS),
        "tags:",
        *(f"- {_quoted(one)}" for one in tags),
        "size_categories:",
        f"- {size(facts.rows)}",
        "configs:",
        "- config_name: default",
        "  data_files:",
        f"  - split: {_quoted(split(facts.splits))}",
        "    path: shards/*.h5",
        "dataset_info:",
        "  features:",
    ]
    columns = (*facts.schema.columns, *((ROW,) if min(facts.versions) > 1 else ()))
    for column in sorted(columns, key=lambda one: one.name):
        lines += _feature(column)
    return "\n".join([*lines, "---", ""])


def split(splits: dict[str, int]) -> str:
    """Return the split as which Hugging Face shows the rows: the run's own, or else train."""
    name = next(iter(splits), "")
    return name if len(splits) == 1 and _SPLIT.fullmatch(name) else "train"


def size(rows: int) -> str:
    """Return the category of a number of rows, in Hugging Face's words."""
    above = [(most, text) for most, text in _SIZES if rows < most]
    if not above:
        return "n>1T"
    place = len(_SIZES) - len(above)
    return f"{_SIZES[place - 1][1]}<n<{above[0][1]}" if place else "n<1K"


def unquoted(text: str) -> str | None:
    """Return the text that `head` has quoted; None if it is none."""
    try:
        return str(json.loads(text))
    except ValueError:
        return None


def _feature(column: Column) -> Sequence[str]:
    """Return the lines that name a column's type; the order of their keys counts."""
    lines = [f"  - name: {_quoted(column.name)}"]
    shape = column.shape
    if not shape:
        return [*lines, f"    dtype: {column.dtype}"]
    if len(shape) == 1:
        return [*lines, f"    list: {column.dtype}", f"    length: {shape[0]}"]
    if len(shape) > _MOST_AXES:
        return []
    kind = [f"      array{len(shape)}_d:", f"        dtype: {column.dtype}", "        shape:"]
    return [*lines, "    dtype:", *kind, *(f"        - {n}" for n in shape)]


def _quoted(text: str) -> str:
    """Return a text as YAML has it in quotes, whatever is in it."""
    return json.dumps(text)
