"""Portfolios of every kind of study are run once more, each alone, and leave the same bytes."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import admf
from admf.engine.container import Container
from admf.engine.errors import (
    AdmfError,
    ConfigError,
    DataError,
    MissingFileError,
    StorageError,
    TornFileError,
    WindowError,
)
from admf.engine.packing import Packer
from admf.engine.registry import Registry
from admf.engine.result_names import COMMIT_FILE
from admf.engine.topology import TopologyBuilder
from admf.workflows.plugins import installed_plugins
from admf.workflows.rerun import Difference, Rerun, rerun
from tests.sealing import change, sealed

BARS = 160
HEAD = """\
workflow: study
data: {path: data, symbols: [AAA]}
strategy: {type: sma_cross, params: {fast: 2, slow: 5}}
"""
SPACE = "parameter_space: {fast: [2, 4], risk.stop_loss_pct: [1.0, 4.0]}\n"


def phase(sequence: str) -> str:
    return f"phases: {{only: {{sequence: {sequence}}}}}\n"


OWN = """\
from admf.containers.strategies.base import Strategy

LEVEL = 0.6


class Mine(Strategy):
    fails_at: int = 0

    def on_bar(self, bar, ctx):
        if self.fails_at and ctx.bar_index == self.fails_at:
            raise ValueError("no more")
        ctx.target(1 if ctx.rng.random() > LEVEL else 0)
"""
ADAPTIVE = """\
import msgspec
from admf.sequences import PhaseConfig


class Again:
    def get_phases(self, config):
        return {"search": PhaseConfig(name="search", sequence="parameter_sweep")}

    def should_continue(self, result, iteration):
        return iteration < 2

    def modify_config_for_next(self, config, result, iteration):
        return msgspec.structs.replace(config, parameter_space={"fast": [3, 4]})


class Apart:
    config = None

    def get_phases(self, config):
        self.config = self.config or config
        return {"search": PhaseConfig(name="search", sequence="parameter_sweep")}

    def get_branches(self, result):
        spaces = {"low": {"fast": [2]}, "high": {"fast": [3, 4]}}
        replace = msgspec.structs.replace
        return {name: replace(self.config, parameter_space=it) for name, it in spaces.items()}
"""
OF_MY_OWN = HEAD.replace("sma_cross", '"admf_test_rerun_own:Mine"').replace(
    "{fast: 2, slow: 5}", "{}"
)
STUDIES = {
    "single": HEAD + phase("single_pass") + "execution: {close_at_end: true, slippage_bps: 3}\n",
    "benchmark": HEAD
    + phase("single_pass")
    + "benchmark: BBB\nevent_tracing: [PORTFOLIO_UPDATE, POSITION_CLOSE]\ncompression: zstd\n"
    + "periods_per_year: 260\n",
    "several symbols": HEAD.replace("[AAA]", "[BBB, AAA], timeframe: 1w")
    + phase("parameter_sweep")
    + SPACE
    + "compression: gzip\nblock_size: 7\n",
    "sized by volatility": HEAD
    + phase("single_pass")
    + "portfolio: {sizing: {type: volatility_target, value: 0.2}}\ndata_range: {start: 0.3}\n",
    "every event": HEAD + phase("parameter_sweep") + SPACE + "trace: {store: all}\n",
    "pruned": HEAD
    + phase("parameter_sweep")
    + SPACE
    + "pruning: {max_drawdown_pct: 12, after_bars: 20, every_bars: 10}\ntrace: {store: all}\n",
    "train and test": HEAD + phase("train_test") + SPACE,
    "carried": HEAD
    + phase("walk_forward")
    + SPACE
    + "walk_forward: {train: 60, test: 30, carry_positions: true}\ntrace: {store: all}\n",
    "warmed up": HEAD
    + phase("walk_forward")
    + "parameter_space: {slow: [5, 9]}\nwalk_forward: {train: 60, test: 50, warmup: 6}\n",
    "folds": HEAD
    + phase("k_fold")
    + SPACE
    + "k_fold: {method: purged, folds: 3, purge: 5, embargo: 3}\n",
    "price paths": HEAD
    + phase("monte_carlo")
    + "monte_carlo: {method: price_path, batches: 2, simulations: 4, block_length: 8}\n",
    "jittered parameters": HEAD
    + phase("monte_carlo")
    + "monte_carlo: {method: parameter_jitter, batches: 2, simulations: 4, jitter: 0.5}\n",
    "price paths of a walk-forward": HEAD
    + phase("monte_carlo")
    + "parameter_space: {fast: [2, 4]}\nwalk_forward: {train: 80, test: 40}\n"
    + "monte_carlo: {method: price_path, batches: 2, simulations: 2, inner: walk_forward}\n",
    "a strategy of one's own": OF_MY_OWN
    + phase("parameter_sweep")
    + "parameter_space: {fails_at: [0, 40, 90]}\ntrace: {store: all}\n",
    "retained features": HEAD
    + phase("parameter_sweep")
    + SPACE
    + "event_tracing: [FEATURES, FILL]\nretention_policy: sliding_window\n"
    + "sliding_window_size: 5\ntrace: {store: retained}\n",
    "features that are not stored": HEAD
    + phase("parameter_sweep")
    + SPACE
    + "event_tracing: [FEATURES, POSITION_CLOSE]\nretention_policy: trade_complete\n",
    "jittered costs": HEAD
    + phase("monte_carlo")
    + "execution: {slippage_bps: 5}\n"
    + "monte_carlo: {method: cost_jitter, batches: 1, simulations: 3}\n",
    "further iterations": HEAD.replace("study", '"admf_test_rerun_again:Again"') + SPACE,
    "branches": HEAD.replace("study", '"admf_test_rerun_again:Apart"') + SPACE,
}


def write_bars(folder: Path, name: str, seed: int) -> None:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, BARS)))
    opened = close * np.exp(rng.normal(0, 0.005, BARS))
    lines = ["timestamp,open,high,low,close,volume"]
    days = np.datetime64("2023-01-02") + np.arange(BARS)
    for day, first, last in zip(days, opened, close, strict=True):
        high, low = max(first, last) * 1.01, min(first, last) * 0.99
        lines.append(f"{day},{first:.4f},{high:.4f},{low:.4f},{last:.4f},1000")
    (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


def write_project(folder: Path) -> None:
    for seed, name in enumerate(("AAA", "BBB")):
        write_bars(folder / "data", name, seed)
    (folder / "admf_test_rerun_own.py").write_text(OWN)
    (folder / "admf_test_rerun_again.py").write_text(ADAPTIVE)


def run_study(folder: Path, text: str, **options: Any) -> Path:
    """Run an experiment; return the folder of its results."""
    (folder / "experiment.yaml").write_text(text + "results_dir: study\n")
    admf.run(folder / "experiment.yaml", results_root=folder / "results", **options)
    return folder / "results" / "study"


Study = Callable[..., Path]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Return a function that runs an experiment and returns the folder of its results."""
    write_project(tmp_path)

    def study(text: str, **options: Any) -> Path:
        return run_study(tmp_path, text, **options)

    return study


def portfolios(folder: Path) -> list[Path]:
    return sorted(folder.rglob("containers/portfolio_*_results.json*"))


def only(folder: Path) -> Path:
    (file,) = portfolios(folder)
    return file


@pytest.mark.parametrize("name", STUDIES)
def test_each_portfolio_of_a_study_leaves_the_same_bytes_when_it_runs_alone(
    study: Study, name: str
) -> None:
    folder = study(STUDIES[name])
    files = portfolios(folder)
    assert files
    for file in files:
        found = rerun(file)
        assert (found.same, found.differences, found.changes) == (True, (), ()), file
        told = json.loads(rerun_input(file))
        assert (found.metrics, found.status) == (told["metrics"], told["status"])
        assert found.error == told["error"]


def rerun_input(file: Path) -> bytes:
    """Return the text of a container's file, decompressed by the tools of the format."""
    import gzip

    import zstandard

    content = file.read_bytes()
    if file.suffix == ".gz":
        return gzip.decompress(content)
    if file.suffix == ".zst":
        return zstandard.ZstdDecompressor().decompressobj().decompress(content)
    return content


def test_data_that_lie_where_an_override_says_are_found(study: Study, tmp_path: Path) -> None:
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    folder = study(HEAD + phase("single_pass"), overrides=["data.path=elsewhere"])
    assert rerun(only(folder)).same


def test_results_that_were_moved_run_again(study: Study, tmp_path: Path) -> None:
    study(HEAD + phase("single_pass")).rename(tmp_path / "moved")
    assert rerun(tmp_path / "moved" / "only" / "portfolio_001").same


def test_a_failed_portfolio_fails_as_it_did(study: Study) -> None:
    folder = study(STUDIES["a strategy of one's own"])
    found = rerun(folder / "only" / "sweep" / "portfolio_002")
    assert (found.same, found.status) == (True, "failed")
    assert "ValueError: no more" in str(found.error)


# --- what is asked for

SWEEP = "only/sweep"
REFUSING = (
    HEAD
    + phase("parameter_sweep")
    + "parameter_space: {fast: [2, 3, 7]}\ntrace: {store: all}\nblock_size: 32\n"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a study whose third parameter set the strategy refuses."""
    folder = tmp_path_factory.mktemp("made")
    write_project(folder)
    return run_study(folder, REFUSING)


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    """Return a copy of that study, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "copied"))


@pytest.mark.parametrize(
    "place",
    [
        "containers/portfolio_002_results.json",
        "containers/portfolio_002_results.json.zst",
        "containers/portfolio_002",
        "portfolio_002_results.json",
        "portfolio_002",
        "../sweep/portfolio_002",
    ],
)
def test_a_portfolio_is_found_by_any_spelling(made: Path, place: str) -> None:
    found = rerun(str(made / SWEEP / place))
    assert (found.container, found.same) == ("only/sweep/portfolio_002", True)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("only/sweep/portfolio_01", r"there is no container 'portfolio_01' in only/sweep "),
        ("only/sweep/portfolio_01", r"did you mean 'portfolio_001'\?\); there are portfolio_001, "),
        ("only/sweep/portfolio_003", "portfolio_003 left no file, as it could not be set up: .*fa"),
        ("only/swep/portfolio_001", r"no 'only/swep' \(did you mean 'only/sweep'\?\)"),
        ("only/portfolio_001", "there are no containers in only, only windows: sweep"),
        ("", r"is a folder: .*, e\.g\. .*study/only/sweep/containers/portfolio_001$"),
        ("only/sweep", r"is a folder: .*, e\.g\. .*/only/sweep/containers/portfolio_001$"),
        ("only/sweep/containers", r", e\.g\. .*/only/sweep/containers/portfolio_001$"),
        ("portfolio_001", "does not lie in a phase of its run; there are only"),
        ("run.json", "does not lie in a phase of its run; there are only"),
        ("../portfolio_001", r"does not lie in the folder of a run: none has a run\.json"),
        ("only/" + 300 * "a" + "/x", "is not a path below the results root"),
        (300 * "a", "does not lie in a phase"),
        ("only/\0/x", "is not a path below the results root"),
        ("on ly/sweep/x", "is not a path below the results root"),
    ],
)
def test_what_is_no_portfolio_is_refused(made: Path, place: str, message: str) -> None:
    with pytest.raises(StorageError, match=message):
        rerun(made / place)


def test_an_empty_folder_of_a_run_has_no_example(copied: Path) -> None:
    (copied / "empty").mkdir()
    with pytest.raises(StorageError, match=r"give a single portfolio in a window$"):
        rerun(copied / "empty")


def test_simulations_of_other_windows_returns_are_refused(study: Study) -> None:
    text = "monte_carlo: {method: return_block_bootstrap, batches: 1, simulations: 4}\n"
    folder = study(HEAD + phase("monte_carlo") + text)
    (file,) = folder.rglob("simulation_results.json")
    with pytest.raises(StorageError, match="drawn from returns of other windows"):
        rerun(file)
    assert all(rerun(file).same for file in portfolios(folder))


def test_without_a_report_of_its_lanes_a_refused_one_is_not_known(copied: Path) -> None:
    record = copied / SWEEP / COMMIT_FILE
    files = json.loads(record.read_bytes())["files"]
    change(record, files=[it for it in files if it["path"] != "aggregate_results.json"])
    with pytest.raises(MissingFileError, match="there is no container 'portfolio_003'"):
        rerun(copied / SWEEP / "portfolio_003")


def test_many_portfolios_are_not_all_listed(study: Study) -> None:
    folder = study(
        HEAD + phase("parameter_sweep") + "parameter_space: {slow: {min: 5, max: 16, step: 1}}\n"
    )
    with pytest.raises(MissingFileError, match=r"portfolio_010 and 2 more$"):
        rerun(folder / SWEEP / "x")


# --- damage


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [flip, cut])
@pytest.mark.parametrize(
    "name",
    [
        "run.json",
        "only/sweep/phase_summary.json",
        "only/sweep/containers/portfolio_001_results.json",
        "only/sweep/containers/portfolio_001_trace.frames",
    ],
)
def test_what_is_damaged_is_told_and_not_run(
    copied: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(copied / name)
    with pytest.raises(TornFileError, match=name.rpartition("/")[2]) as caught:
        rerun(copied / SWEEP / "portfolio_001")
    assert caught.value.exit_code == 6


def test_a_damaged_file_does_not_keep_others_from_running(copied: Path) -> None:
    flip(copied / SWEEP / "containers" / "portfolio_001_results.json")
    assert rerun(copied / SWEEP / "portfolio_002").same


def test_a_file_that_is_missing_is_told(copied: Path) -> None:
    (copied / SWEEP / "containers" / "portfolio_001_results.json").unlink()
    with pytest.raises(MissingFileError, match="portfolio_001_results"):
        rerun(copied / SWEEP / "portfolio_001")


def test_a_window_that_was_cut_short_is_told(copied: Path) -> None:
    (copied / SWEEP / COMMIT_FILE).unlink()
    with pytest.raises(MissingFileError, match="it was cut short, see `admf resume`"):
        rerun(copied / SWEEP / "portfolio_001")


def test_a_link_is_not_followed(copied: Path) -> None:
    file = copied / SWEEP / "containers" / "portfolio_001_results.json"
    file.rename(copied / "other.json")
    file.symlink_to(copied / "other.json")
    with pytest.raises(StorageError, match="symbolic link"):
        rerun(file)


def replace(window: Path, name: str, content: bytes) -> None:
    """Replace a file of a window, and what the window's commit record says of it."""
    (window / name).write_bytes(content)
    record = window / COMMIT_FILE
    files = json.loads(record.read_bytes())["files"]
    told = {"path": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    change(record, files=[told if it["path"] == name else it for it in files])


RESULT = "containers/portfolio_001_results.json"
TRACE = "containers/portfolio_001_trace.frames"


def edit(folder: Path, **fields: Any) -> Path:
    """Set fields of a portfolio's file as if it had been written so; return its path."""
    file = folder / SWEEP / RESULT
    replace(folder / SWEEP, RESULT, sealed({**json.loads(file.read_bytes()), **fields}))
    return file


def test_a_file_without_a_seal_is_damaged_whatever_its_record_says(copied: Path) -> None:
    file = copied / SWEEP / RESULT
    replace(copied / SWEEP, RESULT, file.read_bytes().replace(b"completed", b"COMPLETED"))
    with pytest.raises(TornFileError, match="damaged: it was changed"):
        rerun(file)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"status": "cancelled"}, StorageError, "was cut short with its window"),
        ({"lane": None}, StorageError, "it is no portfolio"),
        ({"lane": {"lane_id": "001"}}, StorageError, "not written by this version of admf"),
        ({"window_id": "elsewhere"}, TornFileError, "it was moved"),
        ({"phase_name": "other"}, TornFileError, "it was moved"),
    ],
)
def test_what_cannot_be_run_again_is_refused(
    copied: Path, fields: dict[str, Any], error: type[AdmfError], message: str
) -> None:
    with pytest.raises(error, match=message):
        rerun(edit(copied, **fields))


def test_a_window_whose_settings_are_unknown_is_refused(copied: Path) -> None:
    window = json.loads((copied / SWEEP / RESULT).read_bytes())["window"]
    window["options"]["of_tomorrow"] = 1
    with pytest.raises(StorageError, match=r"not written by this version of admf.*of_tomorrow"):
        rerun(edit(copied, window=window))


def test_containers_that_are_no_portfolios_do_not_run_again_beside_one(study: Study) -> None:
    folder = study(STUDIES["retained features"])
    (name,) = (it.name for it in portfolios(folder)[-1:])
    replace(folder / SWEEP, f"containers/{name}", sealed({"schema_version": 1, "lane": "other"}))
    assert rerun(folder / SWEEP / "portfolio_001").status == "completed"


def test_a_phase_whose_settings_are_unknown_is_refused(copied: Path) -> None:
    change(copied / "run.json", phases={"only": {"settings": {}}})
    with pytest.raises(StorageError, match="not written by this version of admf"):
        rerun(copied / SWEEP / "portfolio_001")


# --- what differs


def test_a_field_that_differs_is_told_with_both_values(copied: Path) -> None:
    document = json.loads((copied / SWEEP / RESULT).read_bytes())
    trades = document["trades"]
    number = trades[2]["pnl"]
    trades[2] = {**trades[2], "pnl": 1.5, "comment": "x" * 99}
    metrics = {**document["metrics"], "sharpe_ratio": 99.5}
    found = rerun(edit(copied, trades=trades[:-1], metrics=metrics, extra=None))
    assert not found.same
    sharpe = repr(document["metrics"]["sharpe_ratio"])
    count = len(trades)
    assert found.differences == (
        Difference("metrics.sharpe_ratio", "99.5", sharpe),
        Difference("trades[2].pnl", "1.5", repr(number)),
        Difference("trades", f"{count - 1} entries", f"{count} entries"),
        Difference("extra", "null", "nothing"),
    )
    assert (found.more, found.changes) == (0, ())
    assert found.metrics["sharpe_ratio"] == document["metrics"]["sharpe_ratio"]


def test_a_list_that_goes_on_is_told(copied: Path) -> None:
    trades = json.loads((copied / SWEEP / RESULT).read_bytes())["trades"]
    found = rerun(edit(copied, trades=[*trades, trades[-1]]))
    told = Difference("trades", f"{len(trades) + 1} entries", f"{len(trades)} entries")
    assert found.differences == (told,)


def test_long_values_and_long_lists_of_differences_are_cut(copied: Path) -> None:
    found = rerun(edit(copied, **{f"field_{it}": "y" * 99 for it in range(33)}))
    assert (len(found.differences), found.more) == (20, 13)
    assert found.differences[0] == Difference("field_0", '"' + 56 * "y" + "...", "nothing")


def test_the_same_values_in_other_bytes_are_not_the_same(copied: Path) -> None:
    document = json.loads((copied / SWEEP / RESULT).read_bytes())
    del document["content_sha256"]
    packer = Packer()
    content = packer.add(json.dumps(document).encode() + b"\n") + packer.finish()
    size = (copied / SWEEP / RESULT).stat().st_size
    replace(copied / SWEEP, RESULT, content)
    found = rerun(copied / SWEEP / RESULT)
    told = Difference(
        "the same values in other bytes", f"{len(content):,} bytes", f"{size:,} bytes"
    )
    assert (found.same, found.differences) == (False, (told,))


@pytest.mark.parametrize(("kept", "more"), [(100, b"\0"), (100, b""), (0, b"")])
def test_a_trace_that_differs_is_told(copied: Path, kept: int, more: bytes) -> None:
    trace = (copied / SWEEP / TRACE).read_bytes()
    replace(copied / SWEEP, TRACE, trace[:kept] + more)
    found = rerun(copied / SWEEP / RESULT)
    stored = f"{kept + len(more)} bytes, others from byte {kept} on"
    assert found.differences == (Difference(TRACE, stored, f"{len(trace):,} bytes"),)


def test_a_trace_that_there_was_not_is_told(copied: Path) -> None:
    record = copied / SWEEP / COMMIT_FILE
    files = json.loads(record.read_bytes())["files"]
    change(record, files=[it for it in files if it["path"] != TRACE])
    size = (copied / SWEEP / TRACE).stat().st_size
    found = rerun(copied / SWEEP / RESULT)
    assert found.differences == (Difference(TRACE, "nothing", f"{size:,} bytes"),)


# --- what has changed since

HALF = HEAD + "data_range: {start: 0.5, end: 0.75}\n" + phase("single_pass")


def change_closes(tmp_path: Path, bars: range) -> None:
    """Have bars close at half their low."""
    file = tmp_path / "data" / "AAA.csv"
    lines = file.read_text().splitlines()
    for bar in bars:
        fields = lines[1 + bar].split(",")
        fields[3] = fields[4] = f"{float(fields[3]) / 2:.4f}"
        lines[1 + bar] = ",".join(fields)
    file.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("bars", "same", "told"),
    [
        (range(90, 91), False, "data: the bars of the window have changed (fingerprint "),
        (range(79, 80), False, "data: bars outside of the window have changed (fingerprint "),
        (range(150, 151), True, "data: bars outside of the window have changed (fingerprint "),
    ],
)
def test_changed_bars_are_told(
    study: Study, tmp_path: Path, bars: range, same: bool, told: str
) -> None:
    file = only(study(HALF))
    change_closes(tmp_path, bars)
    found = rerun(file)
    assert found.same is same
    assert bool(found.differences) is not same
    (changed,) = found.changes
    assert changed.startswith(told)


def test_the_data_come_first_among_what_has_changed(study: Study, tmp_path: Path) -> None:
    file = only(study(HALF))
    change_closes(tmp_path, range(90, 91))
    run = file.parents[2] / "run.json"
    versions = json.loads(run.read_bytes())["versions"]
    change(run, versions={**versions, "numpy": "1.0", "gone": "3"}, changes=["seed: 1, 2"])
    told = rerun(file).changes
    assert told[0].startswith("data: the bars of the window")
    assert told[1:] == (
        f"versions.numpy: 1.0 then, {np.__version__} now",
        "while the run went on after a stop: seed: 1, 2",
    )


def test_a_changed_version_alone_leaves_the_same_bytes(copied: Path) -> None:
    versions = json.loads((copied / "run.json").read_bytes())["versions"]
    change(copied / "run.json", versions={**versions, "admf": "0.0.1"})
    found = rerun(copied / SWEEP / "portfolio_001")
    assert found.same
    assert [it.partition(":")[0] for it in found.changes] == ["versions.admf"]


def test_why_its_window_failed_is_told(copied: Path) -> None:
    change(copied / SWEEP / COMMIT_FILE, errors=["OSError: no more"])
    assert rerun(copied / SWEEP / "portfolio_001").changes == (
        "its window failed then: OSError: no more",
    )


def test_the_changed_code_of_a_strategy_is_told(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = only(study(OF_MY_OWN + phase("single_pass")))
    (tmp_path / "admf_test_rerun_own.py").write_text(OWN.replace("0.6", "0.25"))
    monkeypatch.delitem(sys.modules, "admf_test_rerun_own")  # as in another process
    found = rerun(file)
    assert not found.same
    assert found.changes == ("code of admf_test_rerun_own:Mine: its file has changed",)
    assert found.differences[0].path.startswith(("tracer", "metrics"))


@pytest.mark.parametrize("code", ["", "class Mine:\n    pass\n", "1 / 0\n"])
def test_a_strategy_that_is_gone_is_told(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    file = only(study(OF_MY_OWN + phase("single_pass")))
    (tmp_path / "admf_test_rerun_own.py").write_text(code)
    monkeypatch.delitem(sys.modules, "admf_test_rerun_own")
    with pytest.raises(ConfigError, match="admf_test_rerun_own"):
        rerun(file)


def test_data_that_are_gone_are_told(study: Study, tmp_path: Path) -> None:
    file = only(study(HEAD + phase("single_pass")))
    (tmp_path / "data" / "AAA.csv").unlink()
    with pytest.raises(DataError, match="AAA"):
        rerun(file)


# --- frames and plug-ins


def test_data_frames_are_handed_over_again(tmp_path: Path) -> None:
    write_bars(tmp_path / "data", "AAA", 0)
    frames = {"AAA": pl.read_csv(tmp_path / "data" / "AAA.csv", try_parse_dates=True)}
    experiment = {
        "workflow": "simple_backtest",
        "data": {"source": "frames", "symbols": ["AAA"]},
        "strategy": {"type": "sma_cross", "params": {"fast": 2, "slow": 5}},
    }
    admf.run(experiment, results_root=tmp_path / "results", frames=frames)
    file = only(tmp_path / "results")
    with pytest.raises(ConfigError, match=r"are not on disk: .*frames=\.\.\."):
        rerun(file)
    assert rerun(file, frames=frames).same
    later = {"AAA": frames["AAA"].with_columns(close=pl.col("open"))}
    found = rerun(file, frames=later)
    assert not found.same
    assert found.changes[0].startswith("data: the bars of the window have changed")


class Other:
    """A topology without the portfolio."""

    def build(self, builder: TopologyBuilder) -> None:
        """Add a container that leaves nothing."""
        builder.add(Container("other", "other", scope=builder.bus))


class Failing(Container):
    """Fails when it runs."""

    async def run(self) -> None:
        """Fail."""
        raise WindowError("no bars today")


class Broken:
    """A topology that fails."""

    def build(self, builder: TopologyBuilder) -> None:
        """Add a container that fails."""
        builder.add(Failing("data", "data", scope=builder.bus))


def with_topology(topology: type) -> Registry:
    registry = Registry()
    registry.register("topologies", "backtest", topology)
    registry.register("strategies", "sma_cross", installed_plugins().get("strategies", "sma_cross"))
    return registry


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        (Other, "only/sweep/portfolio_001 ran once more and left no file"),
        (Broken, "no bars today"),
    ],
)
def test_a_portfolio_that_leaves_no_file_now_is_an_error(
    made: Path, topology: type, message: str
) -> None:
    with pytest.raises(WindowError, match=message):
        rerun(made / SWEEP / "portfolio_001", registry=with_topology(topology))


def test_the_outcome_is_plain_data(made: Path) -> None:
    found = rerun(made / SWEEP / "portfolio_001")
    assert found == Rerun(
        container="only/sweep/portfolio_001",
        same=True,
        status="completed",
        error=None,
        metrics=json.loads((made / SWEEP / RESULT).read_bytes())["metrics"],
    )
