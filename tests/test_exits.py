"""Nobody pays for what did not arrive: every exit, at every point of a step and a reset."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sandbox import catalogue, digest, prices
from sandbox.errors import BudgetExhaustedError, InvalidInputError, LedgerError, SandboxError
from sandbox.ledger import AccountFunds, Ledger
from sandbox.ledger.statement import statement
from sandbox.meter import Meter, unpaid

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
LIBRARY = str(Path(catalogue.__file__).parent)
ERRORS = (ValueError, MemoryError, KeyboardInterrupt, SystemExit, LedgerError)
HOOKS = ("scene", "started", "act", "arrived", "proprio", "success", "progress", "terminated")
PUSH = np.ones(1, np.float32)


@contextmanager
def interrupted(after: int, error: type[BaseException]) -> Iterator[list[str]]:
    """Raise an error at one line of the library, after so many others; yield where it was."""
    left, where, before = after, list[str](), sys.gettrace()

    def line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        left -= event == "line"
        if left < 0 and not where:
            where.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
            sys.settrace(None)
            raise error("here")
        return line

    def call(frame: FrameType, event: str, _: Any) -> Any:
        return line if frame.f_code.co_filename.startswith(LIBRARY) and not where else None

    sys.settrace(call)
    try:
        yield where
    finally:
        sys.settrace(before)


def made(book: Ledger, account: str = "lab", budget: int | None = None, **keywords: Any) -> Any:
    """A cart whose hooks fail when `failing` names them, and which an account pays."""
    world = catalogue.environment("cartpole_swingup")

    class Failing(world):
        @classmethod
        def name(cls) -> str:
            return world.name()

    for hook in HOOKS:
        setattr(Failing, hook, _failing(hook, getattr(Failing, hook)))
    env = Failing(meter=Meter(prices.current(), AccountFunds(book, account), budget), **keywords)
    return env


def _failing(hook: str, whole: Any) -> Any:
    def method(self: Any, *arguments: Any) -> Any:
        wanted, error = vars(type(self)).get("failing", ("", ValueError))
        if wanted == hook:
            raise error("here")
        return whole(self, *arguments)

    return method


@contextmanager
def failing(env: Any, hook: str, error: type[BaseException]) -> Iterator[None]:
    type(env).failing = (hook, error)
    try:
        yield
    finally:
        del type(env).failing


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


# What was thrown away ---------------------------------------------------------------------------


def derived(begun: dict[str, Any], done: list[Any]) -> tuple[dict[str, int], str]:
    """The work and the digest of the evidence, from a list of actions, and of snapshots restored.

    An item is an action, or ("restore", the number of actions before the snapshot was taken).
    """
    path, since, count = list[list[float]](), list[list[float]](), 0
    kept, thrown, restores = {0: list[list[float]]()}, "", 0
    for one in done:
        if isinstance(one, tuple):
            to = cast("tuple[str, int]", one)[1]
            thrown, restores = digest.sha256([thrown, since, to]), restores + 1
            path, since = list(kept[to]), []
            continue
        path, since, count = [*path, one], [*since, one], count + 1
        kept[count] = path
    evidence = {
        **begun,
        "steps": len(path),
        "actions": path,
        "simulated": count,
        "restores": restores,
        "thrown_away": thrown,
    }
    return {"physics_step": count, "reset": 1}, digest.sha256(evidence)


def test_what_restores_threw_away_is_in_the_evidence_and_the_charge_follows_from_it() -> None:
    book = Ledger()
    book.grant("lab", prices.micro(1000))
    env: Any = catalogue.environment("cartpole_swingup")(account="lab")
    env.reset(seed=3)
    rng, kept, done = np.random.default_rng(0), [(0, env.snapshot())], list[Any]()
    for turn in range(6):
        for _ in range(turn + 1):
            action = np.float32(rng.uniform(-1, 1))
            env.step([action])
            done.append([float(action)])
            kept.append((sum(isinstance(one, list) for one in done), env.snapshot()))
        number, snapshot = kept[(7 * turn) % len(kept)]
        env.restore(snapshot)
        done.append(("restore", number))
    env.step([1.0])
    done.append([1.0])
    told, surviving = env.evidence(), env.t
    env.close()
    work, evidence = derived(told, done)
    (post,) = [line for line in statement(book, "lab") if line["kind"] == "post"]
    assert post["evidence"] == evidence
    assert post["work"] == {"reset": 1, "physics_step": work["physics_step"] * env.physics_steps}
    assert told["simulated"] == work["physics_step"] == 22 > surviving
    for n in range(len(done)):  # Whatever is left out shows.
        with suppress(KeyError):  # A snapshot of what was not simulated.
            assert derived(told, [*done[:n], *done[n + 1 :]])[1] != evidence


def test_the_simulated_steps_of_a_planner_are_bounded_by_credit_alone() -> None:
    env: Any = catalogue.environment("cartpole_swingup")(account=None, budget=0.4 + 0.12 * 40)
    env.reset(seed=0)
    start, steps, cut, info = env.snapshot(), 0, False, dict[str, Any]()
    while not cut:
        env.restore(start)
        for _ in range(7):
            *_, cut, info = env.step([1.0])
            steps += 1
            if cut:
                break
    assert info["budget"]["reason"] == "exhausted"
    assert env.evidence()["simulated"] == steps
    assert env.meter.quantities["physics_step"] == steps * env.physics_steps
    env.close()


@pytest.mark.parametrize("exact", [False, True])
def test_an_interrupt_at_any_line_of_a_restore_leaves_it_uncharged(
    exact: bool, book: Ledger
) -> None:
    book.grant("lab", prices.micro(10_000))
    env, after, cut, ended = made(book), 0, True, 0
    every = 1 if "SANDBOX_SOAK" in os.environ else 5
    while cut:
        env.reset(seed=0)
        for _ in range(2):
            env.step(PUSH)
        kept = env.snapshot()
        env.step(-PUSH)
        told, spent = env.evidence(), env.meter.spent
        with suppress(KeyboardInterrupt), interrupted(after, KeyboardInterrupt) as where:
            env.restore(kept, exact=exact)
        cut, after = bool(where), after + every
        physics = env.meter.quantities["physics_step"]
        assert physics == env.evidence()["simulated"] * env.physics_steps, where
        if env.episode.failed:
            ended += 1
            assert (env.evidence(), env.meter.spent) == (told, spent), where
            with pytest.raises(InvalidInputError, match=r"call reset.*last restore.*was not ch"):
                env.step(PUSH)
        elif (env.evidence(), env.meter.spent) != (told, spent):  # It had arrived.
            assert (env.t, env.row) == (2, kept.row), where
            assert env.world.read() == env.row[: -len(env.state_measures)], where
            env.step(PUSH)
    assert ended > 5
    env.close()
    assert book.balance("lab").pending_micro == 0
    assert book.check() == []


def test_an_exact_restore_that_does_not_reach_the_state_is_not_charged(book: Ledger) -> None:
    book.grant("lab", prices.micro(100))
    env = made(book)
    env.reset(seed=0)
    env.step(PUSH)
    kept = env.snapshot()
    kept.row[0] += 1.0
    env.step(PUSH)
    told, spent = env.evidence(), env.meter.spent
    with pytest.raises(InvalidInputError, match="did not reach the state"):
        env.restore(kept, exact=True)
    assert (env.evidence(), env.meter.spent) == (told, spent)
    with pytest.raises(InvalidInputError, match="was not charged"):
        env.step(PUSH)
    env.close()
    (post,) = [line for line in statement(book, "lab") if line["kind"] == "post"]
    assert post["evidence"] == digest.sha256(told)
    assert -post["amount_micro"] == spent


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
