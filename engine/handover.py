"""What a container leaves to the one that takes its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import msgspec

from admf.engine.container import Container

__all__ = ["CarriesState", "described", "states_of", "take_over"]


@runtime_checkable
class CarriesState(Protocol):
    """A container whose state goes on in the one that takes its place, which has the same id."""

    def hand_over(self) -> msgspec.Struct | None:
        """Return the state, which this container uses no more; None if there is none.

        All that was published has been handled, but for what waits in mailboxes.
        """
        ...

    def take_over(self, state: Any) -> None:
        """Go on from what the container before has handed over; called once it is started."""
        ...


def states_of(containers: Iterable[Container]) -> dict[str, msgspec.Struct]:
    """Have containers hand over their states; return them by the ids."""
    found = {it.id: it.hand_over() for it in containers if isinstance(it, CarriesState)}
    return {name: state for name, state in found.items() if state is not None}


def take_over(
    states: Mapping[str, msgspec.Struct], containers: Iterable[Container]
) -> dict[str, msgspec.Struct]:
    """Have containers take over the states of those with the same ids; return what they took."""
    taken: dict[str, msgspec.Struct] = {}
    for container in containers:
        state = states.get(container.id)
        if state is not None and isinstance(container, CarriesState):
            container.take_over(state)
            taken[container.id] = state
    return taken


def described(state: msgspec.Struct) -> Any:
    """Return a state as a record tells of it; what is no data stands there by its type."""
    return msgspec.to_builtins(state, str_keys=True, enc_hook=_type_name)


def _type_name(value: object) -> str:
    return f"<{type(value).__module__}.{type(value).__qualname__}>"
