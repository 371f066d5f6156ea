from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from admf.workflows.cli.inactivity import (
    Activity,
    Cause,
    PortfolioActivity,
    sentence,
    totals_of,
)
from tests.sealing import change
from tests.workflows.cli.results_commands.conftest import list_anew, read_portfolios


def _did(*counts: int, bars: int = 60, trades: int = 0, **fields: object) -> PortfolioActivity:
    return PortfolioActivity(
        status="completed",
        metrics={"bars": bars, "trade_count": trades},
        activity=Activity(*counts),
        **fields,
    )


@pytest.mark.parametrize(
    ("did", "cause", "text"),
    [
        (_did(2, 2, 0, 2, trades=1), "traded", "1 trade came about"),
        (_did(0, 0, 0, 0), "no_signals", "no signal in 60 bars"),
        (_did(0, 0, 0, 0, bars=0), "no_bars", "no bar lay in the time"),
        (_did(3, 0, 0, 0), "no_orders", "3 signals cancelled orders"),
        (_did(3, 2, 1, 0), "unfilled", "2 orders never filled (1 ended without a fill, the"),
        (_did(2, 2, 2, 0), "unfilled", "2 orders never filled (all ended without a fill): no bar"),
        (_did(1, 1, 0, 0), "unfilled", "1 order never filled (they worked until the end): no bar"),
        (
            _did(3, 3, 0, 0, rejects={"max_position": 2, "odd": 1}),
            "refused",
            "2 refused for max_position and 1 refused for odd: risk.max_position allows fewer",
        ),
        (
            _did(1, 1, 0, 0, rejects={"odd": 1}),
            "refused",
            "of 1 order none filled, 1 refused for odd",
        ),
        (_did(1, 1, 0, 1, open_positions=({},)), "open", "1 position open at the end"),
        (_did(1, 1, 0, 1, error="mine.py:7: bad"), "failed", "an error ended it: mine.py:7: bad"),
    ],
)
def test_the_cause_is_told_in_a_sentence(did: PortfolioActivity, cause: Cause, text: str):
    assert did.cause == cause
    assert text in sentence(cause, [did])


def test_bars_of_several_portfolios_are_told_if_they_are_equal():
    assert "in 60 bars" in sentence("no_signals", [_did(0, 0, 0, 0)] * 2)
    several = [_did(0, 0, 0, 0), _did(0, 0, 0, 0, bars=5)]
    assert "in all of its bars" in sentence("no_signals", several)


def test_totals_are_sums():
    found = [
        _did(2, 2, 0, 2, trades=1),
        _did(5, 4, 1, 0, rejects={"max_leverage": 3}),
        _did(1, 1, 0, 0, rejects={"max_leverage": 1, "zero_quantity": 7}),
        _did(0, 0, 0, 0),
    ]
    totals = totals_of(found)
    assert (totals.portfolios, totals.without_trades) == (4, 3)
    assert totals.causes == {"refused": 2, "no_signals": 1}
    assert totals.rejects == {"zero_quantity": 7, "max_leverage": 4}
    counts = (totals.signals, totals.orders, totals.cancels, totals.fills, totals.trades)
    assert counts == (8, 7, 1, 2, 1)


def test_refusals_are_counted_by_reason(admf, results):
    document = admf("why-no-trades", "results/quiet", "--json").document
    (portfolio,) = document["portfolios"]
    own = _file(results / "quiet")
    assert portfolio["rejects"] == own["rejects"]
    assert set(own["rejects"]) == {"max_leverage"}
    assert portfolio["activity"] == own["activity"]
    assert document["totals"]["signals"] == own["activity"]["signals"] > 0
    assert (document["totals"]["without_trades"], portfolio["cause"]) == (1, "refused")
    out = admf("why-no-trades", "results/quiet").out
    assert out.splitlines()[0].startswith("backtest/portfolio_001  fast=2 slow=5")
    assert out.splitlines()[-1].endswith("risk.max_leverage allows less than the sizing asks for")


def _file(run) -> dict:
    (own,) = read_portfolios(run).values()
    return own


@pytest.mark.parametrize(
    ("body", "settings", "cause"),
    [
        (["pass"], [], "no_signals"),
        (["ctx.cancel()"], [], "no_orders"),
        (["if ctx.bar_index == 3:", "    ctx.buy(1, limit=1.0)"], [], "unfilled"),
        (["if ctx.bar_index == 3:", "    ctx.buy(1)"], [], "open"),
        (["raise ValueError('no good')"], [], "failed"),
        (
            [
                "if ctx.bar_index == 3:",
                "    ctx.buy(1)",
                "if ctx.bar_index == 5:",
                "    ctx.close()",
            ],
            [],
            "traded",
        ),
        (
            ["ctx.buy()"],
            ["portfolio.sizing={type: percent_equity, value: 0.0001, whole_units: true}"],
            "refused",
        ),
    ],
)
@pytest.mark.parametrize("traced", ["[]", "[SIGNAL, ORDER]"])
def test_causes_of_real_strategies_are_found(
    admf, use_strategy, run_experiment, body, settings, cause, traced
):
    use_strategy(*body)
    run = run_experiment(f"event_tracing={traced}", *settings)
    document = admf("why-no-trades", str(run), "--json").document
    (portfolio,) = document["portfolios"]
    assert portfolio["cause"] == cause
    assert admf("why-no-trades", str(run)).out.splitlines()[-1] == portfolio["reason"]


SPACE = """\
workflow: study
data: {path: data, symbols: [GOOG]}
strategy: {type: sma_cross}
parameter_space: {fast: [2, 3], slow: [5, 59]}
results_dir: study
phases:
  search: {sequence: parameter_sweep}
"""


def test_many_portfolios_are_summed_up(admf, project, run_experiment):
    (project / "experiment.yaml").write_text(SPACE)
    portfolios = read_portfolios(run_experiment())
    document = admf("why-no-trades", "results/study", "--json").document
    totals = document["totals"]
    assert totals["portfolios"] == len(portfolios)
    for name in ("signals", "orders", "cancels", "fills"):
        assert totals[name] == sum(it["activity"][name] for it in portfolios.values())
    idle = {place for place, it in portfolios.items() if it["metrics"]["trade_count"] == 0}
    assert totals["without_trades"] == len(idle) > 0
    found = {(it["phase"], it["window"], it["container"]) for it in document["portfolios"]}
    assert found == idle
    out = admf("why-no-trades", "results/study").out
    assert out.splitlines()[0] == f"{len(idle)} of {len(portfolios)} portfolios made no trades"
    for cause, count in totals["causes"].items():
        assert f"{count} because {document['reasons'][cause]}" in out


def test_portfolios_can_be_chosen(admf, results, portfolios):
    words = ("--phase", "search", "--where", "fast = 2", "--json")
    totals = admf("why-no-trades", "results/study", *words).document["totals"]
    own = [place for place, it in portfolios.items() if it["parameters"]["fast"] == 2]
    assert totals["portfolios"] == sum(place[0] == "search" for place in own)
    one = "results/study/search/train/containers/portfolio_002"
    assert admf("why-no-trades", one, "--json").document["totals"]["portfolios"] == 1


def test_portfolios_that_all_traded_need_no_table(admf, results):
    words = ("results/study", "--where", "trade_count > 0 AND phase = 'search'")
    outcome = admf("why-no-trades", *words)
    assert re.match(r"all \d+ portfolios made trades$", outcome.out.splitlines()[0])
    assert "Cause" not in outcome.out


def test_long_lists_are_cut_and_say_so(admf, project, run_experiment):
    text = SPACE.replace("[2, 3]", "[40, 41, 42]").replace("[5, 59]", "[58, 59]")
    (project / "experiment.yaml").write_text(text)
    run_experiment()
    out = admf("why-no-trades", "results/study", "-n", "2").out
    assert out.splitlines()[-1] == "and 4 more: see -n"
    assert "6 because the strategy never wanted anything" in out
    document = admf("why-no-trades", "results/study", "-n", "2", "--json").document
    assert len(document["portfolios"]) == 2
    assert document["totals"]["without_trades"] == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["results/study/never"], "results/study/never has no portfolios"),
        (["results/study", "--where", "fast > 99"], "has no portfolios that meet the condition"),
    ],
)
def test_nothing_to_look_at_is_no_error(admf, results, words, message):
    outcome = admf("why-no-trades", *words)
    assert (outcome.code, outcome.out) == (0, "")
    assert message in outcome.err
    assert admf("why-no-trades", *words, "--json").document["totals"]["portfolios"] == 0


def test_a_portfolio_that_could_not_be_built_failed(admf, own_results):
    _lose(own_results / "quiet" / "backtest", "portfolio_001", "fast is too slow")
    (failed,) = admf("why-no-trades", "results/quiet", "--json").document["portfolios"]
    assert (failed["cause"], failed["reason"]) == ("failed", "an error ended it: fast is too slow")
    path = "results/quiet/backtest/containers/portfolio_001"
    out = admf("results", "show", path).out
    assert out.endswith("backtest/portfolio_001  fast is too slow\n")
    (shown,) = admf("results", "show", path, "--json").document
    assert (shown["portfolios"], shown["lost"]) == ([], {"portfolio_001": "fast is too slow"})


def _lose(window: Path, container_id: str, error: str) -> None:
    """Make a window look as if one of its portfolios could not be built."""
    (window / "containers" / f"{container_id}_results.json").unlink()
    report = json.loads((window / "aggregate_results.json").read_text())
    for row in report["portfolios"]:
        if row["container_id"] == container_id:
            row |= {"status": "failed", "error": error, "metrics": {}}
    change(window / "aggregate_results.json", portfolios=report["portfolios"])
    list_anew(window)


def test_a_file_that_is_no_portfolios_is_told(admf, own_results):
    window = own_results / "quiet" / "backtest"
    change(window / "containers" / "portfolio_001_results.json", activity="none", lane="none")
    list_anew(window)
    path = "results/quiet/backtest/containers/portfolio_001"
    for command in (("why-no-trades",), ("results", "show")):
        outcome = admf(*command, path)
        assert (outcome.code, outcome.out) == (6, "")
        assert "portfolio_001" in outcome.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["results/nope"], 6, "there is no such folder"),
        (["results/study", "--where", "fats = 2"], 3, "did you mean 'fast'?"),
        (["results/study", "--phase", "serch"], 3, "did you mean 'search'?"),
        (["results/study", "-n", "0"], 2, "Must be >= 1"),
        ([], 2, "DIRECTORY"),
    ],
)
def test_mistakes_are_told(admf, results, words, code, message):
    outcome = admf("why-no-trades", *words)
    assert (outcome.code, outcome.out) == (code, "")
    assert message in outcome.err


@pytest.mark.parametrize("width", [80, 140])
def test_no_line_is_wider_than_the_terminal(admf, results, monkeypatch, width):
    monkeypatch.setattr("admf.workflows.cli.rendering._WIDTH_OF_FILES", width)
    for run in ("study", "quiet"):
        lines = admf("why-no-trades", f"results/{run}").out.splitlines()
        assert max(map(len, lines)) <= width
