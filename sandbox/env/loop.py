"""The episode loop: check, pay, act, simulate, observe. Subclasses cannot change it."""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, final

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sandbox import digest, simulator
from sandbox import observation as modality
from sandbox.arguments import checked
from sandbox.env import copying, costs, declared, disturb, exits, observed, past, snapshots, start
from sandbox.env import options as asked
from sandbox.env import reward as rewards
from sandbox.env.costs import Costs
from sandbox.env.episode import Episode
from sandbox.env.exits import Stage
from sandbox.env.past import Past
from sandbox.env.pictures import Pictures
from sandbox.env.snapshots import Snapshot
from sandbox.env.task import Observation, Task
from sandbox.meter import Meter
from sandbox.prices import PriceSchedule
from sandbox.scenario.disturbance import Disturbance
from sandbox.scenario.factors import Values, VariationSpace
from sandbox.scene import Scene
from sandbox.world import World


class SandboxEnv(Task):
    """An environment that is simulated, photographed and metered, step by step.

    A subclass says what its scene holds and what it means; the loop here is final.

    Args:
        scenario: a scenario's name, path, or content as a mapping; None: only the layout varies.
        split: one of the scenario's splits, or None.
        observation: `proprio`, `factors` (those that are numbers, hidden otherwise) or a name of
            modality.PICTURES; or a list of these, for a Dict.
        image_size: pixels in width and height.
        antialias: samples of colour in a pixel, 1, 4 or 8; several smooth the edges, and are work.
        camera: one of the scene's cameras, or a list of them, for a Dict of `pixels.main`, ...
        renderer: `raster`, or `tiny` for Bullet's TinyRenderer; `pictures` says who drew.
        account: who pays, in the ledger; None counts work without paying, for replay.
        budget: credits that this environment may spend in its life; None sets no limit.
        render_mode: `rgb_array` or None.
        reward: `dense`, or `sparse`: -1 until success, then 0.
        actions: what an action outside [-1, 1] is: `clip`, the nearest inside, logged; `refuse`.
        labels: whether the world adds up contact impulses for `labels`.
        meter: counts and pays in place of `account` and `budget`.
        label: what the charges of its episodes are called in statements, such as sweep-3.

    Attributes:
        keywords: those of the constructor, by which a branch is made.
        episode: what the loop remembers of the episode under way.
        past: what was simulated in it, thrown away or not.
        costs: what its rows cost.
        closed: whether close() was called.
        asking: name of the policy of somebody's that is asked for an action now, else "".
        process: number of the process that began its episodes.
        meter: counts what an episode costs.
        pictures: what is photographed.
        columns: the names of what is observed.
        log_bytes: bytes that one row takes in a log; see `log`.
        whole_episodes: whether an episode begins only if all of it can be paid; see `log`.

    Raises:
        UnknownNameError, InvalidInputError: a keyword is not valid.
    """

    def __init_subclass__(cls, abstract: bool = False) -> None:
        """Check what a class declares; `abstract=True` marks one that is only inherited from."""
        super().__init_subclass__()
        if abstract:
            return
        declared.check_class(cls)
        cls.metadata = {**SandboxEnv.metadata, "render_fps": cls.control_hz}

    @checked
    def __init__(
        self,
        scenario: str | Path | Mapping[str, Any] | None = None,
        split: str | None = None,
        observation: str | Sequence[str] = "proprio",
        image_size: int = 64,
        antialias: int = 1,
        camera: str | Sequence[str] = "main",
        renderer: str = "raster",
        account: str | None = "local",
        budget: float | None = None,
        render_mode: str | None = None,
        labels: bool = False,
        meter: Meter | None = None,
        reward: str = "dense",
        actions: str = "clip",
        label: str | None = None,
    ) -> None:
        simulator.require()  # Before a ledger is opened.
        self.keywords: dict[str, Any] = {
            "scenario": scenario,
            "split": split,
            "observation": observation,
            "image_size": image_size,
            "antialias": antialias,
            "camera": camera,
            "renderer": renderer,
            "render_mode": render_mode,
            "reward": rewards.checked(reward),
            "actions": asked.actions_outside(actions),
            "label": asked.checked_label(label),
        }
        self.scenario, self.split = start.scenario(self, scenario, split), split
        self.modalities = modality.names(observation)
        self.render_mode = asked.render_mode(render_mode)
        ours = meter and asked.unshared(meter, self)
        self.meter = ours or asked.meter(account, budget, start.about(self, scenario, label))
        self.max_steps, self.physics_steps = start.limit(self), self.physics_hz // self.control_hz
        self.variation_space = VariationSpace(self.factors)
        self.action_space = spaces.Box(-1.0, 1.0, (self.action_size,), np.float32)
        self.world, self._places = World(feels=labels), self.places()
        drawn, look = render_mode is not None, (camera, image_size, antialias, renderer)
        self.pictures = Pictures(self.modalities, *look, drawn, self.world)
        self._observe_as(single=isinstance(observation, str))
        self.log_bytes, self.whole_episodes, self.closed, self.done = 0, False, False, False
        self.process, self.asking = copying.process, ""
        self.episode, self.t, self.row = Episode(over=True), -1, list[float]()
        self.values, self.goal_state, self.recordings = Values({}), None, None
        self.costs, self.past = Costs.of(self), Past()
        self._ours = frozenset((*vars(self), "_ours"))  # Every other attribute is the task's.

    @final
    @checked
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode: check, pay, build the scene, observe.

        Args:
            seed: seed of this episode; factors and layout come from two streams of it.
            options: they win over the scenario. `variation` is a list of factors to sample over
                their whole range (["all"] for every one), `variation_values` are values for some,
                and `disturbances` is a list of what happens, as in a scenario. `goal` is a state to
                reach, as in info["state"]: then the world's own success ends nothing, and info has
                `goal_state` and `goal_distance`, which is 1 at the edge of the moderate tolerance.

        Raises:
            BudgetExhaustedError: the reset and a first step cannot be paid. Nothing was done.
            InvalidInputError, UnknownNameError: the options are not valid. Nothing was done.
        """
        exits.refuse_closed(self, "reset")
        copying.refuse_elsewhere(self, "reset")
        self.process = copying.process
        asked.checked_seed(seed)
        changes = asked.variation(options, self.factors)
        sought = asked.sought(options, self.aim, len(self.state_names()))
        super().reset(seed=None if seed is None else int(seed))
        episode_seed = int(self.np_random.integers(2**63)) if seed is None else int(seed)
        stage, before = Stage.PREPARE, self.meter.is_open
        try:
            begun, values, scene = self._prepared(episode_seed, changes, options)
            stage = Stage.SETTLE
            self.settle()
            stage, self.costs = Stage.PAY, Costs.of(self)
            whole, steps = self.whole_episodes, self.max_steps
            charged = self.costs.open(self.meter, steps, uuid.uuid4().bytes, whole=whole)
            self.variation_space.set_value(values)
            self.episode, self.values, self.t, self.past = begun, values, 0, Past()
            self.goal_state = sought
            stage = Stage.BUILD
            self.world.build(scene)
            self.world.watch(self.state_bodies, self.state_joints)
            self.pictures.begin()
            self.started()
            arrived = self._arrive(charged)
            declared.check_first(self)
            rewards.begin(self)
            return arrived
        except BaseException as error:
            exits.reset_failed(self, stage, error, before=before)
            raise

    @final
    def check(self) -> None:
        """Refuse a class, camera or file that does not fit seed 0's scene; nothing is charged."""
        declared.rehearse(type(self))
        self.pictures.load(start.scene(self, start.values(self, 0), 0))

    @final
    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Check, pay, act, in that order: a refused step costs nothing and changes nothing.

        Raises:
            InvalidInputError: an action that is not finite, or a step after the end.
            BudgetExhaustedError: the step cannot be paid; after a top-up it can.
            SimulationError: the state is not finite any more, which ends the episode.
        """
        numbers = asked.numbers(action, self.action_size, self.keywords["actions"])
        episode, meter, cost = self.episode, self.meter, self.costs.step
        if episode.over or self.asking or self.process != copying.process:
            exits.refuse_outside(self, "step")
        before, paid = (self.t, self.row, meter.times(cost)), False
        try:
            if episode.starved:
                self.costs.demand(meter, drawn=self.pictures.has_frame())
            charged = meter.charge(cost)
            paid = True
            self.advance(numbers)
            observation, info = self._arrive(charged)
            terminated = self._is_over()
            failed = terminated and not self.done
            reward = rewards.earned(self, self.keywords["reward"], failed)
            truncated = self.t >= self.max_steps
            if not (terminated or truncated):
                lack = self.costs.lack(meter, drawn=self.pictures.has_frame())
                episode.starved = lack is not None
                if lack is not None:
                    info["budget"] = lack
            episode.over = terminated or truncated
            return observation, reward, terminated, truncated or episode.starved, info
        except BaseException as error:
            exits.step_failed(self, error, *before, refused=not paid)
            raise

    @final
    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """Return this row's RGB picture, uint8 (size, size, 3); one not drawn yet is charged."""
        if self.render_mode is None:
            return None
        exits.refuse_asking(self, "render")
        if self.closed or self.t < 0 or self.episode.failed or copying.is_elsewhere(self):
            exits.refuse_outside(self, "render")
        if not self.pictures.has_frame():
            exits.draw_frame(self)
        return self.pictures.frame().copy()

    @final
    def settle(self) -> None:
        """Post the cost of this episode, with a digest of the work as evidence."""
        exits.refuse_asking(self, "settle")
        if self.t >= 0 and self.meter.is_open and not copying.is_elsewhere(self):
            self.meter.settle(digest.sha256(self.evidence()))

    @final
    def evidence(self) -> dict[str, Any]:
        """Return what was done in this episode: its digest is posted with the charge.

        Together with world and scenario it says all that was simulated, `restore` or not, so that
        the charge can be derived again: a reset, `simulated` steps with rows, `frames` pictures.
        """
        return past.evidence(self)

    @final
    def close(self) -> None:
        """Post what is owed, close the Bullet client and the ledger's file; no reset follows."""
        exits.refuse_asking(self, "close")
        try:
            self.settle()
        finally:
            self.closed = self.episode.over = True
            self.meter.close()
            self.world.close()
            super().close()

    @final
    def log(self, row_bytes: int) -> None:
        """Prepare to log episodes: charge so many bytes a row, and begin only whole episodes."""
        self.log_bytes, self.whole_episodes = row_bytes, True

    @final
    def __reduce__(self) -> tuple[Any, ...]:
        return copying.reduced(self)

    # Returning to a state -----------------------------------------------------------------------

    @final
    @checked
    def branch(
        self, disturbances: Sequence[Mapping[str, Any]] = (), account: str | None = None
    ) -> Self:
        """Return another environment at this state: the episode replayed, bit for bit.

        Args:
            disturbances: what happens there from now on, as in a scenario.
            account: who pays for its work, the replay included; None counts without paying.

        Raises:
            InvalidInputError: before the first reset, or the replay did not reach this state.
        """
        return snapshots.branch(self, disturbances, account)

    @final
    def snapshot(self) -> Snapshot:
        """Return this state, for a planner to restore within this episode.

        Bullet keeps about 114 KiB for it until it is released: at the end of a `with` block, by
        `release()`, when nothing refers to it any more, and at the next reset.

        Raises:
            InvalidInputError: outside an episode, or the task remembers what cannot be copied.
        """
        return snapshots.take(self)

    @final
    def restore(self, snapshot: Snapshot, *, exact: bool = False) -> None:
        """Go back to a state of this episode; work that was done since stays paid for.

        All that has state comes back: bodies, motors, streams, flags, what the task remembers.
        While nothing touches, the same actions then give the same bytes. In contact they differ,
        because Bullet forgets what its solver knew (by centimetres in some worlds), and a branch
        off such a state is refused. An episode that was over is over again.

        A restore that fails on its way ends the episode where it was, and is not charged.

        Args:
            snapshot: of this episode.
            exact: whether to build the scene again and replay the actions, which is charged and
                takes as long as they took, and gives the same bytes in contact too. Snapshots of
                other processes can be restored so, after a reset to the same episode.

        Raises:
            InvalidInputError: it is of another episode, was released, or a body has come, gone or
                changed its shape. Nothing was done.
            BudgetExhaustedError: the replay cannot be paid. Nothing was done.
        """
        snapshots.restore(self, snapshot, exact=exact)

    @final
    def remembered(self) -> dict[str, Any]:
        """Return the task's own attributes: those that it set since this environment was made."""
        ours, gyms = self._ours, gymnasium.Env
        return {n: v for n, v in vars(self).items() if n not in ours and not hasattr(gyms, n)}

    @property
    def seed(self) -> int:
        """Seed of this episode."""
        return self.episode.seed

    @property
    def scene_digest(self) -> str:
        """SHA-256 of this episode's scene as it was built."""
        return self.episode.scene_digest

    @property
    def disturbances(self) -> list[Disturbance]:
        """Disturbances of this episode, every range drawn."""
        return self.episode.disturbances

    @property
    def changes(self) -> list[tuple[int, Values]]:
        """Values of the factors in this episode, each with the first row at which they hold."""
        return self.episode.changes

    def work(self, schedule: PriceSchedule, steps: int, resets: int = 1) -> dict[str, int]:
        """Return the work of episodes with so many steps in all, per unit that is metered."""
        simulated = costs.simulated(self, schedule, resets, steps)
        return schedule.metered(simulated | costs.observed(self, schedule, steps + resets))

    # Parts of the loop --------------------------------------------------------------------------

    def _observe_as(self, single: bool) -> None:
        """Name the columns that are observed, and make their space."""
        self.columns = observed.columns(self.modalities, self.pictures)
        every = observed.space(self)
        self._single = single and self.columns[0] in modality.MODALITIES
        self.observation_space = every[self.columns[0]] if self._single else every

    def _prepared(
        self, seed: int, changes: tuple[list[str], dict[str, Any]], options: dict[str, Any] | None
    ) -> tuple[Episode, Values, Scene]:
        """Return an episode to begin, its factors and its scene, which can be drawn."""
        values = start.values(self, seed, *changes)
        disturbances = start.disturbances(self, seed, values, options)
        scene = start.scene(self, values, seed)
        disturb.check(disturbances, scene, self.state_bodies)
        self.pictures.load(scene)
        begun = Episode.begun(seed, values, disturbances, scene.digest, hz=self.control_hz)
        return begun, values, scene

    def _disturb(self) -> None:
        """Apply the disturbances that are due in this step, before its action."""
        now = [one for step, one in self.episode.due if step == self.t]
        for one in now:
            disturb.apply(one, self)
        if any(one.kind != "kick" for one in now):
            self.pictures.load(self.world.scene)

    @final
    def change(self, values: Values) -> None:
        """Continue with other values of the factors, where a scene under way can follow.

        Raises:
            InvalidInputError: it cannot follow. Nothing was done.
        """
        scene = disturb.carried_over(start.scene(self, values, self.seed), self.world)
        self.world.become(scene)
        self.values = values
        self.changes.append((self.t + 1, values))

    @final
    def advance(self, numbers: list[float]) -> None:
        """Simulate one step with an action that is checked and paid; use `step`."""
        episode = self.episode
        episode.actions.append(numbers)
        if episode.due:
            self._disturb()
        self.act(episode.applied(numbers) if episode.late or episode.noise else numbers)
        self.world.step(self.physics_steps)
        self.t += 1

    @final
    def look(self) -> None:
        """Read the state once, and derive from it what loop and task remember; use `step`."""
        self.row = self.world.read()
        exits.check_finite(self)
        if self.world.feels and self.episode.touched_at < 0 and self.touches():
            self.episode.touched_at = self.t
        self.pictures.arrive()
        self.arrived()
        if self.state_measures:
            self.row += map(float, self.measured())

    def _arrive(self, charged: int) -> tuple[Observation, dict[str, Any]]:
        """Read the state once, and observe it."""
        self.look()
        if self._single:
            observation = self._observe(self.columns[0])
        else:
            observation = {name: self._observe(name) for name in self.columns}
        self.done = bool(self.success())
        info = {
            "state": np.array(self.row),
            "success": np.array(self.done),  # stable-worldmodel takes no NumPy boolean.
            "is_success": np.array(self.done),  # As Stable-Baselines3 and LeRobot call it.
            "charged": np.int64(charged),
            "balance": np.int64(self.meter.balance),
        }
        if self.goal_names or self.goal_state is not None:
            info |= self._goal_info()
        return observation, info

    def _observe(self, name: str) -> NDArray[Any]:
        if name == "proprio":
            return np.array(self.proprio(), np.float32)
        if name == "factors":
            return np.array([self.values[e.name] for e in self.elements_of(name)], np.float32)
        return self.pictures.column(name)
