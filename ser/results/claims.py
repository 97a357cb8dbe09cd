"""The claims of a paper that one method is better than another, one per line of its `claims.csv`.

Columns: id, section, claim, relation, first, second, metric, difference, note. `first` and `second` are ids of
experiments, several separated by blanks. The relation says what is claimed:

- "higher", "lower", "equal": the first compared with the second; several are pairs, and the claim is about the mean of
  their differences. "equal" means that the difference does not matter (`Metric.margin`).
- "highest", "lowest": one first, compared with each of the second.

The metric is one of `reported.csv` (see `ser.results.reported`) or one of `COSTS`. The difference is first minus second
in the paper's own numbers (for "highest" and "lowest": minus the best rival), and is empty if the paper prints none.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from common.agreement import MOST_SEEDS
from common.contract import Experiment, Paper
from common.errors import UserError, look_up, unknown
from common.metrics import METRICS

COLUMNS = ("id", "section", "claim", "relation", "first", "second", "metric", "difference", "note")
RELATIONS = ("higher", "lower", "equal", "highest", "lowest")
AGGREGATIONS = ("folds", "pooled", "file-order")

Verdict = Literal["holds", "contradicted", "undecided", "not run"]
VERDICTS: tuple[Verdict, ...] = ("holds", "contradicted", "undecided", "not run")


@dataclass(frozen=True)
class Cost:
    """What a trial costs, as `trial.json` has it.

    Attributes:
        title: heading, with the unit.
        place: keys of the value in `trial.json`.
        digits: digits after the decimal point to print.
        exact: it is the same in every trial, so that its value alone decides.
    """

    title: str
    place: tuple[str, ...]
    digits: int = 0
    exact: bool = False


COSTS: Mapping[str, Cost] = {
    "parameters": Cost("parameters", ("parameters",), exact=True),
    "seconds": Cost("s per fit", ("seconds", "fit"), digits=1),
    "memory": Cost("peak MiB", ("peak_memory_mib",)),
}
"""The costs that a claim can be about."""


@dataclass(frozen=True)
class Claim:
    """One claim of a paper.

    Attributes:
        paper: name of the paper.
        id: unique in the paper.
        section: where the paper says it.
        claim: the claim in one sentence.
        relation: one of `RELATIONS`.
        first: ids of experiments.
        second: ids of experiments that `first` is compared with.
        metric: as in `reported.csv`, or a key of `COSTS`.
        difference: first minus second in the paper's numbers, in the metric's unit; NaN if it prints none.
        note: what had to be chosen.
    """

    paper: str
    id: str
    section: str
    claim: str
    relation: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    metric: str
    difference: float
    note: str

    @property
    def has_rivals(self) -> bool:
        """True if one experiment is compared with each of several, and not pair by pair."""
        return self.relation in ("highest", "lowest")

    @property
    def sign(self) -> int:
        """1 if a positive difference supports the claim, -1 if a negative one does."""
        return -1 if self.relation in ("lower", "lowest") else 1

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The experiments to compare, two by two."""
        first = self.first * len(self.second) if self.has_rivals else self.first
        return tuple(zip(first, self.second, strict=True))

    @property
    def experiments(self) -> tuple[str, ...]:
        """Ids of all experiments that the claim needs."""
        return tuple(dict.fromkeys((*self.first, *self.second)))

    @property
    def cost(self) -> Cost | None:
        """The cost that the claim is about; None if it is about a metric."""
        return COSTS.get(self.metric)

    @property
    def function(self) -> str:
        """Name of the metric (a key of `common.metrics.METRICS`) or of the cost."""
        return self.metric.split("/")[0]

    @property
    def digits(self) -> int:
        """Digits after the decimal point to print."""
        return self.cost.digits if self.cost else METRICS[self.function].digits

    @property
    def unit(self) -> str:
        """What the differences are in: the metric's or the cost's title, with the dimension of a rating."""
        if self.cost:
            return self.cost.title
        metric, labels = METRICS[self.function], self.metric.split("/")[1]
        return metric.title if metric.task == "classification" else f"{metric.title}, {labels}"


@dataclass(frozen=True)
class PairResult:
    """The measured difference between two experiments.

    Attributes:
        first: id of the one experiment.
        second: id of the other one.
        difference: first minus second.
        low: lower end of its 95 % interval; NaN if no spread is known.
        high: its upper end.
        trials: how many pairs of trials (same fold, same seed) were used.
        runs: names of the folders of both runs.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    trials: int
    runs: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class ClaimResult:
    """What runs say about a claim.

    Attributes:
        claim: the claim.
        verdict: "holds", "contradicted", "undecided" or "not run". It is the paper's result only if `as_declared`.
        as_declared: every run is the experiment as the paper declares it, complete, and no pair is missing.
        conditions: what the runs differ in from the paper's experiments, in words; empty if `as_declared`.
        difference: measured difference, first minus second (minus the best rival that was measured), in the metric's
            unit; NaN if nothing was run.
        low: lower end of its 95 % interval; NaN if no spread is known.
        high: its upper end.
        over: what the interval is over: "speakers", "seeds", "trials", "speakers and seeds"; "nothing" for a number of
            parameters; empty if nothing was run.
        units: how many of them there are.
        trials: how many pairs of trials (same fold, same seed) were used.
        needed: for "undecided", how many of `over` would decide if difference and spread stayed as they are; None if
            that is not known or more than `common.agreement.MOST_SEEDS`.
        pairs: each measured pair on its own.
        missing: ids of experiments without a run that can be used.
    """

    claim: Claim
    verdict: Verdict = "not run"
    as_declared: bool = False
    conditions: tuple[str, ...] = ()
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    over: str = ""
    units: int = 0
    trials: int = 0
    needed: int | None = None
    pairs: tuple[PairResult, ...] = field(default=(), repr=False)
    missing: tuple[str, ...] = ()

    @property
    def was_run(self) -> bool:
        """True if there is a measured difference."""
        return self.verdict != "not run"

    @property
    def needed_in_words(self) -> str:
        """What would decide an undecided claim; empty for another one."""
        if self.verdict != "undecided":
            return ""
        if math.isnan(self.low):
            return "needs a second trial" if self.over == "trials" else "needs a second seed"
        return f"{self.needed or f'more than {MOST_SEEDS}'} {self.over} would decide"

    @property
    def label(self) -> str:
        """The verdict; with the words "at that scale" unless it is the paper's result."""
        return f"{self.verdict} at that scale" if self.was_run and not self.as_declared else self.verdict

    def __str__(self) -> str:
        needed = f" ({self.needed_in_words})" if self.needed_in_words else ""
        conditions = f": {', '.join(self.conditions)}" if self.conditions else ""
        return f"{self.claim.id}: {self.label}{needed}{conditions}"


def read_claims(paper: Paper) -> list[Claim]:
    """Reads the claims of a paper, in the order of its `claims.csv`; empty if it has none.

    Raises:
        UserError: The columns differ from `COLUMNS`, an experiment, relation or metric does not exist, the experiments
            do not pair up, the difference is no number, or an id occurs twice. Names the line.
    """
    path = paper.reported.with_name("claims.csv")
    if not path.is_file() or not path.stat().st_size:
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise UserError(f"{path} must have the columns {', '.join(COLUMNS)}.")
        experiments = {experiment.id: experiment for experiment in paper.experiments}
        claims: dict[str, Claim] = {}
        for number, line in enumerate(reader, start=2):
            where = f"{path}, line {number}"
            if None in line or None in line.values():
                raise UserError(f"{where}: it does not have {len(COLUMNS)} fields.")
            try:
                difference = float(line["difference"]) if line["difference"] else math.nan
            except ValueError:
                raise UserError(f"{where}: the difference must be a number, not '{line['difference']}'.") from None
            lists = {name: tuple(line[name].split()) for name in ("first", "second")}
            claim = Claim(paper.name, **{**line, **lists, "difference": difference})
            try:
                _check(claim, experiments)
            except UserError as error:
                raise UserError(f"{where}: {error}") from None
            if not claim.id or claim.id in claims:
                raise UserError(f"{where}: the id '{claim.id}' is empty or occurs twice.")
            claims[claim.id] = claim
    return list(claims.values())


def chosen_claims(paper: Paper, ids: Sequence[str]) -> list[Claim]:
    """The claims of those ids, each once.

    Raises:
        UserError: There is no such claim; offers the nearest ids.
    """
    known = {claim.id: claim for claim in read_claims(paper)}
    return [look_up(f"claim of {paper.name}", name, known) for name in dict.fromkeys(ids)]


def _check(claim: Claim, experiments: Mapping[str, Experiment]) -> None:
    """Refuses a claim that cannot be judged.

    Raises:
        UserError: See `read_claims`.
    """
    if claim.relation not in RELATIONS:
        raise unknown("relation", claim.relation, RELATIONS)
    used = [look_up("experiment", name, experiments) for name in claim.experiments]
    if not claim.first or not claim.second:
        raise UserError("first and second must name experiments.")
    if claim.has_rivals and (len(claim.first) != 1 or claim.first[0] in claim.second):
        raise UserError(f"'{claim.relation}' needs one experiment in first and other ones in second.")
    if not claim.has_rivals and len(claim.first) != len(claim.second):
        raise UserError(
            f"first and second must pair up, but have {len(claim.first)} and {len(claim.second)} experiments."
        )
    if claim.cost:
        if claim.relation == "equal":
            raise UserError(f"'equal' needs a margin, and {claim.metric} has none.")
        return
    parts = claim.metric.split("/")
    if claim.function not in METRICS:
        raise unknown("metric or cost", claim.function, (*METRICS, *COSTS))
    if len(parts) != 3 or parts[2] not in AGGREGATIONS:
        raise UserError(f"'{claim.metric}' must be METRIC/LABELS/AGGREGATION, as in reported.csv.")
    for experiment in used:
        dimensions = experiment.target.dimensions
        measured = "regression" if dimensions else "classification"
        if METRICS[claim.function].task != measured:
            raise UserError(f"{claim.function} cannot be measured on {experiment.id}, which is a {measured}.")
        if dimensions and parts[1] not in (*dimensions, "mean"):
            raise unknown(f"dimension of {experiment.id}", parts[1], (*dimensions, "mean"))
