from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from admf.containers import indicators
from admf.containers.indicators import BAR_COLUMNS, Indicator, indicator_names, resolve_indicator
from admf.engine.errors import ConfigError

Columns = dict[str, NDArray[np.float64]]


def columns(n: int) -> Columns:
    rng = np.random.default_rng(7)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, n)))
    open_ = close * np.exp(rng.normal(0, 0.01, n))
    high = np.maximum(open_, close) * 1.01
    low = np.minimum(open_, close) * 0.99
    volume = rng.integers(1, 1000, n).astype(np.float64)
    return dict(zip(BAR_COLUMNS, (open_, high, low, close, volume), strict=True))


def usable_indicators() -> list[Indicator]:
    return [resolve_indicator(name, ()) for name in indicator_names() if name != "mavp"]


def head(data: Columns, n: int) -> Columns:
    return {name: values[:n].copy() for name, values in data.items()}


def test_no_indicator_looks_ahead() -> None:
    data = columns(300)
    for indicator in usable_indicators():
        whole = indicator.compute(data)
        for n in (1, 40, 173, 299):
            for full, part in zip(whole, indicator.compute(head(data, n)), strict=True):
                np.testing.assert_array_equal(full[:n], part, err_msg=indicator.function)


def test_every_indicator_is_nan_for_its_lookback_and_float_throughout() -> None:
    data = columns(300)
    for indicator in usable_indicators():
        outputs = indicator.compute(data)
        assert len(outputs) == len(indicator.outputs)
        for output in outputs:
            assert output.dtype == np.float64, indicator.function
            assert np.isnan(output[: indicator.lookback]).all(), indicator.function


def by_chunk(indicator: Indicator, data: Columns) -> list[NDArray[np.float64]]:
    """Compute an indicator as a store does."""
    parts: list[list[NDArray[np.float64]]] = [[] for _ in indicator.outputs]
    for context, start, stop in indicator.chunks(len(data["close"])):
        outputs = indicator.compute({name: it[context:stop] for name, it in data.items()})
        for part, output in zip(parts, outputs, strict=True):
            part.append(output[start - context :])
    return [np.concatenate(part) for part in parts]


def test_chunks_give_what_the_whole_gives_but_for_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indicators, "CHUNK", 2_500)
    monkeypatch.setattr(indicators, "_LEAST_CONTEXT", 2_000)
    data = columns(7_001)
    for indicator in usable_indicators():
        for whole, chunks in zip(indicator.compute(data), by_chunk(indicator, data), strict=True):
            scale = np.nanmax(np.abs(whole), initial=1.0)
            np.testing.assert_allclose(
                chunks / scale, whole / scale, rtol=0, atol=1e-8, err_msg=indicator.function
            )


@pytest.mark.parametrize(
    ("name", "period", "rows", "expected"),
    [
        ("sma", 10, 0, []),
        ("sma", 10, 262_144, [(0, 0, 262_144)]),
        ("sma", 10, 300_000, [(0, 0, 262_144), (245_760, 262_144, 300_000)]),
        ("sma", 1_001, 300_000, [(0, 0, 262_144), (230_144, 262_144, 300_000)]),
        ("sma", 8_193, 300_000, [(0, 0, 262_144), (0, 262_144, 300_000)]),
        ("sma", 8_194, 600_000, [(0, 0, 600_000)]),
        ("obv", None, 600_000, [(0, 0, 600_000)]),
    ],
)
def test_a_chunk_has_many_lookbacks_as_context_unless_all_bars_count(
    name: str, period: int | None, rows: int, expected: list[tuple[int, int, int]]
) -> None:
    indicator = resolve_indicator(name, () if period is None else (period,))
    assert list(indicator.chunks(rows)) == expected


@pytest.mark.parametrize("name", ["sma", "macd", "cdldoji", "ht_trendmode", "adx", "obv"])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_data_shorter_than_the_lookback_gives_nan_only(name: str, n: int) -> None:
    indicator = resolve_indicator(name, ())
    for output in indicator.compute(columns(n)):
        assert output.shape == (n,)
        assert np.isnan(output[: indicator.lookback]).all()


def test_inputs_of_fixed_price_functions_are_found_by_themselves() -> None:
    data = columns(50)
    (true_range,) = resolve_indicator("trange", ()).compute(data)
    high, low, before = data["high"][1:], data["low"][1:], data["close"][:-1]
    expected = np.maximum(high, before) - np.minimum(low, before)
    np.testing.assert_allclose(true_range[1:], expected, rtol=1e-13)


def test_on_replaces_the_close() -> None:
    data = columns(50)
    (highest,) = resolve_indicator("max", (20,), "high").compute(data)
    expected = [data["high"][i - 19 : i + 1].max() for i in range(19, 50)]
    assert highest[19:].tolist() == expected


def test_on_replaces_the_free_input_and_leaves_the_fixed_one() -> None:
    assert resolve_indicator("obv", (), "high").inputs == ("high", "volume")


def test_integer_outputs_become_floats_with_nan_instead_of_zero_in_warm_up() -> None:
    indicator = resolve_indicator("cdlengulfing", ())
    (pattern,) = indicator.compute(columns(200))
    assert indicator.lookback > 0
    assert set(pattern[indicator.lookback :].tolist()) <= {-100.0, -80.0, 0.0, 80.0, 100.0}


def test_parameters_left_out_keep_their_defaults() -> None:
    assert resolve_indicator("macd", (5,)).parameters == (5, 26, 9)


def test_a_whole_number_is_good_for_a_real_parameter() -> None:
    indicator = resolve_indicator("bbands", (20, 2, np.int64(2)))
    assert indicator == resolve_indicator("bbands", (np.int32(20), 2.0, 2.0))
    assert [type(value) for value in indicator.parameters] == [int, float, float, int]


@pytest.mark.parametrize(
    ("function", "params", "on", "message"),
    [
        ("smaa", (), None, "unknown indicator 'smaa' (did you mean 'sma'?)"),
        ("SMA", (), None, "unknown indicator 'SMA' (did you mean 'sma'?)"),
        ("zzzzzz", (), None, "unknown indicator 'zzzzzz'"),
        ("get_functions", (), None, "unknown indicator 'get_functions'"),
        (
            "sma",
            (10, 20),
            None,
            "takes at most 1 parameters, got 2; its parameters and defaults are sma(timeperiod=30)",
        ),
        ("obv", (3,), None, "its parameters and defaults are obv()"),
        ("sma", ("10",), None, "sma: timeperiod must be an integer, got '10'"),
        ("sma", (10.0,), None, "sma: timeperiod must be an integer, got 10.0"),
        ("sma", (True,), None, "sma: timeperiod must be an integer, got True"),
        ("sma", (None,), None, "sma: timeperiod must be an integer, got None"),
        ("bbands", (20, "2"), None, "bbands: nbdevup must be a number, got '2'"),
        ("bbands", (20, False), None, "bbands: nbdevup must be a number, got False"),
        ("sma", (0,), None, "TA-Lib refuses timeperiod=0 as out of range; its parameters"),
        ("sma", (10**6,), None, "TA-Lib refuses timeperiod=1000000 as out of range"),
        ("bbands", (20, float("nan")), None, "TA-Lib refuses timeperiod=20, nbdevup=nan"),
        ("macd", (12, 26, 0), None, "macd(fastperiod=12, slowperiod=26, signalperiod=9)"),
        ("sma", (10**12,), None, "TA-Lib refuses timeperiod=1000000000000 as out of range"),
        ("sma", (10,), "hihg", "sma: bars have no column 'hihg' (did you mean 'high'?)"),
        ("mavp", (), None, "mavp: bars have no column 'periods'"),
        ("atr", (14,), "open", "atr takes high, low, close; on='open' cannot replace them"),
        ("beta", (5,), "open", "beta takes high, low; on='open' cannot replace them"),
    ],
)
def test_a_wrong_request_says_how_to_mend_it(
    function: str, params: tuple[Any, ...], on: str | None, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_indicator(function, params, on)
    assert message in str(caught.value)


def test_an_output_is_found_by_name() -> None:
    macd = resolve_indicator("macd", ())
    assert [macd.output_index(name) for name in ("macd", "macdsignal", "macdhist")] == [0, 1, 2]
    assert resolve_indicator("sma", ()).output_index(None) == 0


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (None, "macd has several outputs; choose output= of macd, macdsignal, macdhist"),
        ("macdsingal", "macd has no output 'macdsingal' (did you mean 'macdsignal'?); it has"),
    ],
)
def test_a_wrong_output_lists_those_there_are(output: str | None, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_indicator("macd", ()).output_index(output)
    assert message in str(caught.value)
