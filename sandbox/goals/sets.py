"""Goal sets: files that need nothing else, whose digest names them."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, ValidationError

from sandbox import durable, files, jsonfile, validation
from sandbox.env.aim import Aim
from sandbox.errors import FormatError, InvalidInputError, SandboxError
from sandbox.evidence.note import SigningKey
from sandbox.goals import signed
from sandbox.goals.pair import Model, Pair

FORMAT = 1
_HEAD = "sandbox.goals/set"


class Filtered(Model):
    """How many candidates were tried, and by what they were thrown out.

    Attributes:
        tried: candidates.
        short: their episode ends too early.
        start: the goal is reached at the start.
        noop: doing nothing reaches it within the budget.
        random: random actions reach it in more than one of eight tries.
        known: the known solution does not reach it strictly.
        shared: a training run has its seed, or one of its states.
        twice: it is there already: start and goal are those of another.
        spare: good ones that were left, so that distances are spread.
    """

    tried: int = 0
    short: int = 0
    start: int = 0
    noop: int = 0
    random: int = 0
    known: int = 0
    shared: int = 0
    twice: int = 0
    spare: int = 0


class Apart(Model):
    """What was looked at to show that a set shares nothing with a training run.

    Attributes:
        run: id of the run, or of its first one.
        episodes: its episodes.
        frames: its rows.
        digest: SHA-256 of its episodes' digests, in order.
    """

    run: str
    episodes: int
    frames: int
    digest: str


class GoalSet(Model):
    """Frozen starts and goals of one world.

    Attributes:
        format: version of this format.
        kind: ahead, branched, task or tasks.
        offset: steps from start to goal; of a task 0.
        budget: steps that an agent has.
        environment: the world.
        scenario: its scenario, whole.
        aim: what a goal is; {} of a task.
        engine, code: what the states depend on, as in a run.
        source: the recipe, or the id of the run, that the episodes are of, and its seed.
        seed: seed of the set.
        filtered: what was thrown out.
        apart: training runs with which it shares nothing.
        pairs: the pairs.
    """

    format: Literal[1]
    kind: Literal["ahead", "branched", "task", "tasks"]
    offset: Annotated[int, Field(ge=0, lt=1 << 31)]
    budget: Annotated[int, Field(ge=1, lt=1 << 31)]
    environment: str
    scenario: dict[str, Any]
    aim: dict[str, Any]
    engine: dict[str, Any]
    code: str
    source: dict[str, Any]
    seed: Annotated[int, Field(ge=0, lt=1 << 63)]
    filtered: Filtered
    apart: list[Apart]
    pairs: Annotated[list[Pair], Field(min_length=1)]

    @property
    def digest(self) -> str:
        """The SHA-256 of the set's canonical JSON, which names it."""
        return signed.digest(_HEAD, self)

    def write(self, path: Path, key: SigningKey | None) -> None:
        """Write the file, signed with a key if there is one; it must not exist.

        Raises:
            InvalidInputError: there is something at this path.
            SandboxError: it cannot be written.
        """
        data = {"set": self.model_dump(), "note": signed.signed(_HEAD, self.digest, key)}
        try:
            durable.create(path, jsonfile.encode(data))
        except FileExistsError:
            raise InvalidInputError(
                f"{path}: there is a file; a set is never overwritten. Give another name."
            ) from None
        except OSError as error:
            remedy = "Make room or get permission there, or name another place."
            raise SandboxError(
                f"{path}: cannot be written: {error.strerror}. {files.remedy(error, remedy)}"
            ) from error

    @classmethod
    def read(cls, path: str | Path) -> "Signed":
        """Read a set from a file that anybody may have written.

        Raises:
            FormatError: it is no set, of another version, damaged, or edited.
        """
        return Signed.read(files.place(path))

    @property
    def tasks(self) -> list[str]:
        """The name of each pair of a set of tasks, task1 and so on; [] of another set."""
        return [f"task{n + 1}" for n in range(len(self.pairs))] if self.kind == "tasks" else []

    @property
    def is_task(self) -> bool:
        """Whether its goal is the world's own task."""
        return self.kind == "task"

    def check_aim(self, aim: Aim | str) -> None:
        """Refuse a world whose aim has changed since the set was made (FormatError)."""
        now = {} if self.is_task or isinstance(aim, str) else aim.plain()
        if now != self.aim:
            raise FormatError(
                f"{self.environment} has another aim than when the set was made: {now} instead of "
                f"{self.aim}. Make the set again."
            )


class Signed:
    """A set with its file.

    Attributes:
        path: the file.
        set: the set.
        signers: names of trusted keys that signed it.
    """

    def __init__(self, path: Path, goals: GoalSet, signers: list[str]) -> None:
        self.path, self.set, self.signers = path, goals, signers

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file; see `GoalSet.read`."""
        data = jsonfile.read(path).data
        try:
            plain = cast(dict[str, Any], data["set"])
            if plain.get("format") != FORMAT:
                raise FormatError(
                    f"{path}: a goal set of format {plain.get('format')!r}; this version reads "
                    f"{FORMAT}."
                )
            goals = GoalSet.model_validate(plain)
        except (KeyError, AttributeError, TypeError):
            raise FormatError(
                f"{path}: is no goal set. Make one by `sandbox goals make`."
            ) from None
        except ValidationError as error:
            fault = validation.first_fault(error)
            raise FormatError(f"{path}: {fault} {signed.REMEDY}") from None
        if [one.number for one in goals.pairs] != list(range(len(goals.pairs))):
            raise FormatError(f"{path}: its pairs are not numbered from 0 on. {signed.REMEDY}")
        if any(None in (one.hits.moderate, one.hits.strict) for one in goals.pairs):
            raise FormatError(f"{path}: a known solution reaches no goal. {signed.REMEDY}")
        told = data.get("note")
        return cls(path, goals, signed.signers(_HEAD, goals.digest, told, f"{path}: its pairs"))
