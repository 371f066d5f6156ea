from __future__ import annotations

import json
import re
import statistics

import pytest

from admf.containers.metrics.catalogue import METRICS
from admf.workflows.cli.compare import _signed
from tests.sealing import change
from tests.workflows.cli.results_commands.conftest import list_anew, read_portfolios

SEARCH = """\
workflow: study
data: {path: data, symbols: [GOOG]}
strategy: {type: sma_cross}
parameter_space: {fast: [2, 3], slow: [5, 9]}
phases:
  optimization: {sequence: parameter_sweep}
"""


@pytest.fixture
def compared(admf, results):
    return admf("results", "compare", "results/study", "results/changed", "--json").document


def test_the_runs_are_named(compared, results):
    for side, name in (("a", "study"), ("b", "changed")):
        record = json.loads((results / name / "run.json").read_text())
        assert compared[side] == {
            "path": f"results/{name}",
            **{field: record[field] for field in ("run_id", "status", "started_at")},
        }


def test_what_differs_between_the_runs_is_told_once(compared):
    found = {
        (it["kind"], it["name"]): (it["a"], it["b"], it["phases"]) for it in compared["changes"]
    }
    assert found == {
        ("run", "seed"): (0, 5, []),
        ("setting", "parameter_space.slow"): ([5, 9], [5, 8], []),
    }


def test_the_best_portfolios_are_compared_metric_by_metric(compared, results):
    phases = {it["a"]: it for it in compared["phases"]}
    assert list(phases) == ["search", "forward", "last", "never"]
    for name, phase in phases.items():
        best = [_best(results / run, name) for run in ("study", "changed")]
        if name == "never":
            assert best == [None, None] == [phase["best_a"], phase["best_b"]]
            continue
        for key, own in zip(("best_a", "best_b"), best, strict=True):
            assert phase[key]["parameters"] == own["parameters"]
        assert [it["metric"] for it in phase["best"]] == [info.name for info in METRICS]
        for it in phase["best"]:
            a, b = (own["metrics"][it["metric"]] for own in best)
            assert (it["a"], it["b"]) == (a, b)
            assert it["difference"] == (None if a is None or b is None else b - a)
            if a and b is not None:
                assert it["relative"] == pytest.approx((b - a) / abs(a))
            else:
                assert it["relative"] is None


def _best(run, phase):
    own = [it for (name, _, _), it in read_portfolios(run).items() if name == phase]
    known = [it for it in own if it["metrics"]["sharpe_ratio"] is not None]
    return max(known, key=lambda it: it["metrics"]["sharpe_ratio"], default=None)


def test_medians_are_of_all_portfolios(compared, results):
    (phase,) = [it for it in compared["phases"] if it["a"] == "search"]
    for side, run in (("a", "study"), ("b", "changed")):
        own = [
            it for (name, _, _), it in read_portfolios(results / run).items() if name == "search"
        ]
        assert phase[f"portfolios_{side}"] == len(own)
        for it in phase["median"]:
            values = [one["metrics"][it["metric"]] for one in own]
            known = [value for value in values if value is not None]
            expected = statistics.median(known) if known else None
            assert it[side] == (expected if expected is None else pytest.approx(expected))


def test_what_a_sequence_found_out_of_sample_is_compared(compared, results):
    for phase in compared["phases"]:
        files = [
            results / run / phase["a"] / "aggregate_results.json" for run in ("study", "changed")
        ]
        if phase["a"] not in {"search", "forward"}:
            assert phase["out_of_sample"] == []
            continue
        a, b = (json.loads(file.read_text())["out_of_sample"] for file in files)
        found = {it["metric"]: (it["a"], it["b"]) for it in phase["out_of_sample"]}
        assert found == {name: (a[name], b[name]) for name in a}


def test_portfolios_are_matched_by_window_and_parameters(compared, results):
    (phase,) = [it for it in compared["phases"] if it["a"] == "search"]
    ours, theirs = (_by_identity(results / run, "search") for run in ("study", "changed"))
    both = ours.keys() & theirs.keys()
    matched = phase["matched"]
    assert (matched["both"], matched["only_a"], matched["only_b"]) == (
        len(both),
        len(ours.keys() - theirs.keys()),
        len(theirs.keys() - ours.keys()),
    )
    assert matched["equal"] == sum(ours[key]["metrics"] == theirs[key]["metrics"] for key in both)


def _by_identity(run, phase):
    return {
        (window, json.dumps(it["parameters"], sort_keys=True)): it
        for (name, window, _), it in read_portfolios(run).items()
        if name == phase
    }


def test_pairs_that_differ_most_come_first(admf, project, run_experiment):
    (project / "experiment.yaml").write_text(SEARCH)
    run_experiment("results_dir=cheap")
    run_experiment("results_dir=dear", "execution.commission={type: rate, value: 0.01}")
    words = ("results/cheap", "results/dear", "--by", "total_return")
    (phase,) = admf("results", "compare", *words, "-n", "4", "--json").document["phases"]
    runs = [_by_identity(project / "results" / run, "optimization") for run in ("cheap", "dear")]
    known = [
        abs(runs[1][key]["metrics"]["total_return"] - runs[0][key]["metrics"]["total_return"])
        for key in runs[0]
        if runs[0][key]["metrics"] != runs[1][key]["metrics"]
    ]
    found = [abs(it["difference"]) for it in phase["matched"]["largest"]]
    assert found == sorted(known, reverse=True)[:4]
    assert "more that differ" not in admf("results", "compare", *words, "-n", "99").out
    out = admf("results", "compare", *words, "-n", "2").out
    assert f"and {len(known) - 2} more that differ: see -n" in out
    assert "execution.commission.value" in out


def test_portfolios_with_equal_parameters_are_matched_in_their_order(admf, project, run_experiment):
    inputs = 'inputs: {parameters: "{optimization.top_parameters}"}'
    tops = f"  tops: {{sequence: single_pass, {inputs}}}\n"
    (project / "experiment.yaml").write_text(f"search: {{top_k: 3}}\n{SEARCH}{tops}")
    window = run_experiment("results_dir=study") / "tops"
    rows = json.loads((window / "aggregate_results.json").read_text())["portfolios"]
    alike = [{**row, "parameters": rows[0]["parameters"]} for row in rows]
    change(window / "aggregate_results.json", portfolios=alike)
    list_anew(window)
    words = ("results", "compare", "results/study/tops", "results/study/tops", "--json")
    (phase,) = admf(*words).document["phases"]
    assert phase["matched"]["both"] == phase["matched"]["equal"] == len(rows) > 1


def test_a_run_is_the_same_as_itself(admf, results):
    document = admf("results", "compare", "results/study", "results/study", "--json").document
    assert document["changes"] == []
    for phase in document["phases"]:
        assert all(it["a"] == it["b"] for it in (*phase["best"], *phase["median"]))
        assert phase["matched"]["both"] == phase["matched"]["equal"] == phase["portfolios_a"]
        assert phase["matched"]["largest"] == []
    outcome = admf("results", "compare", "results/study", "results/study")
    assert outcome.code == 0
    assert "the same settings, data, seed and versions" in outcome.out
    assert "Out of sample: the same metrics" in outcome.out
    assert "neither has portfolios" in outcome.out


def test_other_data_versions_and_statuses_are_told(admf, own_results):
    file = own_results / "study" / "run.json"
    record = json.loads(file.read_text())
    data = {**record["data"], "last": {**record["data"]["last"], "fingerprint": "f" * 64}}
    versions = {**record["versions"], "numpy": "0.1"}
    before = own_results / "before"
    (own_results / "changed").rename(before)  # its content is of no matter
    (before / "run.json").write_bytes(file.read_bytes())
    change(file, data=data, versions=versions, status="failed")
    document = admf("results", "compare", "results/before", "results/study", "--json").document
    found = {(it["kind"], it["name"]): (it["b"], it["phases"]) for it in document["changes"]}
    assert found == {
        ("run", "status"): ("failed", []),
        ("version", "numpy"): ("0.1", []),
        ("data", "fingerprint"): ("f" * 64, ["last"]),
    }


def test_two_portfolios_are_compared_with_their_parameters(admf, results, portfolios):
    paths = [f"results/study/search/train/containers/portfolio_{it}" for it in ("001", "004")]
    document = admf("results", "compare", *paths, "--json").document
    a, b = (portfolios["search", "train", f"portfolio_{it}"] for it in ("001", "004"))
    names = [name for name in a["parameters"] if a["parameters"][name] != b["parameters"][name]]
    assert document["changes"] == [
        {
            "kind": "parameter",
            "name": name,
            "a": a["parameters"][name],
            "b": b["parameters"][name],
            "phases": [],
        }
        for name in names
    ]
    (phase,) = document["phases"]
    assert {it["metric"]: it["a"] for it in phase["best"]} == a["metrics"]
    assert {it["metric"]: it["b"] for it in phase["best"]} == b["metrics"]
    out = admf("results", "compare", *paths).out
    assert "parameter slow" in out or "parameter fast" in out
    assert "Median" not in out


def test_phases_of_different_names_can_be_compared(admf, results):
    outcome = admf("results", "compare", "results/quiet/backtest", "results/study/last")
    assert outcome.code == 0
    assert "backtest and last" in outcome.out
    (phase,) = admf(
        "results", "compare", "results/quiet/backtest", "results/study/last", "--json"
    ).document["phases"]
    assert (phase["a"], phase["b"]) == ("backtest", "last")


def test_runs_without_a_common_phase_say_so(admf, results):
    outcome = admf("results", "compare", "results/study", "results/quiet")
    assert outcome.code == 0
    assert "phase search    train_test" in outcome.out
    assert "they have no phase in common" in outcome.out


def test_the_tables_show_both_sides(admf, results):
    out = admf("results", "compare", "results/study", "results/changed").out
    lines = out.splitlines()
    assert lines[0].startswith("A  results/study  study-")
    assert lines[1].startswith("B  results/changed  changed-")
    assert any(line.split() == ["seed", "0", "5"] for line in lines)
    assert any(line.startswith("Sharpe ratio ") for line in lines)
    assert "the best by sharpe_ratio" in lines
    assert any("only in A" in line and "only in B" in line for line in lines)


def test_long_lists_are_cut_and_say_so(admf, results):
    out = admf("results", "compare", "results/study", "results/changed", "-n", "1").out
    assert "and 1 more: see -n" in out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["results/study", "results/nope"], 6, "results/nope: there is no such folder"),
        (["results/study", "results/changed/last"], 3, "results/changed/last is a part of a run"),
        (["results/study/last", "results/changed"], 3, "results/study/last is a part of a run"),
        (["results/study", "results/changed", "--by", "sharp_ratio"], 3, "did you mean"),
        (["results/study"], 2, "SECOND"),
        (["results/study", "results/changed", "-n", "0"], 2, "Must be >= 1"),
    ],
)
def test_mistakes_are_told(admf, results, words, code, message):
    outcome = admf("results", "compare", *words)
    assert (outcome.code, outcome.out) == (code, "")
    assert message in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("width", [80, 140])
def test_no_line_is_wider_than_the_terminal(admf, results, monkeypatch, width):
    monkeypatch.setattr("admf.workflows.cli.rendering._WIDTH_OF_FILES", width)
    out = admf("results", "compare", "results/study", "results/changed").out
    assert max(map(len, out.splitlines())) <= width


def test_parts_that_have_no_pair_in_common_say_so(admf, results):
    words = ("results/study/forward/wf_001", "results/study/forward/wf_002")
    out = admf("results", "compare", *words).out
    assert re.search("^no pair has the same window and parameters, 7 only in A", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "signed"),
    [("1.50 %", "+1.50 %"), ("-2", "-2"), ("0.00", "0.00"), ("-0.00 %", "0.00 %"), ("-", "-")],
)
def test_differences_have_a_sign_unless_they_are_nothing(text, signed):
    assert _signed(text) == signed


def test_what_pairs_have_in_common_is_told_once(admf, project, run_experiment):
    (project / "experiment.yaml").write_text(SEARCH)
    run_experiment("results_dir=cheap")
    run_experiment("results_dir=dear", "execution.commission={type: rate, value: 0.01}")
    out = admf("results", "compare", "results/cheap", "results/dear").out
    pairs = out[out.index(" pairs with the same parameters") :].splitlines()
    assert pairs[1].startswith("all with mode=")
    assert not any("mode=" in line for line in pairs[2:])
