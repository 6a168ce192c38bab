"""What the rows of an episode cost, and whether the next one can be paid."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from sandbox.meter import Cost, Meter
from sandbox.prices import Load, PriceSchedule, plus

if TYPE_CHECKING:
    from sandbox.env.loop import SandboxEnv


def load(env: "SandboxEnv", schedule: PriceSchedule) -> Load:
    """Return what an environment's work nominally takes: as the schedule has it, else estimated."""
    moving = len(env.state_bodies) + len(env.state_joints)
    return schedule.loads.get(env.name()) or Load.estimated(moving, env.physics_steps)


def simulated(
    env: "SandboxEnv", schedule: PriceSchedule, resets: int, steps: int
) -> dict[str, int]:
    """Return the work of simulating, without what is observed, per meter unit.

    Args:
        env: the environment.
        schedule: knows the environment's load.
        resets: number of scenes built.
        steps: number of steps, in all.
    """
    each = load(env, schedule)
    return {
        "physics_step": steps * env.physics_steps,
        "reset": resets,
        "simulation_us": resets * each.reset_us + steps * each.step_us,
    }


def observed(env: "SandboxEnv", schedule: PriceSchedule, rows: int) -> dict[str, int]:
    """Return the work of drawing and logging some rows of an environment, per meter unit."""
    pictures, each = env.pictures, load(env, schedule)
    shown = [modality for _, modality in pictures.columns.values()]
    samples = sum(pictures.samples if one == "pixels" else 1 for one in shown)
    view_us = sum(each.drawing_us(pictures.size, one) for one in pictures.passes(shown))
    return {
        "pixel": rows * samples * pictures.size**2,
        "raw_byte": rows * env.log_bytes,
        "drawing_us": rows * len(pictures.cameras) * view_us,
    }


@dataclass(frozen=True, slots=True)
class Costs:
    """The costs of the rows of one episode.

    With a render mode, every row has a frame: the picture that render() draws of it. It is charged
    when it is drawn, and an episode goes on only while the frames can be paid too.

    Attributes:
        reset: building the scene, with the first row.
        step: one step, with its row.
        picture: one picture of render().
        first: the reset and its frame.
        row: a step and its frame.
        both: the frame of this row, a step, and the frame of the next row.
        framed: whether rows have frames.
    """

    reset: Cost
    step: Cost
    picture: Cost
    first: Cost
    row: Cost
    both: Cost
    framed: bool

    @classmethod
    def of(cls, env: "SandboxEnv") -> Self:
        """Return the costs of an environment's rows under its meter's prices."""
        price, schedule = env.meter.price, env.meter.schedule
        size, samples = env.pictures.size, env.pictures.samples
        drawing_us = load(env, schedule).drawing_us(size, samples)
        picture = {"pixel": samples * size**2, "drawing_us": drawing_us}
        frames = env.render_mode is not None and "pixels" not in env.modalities
        frame = picture if frames else {}
        reset = simulated(env, schedule, 1, 0) | observed(env, schedule, 1)
        step = simulated(env, schedule, 0, 1) | observed(env, schedule, 1)
        row = plus(step, frame)
        return cls(
            reset=price(reset),
            step=price(step),
            picture=price(picture),
            first=price(plus(reset, frame)),
            row=price(row),
            both=price(plus(row, frame)),
            framed=frames,
        )

    def open(self, meter: Meter, steps: int, episode: bytes, *, whole: bool) -> int:
        """Open a meter for an episode and charge the reset; return what was charged.

        Args:
            meter: pays.
            steps: number of steps in the longest episode.
            episode: id of the post that will charge the episode, 16 bytes.
            whole: whether the episode begins only if all of it can be paid.

        Raises:
            BudgetExhaustedError: it cannot be paid. Nothing was charged.
        """
        meter.open(self.first, self.row, steps, episode, at_least=steps if whole else 1)
        return meter.charge(self.reset)

    def replay(self, env: "SandboxEnv", steps: int) -> Cost:
        """Return the cost of building the scene again and simulating so many steps, unobserved."""
        return env.meter.price(simulated(env, env.meter.schedule, 1, steps))

    def lack(self, meter: Meter, *, drawn: bool) -> dict[str, Any] | None:
        """Return why an episode cannot go on, as `info["budget"]`; None if it can.

        Args:
            meter: pays.
            drawn: whether the frame of this row is drawn already.
        """
        if not self.framed and meter.affords(self.step):  # After every step: be quick.
            return None
        wanted = self._wanted(drawn)
        if self._can_pay(meter, wanted):
            return None
        remaining = min(meter.balance, meter.payable(wanted))
        return {"reason": "exhausted", "remaining": remaining, "needed": wanted.amount}

    def demand(self, meter: Meter, *, drawn: bool) -> None:
        """Refuse to go on (BudgetExhaustedError) where `lack` says that it cannot be paid."""
        wanted = self._wanted(drawn)
        if not self._can_pay(meter, wanted):
            raise meter.poor(wanted)

    def _wanted(self, drawn: bool) -> Cost:
        return self.row if drawn else self.both

    def _can_pay(self, meter: Meter, wanted: Cost) -> bool:
        if not self.framed:  # What is held fits step by step.
            return meter.affords(wanted)
        return meter.affords_extra(wanted)
