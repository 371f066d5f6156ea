"""``admf list``: what there is to use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec
from rich.table import Table
from rich.text import Text

from admf.containers.metrics.catalogue import METRICS, MetricInfo
from admf.containers.strategies.loading import StrategyDescription, describe_strategies
from admf.engine.events import event_name
from admf.engine.registry import Registry
from admf.engine.retention import BUILT_IN_POLICIES, PolicyFactory, TracingConfig
from admf.workflows.cli.rendering import rendered, table
from admf.workflows.cli.streams import foreign_code, write_json, write_out
from admf.workflows.plugins import installed_plugins, known_events

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Entry", "list_names"]

Kind: TypeAlias = Literal[
    "strategies", "workflows", "sequences", "topologies", "metrics", "events", "retention"
]


class Entry(msgspec.Struct, frozen=True):
    """Something with a name, and what it is in one line."""

    name: str
    summary: str


Listed: TypeAlias = StrategyDescription | MetricInfo | Entry


def list_names(kind: Kind, /, *, json: bool = False) -> None:
    """List what there is to use, with a line on each.

    Args:
        kind: What to list.
        json: Write a JSON document to standard output instead of a table.
    """
    with foreign_code():
        found = _FINDERS[kind](installed_plugins())
    if json:
        write_json(found)
    else:
        write_out(rendered(*_shown(found)))


def _plugins(group: str, registry: Registry) -> Sequence[Entry]:
    return [Entry(name, _summary(registry.get(group, name))) for name in registry.names(group)]


def _metrics(_: Registry) -> Sequence[MetricInfo]:
    return METRICS


def _events(_: Registry) -> Sequence[Entry]:
    return [Entry(event_name(cls), _summary(cls)) for cls in known_events()]


def _retention(registry: Registry) -> Sequence[Entry]:
    names = registry.names("retention")
    added: dict[str, PolicyFactory] = {name: registry.get("retention", name) for name in names}
    factories = {**BUILT_IN_POLICIES, **added}
    made: dict[str, object] = {name: make(TracingConfig()) for name, make in factories.items()}
    summaries = {name: _summary(type(policy)) for name, policy in made.items()}
    return [Entry(name, text.removeprefix(f"{name}: ")) for name, text in summaries.items()]


_FINDERS: Mapping[Kind, Callable[[Registry], Sequence[Listed]]] = MappingProxyType(
    {
        "strategies": describe_strategies,
        "workflows": partial(_plugins, "workflows"),
        "sequences": partial(_plugins, "sequences"),
        "topologies": partial(_plugins, "topologies"),
        "metrics": _metrics,
        "events": _events,
        "retention": _retention,
    }
)


def _summary(plugin: object) -> str:
    """Return the first line of a docstring."""
    return _plain((inspect.getdoc(plugin) or "").partition("\n")[0])


def _plain(text: str) -> str:
    return text.replace("``", "")


def _shown(found: Sequence[Listed]) -> Iterator[RenderableType]:
    plain = table("Name", "Summary")
    for entry in found:
        if isinstance(entry, StrategyDescription):
            yield from _strategy(entry)
        elif isinstance(entry, MetricInfo):
            plain.add_row(entry.name, f"{entry.summary} ({entry.unit})")
        else:
            plain.add_row(entry.name, entry.summary)
    if plain.row_count:
        yield plain


def _strategy(entry: StrategyDescription) -> Iterator[RenderableType]:
    yield Text.assemble((entry.name, "bold"), f"  {_plain(entry.summary)}")
    parameters = Table.grid(padding=(0, 2, 0, 0))
    for parameter in entry.parameters:
        default = "required" if parameter.required else f"default {parameter.default}"
        parameters.add_row("", parameter.name, parameter.type, default)
    yield parameters
