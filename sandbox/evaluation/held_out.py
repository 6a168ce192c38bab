"""The episodes that a model is evaluated on, and that it was not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.dataset.dataset import Dataset
from sandbox.dataset.finite import check_finite
from sandbox.dataset.overlap import overlap
from sandbox.errors import InvalidInputError
from sandbox.models.checkpoint import Checkpoint, Data
from sandbox.models.protocol import Shapes, WorldModel
from sandbox.training import material
from sandbox.training.material import shapes_of

PathLike = str | Path


@dataclass(frozen=True)
class HeldOut:
    """Held-out episodes.

    Attributes:
        episodes: the episodes.
        train: those that the model was trained on; None if they were not given.
        notes: what a reader of the figures should know, in sentences.
    """

    episodes: Dataset
    train: Dataset | None
    notes: tuple[str, ...]

    @property
    def shapes(self) -> Shapes:
        """Shapes of a row of each column that models may ask for, pictures with channels first."""
        return shapes_of(self.episodes.schema)

    def plain(self) -> dict[str, Any]:
        """Return which episodes these are, as plain JSON."""
        facts = self.episodes.facts
        return {
            "runs": sorted(facts.texts("run")),
            "environments": sorted(facts.texts("environment")),
            "episodes": len(self.episodes),
            "rows": int(self.episodes.lengths.sum()),
            "digest": self.episodes.facts.digest,
        }


def opened(
    runs: PathLike | Sequence[PathLike],
    checkpoint: Checkpoint,
    train: PathLike | Sequence[PathLike] | None,
) -> HeldOut:
    """Open runs that a model was not trained on.

    Args:
        runs: as `Dataset` takes them.
        checkpoint: the model's.
        train: the runs that it was trained on, whose frames are then compared; None compares the
            ids of runs.

    Raises:
        FormatError: a run cannot be read.
        InvalidInputError: the model was trained on one of them, on its seeds or on its frames; or
            episodes were imagined.
    """
    episodes, data = Dataset(runs), checkpoint.facts.data
    if episodes.facts.digest == data.digest:
        raise InvalidInputError(f"{episodes.name}: is what the model was trained on.")
    notes = list[str]()
    if _same(episodes, checkpoint.facts.held_out):
        notes.append("These episodes picked the model's weights among those of its training.")
    if train is not None:
        known = _trained_on(train, checkpoint)
        shared = overlap(episodes, known).warnings()
        if shared:
            raise InvalidInputError(
                f"{episodes.name}: is not apart from {known.name}: {' '.join(shared)}"
            )
        return HeldOut(episodes, known, tuple(notes))
    for column, what in (("run", "is"), ("parent_run", "has branches")):
        both = [run for run in episodes.facts.texts(column) if run in data.runs]
        if both:
            raise InvalidInputError(
                f"{episodes.name}: {what} of run {both[0][:8]}, which the model was trained on; "
                "give another run, or, if no frame is shared, the training data as `train`."
            )
    notes.append("Apart from the training data by the ids of runs; frames were not compared.")
    return HeldOut(episodes, None, tuple(notes))


def check_fits(held_out: HeldOut, checkpoint: Checkpoint, model: WorldModel) -> None:
    """Refuse episodes that lack what a model needs, or have it in another shape.

    Raises:
        InvalidInputError: they do, they have nothing that the model gives, or a number of theirs
            is not finite.
    """
    check_episodes(held_out.episodes, checkpoint.facts.row_shapes, model)


def check_episodes(episodes: Dataset, known: Shapes, model: WorldModel) -> None:
    """Refuse episodes as `check_fits` does, and those that were imagined.

    Args:
        episodes: the episodes.
        known: shapes of a row of each column that the model knows.
        model: the model.

    Raises:
        InvalidInputError: they do not fit.
    """
    if any(record.imagined is not None for record in episodes.records):
        raise InvalidInputError(
            f"{episodes.name}: has episodes that a model imagined, which show nothing of how well "
            "one predicts. Give runs that were simulated or recorded."
        )
    check_columns(shapes_of(episodes.schema), known, model, episodes.name)
    check_finite(episodes, (*model.needs, *model.gives, "action"), episodes.name)


def check_columns(shapes: Shapes, known: Shapes, model: WorldModel, name: str) -> None:
    """Refuse columns that a model cannot be evaluated on.

    Args:
        shapes: of a row of each column of the episodes.
        known: of those that the model knows.
        model: the model.
        name: what errors call the episodes.

    Raises:
        InvalidInputError: a column is missing, or has another shape.
    """
    for column in dict.fromkeys((*model.needs, "action")):
        if column not in shapes:
            raise InvalidInputError(f"{name}: has no column {column!r}, which the model needs.")
    for column in dict.fromkeys((*model.needs, *model.gives, "action")):
        if column in shapes and tuple(shapes[column]) != known.get(column):
            raise InvalidInputError(
                f"{name}: {column} has rows of shape {tuple(shapes[column])}, and the model was "
                f"trained on {known.get(column)}; give a run of its kind."
            )
    if not any(column in shapes for column in model.gives):
        raise InvalidInputError(
            f"{name}: has none of {', '.join(model.gives)}, which the model gives."
        )


def _same(episodes: Dataset, data: Data | None) -> bool:
    return data is not None and episodes.facts.digest == data.digest


def _trained_on(train: PathLike | Sequence[PathLike], checkpoint: Checkpoint) -> Dataset:
    """Return training data, with the episodes that its training kept apart.

    Raises:
        InvalidInputError: it is not what the model was trained on.
    """
    found, data = Dataset(train), checkpoint.facts.data
    if found.facts.digest == data.digest:
        return found
    seed: Any = checkpoint.facts.training.get("seed", 0)
    try:
        part = material.opened(train, None, seed).train
    except InvalidInputError:  # It cannot be parted, so it was not.
        part = found
    if part.facts.digest != data.digest:
        raise InvalidInputError(
            f"{found.name}: is not what the model was trained on; give the same episodes."
        )
    return found
