"""Which runs may be compared with each other, and which of them to use for a claim."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from common.contract import Paper
from common.results import Condition, RunResults
from ser.results.claims import Claim
from ser.results.condition import alike, condition_of

if TYPE_CHECKING:
    import pandas as pd


def words_of(condition: Condition) -> tuple[str, ...]:
    """What a run is, for the conditions of a claim; empty if it is as declared and complete."""
    words = [condition.corpus] if condition.corpus else []
    words += ["synthetic corpus"] * condition.synthetic + ["scaled"] * bool(condition.scaled)
    words += [f"random weights: {one}" for one in condition.random]
    words += [f"modified: {one}" for one in condition.modified]
    words += [*condition.partial, *(f"declared differently today: {one}" for one in condition.outdated)]
    if not condition.complete:
        words.append(f"incomplete: {condition.trials} of {condition.of_trials} trials")
    return tuple(words)


def kind_of(run: RunResults, condition: Condition) -> tuple:
    """What is equal for runs of one kind, which alone are compared: how they deviate, and what computed them."""
    computed_by = [run.run.get(name) for name in ("version", "floatx", "image_data_format", "deterministic")]
    return (*condition.deviation, *computed_by, backends(run))


def backends(run: RunResults) -> tuple[str, ...]:
    """The Keras backends that computed a run's trials; more than one only in results of older versions."""
    return tuple(sorted({str(trial.get("versions", {}).get("backend", "")) for trial in run.trials}))


def machines(run: RunResults) -> set[tuple[str, ...]]:
    """Machines and devices that computed a run's trials; times and memory of different ones are not compared."""
    keys = ("machine", "device")
    return {tuple(str(trial.get("versions", {}).get(key, "")) for key in keys) for trial in run.trials}


@dataclass(frozen=True)
class AlikeRuns:
    """Two runs that differ in nothing but what a claim is about, restricted to the trials that both have.

    Attributes:
        first: the run of the one experiment.
        second: the run of the other one.
        words: conditions of both, without repetitions.
        kind: see `kind_of`.
        complete: both runs have all trials.
        finished: time of the last trial, ISO 8601.
    """

    first: RunResults
    second: RunResults
    words: tuple[str, ...]
    kind: tuple
    complete: bool
    finished: str

    @property
    def corpus(self) -> str:
        """The corpus of both."""
        return self.first.run["corpus"]


class RunChooser:
    """Chooses the runs that the claims of a paper are judged by; conditions and test parts are looked at once.

    Args:
        paper: the paper.
        runs: all runs that may be used.
    """

    def __init__(self, paper: Paper, runs: Iterable[RunResults]):
        self.paper = paper
        self.runs: dict[str, list[RunResults]] = {}
        for run in runs:
            self.runs.setdefault(run.run["experiment"], []).append(run)
        self._conditions: dict[int, Condition] = {}
        self._utterances: dict[int, np.ndarray] = {}

    def choose(self, claim: Claim) -> list[AlikeRuns | None]:
        """Chooses one pair of runs for each pair of a claim's experiments.

        All pairs use runs of one kind, so that scaled and full runs are never mixed: preferably as declared and
        complete, then as declared, then the kind that has most of the pairs, complete ones, on a real corpus, the
        newest.

        Returns:
            One entry per pair of the claim; None where there is no pair of runs.
        """
        by_kind: dict[tuple, list[AlikeRuns | None]] = {}
        for number, pair in enumerate(claim.pairs):
            for found in self._alike_runs(*pair, claim):
                own = by_kind.setdefault(found.kind, [None] * len(claim.pairs))
                if own[number] is None or _rank(found) > _rank(own[number]):
                    own[number] = found
        return max(by_kind.values(), key=_rank_of_kind, default=[None] * len(claim.pairs))

    def _alike_runs(self, first: str, second: str, claim: Claim) -> Iterable[AlikeRuns]:
        for one in self.runs.get(first, ()):
            for other in self.runs.get(second, ()):
                own, others = self._condition(one), self._condition(other)
                kind = kind_of(one, own)
                if kind != kind_of(other, others) or not alike(own, others) or not _same_data(one, other):
                    continue
                if _same_settings(one, other):  # without pretrained weights, two rows may be the same network
                    continue
                if claim.cost and not claim.cost.exact and machines(one) != machines(other):
                    continue
                pair = self._common_trials(one, other)
                if pair[0].trials:
                    words = list(dict.fromkeys((*words_of(own), *words_of(others))))
                    possible = min(len(one.trials), len(other.trials))
                    if len(pair[0].trials) < possible:
                        words.append(f"incomplete: {len(pair[0].trials)} of {possible} trials in common")
                    complete = not any(word.startswith("incomplete") for word in words)
                    finished = max(trial.get("finished", "") for trial in (*one.trials, *other.trials))
                    yield AlikeRuns(*pair, tuple(words), kind, complete, finished)

    def _condition(self, run: RunResults) -> Condition:
        if id(run) not in self._conditions:
            self._conditions[id(run)] = condition_of(run, self.paper)
        return self._conditions[id(run)]

    def _common_trials(self, one: RunResults, other: RunResults) -> tuple[RunResults, RunResults]:
        """Both runs with only the trials that both have: same fold, same seed, same test utterances."""
        places = {_trial_key(trial): place for place, trial in enumerate(other.trials)}
        both = [
            (place, places[key])
            for place, key in enumerate(map(_trial_key, one.trials))
            if key in places
            and np.array_equal(self._tested(one.predictions[place]), self._tested(other.predictions[places[key]]))
        ]
        kept = tuple(zip(*both, strict=True)) or ((), ())
        return _with_trials(one, kept[0]), _with_trials(other, kept[1])

    def _tested(self, predictions: pd.DataFrame) -> np.ndarray:
        if id(predictions) not in self._utterances:
            self._utterances[id(predictions)] = predictions["utterance"].to_numpy(str)
        return self._utterances[id(predictions)]


def _with_trials(run: RunResults, places: Sequence[int]) -> RunResults:
    parts = ([values[place] for place in places] for values in (run.trials, run.predictions, run.folders))
    return RunResults(run.run, *parts)


def _trial_key(trial: Mapping[str, Any]) -> tuple:
    return trial["fold"], trial["repeat"], trial["seed"]


def _same_data(one: RunResults, other: RunResults) -> bool:
    """True if two runs test the same utterances in the same folds."""
    return all(one.run[name] == other.run[name] for name in ("corpus", "subset", "fingerprint", "folds"))


def _same_settings(one: RunResults, other: RunResults) -> bool:
    return all(one.run.get(name) == other.run.get(name) for name in ("config", "protocol", "target", "auxiliary"))


def _rank(pair: AlikeRuns) -> tuple:
    return pair.complete, len(pair.first.trials), pair.finished


def _rank_of_kind(pairs: Sequence[AlikeRuns | None]) -> tuple:
    found = [pair for pair in pairs if pair is not None]
    whole = len(found) == len(pairs)
    complete = all(pair.complete for pair in found)
    as_declared = not any(word for pair in found for word in pair.words if not word.startswith("incomplete"))
    real = not any(pair.first.run.get("synthetic") for pair in found)
    newest = max(pair.finished for pair in found)
    return as_declared and complete and whole, as_declared, len(found), complete, real, newest
