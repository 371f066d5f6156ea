"""What an experiment from outside may not do: run code, or reach files, that it is not given.

That is decided on the experiment as it was written, wherever in it something stands, and before
anything that it names is imported or opened.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import msgspec

from admf.engine.errors import ConfigError, Problem
from admf.sequences.phase import ResolvedPhase
from admf.workflows.nodes import FieldPath, Node, key_place

__all__ = ["Admission"]

_IMPORTABLE = re.compile(r"\s*[^\W\d]\w*(\s*\.\s*[^\W\d]\w*)*\s*:\s*[^\W\d]\w*\s*")
_NAMES_CODE = frozenset({("strategy", "type"), ("workflow",)})
_NO_CODE = frozenset({"description", "symbols", "benchmark"})
"""Fields whose text nobody imports, and which may well look as if: ``NASDAQ:AAPL``."""
_NOT_FROM_RESULTS = frozenset({"strategy", "strategy.type", "data", "data.path", "data.symbols"})
_FOREIGN = "names code that this service does not run; its host says what experiments may import"
_IN_FOLDER = re.compile(r"[^\x00-\x1f\\:]+")


class Admission:
    """Judges experiments that come from outside.

    Args:
        data_root: The folder below which their data lies.
        allowed: The strategies and workflows that they may import, ``package.module:Class`` each.

    Raises:
        ValueError: A name of what is allowed has another form.
    """

    def __init__(self, data_root: Path, allowed: Collection[str] = ()) -> None:
        self._root = data_root
        self._allowed = frozenset(allowed)
        for name in self._allowed:
            module, _, cls = name.partition(":")
            if not all(part.isidentifier() for part in (*module.split("."), cls)):
                raise ValueError(f"{name!r} is not of the form package.module:Class")

    def foreign_code(self, root: Node) -> Iterator[Problem]:
        """Yield what an experiment could have imported that is not allowed."""
        for node, path in _nodes(root, ()):
            if isinstance(node.value, str) and self._imports(node.value, path):
                yield node.place.problem(path, _FOREIGN)

    def problems(self, root: Node) -> Iterator[Problem]:
        """Yield what else it may not do."""
        for node, path in _nodes(root, ()):
            if isinstance(node.value, dict):
                yield from self._of_section(node, node.value, path)

    def placed(self, node: Node) -> Node:
        """Return an experiment that may be run, the paths of its data below the data root."""
        if isinstance(node.value, list):
            children = [self.placed(it) for it in node.value]
            return msgspec.structs.replace(node, value=children)
        if not isinstance(node.value, dict):
            return node
        fields = {key: self.placed(child) for key, child in node.value.items()}
        data = fields.get("data")
        if data is not None and isinstance(data.value, dict):
            path = data.value.get("path")
            if path is not None and isinstance(path.value, str):
                there = msgspec.structs.replace(path, value=str(self._root / path.value))
                inner = {**data.value, "path": there}
                fields["data"] = msgspec.structs.replace(data, value=inner)
        return msgspec.structs.replace(node, value=fields)

    def check_data(self, phases: Iterable[ResolvedPhase]) -> None:
        """Look once more at the data of phases, now that all that is said of it is put together.

        Raises:
            ConfigError: Files would be read that lie elsewhere.
        """
        found: list[Problem] = []
        for phase in phases:
            data, benchmark = phase.settings.data, phase.settings.benchmark
            if data.source != "file" or data.path is None:
                continue
            symbols: list[str] = [*data.symbols, *([benchmark] if benchmark else [])]
            faults = [self._symbol_fault(Path(data.path), it) for it in symbols]
            if not self._is_inside(Path(data.path)):
                faults.append("leads out of the service's data folder")
            found += [Problem(fault, "data.path") for fault in faults if fault]
        if found:
            raise ConfigError(list(dict.fromkeys(found)))

    def _imports(self, text: str, path: FieldPath) -> bool:
        """Whether a text could have something imported that is not allowed."""
        names_code = path[-2:] in _NAMES_CODE or path[-1:] in _NAMES_CODE
        is_harmless = not _NO_CODE.isdisjoint(path)
        looks_so = not is_harmless and _IMPORTABLE.fullmatch(text) is not None
        return (looks_so or (names_code and ":" in text)) and text not in self._allowed

    def _of_section(
        self, node: Node, fields: dict[str, Node], path: FieldPath
    ) -> Iterator[Problem]:
        if not path and "results_dir" in fields:
            place = key_place(node, ("results_dir",))
            yield place.problem(("results_dir",), "is the service's to choose: leave it out")
        if path[-1:] == ("data",):
            where = fields.get("path", Node(None))
            fault = self._path_fault(where.value) if isinstance(where.value, str) else ""
            if fault:
                yield where.place.problem((*path, "path"), fault)
        if path[-1:] == ("inputs",):
            for name in sorted(_NOT_FROM_RESULTS.intersection(fields)):
                message = "cannot come from results in a run over HTTP"
                yield key_place(node, (name,)).problem((*path, name), message)

    def _path_fault(self, path: str) -> str:
        if not _IN_FOLDER.fullmatch(path) or path.startswith(("/", "~")) or ".." in _parts(path):
            return "must be a relative path below the service's data folder, without '..'"
        return (
            "" if self._is_inside(self._root / path) else "leads out of the service's data folder"
        )

    def _symbol_fault(self, folder: Path, symbol: str) -> str:
        """Return what is wrong with the file of a symbol, which may itself be a link."""
        files = (folder / f"{symbol}{end}" for end in (".csv", ".csv.gz", ".parquet"))
        if all(map(self._is_inside, files)):
            return ""
        return f"the file of {symbol!r} leads out of the service's data folder"

    def _is_inside(self, path: Path) -> bool:
        try:
            return path.resolve().is_relative_to(self._root)
        except (OSError, RuntimeError, ValueError):  # a loop of links, or too long a name
            return False


def _nodes(node: Node, path: FieldPath) -> Iterator[tuple[Node, FieldPath]]:
    """Yield all values of an experiment, with their paths."""
    yield node, path
    if isinstance(node.value, dict):
        for key, child in node.value.items():
            yield from _nodes(child, (*path, key))
    elif isinstance(node.value, list):
        for row, child in enumerate(node.value):
            yield from _nodes(child, (*path, row))


def _parts(path: str) -> list[str]:
    return [part.strip() for part in path.split("/")]
