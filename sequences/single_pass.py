"""The sequence ``single_pass``: the parameter sets that are given, once."""

from __future__ import annotations

from admf.sequences.outcome import Outcome
from admf.sequences.stretch import Candidate, Stretch
from admf.sequences.trials import Judge, Leaders

__all__ = ["SinglePass"]


class SinglePass:
    """Runs the strategy as it is set, or with the parameter sets found before, in one window."""

    async def run(self, stretch: Stretch) -> Outcome:
        """Run the window, or the inner sequence in its place."""
        inner = stretch.settings.single_pass.inner
        if inner is not None:
            return await stretch.run_sequence(inner)
        points = stretch.points or ({},)
        candidates = [Candidate(number, point) for number, point in enumerate(points, 1)]
        rows = await stretch.run_lanes("", candidates, options={"series": bool(stretch.path)})
        judge = Judge(stretch.settings)
        trials = [
            judge.trial(it.number, it.point, row) for it, row in zip(candidates, rows, strict=True)
        ]
        leaders = Leaders(len(trials), len(judge.objectives))
        leaders.take(trials)
        leader = (leaders.best or trials)[0]
        return Outcome(
            best_parameters=leader.point,
            best_objective=leader.objectives[0] if leader.objectives else None,
            best=leader.row.metrics,
            top_parameters=tuple(trial.point for trial in leaders.best),
            trials=leaders.counts,
            out_of_sample=leader.row.metrics,
        )
