"""Elements of an observation, several at once."""

from collections.abc import Iterable

from sandbox.observation import Element


def each(names: str, unit: str, low: float, high: float) -> tuple[Element, ...]:
    """Return an element for each of some names, all with the same unit and bounds.

    Args:
        names: separated by spaces.
        unit: unit of each number.
        low: bound of each.
        high: bound of each.
    """
    return tuple(Element(name, unit, low, high) for name in names.split())


def of_each(owners: Iterable[str], *elements: Element) -> tuple[Element, ...]:
    """Return the elements of each owner in turn, such as ball_0_x, ball_0_y, ball_1_x."""
    return tuple(
        Element(f"{owner}_{e.name}", e.unit, e.low, e.high) for owner in owners for e in elements
    )
