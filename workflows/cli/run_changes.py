"""In what two runs differ: settings, data, seeds and versions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias, cast

import msgspec

from admf.engine.errors import ConfigError, Problem
from admf.workflows.cli.place import Place

__all__ = ["Change", "changes", "phase_pairs"]

Row: TypeAlias = Mapping[str, Any]


class Change(msgspec.Struct, frozen=True):
    """A setting, a version or the like that differs.

    Args:
        kind: ``run``, ``version``, ``data``, ``phase``, ``setting`` or ``parameter``.
        name: What differs, e.g. ``strategy.params.fast``.
        a: What it is in the first run; None if there is no such thing.
        b: What it is in the second.
        phases: In which phases, where that matters; empty for all that both runs have.
    """

    kind: str
    name: str
    a: object
    b: object
    phases: tuple[str, ...] = ()


def phase_pairs(first: Place, second: Place) -> list[tuple[Place, Place]]:
    """Return the phases to compare with each other.

    Two runs are compared by the names of their phases; two parts of runs with each other.

    Raises:
        ConfigError: One is a run, the other a part of one.
    """
    if bool(first.phase) != bool(second.phase):
        whole, part = (first, second) if second.phase else (second, first)
        message = f"{part.path} is a part of a run, {whole.path} is all of one: "
        raise ConfigError([Problem(f"{message}compare two runs, or two parts")])
    if first.phase:
        return [(first, second)]
    ours, theirs = _by_name(first), _by_name(second)
    return [(first.only(ours[it]), second.only(theirs[it])) for it in ours if it in theirs]


def changes(first: Place, second: Place) -> list[Change]:
    """Return in what two runs differ: versions, seeds, data, settings; portfolios in parameters."""
    a, b = first.run.document(), second.run.document()
    pairs = [(one.phase, other.phase) for one, other in phase_pairs(first, second)]
    found = [
        Change("run", name, a[name], b[name])
        for name in ("workflow", "status", "seed")
        if a[name] != b[name]
    ]
    found += _differences("version", a["versions"], b["versions"])
    if not first.phase:
        found += _phases_of_one(first, second)
    found += _by_phase("data", a["data"], b["data"], pairs)
    told = {it.name for it in found if it.kind == "run"}
    settings = _by_phase("setting", a["phases"], b["phases"], pairs)
    found += [it for it in settings if it.name not in told]
    if first.container and second.container:
        parameters = (dict(place.portfolio.parameters) for place in (first, second))
        found += _differences("parameter", *parameters)
    return found


def _by_name(place: Place) -> dict[str, str]:
    """Return the names of phases by what they are called in their group."""
    above = f"{place.group}/" if place.group else ""
    return {it.name.removeprefix(above): it.name for it in place.phases}


def _phases_of_one(first: Place, second: Place) -> Iterator[Change]:
    ours, theirs = _by_name(first), _by_name(second)
    for name in dict.fromkeys((*ours, *theirs)):
        if name not in ours or name not in theirs:
            yield Change(
                "phase", name, _sequence(first, ours, name), _sequence(second, theirs, name)
            )


def _sequence(place: Place, names: Mapping[str, str], name: str) -> str | None:
    return place.run.phases[names[name]].sequence if name in names else None


def _by_phase(
    kind: str,
    a: Mapping[str, Row],
    b: Mapping[str, Row],
    pairs: Sequence[tuple[str, str]],
) -> Iterator[Change]:
    """Yield what differs in phases; what differs equally in several of them once."""
    phases: dict[bytes, list[str]] = defaultdict(list)
    found: dict[bytes, Change] = {}
    for ours, theirs in pairs:
        for change in _differences(kind, _settings(a[ours]), _settings(b[theirs])):
            key = msgspec.json.encode(change)
            found[key] = change
            phases[key].append(ours)
    for key, change in found.items():
        names = phases[key]
        told = () if len(names) == len(pairs) else tuple(names)
        yield msgspec.structs.replace(change, phases=told)


def _settings(phase: Row) -> Row:
    """Return the settings of a phase beside its other fields; its name is no difference."""
    rest = {name: value for name, value in phase.items() if name not in {"name", "settings"}}
    return {**rest, **phase.get("settings", {})}


def _differences(kind: str, a: Row, b: Row) -> list[Change]:
    ours, theirs = dict(_flat(a)), dict(_flat(b))
    names = dict.fromkeys((*ours, *theirs))
    return [
        Change(kind, name, ours.get(name), theirs.get(name))
        for name in names
        if (name in ours, ours.get(name)) != (name in theirs, theirs.get(name))
    ]


def _flat(value: Row, above: str = "") -> Iterator[tuple[str, object]]:
    """Yield the values of nested mappings with their dotted names."""
    for name, it in value.items():
        if isinstance(it, Mapping) and it:
            yield from _flat(cast("Row", it), f"{above}{name}.")
        else:
            yield f"{above}{name}", it
