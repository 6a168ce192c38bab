"""What an agent that was learned does on goal sets: results that anybody can replay."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import InvalidInputError
from sandbox.goals import calls
from sandbox.goals.scores import rate
from sandbox.learning.outcome import POLICY, Learned
from sandbox.ledger import Ledger

FILE = "goals-{}.json"  # In the folder of the learning, from 1 on.


@dataclass(frozen=True)
class Trying:
    """Goal sets of a world's own task, and who pays for the tries.

    Attributes:
        goals: the files of the sets.
        environment: the world.
        account, ledger: who pays, and where; priced by the current schedule.
        trust_code: whether to take a set whose world's code has changed, or is a stranger's.
    """

    goals: Sequence[str | Path]
    environment: str
    account: str | None
    ledger: Ledger | None
    trust_code: bool

    def most(self) -> int:
        """Return what a try of every pair costs at most [microcredits].

        Raises:
            InvalidInputError: a set is of another world, or of goals that the agent is not told.
        """
        return sum(map(self._most, self.goals))

    def _most(self, path: str | Path) -> int:
        found = calls.read_set(path).set
        if found.environment != self.environment or not found.is_task:
            raise InvalidInputError(
                f"{path}: is a set of {found.environment} and the kind {found.kind}. Give one of "
                f"{self.environment}, made with --kind task: an agent learns the world's own task."
            )
        return calls.quote(found, "noop", seeds=1, trust_code=self.trust_code)

    def tried(self, folder: Path, learned: Learned) -> Learned:
        """Add the share of each set's pairs that the policy does; write and return all of it."""
        shares, bill = dict[str, float](), dict(learned.bill_micro)
        for number, path in enumerate(self.goals, start=1):
            results = calls.run(
                path,
                folder / FILE.format(number),
                str(folder / POLICY),
                seeds=1,
                account=self.account,
                trust_code=self.trust_code,
                ledger=self.ledger,
            ).results
            shares[FILE.format(number)] = rate(results, "moderate").value
            label = f"goals {POLICY}"
            bill[label] = bill.get(label, 0) + results.charge_micro
        found = learned.model_copy(update={"goals": shares, "bill_micro": bill})
        found.write(folder)
        return found
