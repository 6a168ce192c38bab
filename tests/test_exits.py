"""Nobody pays for what did not arrive: every exit, at every point of a step and a reset."""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faulty import HOOKS, PUSH, failing, interrupted, made
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sandbox import catalogue, prices
from sandbox.errors import BudgetExhaustedError, InvalidInputError, LedgerError, SandboxError
from sandbox.ledger import AccountFunds, Ledger
from sandbox.ledger.statement import statement
from sandbox.meter import Meter, unpaid

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
ERRORS = (ValueError, MemoryError, KeyboardInterrupt, SystemExit, LedgerError)


class ExitMachine(RuleBasedStateMachine):
    """An environment that a prepaid account pays, left by errors at any point."""

    @initialize(granted=st.integers(5, 60), render=st.booleans())
    def begin(self, granted: int, render: bool) -> None:
        self.folder = tempfile.mkdtemp(dir=MEMORY)
        self.book = Ledger(Path(self.folder) / "ledger.db")
        self.book.grant("lab", prices.micro(granted))
        mode = "rgb_array" if render else None
        self.env = made(self.book, render_mode=mode, image_size=16)
        self.granted = prices.micro(granted)
        self.open, self.done = False, False  # An episode is under way; and can go on.
        self.actions: list[float] = []
        self.frames, self.drawn = 0, False
        self.paid = self.moved = 0  # Of the episodes before: microcredits; physics steps.
        self.sure = True  # Whether the episode before is posted for sure.

    def teardown(self) -> None:
        if not hasattr(self, "env"):
            return
        self.env.close()
        self.ended()
        assert self.posted() == self.paid
        assert self.book.balance("lab").pending_micro == 0
        posts = [line for line in statement(self.book, "lab") if line["kind"] == "post"]
        assert sum(post["work"].get("physics_step", 0) for post in posts) == self.moved
        assert self.book.check() == []
        self.book.close()
        shutil.rmtree(self.folder)

    # The model ------------------------------------------------------------------------------------

    def cost(self) -> int:
        """What the episode under way costs, by what arrived."""
        steps, pixels = len(self.actions), self.frames * 16**2
        work = {"reset": 1, "physics_step": steps * self.env.physics_steps, "pixel": pixels}
        return prices.current().cost(work) if self.open else 0

    def posted(self) -> int:
        return self.granted - self.book.balance("lab").posted_micro

    def ended(self) -> None:
        """The episode is posted: what it cost and what the world did for it."""
        self.paid += self.cost()
        self.moved += len(self.actions) * self.env.physics_steps if self.open else 0
        self.open, self.sure = False, True

    def began(self) -> None:
        self.open = self.done = True
        self.actions, self.frames, self.drawn = [], 0, False

    # What is done ---------------------------------------------------------------------------------

    @rule()
    def reset(self) -> None:
        before = self.env.world.builds
        try:
            self.env.reset(seed=1)
        except BudgetExhaustedError:
            assert self.env.world.builds == before
            self.ended()
            self.done = False
            return
        assert self.env.world.builds == before + 1
        self.ended()
        self.began()

    @rule(after=st.integers(0, 900), error=st.sampled_from(ERRORS))
    def reset_cut_short(self, after: int, error: type[BaseException]) -> None:
        try:
            with interrupted(after, error):
                self.env.reset(seed=1)
        except BudgetExhaustedError:
            self.ended()
            self.done = False
        except (error, SandboxError):
            self.lost()
        else:
            self.ended()
            self.began()

    @rule(hook=st.sampled_from(HOOKS), error=st.sampled_from(ERRORS))
    def reset_fails(self, hook: str, error: type[BaseException]) -> None:
        before = self.env.meter.spent, list(self.actions)
        try:
            with failing(self.env, hook, error):
                self.env.reset(seed=1)
        except BudgetExhaustedError:
            self.ended()
            self.done = False
        except error:
            if hook == "scene" and issubclass(error, SandboxError):
                assert (self.env.meter.spent, self.actions) == before
                return  # Refused before anything was done.
            self.lost()
        else:
            self.ended()
            self.began()

    def lost(self) -> None:
        """A reset came to nothing; the episode before is posted, or will be."""
        if not self.env.episode.failed:  # It was refused before anything was done.
            return
        self.done = self.sure = False
        with pytest.raises(InvalidInputError, match="was not charged"):
            self.env.step(PUSH)
        if not self.env.meter.is_open:  # The episode before was posted.
            self.ended()

    @precondition(lambda self: self.done)
    @rule(push=st.sampled_from([-1.0, 0.0, 1.0]))
    def step(self, push: float) -> None:
        before = self.env.world.physics_steps
        try:
            end = self.env.step([push])
        except BudgetExhaustedError:
            assert self.env.world.physics_steps == before
            return
        assert self.env.world.physics_steps == before + self.env.physics_steps
        self.arrived(push, end)

    def arrived(self, push: float, end: Any) -> None:
        self.actions.append(push)
        self.drawn = False
        self.done = not (end[2] or self.env.t >= self.env.max_steps)

    @precondition(lambda self: self.done)
    @rule(after=st.integers(0, 250), error=st.sampled_from(ERRORS))
    def step_cut_short(self, after: int, error: type[BaseException]) -> None:
        try:
            with interrupted(after, error):
                end = self.env.step(PUSH)
        except BudgetExhaustedError:
            return
        except (error, SandboxError):
            if self.env.episode.failed:
                self.broken()
        else:
            self.arrived(1.0, end)

    @precondition(lambda self: self.done)
    @rule(hook=st.sampled_from(HOOKS[2:]), error=st.sampled_from((*ERRORS, InvalidInputError)))
    def step_fails(self, hook: str, error: type[BaseException]) -> None:
        try:
            with failing(self.env, hook, error):
                self.env.step(PUSH)
        except BudgetExhaustedError:
            return
        except error:
            self.broken()
        else:
            raise AssertionError(f"{hook} is not called in a step")

    def broken(self) -> None:
        """A step did not arrive: the episode is over and says so."""
        self.done = False
        with pytest.raises(InvalidInputError, match=r"call reset.*last step.*was not charged\."):
            self.env.step(PUSH)

    @precondition(lambda self: self.open and self.env.render_mode and not self.env.episode.failed)
    @rule(after=st.none() | st.integers(0, 120))
    def render(self, after: int | None) -> None:
        try:
            with interrupted(10**9 if after is None else after, KeyboardInterrupt):
                self.env.render()
        except KeyboardInterrupt:
            self.frames += (
                self.env.past.frames - self.frames if self.env.pictures.has_frame() else 0
            )
            self.drawn = self.env.pictures.has_frame()
            return
        except BudgetExhaustedError:
            return
        self.frames += not self.drawn
        self.drawn = True

    @rule(amount=st.integers(1, 20))
    def grant(self, amount: int) -> None:
        self.book.grant("lab", prices.micro(amount))
        self.granted += prices.micro(amount)

    # What always holds ----------------------------------------------------------------------------

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "env"):
            return
        meter = self.env.meter
        if self.open:
            assert meter.spent == self.cost()
            told = self.env.evidence()
            assert told["actions"] == [[push] for push in self.actions]
            assert told["steps"] == told["simulated"] == len(self.actions)
            assert told["frames"] == self.frames
        else:
            assert not meter.is_open
        if self.sure:
            assert self.posted() == self.paid
            assert self.book.balance("lab").pending_micro <= self.granted
        assert self.posted() in (self.paid, self.paid + self.cost())
        if not self.open:
            assert self.book.balance("lab").pending_micro == 0


TestExitMachine = ExitMachine.TestCase
TestExitMachine.settings = settings(
    max_examples=400 if "SANDBOX_SOAK" in os.environ else 30,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    stateful_step_count=25,
    deadline=None,
)


def test_an_interrupt_at_any_line_of_a_step_leaves_it_uncharged(book: Ledger) -> None:
    book.grant("lab", prices.micro(10_000))
    env, after, cut = made(book), 0, True
    every = 1 if "SANDBOX_SOAK" in os.environ else 3
    env.reset(seed=0)
    env.step(PUSH)
    step, row = prices.current().cost({"physics_step": env.physics_steps}), list(env.row)
    while cut:
        with suppress(KeyboardInterrupt), interrupted(after, KeyboardInterrupt) as where:
            env.step(-PUSH)
        cut, after = bool(where), after + every
        if not cut:
            break
        if not env.episode.failed:  # The action was being checked.
            assert after < 30
            continue
        assert (env.t, env.row, env.evidence()["actions"]) == (1, row, [[1.0]]), where
        assert env.meter.spent == prices.micro(0.4) + step, where
        with pytest.raises(InvalidInputError, match=r"KeyboardInterrupt \(here\) and was not char"):
            env.step(PUSH)
        env.reset(seed=0)
        env.step(PUSH)
    assert after > 30 * every
    env.close()
    posts = [line for line in statement(book, "lab") if line["kind"] == "post"]
    assert {post["work"]["physics_step"] for post in posts[:-1]} == {env.physics_steps}


@pytest.mark.parametrize("call", ["reset", "step", "render"])
def test_a_closed_environment_refuses_before_it_pays(call: str, book: Ledger) -> None:
    book.grant("lab", prices.micro(10))
    env = made(book, render_mode="rgb_array", image_size=16)
    env.reset(seed=0)
    env.close()
    before = book.balance("lab")
    with pytest.raises(
        InvalidInputError, match=rf"{call}\(\) after close\(\).*nothing was charged"
    ):
        env.step(PUSH) if call == "step" else getattr(env, call)()
    env.close()
    assert book.balance("lab") == before
    assert before.posted_micro == prices.micro(10 - 0.4)


def test_a_scene_that_cannot_be_built_leaves_the_episode_before_as_it_was(book: Ledger) -> None:
    book.grant("lab", prices.micro(10))
    env = made(book, render_mode="rgb_array", image_size=16)
    env.reset(seed=0)
    env.step(PUSH)
    picture = env.render()
    with failing(env, "scene", InvalidInputError), pytest.raises(InvalidInputError, match="here"):
        env.reset(seed=1)
    env.pictures.arrive()
    assert np.array_equal(env.pictures.frame(), picture)
    env.step(PUSH)
    env.close()


def test_a_branch_that_fails_costs_nothing(book: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Ledger()
    ours.grant("lab", prices.micro(100))
    env: Any = catalogue.environment("cartpole_swingup")(account=None)
    env.reset(seed=0)
    env.step(PUSH)
    env.row = [0.0]
    with pytest.raises(InvalidInputError, match="did not reach the same state"):
        env.branch(account="lab")
    balance = ours.balance("lab")
    assert (balance.posted_micro, balance.pending_micro) == (prices.micro(100), 0)
    env.close()


def test_a_branch_of_what_was_closed_is_refused_before_it_costs_anything() -> None:
    env = catalogue.environment("cartpole_swingup")(account=None)
    env.reset(seed=0)
    env.close()
    with pytest.raises(InvalidInputError, match="close"):
        env.branch(account="local")
    assert (Ledger().balance("local").posted_micro or 0) == 0


def test_a_meter_pays_for_one_environment() -> None:
    kind, meter = catalogue.environment("cartpole_swingup"), unpaid()
    one = kind(meter=meter)
    one.reset(seed=0)
    with pytest.raises(InvalidInputError, match="pays for another environment"):
        kind(meter=meter)
    one.step(PUSH)
    one.close()
    other = kind(meter=meter)  # The first has ended.
    other.reset(seed=0)
    other.close()


def test_a_branch_is_charged_where_its_episode_is(book: Ledger) -> None:
    here, paying = Ledger(), Meter(prices.current(), AccountFunds(book, "local"))
    env = catalogue.environment("cartpole_swingup")(meter=paying)
    env.reset(seed=0)
    env.step(PUSH)
    cost = env.meter.spent
    env.branch(account="local").close()
    env.close()
    assert book.balance("local").posted_micro == -2 * cost
    assert here.balance("local").posted_micro == 0


def test_what_is_observed_is_part_of_the_evidence() -> None:
    """It is charged, so that the charge can be derived again."""
    found: list[dict[str, Any]] = []
    for observation, size in (("proprio", 64), ("pixels", 64), ("pixels", 32)):
        env = catalogue.environment("cartpole_swingup")(
            account=None, observation=[observation], image_size=size
        )
        env.reset(seed=0)
        found.append(env.evidence())
        env.close()
    assert [one["observation"] for one in found] == [["proprio"], ["pixels"], ["pixels"]]
    assert [one["image_size"] for one in found[1:]] == [64, 32]
    assert found[1]["cameras"] == ["main"]


def test_a_closed_environment_leaves_no_file_open(book: Ledger, tmp_path: Path) -> None:
    def ours() -> list[str]:
        links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
        found = [os.readlink(link) for link in links if os.path.islink(link)]
        return [one for one in found if "ledger.db" in one and one.startswith(str(tmp_path))]

    meters = [Meter(prices.current(), AccountFunds(book, "local")) for _ in range(2)]
    made = catalogue.environment("cartpole_swingup")
    envs, own = [made(meter=meter) for meter in meters], made()
    for env in (*envs, own):
        env.reset(seed=0)
    assert ours()
    own.close()
    envs[0].close()
    assert ours() == []
    envs[1].step(PUSH)  # It opens their ledger again.
    envs[1].close()
    assert ours() == []
    assert len([one for one in book.transfers() if one.move.kind == "post"]) == 2
