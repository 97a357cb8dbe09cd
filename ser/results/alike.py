"""Which runs may be compared with each other, and which of them to use for a claim."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from common.contract import Experiment, Paper
from common.results import RunResults
from ser.results.claims import Claim
from ser.results.runs import as_record

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Condition:
    """How a run differs from the experiment as the paper declares it.

    Attributes:
        words: for people, for example ("DEMO instead of IEMOCAP", "scaled"); empty: as declared and complete.
        kind: for comparisons: equal for runs that differ from their experiments in the same way.
        scaled: fields that have a scaled value, with it.
    """

    words: tuple[str, ...]
    kind: tuple
    scaled: Mapping[str, Any]


def condition(run: RunResults, experiment: Experiment, paper: Paper) -> Condition:
    """Finds out how a run differs from the experiment as the paper declares it."""
    record = run.run
    chosen_by_pretraining = {one.field for one in paper.pretrainings}
    modified: dict[str, Any] = {}
    scaled: dict[str, Any] = {}
    of_scale = [_plain(dict(one)) for one in (paper.scaled, paper.demo_changes)]
    for name, value in _changed(record.get("config"), dataclasses.asdict(experiment.config)).items():
        if name in chosen_by_pretraining and getattr(experiment.config, name) == "newest":
            continue
        to_scale = any(name in one and one[name] == value for one in of_scale)
        (scaled if to_scale else modified)[name] = value
    for name, value in _changed(record.get("protocol"), as_record(experiment.protocol)).items():
        modified[f"protocol.{name}"] = value
    explained = {*modified, *scaled, *(name.removeprefix("protocol.") for name in modified)}
    others = [one for one in record["changes"] if one.partition(" = ")[0] not in explained]
    others = [one for one in others if not one.startswith(f"on {record['corpus']} instead of")]
    flags = {flag for trial in run.trials for flag in trial["flags"]}
    others += sorted({flag for flag in flags if flag.startswith(("partial", "bad audio"))})
    foreign = record["corpus"] if record["corpus"] != experiment.corpus else ""
    words = []
    if foreign:
        words.append(f"{foreign.upper()} instead of {experiment.corpus.upper()}")
    if record.get("synthetic"):
        words.append("synthetic corpus")
    if scaled:
        words.append("scaled")
    words += [f"modified: {name} = {value}" for name, value in modified.items()] + others
    repeats = paper.scaled_repeats if scaled else record["declared_repeats"]
    if not _complete(run, repeats):
        wanted = len(record["folds"]) * repeats
        words.append(f"incomplete: {len(run.trials)} of {wanted} trials")
    settings = json.dumps(modified, sort_keys=True, default=str)
    computed_by = [record.get(name) for name in ("version", "floatx", "image_data_format", "deterministic")]
    kind = (foreign, bool(scaled), settings, tuple(others), *computed_by, backends(run))
    return Condition(tuple(words), kind, scaled)


def _complete(run: RunResults, repeats: int) -> bool:
    """True if every fold was run in so many repeats."""
    wanted = {(fold, repeat) for fold in run.run["folds"] for repeat in range(1, repeats + 1)}
    return wanted <= {(trial["fold"], trial["repeat"]) for trial in run.trials}


def _changed(actual: Mapping[str, Any] | None, declared: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a stored record that differ from the declared ones, with the stored values."""
    declared = _plain(declared)
    return {name: value for name, value in (actual or {}).items() if name in declared and value != declared[name]}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as they look when they were written to JSON and read again."""
    return json.loads(json.dumps(values, default=str))


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
        kind: see `Condition`.
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
                if own.kind != others.kind or len(backends(one)) != 1 or not _same_data(one, other):
                    continue
                if any(others.scaled.get(name, value) != value for name, value in own.scaled.items()):
                    continue
                if claim.cost and not claim.cost.exact and machines(one) != machines(other):
                    continue
                pair = self._common_trials(one, other)
                if pair[0].trials:
                    words = list(dict.fromkeys((*own.words, *others.words)))
                    possible = min(len(one.trials), len(other.trials))
                    if len(pair[0].trials) < possible:
                        words.append(f"incomplete: {len(pair[0].trials)} of {possible} trials in common")
                    complete = not any(word.startswith("incomplete") for word in words)
                    finished = max(trial.get("finished", "") for trial in (*one.trials, *other.trials))
                    yield AlikeRuns(*pair, tuple(words), own.kind, complete, finished)

    def _condition(self, run: RunResults) -> Condition:
        if id(run) not in self._conditions:
            self._conditions[id(run)] = condition(run, self.paper.experiment(run.run["experiment"]), self.paper)
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
