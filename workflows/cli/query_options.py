"""Options of the commands that ask for results."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from cyclopts import Parameter
from cyclopts.validators import Number

__all__ = ["By", "Limit", "PhaseName", "Where"]

Where: TypeAlias = Annotated[str | None, Parameter(name="--where")]
By: TypeAlias = Annotated[str | None, Parameter(name="--by")]
PhaseName: TypeAlias = Annotated[str | None, Parameter(name="--phase")]
Limit: TypeAlias = Annotated[int, Parameter(name=("--limit", "-n"), validator=Number(gte=1))]
