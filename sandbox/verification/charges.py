"""A run against the ledger: every charge has an episode, and every episode a charge."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sandbox import prices
from sandbox.errors import NoLedgerError, SandboxError
from sandbox.ledger import Ledger, Usage, checked
from sandbox.ledger.transfer import Booked, Move
from sandbox.run.folder import BOOKING, Folder
from sandbox.run.identity import Identity
from sandbox.verification.report import Report
from sandbox.verification.trust import Trust


def check(folder: Folder, usages: Sequence[Usage], trust: Trust, report: Report) -> None:
    """Compare what a run's episodes cost with what its ledger says.

    A run may have been made elsewhere: what another ledger charged is unknown here, unless the
    ledger is required. What the ledger here says of the run must be right all the same.

    Args:
        folder: the run.
        usages: what each of its episodes is to be charged for.
        trust: the ledger, and whether it must be the one that charged the run.
        report: takes what is found.
    """
    ledger = trust.ledger
    if ledger is None:
        report.notes.append("charges were not compared with a ledger.")
        return
    books = _Books(folder.identity, folder.stages.episodes, usages)
    try:
        elsewhere = _elsewhere(folder, ledger)
        if not elsewhere:
            faults = checked.check(ledger, whole=trust.whole_ledger)[0]
            report.faults += [f"ledger: {text}" for text in faults]
        ledger.reading(lambda pages, _: books.read(pages.of_run(folder.run)))
    except NoLedgerError as error:
        elsewhere = str(error).rstrip(".")
        books.read(())
    except SandboxError as error:
        report.faults.append(f"ledger: {error}")
        return
    if elsewhere and trust.charged:
        report.faults.append(
            f"{elsewhere}: set SANDBOX_LEDGER to the ledger that charged the run, or SANDBOX_HOME "
            "to its folder, or give --no-ledger."
        )
        return
    if elsewhere:
        report.notes.append(f"charges were not checked: {elsewhere}. --ledger requires that.")
    books.report(report, part=bool(elsewhere))


def _elsewhere(folder: Folder, ledger: Ledger) -> str:
    """Return why this is not known to be the ledger that charged a run, or ""."""
    booking, here = folder.booking(), ledger.id
    if booking is None:
        return f"{BOOKING} is missing, so that nothing says which ledger charged the run"
    if booking.ledger == here:
        return ""
    return f"the run was charged in the ledger {booking.ledger}, and {ledger.where} is {here}"


class _Books:
    """What a ledger says of a run, compared transfer by transfer with what its episodes cost.

    A run may have millions of charges, so that none is kept.

    Args:
        identity: the run.
        wanted: how many episodes it should have.
        usages: what each of its episodes is to be charged for.
    """

    def __init__(self, identity: Identity, wanted: int, usages: Sequence[Usage]) -> None:
        self._identity, self._wanted, self._usages = identity, wanted, usages
        self._due = {usage.id: place for place, usage in enumerate(usages)}

    def read(self, booked: Iterable[Booked]) -> None:
        """Read all that was booked; what was read before is forgotten."""
        self._charged = bytearray(len(self._usages))  # Whether each of them was.
        self._wrong = dict[int, str]()  # How the charge of a usage differs.
        self._nowhere = list[Any]()  # Numbers of episodes that were charged and are not there.
        self._later = list[tuple[int, int]]()  # Number and charge of episodes after the last.
        self._posts, self._sums = array("q"), defaultdict[str, Counter[str]](Counter)
        self._others, self._refunds = list[tuple[str, int]](), list[Move]()
        self._held = 0
        for one in booked:
            if one.move.kind == "post":
                self._post(one)
            elif one.move.kind == "refund":
                self._refunds.append(one.move)
            elif one.move.kind == "reserve":
                self._held += one.move.amount

    def _post(self, one: Booked) -> None:
        move, facts = one.move, one.move.facts
        if facts.get("parent") != self._identity.parent:
            self._others.append((str(facts.get("parent"))[:16], move.amount))
            return
        self._posts.append(one.seq)
        for (unit, _), amount in move.parts.items():
            self._sums[move.account][unit] += amount
        number = facts.get("episode")
        if type(number) is int and number >= self._wanted:
            self._later.append((number, move.amount))
        place = self._due.get(move.id)
        if place is None:
            self._nowhere.append(number)
            return
        self._charged[place] = True
        wrong = _difference(move, self._identity.recipe.account, self._usages[place])
        if wrong:
            self._wrong[place] = wrong

    def report(self, report: Report, *, part: bool) -> None:
        """Report what differs; `part`: another ledger charged, too, so that much may be missing."""
        if self._posts or not part:
            if not part:
                self._explain_later(report)
            self._compare(report, part=part)
        self._note_others(report)
        if self._held:
            report.notes.append(
                f"{prices.credits(self._held)} credits are still held for it; `sandbox settle` "
                "releases them when nobody generates."
            )

    def _explain_later(self, report: Report) -> None:
        """Say by which extension of another folder a run may be charged for more than it has."""
        wanted, numbers = self._wanted, sorted(number for number, _ in self._later)
        if numbers and numbers == [*range(wanted, wanted + len(numbers))]:
            amount = prices.credits(sum(amount for _, amount in self._later))
            report.notes.append(
                f"{amount} credits were charged for {len(numbers)} episodes after these {wanted}. "
                "If another folder of this run was extended, verify that one, and this with "
                "--no-ledger."
            )

    def _compare(self, report: Report, *, part: bool) -> None:
        """Report how posts differ from what is due; `part`: only of episodes that both have."""
        before = len(report.faults)
        free = [str(self._usages[n].episode) for n in self._due.values() if not self._charged[n]]
        if free and not part:
            report.faults.append(f"ledger: {_listed('episode', free)} not charged.")
        for place, wrong in sorted(self._wrong.items()):
            episode = self._usages[place].episode
            report.faults.append(f"ledger: the charge of episode {episode}: {wrong}")
        for episode in [] if part else self._nowhere:
            report.faults.append(f"ledger: charged for episode {episode}, which is not there.")
        if len(self._due) != len(self._usages):
            report.faults.append("two episodes have one number.")
        if len(report.faults) == before:
            report.checked.append(self._said())

    def _note_others(self, report: Report) -> None:
        """Note what else the ledger says about a run: refunds, and charges of other folders."""
        asked = {one.corrects for one in self._refunds}
        numbers = asked.intersection(self._posts) if asked else asked
        back = [one for one in self._refunds if one.corrects in numbers]
        if back:
            report.notes.append(
                f"{prices.credits(sum(one.amount for one in back))} credits of its charges were "
                f"given back in {len(back)} refunds; an episode is charged once, so making it "
                "again is free."
            )
        judged = [one.facts for one in back if "verdict" in one.facts]
        for digest in dict.fromkeys(one["verdict"] for one in judged):
            told = [str(one.get("episode")) for one in judged if one["verdict"] == digest]
            report.notes.append(f"refunded by the verdict {digest}: episode {', '.join(told)}.")
        if self._others:
            whose = sorted({parent for parent, _ in self._others})
            report.notes.append(
                f"{prices.credits(sum(amount for _, amount in self._others))} credits were charged "
                f"for {len(self._others)} episodes of the same work in another folder (of parent "
                f"{', '.join(whose)}): not checked; verify that one."
            )

    def _said(self) -> str:
        """Return what was posted in words, per account and meter unit."""
        told = [
            f"{account}: {prices.credits(units.total())} credits ("
            + ", ".join(f"{unit} {prices.credits(n)}" for unit, n in sorted(units.items()))
            + ")"
            for account, units in sorted(self._sums.items())
        ]
        count = len(self._posts)
        return f"{count} charges, each of an episode and of its price; {'; '.join(told) or 'none'}."


def _listed(what: str, names: Sequence[str]) -> str:
    """Return a list in words: the first five names, and how many more."""
    if len(names) == 1:
        return f"{what} {names[0]} was"
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{what}s {', '.join(names[:5])}{more} were"


def _difference(it: Move, account: str, usage: Usage) -> str:
    """Return how a post differs from what is due, or ""."""
    facts = it.facts
    quantities = {unit: n for unit, n in usage.quantities.items() if n}
    pairs = {
        "account": (it.account, account),
        "amount": (it.amount, sum(usage.charges().values())),
        "quantities": (facts.get("quantities"), quantities),
        "price version": (facts.get("price_version"), usage.price_version),
        "evidence": (facts.get("evidence"), usage.evidence),
        "episode": (facts.get("episode"), usage.episode),
        "parent": (facts.get("parent"), usage.parent),
    }
    differ = [f"{name} is {a!r}, not {b!r}" for name, (a, b) in pairs.items() if a != b]
    return f"{'; '.join(differ)}." if differ else ""
