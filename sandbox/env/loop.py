"""The episode loop, final: check, pay, act, simulate, observe."""

import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, cast, final

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sandbox import digest, prices
from sandbox import observation as modality
from sandbox import scenario as scenarios
from sandbox.env import declared, disturb
from sandbox.env.pictures import Pictures
from sandbox.env.snapshots import OF_AN_EPISODE, Returning
from sandbox.env.task import Observation
from sandbox.errors import InvalidInputError, SandboxError, UnknownNameError
from sandbox.ledger import AccountFunds, Ledger
from sandbox.meter import Meter
from sandbox.scenario import factors
from sandbox.scenario.camera import with_cameras
from sandbox.scenario.disturbance import Disturbance
from sandbox.scenario.factors import Values, VariationSpace
from sandbox.scene import Scene
from sandbox.world import World

OPTIONS = ("variation", "variation_values", "disturbances")
_LAYOUT = 1  # Spawn key of the layout stream; factors.stream() has 0.
_NOISE = 2  # And that of the noise on actions.


class SandboxEnv(Returning):
    """A world that is simulated, photographed, metered and lived in.

    A subclass says what its scene holds and what it means; the loop here is final.

    Args:
        scenario: the name of a scenario, a path to one, what one says as a mapping, or None:
            nothing varies but the layout.
        split: one of the scenario's splits, or None.
        observation: `proprio`; `factors`, those that are numbers, which are hidden otherwise; or
            pictures (modality.PICTURES); or a list (a Dict).
        image_size: pixels in width and height.
        camera: one of the scene's cameras, or a list of them (a Dict of `pixels.main`, ...).
        renderer: `raster`, or `tiny` for Bullet's TinyRenderer; who drew is in `pictures`.
        account: who pays, in the ledger; None counts work without paying, for replay.
        budget: credits that this environment may spend in its life; None is no limit of its own.
        render_mode: `rgb_array` or None.

    Raises:
        UnknownNameError, InvalidInputError: for a keyword that names or holds what it may not.
    """

    # The loop -----------------------------------------------------------------------------------

    def __init_subclass__(cls, abstract: bool = False) -> None:
        """Check what a class declares; `abstract=True` marks one that is only inherited from."""
        super().__init_subclass__()
        if abstract:
            return
        declared.check_class(cls)
        cls.metadata = {**SandboxEnv.metadata, "render_fps": cls.control_hz}

    def __init__(
        self,
        scenario: str | Mapping[str, Any] | None = None,
        split: str | None = None,
        observation: str | Sequence[str] = "proprio",
        image_size: int = 64,
        camera: str | Sequence[str] = "main",
        renderer: str = "raster",
        account: str | None = "local",
        budget: float | None = None,
        render_mode: str | None = None,
    ) -> None:
        mine = ("self", "account", "budget")
        self._made_as = {key: it for key, it in locals().items() if key not in (*mine, "mine")}
        plain = {"format": scenarios.FORMAT, "environment": self.name()}
        self.scenario, where = scenarios.load(plain if scenario is None else scenario)
        if self.scenario.environment not in (self.name(), _written(type(self))):
            raise InvalidInputError(
                f"{where}: this scenario is for {self.scenario.environment!r}, not {self.name()!r}."
            )
        self.scenario.check(self.factors, where)
        self.scenario.settings(split)
        self.split = split
        self.modalities = modality.names(observation)
        self.render_mode = _checked_mode(render_mode)
        funds = AccountFunds(Ledger(), account) if account is not None else None
        limit = None if budget is None else prices.micro(budget)
        self.meter = Meter(prices.current(), funds, limit)
        self.max_steps = self._limited()
        self.physics_steps = self.physics_hz // self.control_hz
        self.variation_space = VariationSpace(self.factors)
        self.action_space = spaces.Box(-1.0, 1.0, (self.action_size,), np.float32)
        self.world = World()
        self.pictures = Pictures(
            self.modalities,
            camera,
            modality.checked_size(image_size),
            renderer,
            render_mode is not None,
            self.world,
        )
        self._observe_as(single=isinstance(observation, str))
        self._places = self.places()
        self.log_bytes = 0  # What one row costs to log; set by whoever logs, before reset().
        self.whole_episodes = False  # Whether an episode begins only if all of it can be paid.
        self.t = -1  # Steps taken in this episode; -1 before the first reset.
        self._over = True
        self._framework = frozenset((*vars(self), *OF_AN_EPISODE))  # The rest is the task's.

    @final
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode: check, pay, build the scene, observe.

        Args:
            seed: of this episode; its factors and its layout come from two streams of it.
            options: `variation`, a list of factors to sample over their whole range (["all"] for
                every one), `variation_values`, values for some, and `disturbances`, a list of what
                happens, as a scenario has it. They win over the scenario.

        Raises:
            BudgetExhaustedError: the reset and a first step cannot be paid. Nothing was done.
            InvalidInputError, UnknownNameError: options that cannot be. Nothing was done.
        """
        if seed is not None and (isinstance(seed, bool) or not 0 <= seed < 2**63):
            raise InvalidInputError(f"seed {seed!r}: give a whole number from 0 to 2**63 - 1.")
        changes = self._checked_options(options)
        super().reset(seed=seed)
        episode_seed = int(self.np_random.integers(2**63)) if seed is None else int(seed)
        values = self._values(episode_seed, *changes)
        disturbances = self._disturbances(episode_seed, values, options or {})
        scene = self._laid_out(values, episode_seed)
        disturb.check(disturbances, scene, self.state_bodies)
        self.pictures.load(scene)
        self.settle()
        charged = self._open()
        self.disturbances = disturbances
        self.seed, self.values, self.scene_digest = episode_seed, values, scene.digest
        self.variation_space.set_value(values)
        self._build(scene)
        self.t, self._over, self._touched_at = 0, False, -1
        self._actions: list[list[float]] = []
        self._due = [(one.step(self.control_hz), one) for one in self.disturbances]
        self.changes = [(0, values)]
        self._disturb_actions(episode_seed)
        self.started()
        arrived = self._arrive(charged)
        self._check_declared()
        return arrived

    @final
    def check(self) -> None:
        """Refuse a class, camera or file that does not fit seed 0's scene; nothing is charged."""
        declared.rehearse(type(self))
        values = self._values(0, [], {})
        self.pictures.load(self._laid_out(values, 0))

    @final
    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Check, pay, act, in that order: a refused step costs nothing and changes nothing.

        Raises:
            InvalidInputError: an action outside the action space, or a step after the end.
            BudgetExhaustedError: the step cannot be paid; after a top-up it can.
        """
        numbers = self._checked_action(action)
        if self._over:
            raise InvalidInputError("step() outside an episode: call reset() first.")
        charged = self.meter.charge(self._step_cost)
        self._actions.append(numbers)
        if self._due:
            self._disturb()
        self.act(self._applied(numbers) if self._late or self._noise else numbers)
        self.world.step(self.physics_steps)
        self.t += 1
        observation, info = self._arrive(charged)
        terminated = self.terminated()
        truncated = self.t >= self.max_steps
        self._over = terminated or truncated
        if self.t < self.max_steps and not self.meter.affords(self._step_cost):
            truncated = True
            info["budget"] = {
                "reason": "exhausted",
                "remaining": self.meter.balance,
                "needed": self._step_cost.amount,
            }
        return observation, self.reward(), terminated, truncated, info

    @final
    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """Return this row's RGB picture, uint8 (size, size, 3); one not drawn yet is charged."""
        if self.render_mode is None:
            return None
        if self.t < 0:
            raise InvalidInputError("render() before the first episode: call reset() first.")
        if not self.pictures.has_frame():
            if not self.meter.is_open:
                raise InvalidInputError("render() after close(): call reset() first.")
            self.meter.charge_extra(self.meter.price({"pixel": self.pictures.size**2}))
        return self.pictures.frame().copy()

    @final
    def settle(self) -> None:
        """Post what this episode cost, with a digest of what was done as evidence."""
        if self.t >= 0 and self.meter.is_open:
            evidence: dict[str, Any] = {
                "environment": self.name(),
                "seed": self.seed,
                "factors": self.values.plain(),
                "scene": self.scene_digest,
                "steps": self.t,
                "actions": self._actions,
                "state": self.row,
            }
            self.meter.settle(digest.sha256(evidence))

    @final
    def close(self) -> None:
        """Post what is owed and give the clients back."""
        self.settle()
        self.world.close()
        self._over = True
        super().close()

    def work(self) -> dict[str, int]:
        """Return the work of one row besides physics: pixels drawn and bytes logged."""
        pixels = len(self.pictures.columns) * self.pictures.size**2
        return {"pixel": pixels, "raw_byte": self.log_bytes}

    def longest(self) -> dict[str, int]:
        """Return the work of the longest episode, per meter unit."""
        rows = {unit: (self.max_steps + 1) * count for unit, count in self.work().items()}
        return {"physics_step": self.max_steps * self.physics_steps, **rows, "reset": 1}

    # Its parts ----------------------------------------------------------------------------------

    def _observe_as(self, single: bool) -> None:
        """Name the columns that are observed, and the space that they live in."""
        drawn = self.pictures.columns
        self.columns = tuple(
            column
            for name in self.modalities
            for column in (
                [name] if name in modality.NUMBERS else [c for c in drawn if drawn[c][1] == name]
            )
        )
        every: dict[str, spaces.Space[Any]] = {
            column: modality.space(
                drawn[column][1] if column in drawn else column,
                self.pictures.size,
                self.elements_of(column),
            )
            for column in self.columns
        }
        self._single = single and self.columns[0] in modality.MODALITIES
        self.observation_space = every[self.columns[0]] if self._single else spaces.Dict(every)

    def _build(self, scene: Scene) -> None:
        """Build the scene; one that cannot be costs nothing."""
        try:
            self.world.build(scene)
            self.world.watch(self.state_bodies, self.state_joints)
            self.pictures.begin()
        except SandboxError:
            self.meter.void()
            self.t, self._over = -1, True
            raise

    def _check_declared(self) -> None:
        """Compare the class with its first episode; one that is refused costs nothing."""
        try:
            declared.check_first(self)
        except SandboxError:
            self.meter.void()
            self.t, self._over = -1, True
            raise

    def _open(self) -> int:
        """Open the meter for an episode, charge the reset, and return what was charged."""
        price = self.meter.price
        reset = price({"reset": 1, **self.work()})
        self._step_cost = step = price({"physics_step": self.physics_steps, **self.work()})
        self.meter.open(
            *(reset, step, self.max_steps, uuid.uuid4().bytes),
            at_least=self.max_steps if self.whole_episodes else 1,
        )
        return self.meter.charge(reset)

    def _limited(self) -> int:
        """Return after how many steps an episode is truncated."""
        limit, usual = self.scenario.limit_s, self.max_episode_steps()
        steps = usual if limit is None else round(limit * self.control_hz)
        if not 0 < steps <= usual:
            raise InvalidInputError(
                f"limit_s {limit!r}: {self.name()} lasts a step to {self.limit_s} s; give as much."
            )
        return steps

    def _laid_out(self, values: Values, seed: int) -> Scene:
        """Return the scene of an episode."""
        layout = np.random.SeedSequence(seed, spawn_key=(_LAYOUT,))
        scene = self.scene(values, np.random.default_rng(layout))
        if scene.engine.physics_hz != self.physics_hz:  # A step would last another time.
            raise InvalidInputError(
                f"{self.name()}: scene() has an engine of {scene.engine.physics_hz} Hz, but "
                f"physics_hz is {self.physics_hz}. Give it engine=Engine(self.physics_hz)."
            )
        return with_cameras(scene, self.scenario.cameras)

    def _disturbances(
        self, seed: int, values: Values, options: Mapping[str, Any]
    ) -> list[Disturbance]:
        """Return what will happen: the scenario's, or what is given, checked."""
        given: Any = options.get("disturbances")
        if given is None:
            return self.scenario.happenings(self.factors, values, seed)
        try:
            found = [Disturbance.model_validate(one) for one in given]
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"options['disturbances']: {error}") from None
        for n, one in enumerate(found):
            one.check(self.factors, f"options['disturbances'][{n}]")
        return self.scenario.model_copy(update={"disturbances": found}).happenings(
            self.factors, values, seed
        )

    def _disturb(self) -> None:
        """Let happen what is due in this step, before it is acted."""
        now = [one for step, one in self._due if step == self.t]
        for one in now:
            disturb.apply(one, self)
        if any(one.kind != "kick" for one in now):
            self.pictures.load(self.world.scene)

    @final
    def change(self, values: Values) -> None:
        """Go on with other values of the factors, as far as a scene under way can follow.

        Raises:
            InvalidInputError: it cannot. Nothing was done.
        """
        scene = disturb.carried_over(self._laid_out(values, self.seed), self.world)
        self.world.become(scene)
        self.values = values
        self.changes.append((self.t + 1, values))

    def _disturb_actions(self, seed: int) -> None:
        """Make ready to apply actions late, and with noise, if the factors say so."""
        self._late: int = getattr(self.values, "action_delay_steps", 0)
        self._noise: float = getattr(self.values, "action_noise", 0.0)
        if self._noise:
            stream = np.random.SeedSequence(seed, spawn_key=(_NOISE,))
            self._noise_rng = np.random.default_rng(stream)

    def _applied(self, numbers: list[float]) -> list[float]:
        """Return what is applied in this step, in which `numbers` were asked for."""
        n = len(self._actions) - 1 - self._late
        late = self._actions[n] if n >= 0 else [0.0] * self.action_size
        if not self._noise:
            return late
        noise = self._noise_rng.normal(0.0, self._noise, self.action_size).tolist()
        return [max(-1.0, min(1.0, a + e)) for a, e in zip(late, noise, strict=True)]

    def _arrive(self, charged: int) -> tuple[Observation, dict[str, Any]]:
        """Read the state once, and observe it."""
        self.row = self.world.read()
        if self.world.feels and self._touched_at < 0 and self.touches():
            self._touched_at = self.t
        self.pictures.arrive()
        self.arrived()
        if self._single:
            observation = self._observe(self.columns[0])
        else:
            observation = {name: self._observe(name) for name in self.columns}
        info = {
            "state": np.array(self.row),
            "success": self.success(),
            "charged": charged,
            "balance": self.meter.balance,
        }
        return observation, info

    def _observe(self, name: str) -> NDArray[Any]:
        if name == "proprio":
            return np.array(self.proprio(), np.float32)
        if name == "factors":
            return np.array([self.values[e.name] for e in self.elements_of(name)], np.float32)
        return self.pictures.column(name)

    def _checked_action(self, action: Any) -> list[float]:
        """Return the action's float32 values as numbers, or refuse it."""
        try:
            vector = np.asarray(action, np.float32)
        except (TypeError, ValueError):
            vector = np.empty(0, np.float32)
        numbers: list[float] = (
            vector.tolist() if vector.shape == (self.action_size,) else [math.nan]
        )
        for number in numbers:
            if not -1.0 <= number <= 1.0:
                raise InvalidInputError(
                    f"action {action!r}: give {self.action_size} numbers, each from -1 to 1. "
                    "Nothing was done and nothing was charged."
                )
        return numbers

    def _checked_options(
        self, options: Mapping[str, Any] | None
    ) -> tuple[list[str], dict[str, Any]]:
        options = options or {}
        for key in options:
            if key not in OPTIONS:
                raise UnknownNameError("reset option", key, OPTIONS)
        names = factors.chosen(options.get("variation", []), self.factors)
        values: object = options.get("variation_values") or {}
        if not isinstance(values, Mapping):
            raise InvalidInputError(f"options['variation_values'] is {values!r}; give a mapping.")
        return names, dict(cast(Mapping[str, Any], values))

    def _values(self, seed: int, names: list[str], changes: dict[str, Any]) -> Values:
        """Draw the factors: the scenario's, then those to vary freely, then those given."""
        drawn = dict(self.scenario.sample(self.factors, seed, self.split))
        for name in names:
            drawn[name] = factors.sample(self.factors[name], factors.stream(seed, name))
        return scenarios.with_values(Values(drawn), changes, self.factors)


def _written(of: type) -> str:
    """Return a class as MODULE:CLASS: a recipe may call it so, whoever offers it by a name."""
    return f"{of.__module__}:{of.__qualname__}"


def _checked_mode(mode: str | None) -> str | None:
    if mode not in (None, "rgb_array"):
        raise InvalidInputError(f"render_mode {mode!r}: give 'rgb_array' or None.")
    return mode
