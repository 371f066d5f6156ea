"""Checks of what sequences are told: lengths of time, folds, simulations, inner sequences."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial

from admf.containers.timestamps import parse_bound
from admf.sequences.config import (
    KFoldConfig,
    MonteCarloConfig,
    Span,
    TrainTestConfig,
    WalkForwardConfig,
)
from admf.sequences.settings import DataRange, PhaseSettings
from admf.sequences.spans import parse_span
from admf.workflows.findings import Finding, content_of, refusals, unknown_name, value_of
from admf.workflows.nodes import Node

__all__ = ["SEQUENCE_OPTIONS", "inner_circle", "inner_sequences", "searches", "sequence_findings"]

SEQUENCE_OPTIONS = (
    "single_pass",
    "parameter_sweep",
    "train_test",
    "walk_forward",
    "k_fold",
    "monte_carlo",
)
"""The sections with the options of the sequences of the same names."""

_SEARCH_NOTHING = frozenset({"single_pass", "monte_carlo"})


def sequence_findings(section: Node, sequences: Collection[str]) -> Iterator[Finding]:
    """Yield what is wrong with the options of sequences, and with the range of the data.

    Args:
        section: The settings.
        sequences: The sequences that there are.
    """
    for name in SEQUENCE_OPTIONS:
        yield from unknown_name(section, (name, "inner"), sequences)
    zone = content_of(section, "data", "timezone")
    timezone = zone if isinstance(zone, str) else "UTC"
    yield from _train_test(section, timezone)
    yield from _walk_forward(section)
    yield from _k_fold(section)
    yield from _monte_carlo(section)
    yield from _data_range(section, timezone)


def inner_sequences(sequence: str, settings: PhaseSettings) -> tuple[str, ...]:
    """Return the sequences that a phase runs, the outermost first, up to one that comes again."""
    chain: list[str] = []
    name: str | None = sequence
    while name is not None and name not in chain:
        chain.append(name)
        name = getattr(getattr(settings, name, None), "inner", None)
    return tuple(chain) if name is None else (*chain, name)


def searches(sequence: str, settings: PhaseSettings) -> bool:
    """Whether a phase searches the parameter space, as all sequences do but two."""
    return not _SEARCH_NOTHING.issuperset(inner_sequences(sequence, settings))


def inner_circle(sequence: str, settings: PhaseSettings) -> Iterator[Finding]:
    """Yield the inner sequence that leads back to one around it."""
    chain = inner_sequences(sequence, settings)
    if len(set(chain)) < len(chain):
        yield Finding((chain[-2], "inner"), f"leads in a circle: {' -> '.join(chain)}")


def _train_test(section: Node, timezone: str) -> Iterator[Finding]:
    options = value_of(section, TrainTestConfig, "train_test")
    if options is None:
        return
    yield from _span(section, "train_test", "gap", options.gap)
    split, path = options.data_split, ("train_test", "data_split")
    if isinstance(split, str):
        yield from refusals(section, path, partial(parse_bound, split, timezone, ""))
    elif not 0 < split < 1:
        yield Finding(path, f"must be a share between 0 and 1, or a day, got {split:g}")


def _walk_forward(section: Node) -> Iterator[Finding]:
    options = value_of(section, WalkForwardConfig, "walk_forward")
    if options is None:
        return
    yield from _span(section, "walk_forward", "gap", options.gap)
    for name in ("train", "test", "step"):
        span: Span | None = getattr(options, name)
        if span is not None:
            yield from _span(section, "walk_forward", name, span, may_be_zero=False)


def _span(
    section: Node, owner: str, name: str, span: Span, *, may_be_zero: bool = True
) -> Iterator[Finding]:
    found = refusals(section, (owner, name), partial(parse_span, span, ""))
    yield from found
    if not found and not may_be_zero and parse_span(span, "").is_zero:
        yield Finding((owner, name), f"must be longer than nothing, got {span}")


def _k_fold(section: Node) -> Iterator[Finding]:
    options = value_of(section, KFoldConfig, "k_fold")
    if options is None or options.method != "combinatorial_purged":
        return
    if options.test_folds >= options.folds:
        message = f"must be less than folds, {options.folds}, got {options.test_folds}"
        yield Finding(("k_fold", "test_folds"), message)


def _monte_carlo(section: Node) -> Iterator[Finding]:
    options = value_of(section, MonteCarloConfig, "monte_carlo")
    if options is not None and options.batches > options.simulations:
        message = f"must be at most simulations, {options.simulations}, got {options.batches}"
        yield Finding(("monte_carlo", "batches"), message)


def _data_range(section: Node, timezone: str) -> Iterator[Finding]:
    part = value_of(section, DataRange, "data_range")
    if part is None:
        return
    bounds: list[int] = []
    for name, bound in (("start", part.start), ("end", part.end)):
        if isinstance(bound, str):
            read = partial(_read_bound, bound, timezone, bounds)
            yield from refusals(section, ("data_range", name), read)
        elif bound is not None and not 0 <= bound <= 1:
            message = f"must be a share from 0 to 1, or a day, got {bound:g}"
            yield Finding(("data_range", name), message)
    is_backwards = len(bounds) == 2 and bounds[0] > bounds[1]
    if isinstance(part.start, float) and isinstance(part.end, float):
        is_backwards = part.start >= part.end
    if is_backwards:
        yield Finding(("data_range", "end"), f"is not after start ({part.start})")


def _read_bound(text: str, timezone: str, bounds: list[int]) -> None:
    bounds.append(parse_bound(text, timezone, "")[0])
