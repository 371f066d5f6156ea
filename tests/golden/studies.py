"""What the golden studies are, and their traces as text: one event a line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import msgspec

from admf.containers.replay import log_reader
from admf.engine.block import Block
from admf.engine.events import Event
from admf.engine.result_names import TRACE_END
from admf.workflows.runner import Runner
from tests.prompt import PromptStorage

__all__ = ["FOLDER", "STUDIES", "digest", "file_of", "trace_of"]

FOLDER = Path(__file__).parent

_GOOG = {"source": "sample", "symbols": ["GOOG"], "start": "2005-01-03", "end": "2005-07-29"}
_THREE = {**_GOOG, "symbols": ["GOOG", "IBM", "MSFT"], "end": "2005-04-29"}
_COSTS = {"commission": {"type": "rate", "value": 0.001, "minimum": 1.0}, "slippage_bps": 5}

STUDIES: Mapping[str, Mapping[str, Any]] = {
    "state_signals_in_units": {
        "strategy": {"type": "sma_cross", "params": {"fast": 3, "slow": 10, "signal": "state"}},
        "portfolio": {"sizing": {"type": "fixed_units", "value": 100}},
    },
    "long_and_short_with_costs": {
        "strategy": {"type": "sma_cross", "params": {"fast": 3, "slow": 8, "mode": "long_short"}},
        "portfolio": {"initial_capital": 10_000},
        "execution": _COSTS,
        "risk": {"max_leverage": 2.0},
    },
    "brackets_for_a_day": {
        "strategy": {"type": "golden_strategies:Brackets"},
        "execution": _COSTS,
    },
    "orders_at_levels": {
        "strategy": {"type": "golden_strategies:Levels"},
        "risk": {"max_position": 6.0},
    },
    "trailing_stop_and_drawdown": {
        "strategy": {"type": "momentum", "params": {"lookback": 5}},
        "risk": {"trailing_stop_pct": 3, "take_profit_pct": 8, "max_drawdown_pct": 3},
        "execution": _COSTS,
    },
    "target_of_volatility": {
        "strategy": {"type": "ema_cross", "params": {"fast": 4, "slow": 9}},
        "portfolio": {"sizing": {"type": "volatility_target", "value": 0.15, "lookback": 10}},
    },
    "several_symbols": {
        "data": _THREE,
        "strategy": {"type": "donchian_breakout", "params": {"entry": 10, "exit": 5}},
        "portfolio": {"sizing": {"type": "percent_equity", "value": 0.3}},
        "risk": {"stop_loss_pct": 4},
    },
    "fills_at_the_close": {
        "strategy": {"type": "rsi_reversion", "params": {"period": 4}},
        "portfolio": {"sizing": {"type": "fixed_notional", "value": 20_000, "whole_units": True}},
        "execution": {"fill_on": "close", "close_at_end": True, **_COSTS},
    },
    "positions_carried_forward": {
        "strategy": {"type": "sma_cross"},
        "parameter_space": {"fast": [2, 4], "slow": [8]},
        "phases": {
            "forward": {
                "sequence": "walk_forward",
                "walk_forward": {"train": 50, "test": 30, "carry_positions": True},
            }
        },
    },
    "folds": {
        "strategy": {"type": "bollinger_reversion"},
        "parameter_space": {"period": [8, 12]},
        "phases": {"folds": {"sequence": "k_fold", "k_fold": {"folds": 3, "purge": 2}}},
    },
}


def file_of(study: str) -> Path:
    """Return the file of a study's trace."""
    return FOLDER / f"{study}.jsonl"


def digest() -> str:
    """Return what stands for all golden traces together, in hex."""
    found = hashlib.sha256()
    for study in STUDIES:
        found.update(file_of(study).read_bytes())
    return found.hexdigest()[:12]


def trace_of(study: str, folder: Path) -> str:
    """Run a study in a folder, and return the traces of all its portfolios.

    Args:
        study: Its name.
        folder: Where its results go.
    """
    experiment = {
        "workflow": "golden" if "phases" in STUDIES[study] else "simple_backtest",
        "data": _GOOG,
        "results_dir": "run",
        "results_storage": "disk",
        "trace": {"store": "all"},
        "event_tracing": ["FILL", "POSITION_OPEN", "POSITION_CLOSE", "PORTFOLIO_UPDATE"],
        **STUDIES[study],
    }
    runner = Runner(storage=PromptStorage(folder))
    result = anyio.run(runner.run, runner.load(experiment, folder=FOLDER))
    if result.some_failed:
        raise RuntimeError(f"{study}: {result}")
    logs = sorted(folder.rglob(f"*{TRACE_END}"))
    return "".join(line for log in logs for line in _lines(log, log.relative_to(folder / "run")))


def _lines(log: Path, name: Path) -> Iterator[str]:
    content = log.read_bytes()
    yield f"# {name.as_posix()}\n"

    def read(start: int, count: int) -> bytes:
        return content[start : start + count]

    for envelope in log_reader(read, len(content)):
        found: Event | Block[Any] = envelope.event
        events: list[Event] = found.events() if isinstance(found, Block) else [found]
        for event in events:
            fields = msgspec.to_builtins(event)
            kind = fields.pop("event")
            told = {name: it for name, it in fields.items() if it is not None}
            yield msgspec.json.encode([envelope.seq, envelope.cause, kind, told]).decode() + "\n"
