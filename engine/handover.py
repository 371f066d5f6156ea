"""What the containers of a window leave to those of the next one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from admf.engine.container import Container
from admf.engine.errors import StateError

__all__ = ["data_of", "described", "hands_over", "revived", "states_of", "take_over"]


def hands_over(container: Container) -> bool:
    """Whether a container is of a kind that may have something to hand over."""
    return type(container).hand_over is not Container.hand_over


def states_of(places: Mapping[str, Container]) -> dict[str, object]:
    """Return what containers hand over, by their places; those that have nothing are left out."""
    found = {place: container.hand_over() for place, container in places.items()}
    return {name: state for name, state in found.items() if state is not None}


def take_over(states: Mapping[str, object], containers: Iterable[Container]) -> dict[str, object]:
    """Have containers take over the states of those with the same ids; return what they took."""
    taken: dict[str, object] = {}
    for container in containers:
        if container.id in states:
            taken[container.id] = states[container.id]
            container.take_over(states[container.id])
    return taken


def revived(left: Mapping[str, Any], places: Mapping[str, Container]) -> dict[str, object]:
    """Return the states that a record tells of, as far as containers can be given them.

    Args:
        left: The states as data, by places.
        places: The containers by places.

    Raises:
        StateError: A state is not what a container of its place hands over.
    """
    found: dict[str, object] = {}
    for place, container in places.items():
        if container.state_type is not None and place in left:
            try:
                found[place] = msgspec.convert(left[place], container.state_type)
            except msgspec.ValidationError as error:
                message = f"{container!r} cannot go on from what an earlier session left: {error}"
                raise StateError(message) from error
    return found


def data_of(states: Mapping[str, object], places: Mapping[str, Container]) -> dict[str, Any]:
    """Return the states that `revived` can make anew, as data."""
    kept = [place for place, it in places.items() if it.state_type is not None]
    return {place: described(states[place]) for place in kept if place in states}


def described(state: object) -> Any:
    """Return a state as a record tells of it; what is no data stands there by its type."""
    return msgspec.to_builtins(state, str_keys=True, enc_hook=_type_name)


def _type_name(value: object) -> str:
    return f"<{type(value).__module__}.{type(value).__qualname__}>"
