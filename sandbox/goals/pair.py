"""A pair: a start that a replay reaches, a goal, and one known solution."""

import base64
import binascii
from typing import Annotated, Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator

F32, F64 = NDArray[np.float32], NDArray[np.float64]
_MOST_BYTES = 1 << 24  # Of an array of a file.


def _decoded(given: Any, dtype: str, dimensions: int) -> NDArray[Any]:
    """Return an array that a file has as text: its width, a colon, and base64 of its bytes."""
    if isinstance(given, np.ndarray):
        return cast(NDArray[Any], given)
    if not isinstance(given, str) or len(given) > _MOST_BYTES or ":" not in given:
        raise ValueError("is no array")
    width, _, text = given.partition(":")
    try:
        values = np.frombuffer(base64.b64decode(text, validate=True), dtype)
        made = values.reshape((-1, int(width))) if dimensions == 2 else values
    except (binascii.Error, ValueError):
        raise ValueError("is no array of numbers") from None
    if not np.isfinite(made).all() or (dimensions == 1 and len(made) != int(width)):
        raise ValueError("has numbers that are not finite, or lacks some")
    return made


def _encoded(values: NDArray[Any]) -> str:
    return f"{values.shape[-1]}:{base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()}"


Actions = Annotated[  # float32 (steps, numbers of an action)
    Any,
    PlainValidator(lambda given: _decoded(given, "<f4", 2)),
    PlainSerializer(_encoded, return_type=str),
]
State = Annotated[  # float64 (numbers of the state,)
    Any,
    PlainValidator(lambda given: _decoded(given, "<f8", 1)),
    PlainSerializer(_encoded, return_type=str),
]


class Model(BaseModel):
    """Plain data of a file: unknown keys, and values of other types, are refused."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True
    )


class Start(Model):
    """Where a pair begins: an episode, and the actions that were taken in it.

    Attributes:
        seed: seed of the episode's reset.
        factors: value of each factor.
        disturbances: what happens during the episode.
        scene: digest of its scene.
        policy: who took the actions.
        episode: its number in the recipe or the run that it is of.
        actions: float32 (step, numbers of an action).
        state: the state that they lead to, float64 (numbers,).
        past: SHA-256 of all states up to there, as bytes; see `states_digest`.
    """

    seed: Annotated[int, Field(ge=0, lt=1 << 63)]
    factors: dict[str, Any]
    disturbances: list[dict[str, Any]]
    scene: str
    policy: str
    episode: Annotated[int, Field(ge=0)]
    actions: Actions
    state: State
    past: str

    @property
    def step(self) -> int:
        """The step of the episode at which the pair begins."""
        return len(self.actions)


class Hits(Model):
    """When a goal is reached, in steps after the start; None if it is not.

    Attributes:
        moderate, strict: the first step at which it is.
    """

    moderate: Annotated[int, Field(ge=0, lt=1 << 31)] | None
    strict: Annotated[int, Field(ge=0, lt=1 << 31)] | None


class Pair(Model):
    """A start and a goal.

    Attributes:
        number: from 0.
        start: where it begins.
        goal: the state to reach, float64 (numbers,); of a task the one that its solution reached.
        by: who reached the goal: the episode's own policy, or another after a branch.
        known: actions from the start that reach it, float32 (steps, numbers of an action).
        hits: when they do.
        distance: of start and goal, in moderate tolerances; of a task 1.
    """

    number: Annotated[int, Field(ge=0)]
    start: Start
    goal: State
    by: str
    known: Actions
    hits: Hits
    distance: Annotated[float, Field(ge=0)]

    @property
    def names(self) -> tuple[str, bytes]:
        """What no other pair of a set has: the digest of its past, and its goal."""
        return self.start.past, self.goal.tobytes()
