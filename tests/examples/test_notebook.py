"""The notebook, in a kernel of its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import polars as pl
import pytest
from nbclient import NotebookClient

import admf.results

pytestmark = pytest.mark.anyio

STUDY = Path(__file__).parents[2] / "examples" / "notebook" / "study.ipynb"


@pytest.fixture
def notebook() -> Any:
    return nbformat.read(STUDY, as_version=nbformat.NO_CONVERT)


def outputs(notebook: Any, kind: str) -> list[str]:
    """Return what the code cells show of a kind, for people or as HTML."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [output for cell in cells for output in cell.outputs]
    return [it.data[kind] for it in shown if kind in it.get("data", {})]


def test_the_notebook_is_small_and_has_no_outputs(notebook: Any) -> None:
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert STUDY.stat().st_size < 10_000
    for cell in notebook.cells:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


async def test_every_cell_of_the_notebook_shows_what_the_study_found(
    notebook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    client = NotebookClient(notebook, timeout=50, resources={"metadata": {"path": str(tmp_path)}})
    await client.async_execute()
    texts, tables = outputs(notebook, "text/plain"), outputs(notebook, "text/html")
    found = admf.results.open(tmp_path / "results" / "notebook_study")
    metrics = found.metrics()
    assert len(metrics) == 12
    assert texts[0] == "'completed: 2,148 of 2,148 bars'"
    assert texts[1] == "'completed'"
    check_best(metrics, tables[0])
    check_table(metrics, tables[1])
    trades = found.trades(by="sharpe_ratio", top=1)
    assert f"{trades['exit_price'][-1]:.2f}"[:5] in tables[2]
    (curve,) = [
        it.text for cell in notebook.cells for it in cell.get("outputs", []) if "text" in it
    ]
    assert re.fullmatch(rf"[▁-█]{{{len(trades)}}} [+-][\d,]+\n", curve)
    assert curve.split()[1] == f"{trades['pnl'].sum():+,.0f}"


def check_best(metrics: pl.DataFrame, html: str) -> None:
    best = metrics.sort("sharpe_ratio", descending=True).row(0, named=True)
    first = re.findall(r"<td>(.*?)</td>", html)[6:12]  # after the types
    assert [int(it) for it in first[:2]] == [best["fast"], best["slow"]]
    assert float(first[2]) == pytest.approx(best["sharpe_ratio"], abs=1e-6)


def check_table(metrics: pl.DataFrame, html: str) -> None:
    shown = [float(it) for it in re.findall(r">(-?\d+\.\d\d)</td>", html)]
    expected = metrics.sort("fast", "slow")["sharpe_ratio"]
    assert shown == pytest.approx(expected.to_list(), abs=0.005001)
