"""The results of a run, to work with: ``admf.results.open("results/goog").metrics(top=20)``.

::

    run = admf.results.open("results/goog")         reads run.json, and nothing else yet
    run.metrics(where="sharpe_ratio > 1", by="sharpe_ratio", top=20)
    run.phases["search"].trades(by="sharpe_ratio", top=1)
    run["walk_forward"]["wf_001/test"]["portfolio_001"].equity()

Frames are polars'. For pandas, ``pip install 'admf[pandas]'`` and call ``.to_pandas()`` on them.
"""

from __future__ import annotations

from admf.workflows.results import ContainerView, PhaseResults, RunResults, WindowView
from admf.workflows.results import open_run as open  # noqa: A004 - read as `admf.results.open`

__all__ = ["ContainerView", "PhaseResults", "RunResults", "WindowView", "open"]
