"""What was simulated in an episode, with what restore() threw away: the evidence of its charge."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sandbox import digest

if TYPE_CHECKING:
    from sandbox.env.loop import SandboxEnv


@dataclass
class Past:
    """The work of an episode so far, which no restore() undoes.

    Attributes:
        restores: number of times that a snapshot was restored.
        thrown_away: digest of these restores; see `go_back`. "" if there were none.
        steps: number of steps simulated up to the last restore.
        since: step of the episode at which it went on after that restore.
        frames: number of pictures that render() drew.
        rebuilds: number of exact restores: each is charged as building the scene again.
        replayed: number of steps simulated by them, without a row after each.
        inexact: whether a state was gone back to that no replay of the actions may reach.
    """

    restores: int = 0
    thrown_away: str = ""
    steps: int = 0
    since: int = 0
    frames: int = 0
    rebuilds: int = 0
    replayed: int = 0
    inexact: bool = False

    def simulated(self, t: int) -> int:
        """Return how many steps were simulated until step `t` of the episode was reached."""
        return self.steps + t - self.since

    def go_back(self, actions: list[list[float]], to: int, t: int) -> None:
        """Note that a snapshot is restored.

        The digest becomes the SHA-256 of the JSON list [the digest before, the actions since the
        restore before, `to`].

        Args:
            actions: all actions of the episode that is left.
            to: how many steps were simulated when the snapshot was taken.
            t: step of the episode at which it was taken.
        """
        since = actions[self.since :]
        self.thrown_away = digest.sha256([self.thrown_away, since, to])
        self.steps, self.since = self.steps + len(since), t
        self.restores += 1

    def rebuild(self, actions: list[list[float]], to: int, t: int) -> None:
        """Note that a snapshot is restored exactly: its `t` steps are simulated again.

        The arguments are those of `go_back`.
        """
        self.go_back(actions, to, t)
        self.steps += t
        self.inexact = False
        self.rebuilds, self.replayed = self.rebuilds + 1, self.replayed + t


def evidence(env: "SandboxEnv") -> dict[str, Any]:
    """Return what was done in an environment's episode; see `SandboxEnv.evidence`."""
    past = env.past
    return {
        "environment": env.name(),
        "seed": env.seed,
        "factors": env.changes[0][1].plain(),
        "disturbances": [one.plain() for one in env.disturbances],
        "scene": env.scene_digest,
        **({} if env.goal_state is None else {"goal": env.goal_state.tolist()}),
        "observation": list(env.modalities),
        "cameras": list(env.pictures.cameras),
        "image_size": env.pictures.size,
        **({} if env.pictures.samples == 1 else {"antialias": env.pictures.samples}),
        "steps": env.t,
        "actions": env.episode.actions,
        "state": env.row,
        "simulated": past.simulated(env.t),
        "frames": past.frames,
        "restores": past.restores,
        "thrown_away": past.thrown_away,
        "rebuilds": past.rebuilds,
        "replayed": past.replayed,
    }
