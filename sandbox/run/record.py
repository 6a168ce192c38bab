"""What is known about one episode besides its rows."""

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from sandbox import validation
from sandbox.errors import FormatError
from sandbox.evidence import log


class Record(BaseModel):
    """The record of one episode, as its shard and the run's log have it.

    Attributes:
        run: id of the run.
        episode: number of the episode in its run, from 0.
        environment: name of the environment.
        seed: seed of the episode's reset; None if it was imported and its source says none.
        scenario: name of the scenario; None without one.
        split: split of the scenario; None without one.
        scenario_digest: SHA-256 of what the scenario says.
        factors: value of each factor at reset.
        disturbances: what happens during the episode, every range drawn.
        scene_digest: SHA-256 of the scene.
        policy: name of the policy that acted.
        engine: determinism class of the simulation, and its parts.
        renderer: name and determinism class of the renderer; None if nothing is drawn.
        views: names of the cameras that draw.
        cameras: intrinsics and extrinsics of every camera, if something is drawn.
        price_version: version of the price schedule.
        steps: number of steps, T.
        charges: work done per meter unit.
        charge_micro: price of that work [microcredits].
        success: whether the task is done on the last row; None if it was imported or imagined, for
            then nobody knows.
        total_reward: sum of the rewards; the key `return` in files.
        branch: which recorded episode this one branches off; None if it is no branch. Its `goal`
            is that of a try that it branches off.
        tried: which pair of a goal set an agent tries in it; None if it is no try. Its keys:
            `goals` and `results`, digests; `agent`, `pair` and `seed`; `step`, at which the agent
            begins, and `steps`, at which the try ends; `states`, SHA-256 of those between; `goal`,
            the state to reach, None of the world's task; `moderate` and `strict`, after how many
            steps of the agent's it is reached, None if never.
        imported: where the episode was imported from; None if it was not.
        imagined: which model imagined the episode; None if none did. Its keys: `model`, the digest
            of the checkpoint; `tier`; `context`, the number of rows at its beginning that were
            recorded; `run`, `episode`, `digest` and `row`, where they come from.
        digest: root of the hash tree over the rows; None before the episode is written.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    run: str
    episode: Annotated[int, Field(ge=0, lt=2**31)]
    environment: str
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None
    scenario: str | None
    split: str | None
    scenario_digest: str
    factors: dict[str, Any]
    disturbances: list[dict[str, Any]]
    scene_digest: str
    policy: str
    engine: dict[str, str]
    renderer: dict[str, str] | None
    views: list[str]
    cameras: dict[str, dict[str, Any]]
    price_version: str
    steps: Annotated[int, Field(ge=0, lt=2**31)]
    charges: dict[str, Annotated[int, Field(ge=0, lt=2**53)]]
    charge_micro: Annotated[int, Field(ge=0, lt=2**63)]
    success: bool | None
    total_reward: float = Field(alias="return", allow_inf_nan=False)
    branch: dict[str, Any] | None = None
    tried: dict[str, Any] | None = None
    imported: dict[str, Any] | None = None
    imagined: dict[str, Any] | None = None
    digest: str | None = None

    _plain: Mapping[str, Any] = PrivateAttr(default_factory=dict[str, Any])

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if self.is_simulated and (self.seed is None or self.success is None):
            raise ValueError("seed and success are known of each episode that was simulated")
        return self

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Record":
        """Return the record in plain JSON that anybody may have written.

        Raises:
            FormatError: a key is missing, or its value has another type.
        """
        try:
            found = cls.model_validate(data)
        except ValidationError as error:
            raise FormatError(f"its record: {validation.first_fault(error)}") from None
        found._plain = data
        return found

    @property
    def plain(self) -> Mapping[str, Any]:
        """The record as plain JSON: the very object that was parsed."""
        return self._plain

    @cached_property
    def leaf(self) -> bytes:
        """The record's leaf in the run's log, 32 bytes."""
        return log.leaf(self.plain)

    @property
    def goal(self) -> list[float] | None:
        """The state that the episode shall reach; None if it has the world's task."""
        return (self.tried or self.branch or {}).get("goal")

    @property
    def is_simulated(self) -> bool:
        """Return whether a simulator made it: it was neither imported nor imagined."""
        return self.imported is None and self.imagined is None

    @property
    def is_alone(self) -> bool:
        """Return whether no other episode is meant to begin as it does: no branch, and no try."""
        return self.branch is None and self.tried is None

    @property
    def is_impossible(self) -> bool:
        """Return whether this is a branch in which something physically impossible happens."""
        return bool((self.branch or {}).get("impossible"))


def shared(work: Mapping[str, int]) -> Mapping[str, int]:
    """Return work per meter unit as an object that episodes of the same work share."""
    return _shared(tuple(work.items()))


@lru_cache(maxsize=1 << 12)
def _shared(work: tuple[tuple[str, int], ...]) -> Mapping[str, int]:
    return dict(work)
