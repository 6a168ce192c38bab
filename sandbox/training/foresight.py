"""A training before there is data: what it will cost at most, and what is wrong with it."""

from collections.abc import Mapping
from typing import Any

from sandbox.errors import InvalidInputError
from sandbox.models import work
from sandbox.models.checkpoint import Data
from sandbox.models.protocol import is_policy, zeros
from sandbox.training import jobs, judge, material
from sandbox.training.jobs import Job
from sandbox.training.judge import Judge
from sandbox.training.material import Repeated
from sandbox.trajectory import Schema

NO_DATA = Data(runs=[], environment="", episodes=0, rows=0, digest="", charge_micro=0)


def foreseen(
    schema: Schema,
    rows: int,
    name: str,
    size: str,
    options: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> Job:
    """Prepare a training on rows of zeros; no update costs more, because shapes decide the work.

    Args:
        schema: columns of the episodes to come.
        rows: rows of the longest of them.
        name: name of the model.
        size: its size.
        options: its options.
        settings: of the training.

    Raises:
        InvalidInputError: the training would be refused.
    """
    shapes = material.shapes_of(schema)
    told, chosen, model = jobs.begun(name, size, options, settings, shapes)
    length = model.context + told.horizon
    if length > rows:
        raise InvalidInputError(
            f"model {name}: an update takes {length} rows in sequence, and an episode has {rows} "
            "at most. Nothing was done. Lower the setting horizon, or let episodes last longer."
        )
    columns = (*model.needs, *(() if is_policy(model) else model.gives), "action")
    batch = zeros(shapes, tuple(dict.fromkeys(columns)), told.batch, length)
    checked = {one: rows[:1].expand(judge.BATCH, *rows.shape[1:]) for one, rows in batch.items()}
    judging = Judge([checked] * -(-told.windows // judge.BATCH), model, told.horizon)
    return Job(
        name,
        chosen,
        shapes,
        model,
        Repeated(batch),
        judging,
        NO_DATA,
        NO_DATA,
        0,
        told,
        work.of_update(model, f"model {name}", batch),
        {"model_mflop": work.mflop(judging.error)},
        jobs.code(name),
    )
