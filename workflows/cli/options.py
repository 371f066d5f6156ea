"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter, validators

__all__ = ["Overrides", "WorkerCount"]

Overrides: TypeAlias = Annotated[tuple[str, ...], Parameter(name="--set", negative="")]

WorkerCount: TypeAlias = (
    Annotated[int, Parameter(validator=validators.Number(gte=1))] | Literal["auto"]
)
