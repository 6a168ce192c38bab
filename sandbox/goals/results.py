"""Results: what an agent did on every pair, signed, so that anybody can replay it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, ValidationError

from sandbox import durable, files, jsonfile, validation
from sandbox.errors import FormatError, shown
from sandbox.evidence.note import SigningKey
from sandbox.goals import signed
from sandbox.goals.pair import Model
from sandbox.goals.sets import GoalSet
from sandbox.goals.trials import Outcome

FORMAT = 1
_HEAD, _RUN = "sandbox.goals/results", "sandbox.goals/run"


class Head(Model):
    """What was run, before anything came of it.

    Attributes:
        format: version of this format.
        goals: digest of the set.
        environment, kind: of the set.
        agent: name of the agent.
        options: its options, and everything else that decides what it does.
        agent_code: SHA-256 of the file that it is from; "" of ours.
        code: SHA-256 of the world's code.
        engine: what the states depend on, as in a run.
        version: of this package.
        prices: version of the price schedule.
        pairs: number of pairs.
        seeds: the seeds, each of which tries every pair.
    """

    format: Literal[1]
    goals: str
    environment: str
    kind: str
    agent: str
    options: dict[str, Any]
    agent_code: str
    code: str
    engine: dict[str, Any]
    version: str
    prices: str
    pairs: Annotated[int, Field(ge=1)]
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=1 << 63)]], Field(min_length=1)]

    @property
    def digest(self) -> str:
        """The SHA-256 of its canonical JSON, which names what is run."""
        return signed.digest(_RUN, self)

    @property
    def tasks(self) -> list[tuple[int, int]]:
        """Every pair with every seed, in order."""
        return [(pair, seed) for seed in self.seeds for pair in range(self.pairs)]


class Results(Model):
    """What was run, and what came of it.

    Attributes:
        head: what was run.
        outcomes: one for each pair and seed, in order.
        charge_micro: what the tries cost [microcredits].
    """

    head: Head
    outcomes: list[Outcome]
    charge_micro: Annotated[int, Field(ge=0, lt=1 << 62)]

    @property
    def digest(self) -> str:
        """The SHA-256 of the canonical JSON, without what differs each time."""
        return signed.digest(_HEAD, self)


class Filed:
    """Results with their file.

    Attributes:
        path: the file.
        results: the results.
        seconds: how long each try's decisions took, in all; it is not signed.
        signers: names of trusted keys that signed them.
    """

    def __init__(
        self, path: Path, results: Results, seconds: Sequence[float], signers: list[str]
    ) -> None:
        self.path, self.results, self.seconds, self.signers = path, results, seconds, signers

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read results from a file that anybody may have written.

        Raises:
            FormatError: it holds none, or they were edited.
        """
        path = files.place(path)
        data = jsonfile.read(path).data
        try:
            plain = cast(dict[str, Any], data["results"])
            told, seconds = data["note"], [float(one) for one in data["seconds"]]
            results = Results.model_validate(plain)
        except (KeyError, AttributeError, TypeError, ValueError, OverflowError) as error:
            if isinstance(error, ValidationError):
                fault = validation.first_fault(error)
                raise FormatError(f"{path}: {fault} {signed.REMEDY}") from None
            raise FormatError(
                f"{path}: holds no results. Make some by `sandbox goals run`."
            ) from None
        tasks, head = [(one.pair, one.seed) for one in results.outcomes], results.head
        whole = len(tasks) == len(seconds) == head.pairs * len(head.seeds)
        if not whole or tasks != head.tasks or len(set(head.seeds)) < len(head.seeds):
            raise FormatError(f"{path}: it lacks tries, or has some twice. {signed.REMEDY}")
        signers = signed.signers(_HEAD, results.digest, told, f"{path}: its tries")
        return cls(path, results, seconds, signers)

    def check_of(self, goals: GoalSet) -> None:
        """Refuse results that are not of this set, whole (FormatError)."""
        head, name = self.results.head, goals.digest
        if head.goals != name:
            raise FormatError(
                f"{self.path}: its results are of the set {head.goals[:12]}, and this is "
                f"{name[:12]}; give theirs."
            )
        said, true = (
            (head.environment, head.kind, head.pairs),
            (goals.environment, goals.kind, len(goals.pairs)),
        )
        if said != true:
            raise FormatError(
                f"{self.path}: says that its set has environment, kind and number of pairs "
                f"{shown(said)}, and it has {shown(true)}. {signed.REMEDY}"
            )


def write(path: Path, results: Results, seconds: Sequence[float], key: SigningKey | None) -> None:
    """Write results, signed with a key if there is one."""
    told = signed.signed(_HEAD, results.digest, key)
    data = {"results": results.model_dump(), "note": told, "seconds": list(seconds)}
    durable.replace(path, jsonfile.encode(data))
