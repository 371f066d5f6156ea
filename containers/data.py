"""The source of a backtest: publishes bars, block by block."""

from __future__ import annotations

from collections.abc import Sequence

from admf.containers.market_data import MarketData
from admf.engine.bus import Bus
from admf.engine.container import Container
from admf.engine.tracer import EventTracer

__all__ = ["DataContainer"]


class DataContainer(Container):
    """Publishes the bars of a range of time steps as blocks, each once the last has been handled.

    Args:
        container_id: Names the container and the source of its blocks.
        market_data: The bars; extra symbols are not published.
        steps: First time step, and the one after the last.
        block_size: Time steps in a block, at least 1.
        scope: The bus it lives on.
        tracer: Records the events of the scope.
        depends_on: Ids of the containers that must be running before this one starts.
    """

    def __init__(
        self,
        container_id: str,
        market_data: MarketData,
        steps: tuple[int, int],
        block_size: int,
        *,
        scope: Bus,
        tracer: EventTracer | None = None,
        depends_on: Sequence[str] = (),
    ) -> None:
        super().__init__(container_id, "data", scope=scope, tracer=tracer, depends_on=depends_on)
        self._market_data = market_data
        self._steps = steps
        self._block_size = block_size

    async def run(self) -> None:
        """Publish until the range is exhausted or the container is stopped."""
        start, stop = self._steps
        for first in range(start, stop, self._block_size):
            await self.until_resumed()
            if not self.in_service:
                return
            block = self._market_data.block(first, min(first + self._block_size, stop))
            self.scope.publish(block, source=self.id)
            await self.scope.drain()
            self._market_data.drop()
