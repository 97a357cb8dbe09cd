"""Hours that experiments take: measured, if the results folder has finished trials of them, or else estimated.

An estimate is the work that a paper counts (`Paper.cost`, see `common.costs`) times the seconds per unit of work in
`steps.csv`, by step and device. If a row is missing there, hours are NaN and shown as "not measured".
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import data_prep
from common.contract import Experiment, Paper, override
from common.costs import Speech, Work
from ser import registry
from ser.pretrained import weights_of
from ser.resolving import differences, keep_declared
from ser.results.reading import find_runs
from ser.results.runs import FORMAT

STEPS = Path(__file__).with_name("steps.csv")

DEVICES = {"cpu": "Hours on a core", "gpu": "GPU-hours"}
"""Devices and the titles of their columns, in the order of columns."""

NAN = float("nan")


class Hours(NamedTuple):
    """Hours of all trials of an experiment together.

    Attributes:
        least: if early stopping ends each training as early as it can.
        most: if all epochs are run.
        measured: number of finished trials from which the hours were computed; 0 for an estimate.
    """

    least: float
    most: float
    measured: int = 0


class Line(NamedTuple):
    """What an experiment or a pretraining costs.

    Attributes:
        name: id of the experiment, or command of the pretraining.
        table: table of the experiment, or "pretraining".
        trials: number of trials, or of networks that are pretrained.
        hours: hours by device.
    """

    name: str
    table: str
    trials: int
    hours: Mapping[str, Hours]


@functools.cache
def read_steps(file: Path = STEPS) -> dict[tuple[str, str, str], tuple[float, str]]:
    """Seconds per unit, and where they were measured, by paper, step and device."""
    with open(file, newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    return {(row["paper"], row["step"], row["device"]): (float(row["seconds_per_unit"]), row["how"]) for row in rows}


def lines(paper: Paper, experiments: Sequence[Experiment], results: Path, *, scaled: bool = False) -> list[Line]:
    """One line for each pretraining that the experiments need, then one for each experiment that is performed.

    An experiment within another one costs nothing of its own, so the other one is listed in its place.

    Args:
        paper: the paper.
        experiments: some experiments of this paper.
        results: results folder, whose finished trials replace estimates.
        scaled: whether the experiments run with `--scaled`.
    """
    found = []
    experiments = registry.performed(paper, experiments)
    for name, networks in _pretrainings(paper, experiments, scaled).items():
        works = [work for network in networks for work in network]
        found.append(Line(name, "pretraining", len(networks), _estimated(paper, works)))
    measured = measured_seconds(paper, experiments, results, scaled=scaled)
    for one in experiments:
        repeats = paper.scaled_repeats if scaled else one.repeats
        trials = one.protocol.count(data_prep.corpus(one.corpus)) * repeats
        hours = _estimated(paper, trial_work(paper, one, scaled=scaled), trials)
        for device, seconds in measured.get(one.id, {}).items():
            together = trials * statistics.median(seconds) / 3600
            hours[device] = Hours(together, together, len(seconds))
        found.append(Line(one.id, one.table, trials, hours))
    return found


def _estimated(paper: Paper, works: Sequence[Work], trials: int = 1) -> dict[str, Hours]:
    hours = {}
    for device in DEVICES:
        seconds = [read_steps().get((paper.name, work.step, device), (NAN,))[0] for work in works]
        least = sum(work.least * each for work, each in zip(works, seconds, strict=True))
        most = sum(work.most * each for work, each in zip(works, seconds, strict=True))
        hours[device] = Hours(trials * least / 3600, trials * most / 3600) if works else Hours(NAN, NAN)
    return hours


def config_of(paper: Paper, experiment: Experiment, *, scaled: bool) -> Any:
    """An experiment's config as declared, or as `--scaled` changes it."""
    return override(experiment.config, paper.scaled) if scaled else experiment.config


def trial_work(paper: Paper, experiment: Experiment, *, scaled: bool = False) -> list[Work]:
    """The work of one trial, averaged over the folds of a complete corpus; empty if the paper has no `cost`."""
    if not paper.cost:
        return []
    train, validation = experiment.protocol.shares(data_prep.corpus(experiment.corpus))
    speech = _speech(experiment.corpus, experiment.subset, train, validation > 0)
    return paper.function(paper.cost)(config_of(paper, experiment, scaled=scaled), speech)


def _pretrainings(paper: Paper, experiments: Sequence[Experiment], scaled: bool) -> dict[str, list[list[Work]]]:
    """The work of each network that the experiments need pretrained, by the command that trains it."""
    found: dict[str, list[list[Work]]] = {}
    configs = [config_of(paper, experiment, scaled=scaled) for experiment in experiments]
    for one in paper.pretrainings if paper.cost else ():
        needed = [config for config in configs if getattr(config, one.field) == "newest"]
        for config in {tuple(getattr(config, name) for name in one.matching): config for config in needed}.values():
            work = paper.function(paper.cost)(config, _speech(one.corpus, one.subset), one.name)
            found.setdefault(f"ser pretrain {paper.name} {one.name}", []).append(work)
    return found


def _speech(name: str, subset: str, share: float = 1.0, validated: bool = True) -> Speech:
    corpus = data_prep.corpus(name)
    utterances = share * corpus.subset(subset).expected
    return Speech(utterances, utterances * 3600 * (corpus.hours or NAN) / corpus.utterances, validated)


def measured_seconds(
    paper: Paper, experiments: Iterable[Experiment], results: Path, *, scaled: bool = False
) -> dict[str, dict[str, list[float]]]:
    """Seconds of finished trials in a results folder, by experiment and device."""
    wanted = {experiment.id: experiment for experiment in experiments}
    found: dict[str, dict[str, list[float]]] = {}
    for folder in find_runs(results, f"{paper.name}/"):
        try:
            run = json.loads((folder / "run.json").read_bytes())
            experiment = wanted.get(run["experiment"])
            if experiment is None or not _is_as_asked(paper, experiment, run, scaled=scaled):
                continue
            for file in sorted(folder.glob("*/trial.json")):
                trial = json.loads(file.read_bytes())
                device = trial["versions"].get("device", "").split(" ")[-1].lower()  # "CPU" or "1 GPU"
                if device in DEVICES:
                    seconds = float(trial["seconds"]["total"])
                    found.setdefault(experiment.id, {}).setdefault(device, []).append(seconds)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # written by a killed process or by another version
    return found


def _is_as_asked(paper: Paper, experiment: Experiment, run: Mapping, *, scaled: bool) -> bool:
    """True for a run as declared, or as `--scaled` changes it; other runs take a different time."""
    expected = []
    if scaled:
        config = keep_declared(config_of(paper, experiment, scaled=True), experiment.config, experiment.protocol)
        for weights in weights_of(paper, config):
            config = dataclasses.replace(config, **(weights.fallback if weights.missing else {}))
        expected = differences(config, experiment.config)
    # Which pretrained network a run starts from does not change its time.
    pretrained = tuple(
        start for one in paper.pretrainings for start in (f"{one.title} ", f"{one.field} = random instead of newest")
    )
    return (
        run["format"] == FORMAT
        and not run["deterministic"]
        and not any(flag.startswith("partial") for flag in run["flags"])
        and (run["corpus"], run["subset"]) == (experiment.corpus, experiment.subset)
        and [change for change in run["changes"] if not change.startswith(pretrained)] == expected
    )


def cells(some: Sequence[Line]) -> list[str]:
    """Trials and hours of some lines together, as the cells of a table's row."""
    trials = sum(line.trials for line in some)
    return [f"{trials:,}", *(_shown([line.hours[device] for line in some]) for device in DEVICES)]


def _shown(some: Sequence[Hours]) -> str:
    """The sum of hours as text: "least … most", or "at least" the known ones if some are unknown."""
    known = [hours for hours in some if not math.isnan(hours.most)]
    if not known:
        return "not measured"
    least, most, measured = map(sum, zip(*known, strict=True))
    text = rounded(least) if rounded(least) == rounded(most) else f"{rounded(least)} … {rounded(most)}"
    text = f"at least {rounded(least)}" if len(known) < len(some) else text
    return f"{text} ({measured} measured)" if measured else text


def rounded(hours: float) -> str:
    """Hours to two digits; less than a thousandth of an hour as "< 0.001"."""
    return f"{float(f'{hours:.2g}'):,.12g}" if hours >= 0.001 else "< 0.001"


def notes(some: Iterable[Line]) -> list[str]:
    """Sentences that say how the hours of some lines were obtained."""
    hours = [one for line in some for one in line.hours.values()]
    where = "; ".join(sorted({how for _, how in read_steps().values()}))
    found = []
    if any(not one.measured and not math.isnan(one.most) for one in hours):
        found += [
            "Hours are estimates: the utterances or seconds of speech that all epochs train on, times the seconds that "
            f"one of them takes (ser/steps.csv, measured on {where}). The lower number assumes that early stopping "
            "ends each training as early as it can, the upper one that it never does. Not included: reading, features, "
            "building networks, prediction of the test part, the yardstick."
        ]
    if any(one.measured for one in hours):
        found += [
            "(n measured): the median time of n finished trials of the same experiment in the results folder, on the "
            "machine that ran them, times the number of trials."
        ]
    if any(math.isnan(one.most) for one in hours):
        found += [
            "Not measured: ser/steps.csv has no time for some step on this device; sums do not include it. In a clone "
            "of the repository, `python -m benchmarks steps --write PAPER` measures it; GPU-hours need a machine with "
            "a GPU."
        ]
    shared = "A pretraining is counted once. Other work that several experiments share is counted for each of them."
    return [*found, shared]


def markdown(papers: Iterable[Paper]) -> str:
    """Estimates for whole papers with the notes, as Markdown for docs/scale.md."""
    found = {paper.name: lines(paper, paper.experiments, Path("no results")) for paper in papers}
    found["all"] = [line for some in found.values() for line in some]
    rows = [["Paper", "Trials", *DEVICES.values()], ["---", "--:", "--:", "--:"]]
    rows += [[name, *cells(some)] for name, some in found.items()]
    return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), "", *(f"- {note}" for note in notes(found["all"]))])
