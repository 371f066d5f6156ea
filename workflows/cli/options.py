"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from cyclopts import Parameter

__all__ = ["Overrides"]

Overrides: TypeAlias = Annotated[tuple[str, ...], Parameter(name="--set", negative="")]
