from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from admf.containers.market_data import Bars, MarketData
from admf.containers.scratch import Scratch
from admf.workflows.workers import shared_data
from admf.workflows.workers.shared_data import SharedData, open_shared_data


def market(scratch: Scratch | None) -> MarketData:
    price = np.arange(10.0) + 1
    bars = [Bars(name, np.arange(10) * 60, *[price] * 5) for name in "AB"]
    return MarketData(bars[:1], extras=bars[1:], timeframe="1m", scratch=scratch)


@pytest.mark.parametrize("scratch", [None, Scratch()], ids=["in memory", "on disk"])
def test_a_worker_sees_the_same_bars_and_keeps_them_where_they_were(
    scratch: Scratch | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_data, "_AT_ONCE", 4)
    data = market(scratch)
    with closing(SharedData(data)) as shared:
        seen = open_shared_data(shared.address)
    assert seen.fingerprint == data.fingerprint
    assert (seen.symbols, seen.extra_symbols, seen.timeframe) == (("A",), ("B",), "1m")
    assert (seen.scratch is None) == (scratch is None)
    seen.drop()
    assert seen.bars("B").close.tolist() == data.bars("B").close.tolist()
