"""What a subclass says about its world: the part that differs from task to task."""

from abc import abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

import gymnasium
import numpy as np
from numpy.typing import NDArray

from sandbox import content
from sandbox.env.aim import Aim
from sandbox.env.episode import Episode
from sandbox.env.policy import Policy, Vector
from sandbox.env.recorded import Recordings
from sandbox.errors import InvalidInputError
from sandbox.observation import Element
from sandbox.scenario.factors import Color, Factors, Values
from sandbox.scene import Engine, Light, Scene, sun
from sandbox.world import World
from sandbox.world.world import BODY_STATE, JOINT_STATE

GRAVITY_M_S2 = 9.81  # Where no factor varies it.
OFF_M = 0.05  # A body this far below the world's origin has fallen off its table or floor.
HAPPENS = ("contact", "first_contact", "left_scene", "goal_reached")  # Events of every world.
Observation = Any  # An array, or a dict of arrays when several are asked for.


class Task(gymnasium.Env[Observation, Vector]):
    """What a subclass defines, and what it may use; the loop is SandboxEnv's.

    Class attributes of a subclass:
        family: control, manipulation, intuitive physics, ...
        control_hz: control steps per simulated second; divides physics_hz.
        physics_hz: physics steps per simulated second.
        limit_s: simulated seconds after which an episode is truncated.
        fixed_length: whether every episode lasts `limit_s`; if not, success ends it.
        factors: what a scenario may vary.
        elements: the numbers of the proprio observation.
        action_size: number of numbers in an action, each in [-1, 1].
        state_bodies: bodies in `info["state"]` and the `state` column, in this order.
        state_joints: joints after them, each as body and link.
        state_measures: names of the numbers after those, which `measured` returns.
        goal_names: names of the numbers of the goal, which `wanted` returns, each with its unit,
            such as `x [m]`; () where there is no goal.
        events: names of the flags that `happening` returns, row by row.
        aim: what makes up a goal state, for an episode that shall reach a state instead of doing
            the world's task; or a sentence why no state is sensible to ask for.

    Two factors mean the same in every environment that has them. `action_delay_steps` applies each
    action so many steps late, zeros before. `action_noise` adds normal noise of that standard
    deviation to what is applied, drawn from a stream of its own.

    Attributes:
        world: the simulation.
        values: values of the factors in this episode.
        row: the numbers of the state.
        done: whether the task is done in this state, as `success` says.
        goal_state: the state that this episode shall reach; None: it has the world's task.
        recordings: who knows the episodes in whose states another may start; None: nobody.
        t: steps taken in this episode; -1 before the first one.
        max_steps: steps after which an episode is truncated.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012  # As Gymnasium declares it.
    family: ClassVar[str]
    control_hz: ClassVar[int]
    physics_hz: ClassVar[int] = 240
    limit_s: ClassVar[float]
    fixed_length: ClassVar[bool] = False
    factors: ClassVar[Factors]
    elements: ClassVar[tuple[Element, ...]]
    action_size: ClassVar[int]
    state_bodies: ClassVar[tuple[str, ...]] = ()
    state_joints: ClassVar[tuple[tuple[str, str], ...]] = ()
    state_measures: ClassVar[tuple[str, ...]] = ()
    goal_names: ClassVar[tuple[str, ...]] = ()
    events: ClassVar[tuple[str, ...]] = ()
    aim: ClassVar[Aim | str] = "its file declares no aim"
    world: World
    values: Values
    row: list[float]
    done: bool
    goal_state: NDArray[np.float64] | None
    recordings: Recordings | None
    t: int
    max_steps: int
    _places: dict[str | tuple[str, str], int]
    episode: Episode

    # What a subclass defines --------------------------------------------------------------------

    @abstractmethod
    def scene(self, f: Values, rng: np.random.Generator) -> Scene:
        """Return the scene for factors `f`; only `rng` may make its layout random."""

    @abstractmethod
    def act(self, action: list[float]) -> None:
        """Turn an action, numbers in [-1, 1], into drives and pushes of the world."""

    @abstractmethod
    def proprio(self) -> Sequence[float]:
        """Return the numbers that `elements` names."""

    @abstractmethod
    def success(self) -> bool:
        """Return whether the task is done in this state."""

    @abstractmethod
    def scripted(self, rng: np.random.Generator) -> Policy:
        """Return a policy that succeeds; it may read this environment's state."""

    @abstractmethod
    def play(self, rng: np.random.Generator) -> Policy:
        """Return a policy that explores without a goal: it seeks contact, or what moves most."""

    def progress(self) -> float:
        """Return how much of the task is done, usually 0 to 1; the dense reward pays its increase.

        By default 0: only success counts.
        """
        return 0.0

    def potential(self) -> float:
        """Return how far the way to success has been gone, usually 0 to 1.

        `ProgressReward`, from which agents learn, pays its increase. By default the progress. A
        world whose progress begins late, at a second contact for example, adds what comes before.
        No recorded reward follows from it.
        """
        return self.progress()

    def shortfall(self) -> float:
        """Return how far this state is from what is wanted, 0 to 1: what the dense reward costs.

        By default 1 until success, so that waiting costs.
        """
        return float(not self.done)

    def terminated(self) -> bool:
        """Return whether the episode ends in this state: on success, unless its length is fixed."""
        return not self.fixed_length and self.done

    def happening(self) -> Sequence[bool]:
        """Return whether each of `events` holds in this state."""
        return ()

    def measured(self) -> Sequence[float]:
        """Return the numbers that `state_measures` names.

        The task measures by them, and no body or joint of the state tells them: the place of a
        link, a flag that stays set, a count of steps. They follow those of bodies and joints in the
        state. By default, the attributes that are called so.
        """
        return [self._named(name, "state_measures", "measured") for name in self.state_measures]

    def wanted(self) -> Sequence[float]:
        """Return the numbers of the goal, which `goal_names` names, world frame.

        By default, the attribute `goal`.
        """
        return self._named("goal", "goal_names", "wanted") if self.goal_names else ()

    @final
    def _is_over(self) -> bool:
        """Return whether the episode ends here; one that shall reach a state goes on to its limit.

        So a state can be sought that lies beyond the world's own success or failure.
        """
        return self.goal_state is None and self.terminated()

    @final
    def _goal_info(self) -> dict[str, Any]:
        """Return what a row's info says of the goal, in each episode what it has."""
        said: dict[str, Any] = {}
        if self.goal_names:
            said["goal"] = np.array(self.wanted(), np.float64)
        if self.goal_state is not None:
            assert isinstance(self.aim, Aim), "reset() has looked"
            away = self.aim.distance(self.state_names(), self.row, self.goal_state)
            said |= {"goal_state": self.goal_state.copy(), "goal_distance": np.array(away)}
        return said

    def _named(self, name: str, named: str, method: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError:
            raise InvalidInputError(
                f"{self.name()}: has {named} and no attribute {name!r}: set it in started() or "
                f"arrived(), or write {method}()."
            ) from None

    # What a subclass may use -------------------------------------------------------------------

    @final
    def light(self, f: Values, elevation_deg: float) -> Light:
        """Return the light that the factors of `looks` give, so high above the horizon."""
        color = f.rgba("light_color")[:3]
        return sun(f.light_azimuth_deg, elevation_deg, color, f.light_ambient)

    @final
    def engine(self, f: Values, **changes: Any) -> Engine:
        """Return the engine of this class's rate and of the factor gravity_m_s2, if it has one.

        Args:
            f: the factors.
            changes: any other attribute of Engine.
        """
        down = -getattr(f, "gravity_m_s2", GRAVITY_M_S2)
        return Engine(self.physics_hz, (0.0, 0.0, down), **changes)

    @final
    def pending(self) -> deque[Vector]:
        """Return the actions that are not applied yet where these are delayed, zeros at first.

        A policy that plans ahead appends each action that it takes; the oldest drops out.
        """
        late: int = getattr(self.values, "action_delay_steps", 0)
        return deque([np.zeros(self.action_size, np.float32)] * late, maxlen=late)

    @final
    def body(self, name: str) -> list[float]:
        """Return a body's 13 numbers: x, y, z; quaternion xyzw; velocity; angular velocity."""
        start = self._places[name]
        return self.row[start : start + BODY_STATE]

    @final
    def joint(self, body: str, link: str) -> tuple[float, float]:
        """Return the position and velocity of the joint on which a link hangs."""
        start = self._places[body, link]
        return self.row[start], self.row[start + 1]

    @final
    def seconds_left(self) -> float:
        """Return the simulated seconds until the episode is truncated [s]."""
        return (self.max_steps - self.t) / self.control_hz

    @final
    def touches(self) -> bool:
        """Return whether bodies of the state touched in the last step, if `world.feels`."""
        names = self.touching()
        return any(a in names and b in names for a, b in self.world.impulses)

    @final
    def labels(self) -> tuple[NDArray[np.float32], list[bool]]:
        """Return this row's labels, if `world.feels`.

        Returns:
            The impulses between bodies since the row before [N s], float32 (n, n + 1) over
            `touching`, the last column with all other bodies; and whether each of HAPPENS and
            `events` holds.
        """
        names = self.touching()
        matrix = np.zeros((len(names), len(names) + 1), np.float32)
        places = {name: n for n, name in enumerate(names)}
        for (a, b), impulse in self.world.impulses.items():
            m, n = places.get(a, -1), places.get(b, -1)
            if m >= 0:
                matrix[m, n] += impulse
            if n >= 0:
                matrix[n, m] += impulse
        first = self.episode.touched_at == self.t
        fallen = min(self.row[2 : len(self.state_bodies) * BODY_STATE : BODY_STATE], default=0.0)
        happens = (self.touches(), first, fallen < -OFF_M, self.success())
        return matrix, [*happens, *self.happening()]

    # What other libraries call by name ----------------------------------------------------------

    @property
    def task(self) -> str:
        """Name of the task, as LeRobot asks for it."""
        return self.name()

    @property
    def task_description(self) -> str:
        """What is to be done, in a sentence."""
        return (type(self).__doc__ or self.name()).strip().partition("\n")[0]

    @property
    def _max_episode_steps(self) -> int:
        return self.max_steps

    def _set_state(self, state: Any = None, **row: Any) -> None:
        self._recorded().start({"state": state, **row})

    def _set_goal_state(self, goal_state: Any = None, **row: Any) -> None:
        self._recorded().seek({"goal_state": goal_state, **row})

    def reset_options_from_dataset(
        self, init_row: Mapping[str, Any], goal_row: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the options of a reset that begins at a recorded row, for stable-worldmodel.

        Args:
            init_row: the values of the columns at the row to begin at.
            goal_row: those at the row to reach, with `goal_` before their names.

        Raises:
            InvalidInputError: nobody knows the episode of these rows; see `sandbox.goals.Recorded`.
        """
        return self._recorded().options(init_row, goal_row)

    def _recorded(self) -> Recordings:
        """Return who knows recorded episodes; InvalidInputError if nobody does.

        A library that finds no such method would start elsewhere and say nothing.
        """
        if self.recordings is None:
            raise InvalidInputError(
                f"{self.name()}: an episode starts at a recorded state by replaying the actions "
                "before it, and nobody said in which run they are. Nothing was done. Wrap the "
                "environment: pre_wrappers=[sandbox.goals.Recorded(RUN)]."
            )
        return self.recordings

    def started(self) -> None:
        """Prepare what the task remembers; called when a scene is built, before the first row."""

    def arrived(self) -> None:
        """Derive what the task needs from a row's state; called before it is observed."""

    @classmethod
    def name(cls) -> str:
        """Return what the catalogue calls the environment, such as push_t, or MODULE:CLASS."""
        return content.environment_name(cls.__module__, cls.__qualname__)

    @classmethod
    def written(cls) -> str:
        """Return MODULE:CLASS, which a recipe may write whatever the catalogue calls it."""
        return f"{cls.__module__}:{cls.__qualname__}"

    @classmethod
    def max_episode_steps(cls) -> int:
        """Return the number of steps after which an episode is truncated."""
        return round(cls.limit_s * cls.control_hz)

    @classmethod
    def places(cls) -> dict[str | tuple[str, str], int]:
        """Return the place in the state at which each body's and each joint's numbers begin."""
        jointed = len(cls.state_bodies) * BODY_STATE
        return {
            **{body: n * BODY_STATE for n, body in enumerate(cls.state_bodies)},
            **{joint: jointed + n * JOINT_STATE for n, joint in enumerate(cls.state_joints)},
        }

    @classmethod
    def elements_of(cls, name: str) -> tuple[Element, ...]:
        """Return the elements of a modality; () for pictures."""
        if name != "factors":
            return cls.elements if name == "proprio" else ()
        return tuple(
            Element(name, factor.unit, factor.low, factor.high)
            for name, factor in cls.factors.items()
            if not isinstance(factor, Color)
        )

    @classmethod
    def touching(cls) -> tuple[str, ...]:
        """Return the bodies that the rows and columns of `contact_impulse` are about."""
        jointed = (body for body, _ in cls.state_joints)
        return tuple(dict.fromkeys((*cls.state_bodies, *jointed)))

    @classmethod
    def state_names(cls) -> tuple[str, ...]:
        """Return the name of each number of the state, such as t.x or pole.position."""
        body = ["x", "y", "z", "qx", "qy", "qz", "qw", "vx", "vy", "vz", "wx", "wy", "wz"]
        return (
            *(f"{b}.{part}" for b in cls.state_bodies for part in body),
            *(f"{b}.{j}.{part}" for b, j in cls.state_joints for part in ("position", "velocity")),
            *cls.state_measures,
        )
