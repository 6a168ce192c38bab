"""What an evaluation found: figures as plain JSON, and rows for a terminal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from sandbox import jsonfile
from sandbox.errors import FormatError
from sandbox.evaluation.imagining import COPY, MODEL, SHUFFLED
from sandbox.evaluation.pictures import MEASURES, MOVING_PSNR, PSNR

FORMAT: Literal[1] = 1
Found = TypeVar("Found")
Curves = Mapping[str, Mapping[str, Sequence[float | None]]]  # By measure and by who predicts.


def found_in(path: Path, figures: Callable[[dict[str, Any]], Found]) -> Found:
    """Return what a function finds in the file of an evaluation, which anybody may have edited.

    Raises:
        FormatError: it cannot be read, or the function fails with what it says.
    """
    data = jsonfile.read(path).data
    try:
        return figures(data)
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration):
        raise FormatError(
            f"{path}: its figures are damaged. Remove its folder, and run the same command again."
        ) from None


@dataclass(frozen=True)
class Evaluation:
    """What a model predicts of held-out episodes, beside what knows nothing.

    Every value is plain JSON; None stands where there is no number.

    Attributes:
        checkpoint: which model it is.
        data: which episodes it was evaluated on.
        settings: what was asked for.
        versions: of the libraries, by name.
        notes: what a reader should know, in sentences.
        horizons: how many rows ahead the predictions are.
        windows: how many windows there are, and of how many episodes.
        pictures: measures of pictures, by who predicts, at each horizon.
        numbers: nRMSE of columns of numbers, by who predicts, at each horizon.
        gains: by how much the model is better than others, with intervals of 95 %.
        heads: skill over copying of the model's own numbers.
        poses: skill over copying of what a network reads in predicted pictures; None if none was
            trained.
        reward: error of predicted rewards; None if the model gives none.
        terminated: how well ends are told from other rows, at each horizon; None likewise.
        groups: errors by split, policy, and ranges of factors.
        surprises: how often an impossible future has the larger error, by kind; None if no pairs
            were given.
        branches: how well differences of futures are predicted; None if no branches were given.
        factors: how well hidden factors are read from the model's state; None if none varies, or
            there are too few episodes.
        plans: how well the model orders plans, and what agents reached; None without a goal set.
        seeds: scores of other seeds of the model, and of all; None if none were given.
    """

    checkpoint: Mapping[str, Any]
    data: Mapping[str, Any]
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    notes: Sequence[str]
    horizons: Sequence[int]
    windows: Mapping[str, int]
    pictures: Curves
    numbers: Curves
    gains: Sequence[Mapping[str, Any]]
    heads: Mapping[str, Any]
    poses: Mapping[str, Any] | None
    reward: Mapping[str, Sequence[float | None]] | None
    terminated: Sequence[Mapping[str, Any]] | None
    groups: Mapping[str, Any]
    surprises: Sequence[Mapping[str, Any]] | None = None
    branches: Mapping[str, Any] | None = None
    factors: Sequence[Mapping[str, Any]] | None = None
    plans: Mapping[str, Any] | None = None
    seeds: Mapping[str, Any] | None = None

    def plain(self) -> dict[str, Any]:
        """Return it as plain JSON; the same evaluation gives the same bytes of `encode`."""
        return {"format": FORMAT, **{one.name: getattr(self, one.name) for one in fields(self)}}

    def encode(self) -> bytes:
        """Return the bytes of its JSON file."""
        return jsonfile.encode(self.plain())

    def rows(self) -> list[list[str]]:
        """Return rows of a table, the first of which has the names of the columns."""
        made = [["", *(f"{h} ahead" for h in self.horizons)]]
        for measure in (PSNR, MOVING_PSNR):
            for who, curve in self.pictures.get(measure, {}).items():
                made.append([f"{MEASURES[measure]}, {who}", *(told(one, 1) for one in curve)])
        for column, every in self.numbers.items():
            for who, curve in every.items():
                made.append([f"nRMSE of {column}, {who}", *(told(one, 3) for one in curve)])
        return made

    def verdict(self) -> str:
        """Return in sentences whether the model beats copying, and uses the actions.

        Copying is wrong on every pixel that moves, so a model may win there with a bad picture:
        what it does to all pixels is said beside it.
        """
        moving = MOVING_PSNR if self.pictures else "nrmse"
        copying, shuffled = "than copying the last row", "than with its actions shuffled"
        said = [self._better(moving, COPY, copying), self._better(PSNR, COPY, copying)]
        said.append(self._better(moving, SHUFFLED, shuffled))
        return " ".join(one for one in said if one)

    def _better(self, measure: str, other: str, than: str) -> str:
        gain = next((g for g in self.gains if (g["measure"], g["over"]) == (measure, other)), None)
        if gain is None or MODEL not in self.pictures.get(MOVING_PSNR, {MODEL: ()}):
            return ""
        known = zip(self.horizons, gain["pooled"], strict=True)
        sure = [(h, one) for h, one in known if one is not None]
        better = [h for h, one in sure if one["low"] > 0]
        worse = [h for h, one in sure if one["high"] < 0]
        where = {MOVING_PSNR: "on moving pixels", PSNR: "on all pixels"}
        what = where.get(measure, f"of {gain['column']}")
        if not better and not worse:
            return f"Not better {what} {than} at any horizon, with 95 % confidence."
        said = " and ".join(filter(None, (_at("better", better), _at("worse", worse))))
        return f"{said[0].upper()}{said[1:]} {what} {than}, with 95 % confidence."


def _at(how: str, horizons: Sequence[int]) -> str:
    """Return at which horizons something is so; "" at none."""
    some = ", ".join(map(str, horizons))
    return f"{how} at horizon{'s' if len(horizons) > 1 else ''} {some}" if horizons else ""


def told(value: float | None, digits: int) -> str:
    """Return a number as tables show it."""
    return "-" if value is None else f"{value:.{digits}f}"
