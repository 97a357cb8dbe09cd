"""Does a claim hold? Verdicts on claims from the paired differences that runs measured.

- "higher" and "lower" hold if the 95 % interval of the difference (see `common.differences`) is on the claimed side of
  zero, and are contradicted if it is on the other side. So at most 2.5 % of the claims of equal methods "hold".
- "equal" holds if two one-sided tests at 5 % find the difference within the metric's margin (Schuirmann 1987), and is
  contradicted if the interval excludes zero otherwise, as in `common.agreement`.
- "highest" and "lowest" hold if that is so against every rival; the claim needs all of them, so no test has to be
  stricter (Berger 1982). They are contradicted if one of k rivals is better, tested at 2.5 % / k (Bonferroni).

The interval is over speakers if the runs test at least `FEWEST_SPEAKERS` of them in several folds; otherwise, as on a
fixed test set, over seeds.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from common.agreement import MOST_SEEDS
from common.contract import Paper
from common.differences import Difference, Pair, combined, over_repeats, over_speakers, over_trials
from common.errors import UserError
from common.intervals import FEWEST_SPEAKERS
from common.metrics import METRICS
from common.results import RunResults
from ser.results.alike import AlikeRuns, RunChooser
from ser.results.claims import Claim, ClaimResult, PairResult, Verdict
from ser.results.measuring import FoldStatistics, function_of, statistics_of_run


class Judge:
    """Judges claims of one paper by a set of runs; what several claims need is computed once.

    Args:
        paper: the paper.
        runs: all runs that may be used.
    """

    def __init__(self, paper: Paper, runs: Iterable[RunResults]):
        self.chooser = RunChooser(paper, runs)
        self._statistics: dict[tuple, FoldStatistics] = {}

    def judge(self, claim: Claim) -> ClaimResult:
        """The verdict on a claim.

        Raises:
            UserError: The runs do not predict the rating that the claim is about.
        """
        chosen = self.chooser.choose(claim)
        found = [(pair, runs) for pair, runs in zip(claim.pairs, chosen, strict=True) if runs is not None]
        if claim.cost:  # trials of older versions did not store every cost
            found = [(pair, runs) for pair, runs in found if set.intersection(*map(set, _costs(runs, claim)))]
        used = {name for pair, _ in found for name in pair}
        missing = tuple(name for name in claim.experiments if name not in used)
        if not found:
            return ClaimResult(claim, missing=missing)
        each = [self._difference(claim, [runs]) for _, runs in found]
        if claim.has_rivals:
            best = min(each, key=lambda one: claim.sign * one.value)
            verdict, needed = _settled(claim, each)
        else:
            best = self._difference(claim, [runs for _, runs in found])
            verdict, needed = _settled(claim, [best])
        words = list(dict.fromkeys(word for _, runs in found for word in runs.words))
        if len(found) < len(claim.pairs):
            words.append(f"{len(found)} of {len(claim.pairs)} {'rivals' if claim.has_rivals else 'pairs'}")
        low, high = best.interval()
        results = [
            PairResult(*pair, one.value, *one.interval(), self._trials(claim, runs), _folders(runs))
            for (pair, runs), one in zip(found, each, strict=True)
        ]
        return ClaimResult(
            claim=claim,
            verdict=verdict,
            as_declared=not words,
            conditions=tuple(words),
            difference=best.value,
            low=low,
            high=high,
            over=best.over,
            units=best.units,
            trials=sum(one.trials for one in results),
            needed=needed,
            pairs=tuple(results),
            missing=missing,
        )

    def _difference(self, claim: Claim, chosen: Sequence[AlikeRuns]) -> Difference:
        """The mean difference of pairs of runs, in the claim's unit."""
        by_corpus: dict[str, list[AlikeRuns]] = {}
        for runs in chosen:
            by_corpus.setdefault(runs.corpus, []).append(runs)
        parts = [self._on_one_corpus(claim, runs) for runs in by_corpus.values()]
        return combined(parts, [len(runs) for runs in by_corpus.values()])

    def _on_one_corpus(self, claim: Claim, chosen: Sequence[AlikeRuns]) -> Difference:
        if claim.cost:
            found = over_trials([_costs(runs, claim) for runs in chosen])
            return Difference(found.value, 0.0, math.inf, "nothing", 0) if claim.cost.exact else found
        pairs = [self._pair(claim, runs) for runs in chosen]
        # With one fold, all speakers are predicted by the same trained model, so seeds and speakers cannot be told
        # apart; with few speakers, their spread says too little.
        several_folds = all(len(set(pair.folds)) > 1 for pair in pairs)
        many_speakers = all(len(pair.speakers) >= FEWEST_SPEAKERS for pair in pairs)
        found = over_speakers(pairs) if several_folds and many_speakers else over_repeats(pairs)
        return found.scaled(METRICS[claim.function].scale)

    def _trials(self, claim: Claim, runs: AlikeRuns) -> int:
        """How many pairs of trials are used: those that have the cost, or those of repeats that have all folds."""
        if claim.cost:
            return len(set.intersection(*map(set, _costs(runs, claim))))
        found = self._statistics_of(runs.first, METRICS[claim.function].statistic)
        return len(found.repeats) * len({fold.split("#")[0] for fold in found.folds})

    def _pair(self, claim: Claim, runs: AlikeRuns) -> Pair:
        metric = METRICS[claim.function]
        first, second = (self._statistics_of(run, metric.statistic) for run in (runs.first, runs.second))
        _, labels, aggregation = claim.metric.split("/")
        try:
            function, aggregation = function_of(metric, labels, aggregation, first.dimensions)
        except ValueError:
            raise UserError(f"The claim {claim.id} is about {labels}, which its runs do not predict.") from None
        folds = tuple(fold.split("#")[0] for fold in first.folds)
        return Pair(first.sums, second.sums, function, aggregation, first.repeats, folds, first.speakers)

    def _statistics_of(self, run: RunResults, statistic: str) -> FoldStatistics:
        key = statistic, *(id(table) for table in run.predictions)
        if key not in self._statistics:
            self._statistics[key] = statistics_of_run(run, statistic)
        return self._statistics[key]


def _costs(runs: AlikeRuns, claim: Claim) -> list[dict[tuple[str, int], float]]:
    """What the trials of both runs cost, by fold and repeat; trials without a stored cost are left out."""
    found = []
    for run in (runs.first, runs.second):
        values: dict[tuple[str, int], Any] = {}
        for trial in run.trials:
            value: Any = trial
            for name in claim.cost.place:
                value = value.get(name) if isinstance(value, Mapping) else None
            if value is not None:
                values[trial["fold"], trial["repeat"]] = float(value)
        found.append(values)
    return found


def _folders(runs: AlikeRuns) -> tuple[str, str]:
    return runs.first.folders[0].parent.name, runs.second.folders[0].parent.name


def _settled(claim: Claim, differences: Sequence[Difference]) -> tuple[Verdict, int | None]:
    """The verdict and, for "undecided", how many speakers, seeds or trials would settle it (see `ClaimResult`)."""
    verdict = _verdict(claim, differences)
    if verdict != "undecided" or any(math.isnan(one.error) for one in differences):
        return verdict, None
    # What some number of units decides, more of them decide as well.
    most = max(one.units for one in differences)
    numbers = range(most + 1, MOST_SEEDS + 1)
    place = bisect.bisect_left(
        numbers, True, key=lambda n: _verdict(claim, [one.with_units(n) for one in differences]) != "undecided"
    )
    return verdict, numbers[place] if place < len(numbers) else None


def _verdict(claim: Claim, differences: Sequence[Difference]) -> Verdict:
    """The verdict on one mean difference, or on those to all rivals that were measured."""
    if claim.cost and claim.cost.exact:
        return "holds" if all(claim.sign * one.value > 0 for one in differences) else "contradicted"
    if claim.relation == "equal":
        (one,) = differences
        within, excluding = one.interval(0.90), one.interval()
        margin = METRICS[claim.function].margin
        if -margin < within[0] and within[1] < margin:
            return "holds"
        return "contradicted" if excluding[0] > 0 or excluding[1] < 0 else "undecided"
    rivals = len(claim.pairs) if claim.has_rivals else 1
    if all(_lower_end(one.scaled(claim.sign)) > 0 for one in differences):
        return "holds"
    if any(_lower_end(one.scaled(-claim.sign), 1 - 0.05 / rivals) > 0 for one in differences):
        return "contradicted"
    return "undecided"


def _lower_end(difference: Difference, level: float = 0.95) -> float:
    return difference.interval(level)[0]
