"""Does a number reproduce? A re-run compared with a reported number over the spread of seeds.

Paper and re-run predict the same test utterances, so what differs between them by chance is the seed. With our values
x_1 ... x_n, one per seed (mean m, standard deviation s), and the reported mean r:

- the paper prints a standard deviation over k runs: Welch's interval of the difference d = m - r (Welch 1947), with
  e^2 = s^2 / n + std^2 / k and Satterthwaite's degrees of freedom;
- the paper prints one number of one run: a prediction interval for one more run, e = s sqrt(1 + 1 / n), n - 1 degrees
  of freedom (Hahn and Meeker 1991, Sec. 2.3.2). Likewise with the roles changed for one run of ours and a printed
  standard deviation: e = std sqrt(1 + 1 / k).

Two tests, each at 5 %: the difference is within a margin (two one-sided tests, Schuirmann 1987), or it is not zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from common.intervals import student_t

MOST_SEEDS = 1000
"""A verdict that needs more seeds than that is called out of reach."""


@dataclass(frozen=True)
class Agreement:
    """Whether a re-run agrees with a reported number.

    Attributes:
        verdict: "agrees": the difference is within the margin; "differs": it is not zero, and may lie outside the
            margin; "undecided": the seeds do not decide between the two.
        difference: measured minus reported.
        low: lower end of the 95 % interval of the difference; NaN if no spread is known.
        high: its upper end.
        seeds: for "undecided", how many seeds would decide if mean and spread stayed as they are; None if that is not
            known or more than `MOST_SEEDS`.
    """

    verdict: Literal["agrees", "differs", "undecided"]
    difference: float
    low: float
    high: float
    seeds: int | None = None


def agreement(
    values: Sequence[float], reported: float, std: float = math.nan, runs: int = 1, *, margin: float
) -> Agreement:
    """Compares a re-run with a reported number.

    Args:
        values: our metric, one value per seed.
        reported: the paper's mean, or its only number.
        std: the paper's standard deviation over runs; NaN if it prints none.
        runs: number of the paper's runs; used if there is a standard deviation.
        margin: largest difference that does not matter, in the unit of the values.
    """
    own = np.asarray(values, np.float64)
    mean, spread = float(own.mean()), float(own.std(ddof=1)) if len(own) > 1 else math.nan
    runs = runs if runs > 1 and not math.isnan(std) else 1
    verdict, low, high = _judge(mean - reported, *_error(spread, len(own), std, runs), margin)
    seeds = None
    if verdict == "undecided" and not math.isnan(spread):
        more = range(len(own) + 1, MOST_SEEDS + 1)
        judged = (n for n in more if _judge(mean - reported, *_error(spread, n, std, runs), margin)[0] != verdict)
        seeds = next(judged, None)
    return Agreement(verdict, mean - reported, low, high, seeds)


def _error(spread: float, seeds: int, std: float, runs: int) -> tuple[float, float]:
    """Standard error of the difference, and its degrees of freedom; NaN if no spread is known."""
    if seeds > 1 and runs > 1:
        own, theirs = spread**2 / seeds, std**2 / runs
        total = own + theirs
        freedom = total**2 / (own**2 / (seeds - 1) + theirs**2 / (runs - 1)) if total else math.inf
        return math.sqrt(total), freedom
    if seeds > 1:
        return spread * math.sqrt(1 + 1 / seeds), seeds - 1
    if runs > 1:
        return std * math.sqrt(1 + 1 / runs), runs - 1
    return math.nan, math.nan


def _judge(difference: float, error: float, freedom: float, margin: float) -> tuple[str, float, float]:
    """Verdict and 95 % interval."""
    if math.isnan(error):
        return "undecided", math.nan, math.nan
    half = student_t(0.975, freedom) * error
    low, high = difference - half, difference + half
    if abs(difference) + student_t(0.95, freedom) * error < margin:
        return "agrees", low, high
    return ("differs" if low > 0 or high < 0 else "undecided"), low, high
