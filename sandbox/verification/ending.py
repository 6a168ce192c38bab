"""Does a run whose recipe says what it may cost end where it should?"""

from contextlib import closing

from sandbox import prices
from sandbox.errors import BudgetSpentError
from sandbox.run.folder import Folder
from sandbox.trajectory import EpisodeBuffer
from sandbox.verification.shards import Found, Job


def check(folder: Folder, job: Job, found: Found) -> None:
    """Check that the episodes cost no more than the recipe's credits, and that no other fits.

    The latter takes a simulation of the next episode: it is checked where all others are simulated
    again too.
    """
    recipe, report = folder.recipe, found.report
    if recipe.credits is None or folder.open_ended:
        return
    count, limit = folder.stages.ends[0], prices.micro(recipe.credits)
    spent = sum(sum(usage.charges().values()) for usage in found.usages[:count])
    if spent > limit:
        report.faults.append(
            f"its episodes cost {prices.credits(spent)} credits; the recipe allows "
            f"{prices.credits(limit)}."
        )
    whole = not report.faults and job.decides and job.chosen >= frozenset(range(count))
    ours = not any(":" in name for world in recipe.worlds for name in world.policies)
    if whole and ours and not job.variables and _fits(folder, job, count, limit - spent):
        report.faults.append(
            f"the recipe's credits pay for episode {count} too, which is not there."
        )


def _fits(folder: Folder, job: Job, index: int, rest: int) -> bool:
    """Return whether an episode of a run can be paid by so many microcredits."""
    from sandbox.sources.generator import Generator

    schedule = folder.identity.schedule
    world = folder.identity.of_episode(index)
    maker = Generator(world.recipe, world.scenario, job.trust_code, folder.recipe)
    with closing(maker):
        maker.pay_from(None, schedule)
        try:
            maker.make(folder.run, index, EpisodeBuffer(maker.schema, maker.max_rows), rest)
        except BudgetSpentError:
            return False
    return True
