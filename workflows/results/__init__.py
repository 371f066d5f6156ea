"""Results as one works with them: phases, windows and portfolios, and frames of all of them."""

from __future__ import annotations

from admf.workflows.results.run_results import PhaseResults, RunResults, open_run
from admf.workflows.results.window_view import ContainerView, WindowView

__all__ = ["ContainerView", "PhaseResults", "RunResults", "WindowView", "open_run"]
