from __future__ import annotations

import re

import pytest

from admf.containers.metrics.catalogue import METRICS
from admf.results import open as open_run
from admf.workflows.cli.frame_tables import shared
from tests.sealing import change


def _sharpe(document) -> float | None:
    return document["metrics"]["sharpe_ratio"]


def _sorted(values, *, down: bool = True) -> list[float | None]:
    """Return metrics with the best first, and those that are not defined last."""
    values = list(values)
    known = sorted((it for it in values if it is not None), reverse=down)
    return [*known, *([None] * (len(values) - len(known)))]


def test_the_best_portfolios_are_those_of_the_files(admf, results, portfolios):
    document = admf("results", "top", "results/study", "-n", "5", "--json").document
    assert document["by"] == "sharpe_ratio"
    assert document["total"] == len(portfolios)
    known = _sorted(map(_sharpe, portfolios.values()))
    assert [row["sharpe_ratio"] for row in document["rows"]] == known[:5]
    for row in document["rows"]:
        own = portfolios[row["phase"], row["window"], row["container"]]
        assert {name: row[name] for name in own["parameters"]} == own["parameters"]
        assert {info.name: row[info.name] for info in METRICS} == own["metrics"]
        assert (row["status"], row["error"]) == (own["status"], own["error"])


@pytest.mark.parametrize(
    ("by", "better_up"), [("total_return", True), ("annual_volatility", False)]
)
def test_the_metric_that_decides_can_be_chosen(admf, results, portfolios, by, better_up):
    document = admf("results", "top", "results/study", "--by", by, "-n", "3", "--json").document
    values = _sorted((it["metrics"][by] for it in portfolios.values()), down=better_up)
    assert [row[by] for row in document["rows"]] == values[:3]


@pytest.mark.parametrize(
    ("place", "phase", "window"),
    [
        ("study/search", "search", None),
        ("study/search/train", "search", "train"),
        ("study/forward/wf_001/test", "forward", "wf_001/test"),
    ],
)
def test_a_part_of_a_run_has_its_own_best(admf, results, portfolios, place, phase, window):
    own = [
        _sharpe(it)
        for (its_phase, its_window, _), it in portfolios.items()
        if its_phase == phase and window in {None, its_window}
    ]
    document = admf("results", "top", f"results/{place}", "--json").document
    assert document["total"] == len(own)
    assert [row["sharpe_ratio"] for row in document["rows"]] == _sorted(own)[:10]


def test_a_folder_of_several_windows_has_the_best_of_them(admf, results, portfolios):
    own = {place for place in portfolios if place[1].startswith("wf_001/")}
    document = admf("results", "top", "results/study/forward/wf_001", "--json").document
    found = {(row["phase"], row["window"], row["container"]) for row in document["rows"]}
    assert found == own
    where = ("--where", "sharpe_ratio > 1000 OR fast = 2")
    some = admf("results", "top", "results/study/forward/wf_001", *where, "--json").document
    assert {row["fast"] for row in some["rows"]} == {2}
    assert {row["window"] for row in some["rows"]} <= {"wf_001/test", "wf_001/train"}


def test_one_phase_can_be_chosen(admf, results):
    by_option = admf("results", "top", "results/study", "--phase", "search", "--json").document
    by_folder = admf("results", "top", "results/study/search", "--json").document
    assert by_option["rows"] == by_folder["rows"]
    again = admf("results", "top", "results/study/search", "--phase", "search", "--json").document
    assert again["rows"] == by_folder["rows"]


def test_a_condition_chooses_portfolios(admf, results, portfolios):
    words = ("--where", "fast < 4 AND slow = 9", "--phase", "search")
    document = admf("results", "top", "results/study", *words, "--json").document
    wanted = [
        it
        for (phase, _, _), it in portfolios.items()
        if phase == "search" and it["parameters"]["fast"] < 4 and it["parameters"]["slow"] == 9
    ]
    assert document["total"] == len(wanted) > 0


def test_the_table_tells_once_what_all_have(admf, results):
    lines = admf("results", "top", "results/study/search/train", "-n", "3").out.splitlines()
    assert lines[0] == "3 of 6 portfolios, by sharpe_ratio"
    assert lines[1].startswith("all in search/train with ")
    assert "mode=long_flat" in lines[1]
    assert [line.split()[0] for line in lines[-3:]] == ["1", "2", "3"]
    assert all("mode=" not in line for line in lines[2:])
    assert "Sharpe" in "".join(lines[2:5])


def test_equal_windows_of_several_phases_are_no_common_place():
    rows = [{"phase": phase, "window": "test", "fast": 2} for phase in ("search", "forward")]
    assert shared(rows, ["fast"]) == {"fast": 2}
    assert shared(rows[:1] * 2, ["fast"]) == rows[0]


def test_a_single_portfolio_is_shown_with_all_its_parameters(admf, results):
    lines = admf("results", "top", "results/study/last").out.splitlines()
    assert lines[0] == "1 of 1 portfolios, by sharpe_ratio"
    assert "last/portfolio_001" in lines[-1]
    assert "mode=long_flat" in lines[-1]


def test_portfolios_of_several_windows_are_told_apart(admf, results):
    out = admf("results", "top", "results/study", "-n", "30").out
    assert "search/train/portfolio_" in out
    assert "forward/wf_001/train/portfolio_" in out


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_a_condition_that_none_meets_is_no_error(admf, results, json_option):
    words = ("results/study", "--where", "fast > 100", *json_option)
    outcome = admf("results", "top", *words)
    assert outcome.code == 0
    if json_option:
        assert outcome.document["rows"] == []
    else:
        assert outcome.err == "note: no portfolio in results/study meets the condition\n"


def test_a_phase_that_did_not_run_has_no_portfolios(admf, results):
    outcome = admf("results", "top", "results/study/never")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err.startswith("note: results/study/never has no portfolios: ")
    assert "search.best.sharpe_ratio > 1000" in outcome.err


def test_times_of_trades_are_as_in_the_files(admf, results, portfolios):
    document = admf("results", "trades", "results/study/last", "--json").document
    (own,) = [it for (phase, _, _), it in portfolios.items() if phase == "last"]
    fields = list(own["trades"][0])
    assert document["complete"] is True
    assert [{name: row[name] for name in fields} for row in document["rows"]] == own["trades"]
    assert document["rows"][0]["fast"] == own["parameters"]["fast"]


def test_trades_of_the_best_portfolio_come_first(admf, results, portfolios):
    document = admf("results", "trades", "results/study", "-n", "12", "--json").document
    best = _sorted(map(_sharpe, portfolios.values()))
    owners = [(row["phase"], row["window"], row["container"]) for row in document["rows"]]
    ranks = [best.index(_sharpe(portfolios[owner])) for owner in owners]
    assert len(ranks) == 12
    assert ranks == sorted(ranks)
    assert ranks[0] == 0
    assert document["complete"] is False


def test_all_trades_are_read_if_they_are_asked_for(admf, results, portfolios):
    document = admf("results", "trades", "results/study", "-n", "100000", "--json").document
    assert len(document["rows"]) == sum(len(it["trades"]) for it in portfolios.values())
    assert document["complete"] is True


def test_a_condition_chooses_trades(admf, results, portfolios):
    words = ("--where", "pnl < 0 AND fast = 2", "-n", "1000", "--json")
    rows = admf("results", "trades", "results/study", *words).document["rows"]
    known = [
        trade
        for it in portfolios.values()
        if it["parameters"]["fast"] == 2
        for trade in it["trades"]
        if trade["pnl"] < 0
    ]
    assert len(rows) == len(known) > 0
    assert all(row["pnl"] < 0 for row in rows)


def test_the_table_of_trades_says_whose_they_are(admf, results):
    one = admf("results", "trades", "results/study/last").out.splitlines()
    assert one[0].startswith("all of last/portfolio_001 fast=")
    assert one[2].split()[:3] == ["Trade", "Side", "Entry"]
    several = admf("results", "trades", "results/study/search/train", "-n", "20").out.splitlines()
    assert several[0].startswith("all in search/train with")
    assert several[-1] == "and more: these are the first 20, see -n and --where"
    assert sum("portfolio_" in line for line in several) < 20
    assert several[1].startswith("1  portfolio_")
    assert several[2].startswith("2  portfolio_")
    assert sum(re.match(r" *1 GOOG-", line) is not None for line in several) == 1


def test_a_run_without_trades_says_where_to_ask_why(admf, results):
    outcome = admf("results", "trades", "results/quiet")
    assert (outcome.code, outcome.out) == (0, "")
    assert "admf why-no-trades results/quiet says why" in outcome.err
    assert admf("results", "trades", "results/quiet", "--json").document["rows"] == []


def test_trades_that_were_not_kept_are_not_said_to_be_none(admf, run_experiment):
    run_experiment("event_tracing=[FILL]")
    outcome = admf("results", "trades", "results/study")
    assert outcome.err == (
        "note: no trade of results/study was kept: event_tracing needs POSITION_CLOSE\n"
    )


def test_a_run_under_way_may_have_nothing_yet(admf, own_results):
    change(own_results / "study" / "run.json", status="running", own_results={}, saved=[])
    for file in (own_results / "study").rglob("phase_summary.json"):
        file.unlink()
    outcome = admf("results", "top", "results/study")
    assert outcome.code == 0
    assert outcome.err == "note: results/study has no portfolios yet: the run has not ended\n"


@pytest.mark.parametrize("command", ["top", "trades"])
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--where", "sharp_ratio > 1"], 3, "(did you mean 'sharpe_ratio'?)"),
        (["--where", "sharpe_ratio >"], 3, "where: 'sharpe_ratio >' is no condition in SQL"),
        (["--where", ""], 3, "is no condition in SQL"),
        (["--where", "fast + 1"], 3, "where: "),
        (
            ["--by", "sharp_ratio"],
            3,
            "by: 'sharp_ratio' is no metric (did you mean 'sharpe_ratio'?)",
        ),
        (["--phase", "serch"], 3, "has no phase 'serch' (did you mean 'search'?)"),
        (["-n", "0"], 2, "Must be >= 1"),
        (["-n", "many"], 2, "-n"),
        (["--bye", "x"], 2, "--bye"),
    ],
)
def test_mistakes_are_told(admf, results, command, words, code, message):
    outcome = admf("results", command, "results/study", *words)
    assert (outcome.code, outcome.out) == (code, "")
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_a_phase_that_is_not_in_the_place_is_refused(admf, results):
    outcome = admf("results", "top", "results/study/search", "--phase", "forward")
    assert outcome.code == 3
    assert "results/study/search has no phase 'forward'; it has search" in outcome.err


@pytest.mark.parametrize("width", [80, 140])
def test_no_line_is_wider_than_the_terminal(admf, results, monkeypatch, width):
    monkeypatch.setattr("admf.workflows.cli.rendering._WIDTH_OF_FILES", width)
    for command in ("top", "trades"):
        lines = admf("results", command, "results/study", "-n", "40").out.splitlines()
        assert max(map(len, lines)) <= width


def test_output_is_plain_without_a_terminal(admf, results):
    assert not re.search("\x1b", admf("results", "top", "results/study").out)


def test_frames_and_commands_agree(admf, results):
    frame = open_run(results / "study").metrics(top=4)
    rows = admf("results", "top", "results/study", "-n", "4", "--json").document["rows"]
    assert [row["container"] for row in rows] == frame["container"].to_list()
