"""A run against the ledger: every charge has an episode, and every episode a charge."""

from collections import defaultdict
from collections.abc import Sequence

from sandbox import prices
from sandbox.errors import NoLedgerError, SandboxError
from sandbox.ledger import Ledger, Usage, checked
from sandbox.ledger.transfer import Booked
from sandbox.run.folder import BOOKING, Folder
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
    try:
        elsewhere = _elsewhere(folder, ledger)
        if not elsewhere:
            faults = checked.check(ledger, whole=trust.whole_ledger)[0]
            report.faults += [f"ledger: {text}" for text in faults]
        booked = ledger.of_run(folder.run)
    except NoLedgerError as error:
        elsewhere, booked = str(error).rstrip("."), list[Booked]()
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
    _check_booked(folder, booked, usages, report, part=bool(elsewhere))


def _elsewhere(folder: Folder, ledger: Ledger) -> str:
    """Return why this is not known to be the ledger that charged a run, or ""."""
    booking, here = folder.booking(), ledger.id
    if booking is None:
        return f"{BOOKING} is missing, so that nothing says which ledger charged the run"
    if booking.ledger == here:
        return ""
    return f"the run was charged in the ledger {booking.ledger}, and {ledger.where} is {here}"


def _check_booked(
    folder: Folder,
    booked: Sequence[Booked],
    usages: Sequence[Usage],
    report: Report,
    *,
    part: bool,
) -> None:
    """Compare what a ledger booked for a run with what is due; `part`: another did, too."""
    identity = folder.identity
    charged = [one for one in booked if one.move.kind == "post"]
    posts = [one for one in charged if one.move.facts.get("parent") == identity.parent]
    if posts or not part:
        if not part:
            _explain_later(posts, folder.stages.episodes, report)
        _compare(posts, identity.recipe.account, usages, report, part=part)
    _note_others(charged, posts, [one for one in booked if one.move.kind == "refund"], report)
    holds = [one for one in booked if one.move.kind == "reserve"]
    if holds:
        report.notes.append(
            f"{prices.credits(sum(one.move.amount for one in holds))} credits are still held for "
            "it; `sandbox settle` releases them when nobody generates."
        )


def _explain_later(posts: Sequence[Booked], wanted: int, report: Report) -> None:
    """Say by which extension of another folder a run may be charged for more than it has."""
    later = [one for one in posts if _number(one) >= wanted]
    if later and sorted(map(_number, later)) == [*range(wanted, wanted + len(later))]:
        amount = prices.credits(sum(one.move.amount for one in later))
        report.notes.append(
            f"{amount} credits were charged for {len(later)} episodes after these {wanted}. If "
            "another folder of this run was extended, verify that one, and this with --no-ledger."
        )


def _number(post: Booked) -> int:
    """Return the number of the episode that was charged; -1 if the post names none."""
    found = post.move.facts.get("episode")
    return found if type(found) is int else -1


def _compare(
    posts: Sequence[Booked],
    account: str,
    usages: Sequence[Usage],
    report: Report,
    *,
    part: bool,
) -> None:
    """Compare posts with what is due; `part`: only episodes that both have."""
    due = {usage.id: usage for usage in usages}
    found = {post.move.id: post for post in posts}
    before = len(report.faults)
    free = [str(usage.episode) for id, usage in due.items() if id not in found]
    if free and not part:
        report.faults.append(f"ledger: {_listed('episode', free)} not charged.")
    for id, usage in due.items():
        if id not in found:
            continue
        if wrong := _difference(found[id], account, usage):
            report.faults.append(f"ledger: the charge of episode {usage.episode}: {wrong}")
    for id, post in found.items():
        if id not in due and not part:
            episode = post.move.facts.get("episode")
            report.faults.append(f"ledger: charged for episode {episode}, which is not there.")
    if len(due) != len(usages):
        report.faults.append("two episodes have one number.")
    if len(report.faults) == before:
        report.checked.append(_sums(posts))


def _note_others(
    charged: Sequence[Booked], posts: Sequence[Booked], refunds: Sequence[Booked], report: Report
) -> None:
    """Note what else the ledger says about a run: refunds, and charges of other folders."""
    numbers = {post.seq for post in posts}
    back = [one.move for one in refunds if one.move.corrects in numbers]
    if back:
        report.notes.append(
            f"{prices.credits(sum(one.amount for one in back))} credits of its charges were given "
            f"back in {len(back)} refunds; an episode is charged once, so making it again is free."
        )
    judged = [one.facts for one in back if "verdict" in one.facts]
    for digest in dict.fromkeys(one["verdict"] for one in judged):
        told = [str(one.get("episode")) for one in judged if one["verdict"] == digest]
        report.notes.append(f"refunded by the verdict {digest}: episode {', '.join(told)}.")
    others = [one for one in charged if one.seq not in numbers]
    if others:
        whose = sorted({str(one.move.facts.get("parent"))[:16] for one in others})
        report.notes.append(
            f"{prices.credits(sum(one.move.amount for one in others))} credits were charged for "
            f"{len(others)} episodes of the same work in another folder (of parent "
            f"{', '.join(whose)}): not checked; verify that one."
        )


def _listed(what: str, names: Sequence[str]) -> str:
    """Return a list in words: the first five names, and how many more."""
    if len(names) == 1:
        return f"{what} {names[0]} was"
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{what}s {', '.join(names[:5])}{more} were"


def _difference(post: Booked, account: str, usage: Usage) -> str:
    """Return how a post differs from what is due, or ""."""
    it, facts = post.move, post.move.facts
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


def _sums(posts: Sequence[Booked]) -> str:
    """Return what was posted in words, per account and meter unit."""
    sums: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for post in posts:
        for (unit, _), amount in post.move.parts.items():
            sums[post.move.account][unit] += amount
    told = [
        f"{account}: {prices.credits(sum(units.values()))} credits ("
        + ", ".join(f"{unit} {prices.credits(n)}" for unit, n in sorted(units.items()))
        + ")"
        for account, units in sorted(sums.items())
    ]
    return (
        f"{len(posts)} charges, each of an episode and of its price; {'; '.join(told) or 'none'}."
    )
