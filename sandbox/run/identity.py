"""What run.json says: which work a run is."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from sandbox import prices, validation
from sandbox.errors import FormatError, InvalidInputError
from sandbox.evidence import log
from sandbox.prices import PriceSchedule
from sandbox.run.recipe import Recipe
from sandbox.run.source import Origin
from sandbox.scenario import Scenario

FORMAT = 3


class PartIdentity(BaseModel):
    """What decides the bytes of a part's episodes, besides the recipe.

    Attributes:
        scenario, renderer, code: as in `Identity`.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    scenario: Scenario
    renderer: dict[str, str] | None
    code: str

    @classmethod
    def of(cls, known: "Origin | Identity") -> "PartIdentity":
        """Return what an origin, or the top of a run's identity, says."""
        drawer = None if known.renderer is None else dict(known.renderer)
        return cls(scenario=known.scenario, renderer=drawer, code=known.code)


class Identity(BaseModel):
    """Everything that decides a run's bytes and its bill.

    Attributes:
        format: version of the run format.
        run: id of the run: a digest of the attributes below, so the same work has the same id.
        recipe: what is generated.
        scenario: the recipe's scenario, with what it extends; of the first part, if it has parts.
        engine: determinism class of the simulation, and its parts.
        renderer: name and determinism class of the renderer; None if nothing is drawn.
        price_version: version of the price schedule.
        prices: SHA-256 of that schedule.
        parent: id of the run that this one renders again; None for other runs.
        plan: which episodes are branched off and how; None for other runs.
        code: SHA-256 of the environment's source text; of the first part.
        parts: scenario, renderer and code of each part of the recipe; none if it has none.
        price_schedule: what that schedule says, if it is the operator's own; None for one of this
            library.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")

    format: Literal[3]
    run: str
    recipe: Recipe
    scenario: Scenario
    engine: dict[str, str]
    renderer: dict[str, str] | None
    price_version: str
    prices: str
    parent: str | None
    plan: dict[str, Any] | None
    code: str
    parts: list[PartIdentity] = []
    price_schedule: dict[str, Any] | None = None

    _plain: Mapping[str, Any] = PrivateAttr(default_factory=dict[str, Any])
    _carried: PriceSchedule | None = PrivateAttr(default=None)
    _whole: Recipe | None = PrivateAttr(default=None)

    @classmethod
    def parse(cls, data: Mapping[str, Any], where: object) -> "Identity":
        """Return the identity in plain JSON that anybody may have written.

        Raises:
            FormatError: `where` is no run, damaged, or of another format.
        """
        if data.get("format") != FORMAT:
            raise FormatError(
                f"{where}: not of run format {FORMAT}; use the version that wrote it."
            )
        try:
            found = cls.model_validate(data)
        except (ValidationError, RecursionError) as error:
            fault = validation.first_fault(error) if isinstance(error, ValidationError) else error
            raise FormatError(f"{where}: {fault} Restore it from a copy.") from None
        if len(found.parts) != len(found.recipe.parts):
            raise FormatError(
                f"{where}: its recipe has {len(found.recipe.parts)} parts, of which it describes "
                f"{len(found.parts)}. Restore it from a copy."
            )
        try:
            found._carried = carried(data)
        except InvalidInputError as error:
            raise FormatError(f"{where}: {error}") from None
        found._plain = data
        return found

    @classmethod
    def of(cls, origin: Origin, schedule: PriceSchedule) -> "Identity":
        """Return the identity of episodes from an origin, charged under a price schedule."""
        data: dict[str, Any] = {
            "format": FORMAT,
            "run": "",
            "recipe": origin.recipe.dataset(),
            "scenario": origin.scenario.model_dump(),
            "engine": dict(origin.engine),
            "renderer": origin.renderer and dict(origin.renderer),
            "price_version": schedule.version,
            "prices": schedule.digest,
            "parent": origin.parent,
            "plan": origin.plan and dict(origin.plan),
            "code": origin.code,
        }
        if origin.parts:
            data["parts"] = [PartIdentity.of(one).model_dump() for one in origin.parts]
        if schedule.version not in _shipped():
            data["price_schedule"] = schedule.plain
        data["run"] = cls.parse(data, "the run").named()
        return cls.parse(data, "the run")

    @cached_property
    def worlds(self) -> "tuple[Identity, ...]":
        """The identity of each part's episodes: this run, with the part's recipe alone."""
        if not self.parts:
            return (self,)
        return tuple(map(self._world, self.recipe.worlds, self.parts))

    def _world(self, recipe: Recipe, part: PartIdentity) -> "Identity":
        same = {"scenario": part.scenario, "renderer": part.renderer, "code": part.code}
        made = self.model_copy(update={"recipe": recipe, "parts": [], **same})
        made._whole = self.recipe
        return made

    @property
    def whole(self) -> Recipe:
        """The recipe of the run, of which this one's may be a part."""
        return self._whole or self.recipe

    def of_episode(self, number: int) -> "Identity":
        """Return the identity of the part that has an episode."""
        order = self.recipe.order
        return self.worlds[0 if order is None else order.policy(number)]

    @property
    def plain(self) -> Mapping[str, Any]:
        """The identity as plain JSON: what run.json holds."""
        return self._plain

    @property
    def carried(self) -> PriceSchedule | None:
        """The operator's own prices, as run.json has them; None if they are this library's."""
        return self._carried

    @property
    def schedule(self) -> PriceSchedule:
        """The prices of the run; InvalidInputError if they are neither in run.json nor here."""
        return self._carried or prices.load(self.price_version)

    @property
    def leaf(self) -> bytes:
        """The first leaf of the run's log, 32 bytes."""
        return log.leaf(self.plain)

    def named(self) -> str:
        """Return the run id that follows from the other attributes."""
        drawers = [one.renderer and one.renderer.get("class") for one in self.parts]
        parts = [
            [drawer, one.scenario.digest, one.code]
            for drawer, one in zip(drawers, self.parts, strict=True)
        ]
        return self.recipe.run_id(
            engine=str(self.engine.get("class")),
            renderer=None if self.renderer is None else self.renderer.get("class"),
            scenario=self.scenario.digest,
            prices=self.price_version,
            code=self.code,
            plan=self.plan,
            parts=parts,
        )


def carried(data: Mapping[str, Any]) -> PriceSchedule | None:
    """Return the price schedule in the plain JSON of a run's identity; None if it has none.

    Raises:
        InvalidInputError: it is not the one that the identity names.
    """
    if data.get("price_schedule") is None:
        return None
    found = prices.parse(data["price_schedule"])
    named = (found.version, found.digest) == (data.get("price_version"), data.get("prices"))
    if not named or found.version in _shipped():
        raise InvalidInputError("the price schedule that it carries is not the one that it names.")
    return found


def _shipped() -> list[str]:
    """Return the versions of the price schedules of this library."""
    return [one.version for one in prices.schedules()]


def has_tries(plan: Mapping[str, Any] | None) -> bool:
    """Return whether a plan is one of tries; that of other runs is None, or of branches."""
    return plan is not None and "tries" in plan


def imagined(plan: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return what a plan says of dreams, nothing if that is no object; None if it has none."""
    said = None if plan is None else plan.get("imagined")
    if said is None or isinstance(said, dict):
        return cast("dict[str, Any] | None", said)
    return {}


def difference(old: Identity, new: Identity) -> str:
    """Return the first part in which two identities differ, and how; "" if in none."""
    for part, ours in new.plain.items():
        theirs = old.plain.get(part)
        if part == "run" or theirs == ours:
            continue
        return f"another {part}: {'other branches' if part == 'plan' else _unlike(theirs, ours)}"
    return ""


def _unlike(theirs: Any, ours: Any) -> str:
    """Return how two JSON values differ, key by key where they are objects."""
    if not isinstance(theirs, Mapping) or not isinstance(ours, Mapping):
        return f"{theirs!r}, not {ours!r}"
    old, new = cast(Mapping[str, Any], theirs), cast(Mapping[str, Any], ours)
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return ", ".join(f"{key} was {old.get(key)!r} and is {new.get(key)!r}" for key in keys)
