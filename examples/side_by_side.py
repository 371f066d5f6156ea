"""Several studies at once in one event loop, with their results in memory."""

import anyio

from admf import Runner

SYMBOLS = ("AAPL", "GOOG", "IBM", "MSFT")


async def study(runner: Runner, symbol: str, found: dict[str, float | None]) -> None:
    experiment = {
        "workflow": "simple_backtest",
        "data": {"source": "sample", "symbols": [symbol]},
        "strategy": {"type": "donchian_breakout"},
        "results_storage": "memory",
    }
    result = await runner.run(experiment)
    summary = result.phases["backtest"].summary
    found[symbol] = summary.best_sharpe if summary else None


async def main() -> None:
    found: dict[str, float | None] = {}
    runner = Runner()
    async with anyio.create_task_group() as studies:
        for symbol in SYMBOLS:
            studies.start_soon(study, runner, symbol, found)
    for symbol in SYMBOLS:
        print(f"{symbol:6} Sharpe ratio {found[symbol]:.2f}")


anyio.run(main)
