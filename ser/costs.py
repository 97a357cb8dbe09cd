"""What experiments cost before they run: hours measured in a results folder, or estimated from `steps.csv`.

`steps.csv` holds what a training step of each network costs, an example, on a processor's core and on a GPU
(`python -m benchmarks steps --write` measures it). A paper's `cost` function counts the examples. Extraction of
features, reading and the yardstick are left out: they are done once, not once a trial. So is tracing.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import data_prep
from common.contract import Experiment, Paper, override
from common.costs import Utterances, Work
from common.errors import UserError
from ser.results.reading import find_runs
from ser.results.runs import FORMAT, as_record

STEPS = Path(__file__).with_name("steps.csv")

DEVICES = ("cpu", "gpu")
"""One core of a processor, one GPU; in the order of columns."""

SHOWN = {"cpu": "processor", "gpu": "GPU"}


@dataclass(frozen=True)
class Step:
    """A training step of one network on one device, an example.

    Attributes:
        batch: examples of the step that was measured or is assumed.
        gflop_per_example: forward and backward.
        seconds_per_example: of the step.
        how: "measured: ..." or "estimated: ...", with the conditions.
    """

    batch: int
    gflop_per_example: float
    seconds_per_example: float
    how: str


@functools.cache
def read_steps(file: Path = STEPS) -> dict[tuple[str, str, str], Step]:
    """Steps by paper, network and device."""
    with open(file, newline="", encoding="utf-8") as opened:
        return {
            (row["paper"], row["network"], row["device"]): Step(
                int(row["batch"]), float(row["gflop_per_example"]), float(row["seconds_per_example"]), row["how"]
            )
            for row in csv.DictReader(opened)
        }


@dataclass(frozen=True)
class Hours:
    """Hours on one device, of all trials together.

    Attributes:
        most: if early stopping never ends a training.
        least: if it ends each as early as it may.
        measured: finished trials behind them; 0: estimated.
    """

    most: float
    least: float
    measured: int = 0

    def __add__(self, other: Hours) -> Hours:
        return Hours(self.most + other.most, self.least + other.least, self.measured + other.measured)


NONE = Hours(0.0, 0.0)


@dataclass(frozen=True)
class Line:
    """What an experiment, or a pretraining, costs.

    Attributes:
        name: an experiment's id, or what the pretraining is called.
        table: of the experiment; "pretraining".
        trials: how many; 1 for a pretraining.
        hours: by device.
    """

    name: str
    table: str
    trials: int
    hours: Mapping[str, Hours]


def lines(paper: Paper, experiments: Iterable[Experiment], results: Path, *, scaled: bool = False) -> list[Line]:
    """A line an experiment, as they cost when they are run in this order, and before them the pretrainings.

    Work that experiments share is in the line of the first that needs it, so that lines add up.

    Args:
        paper: whose experiments.
        experiments: which.
        results: results folder, whose finished trials are measurements.
        scaled: as `--scaled` runs them.

    Raises:
        UserError: `steps.csv` lacks a network.
    """
    experiments = list(experiments)
    measured = measured_seconds(paper, experiments, results, scaled=scaled)
    found = [
        Line(name, "pretraining", 1, _hours(paper, works, 1, {}))
        for name, works in pretraining_work(paper, experiments, scaled=scaled)
    ]
    done: set[tuple] = set()
    for experiment in experiments:
        folds = experiment.corpus, experiment.subset, json.dumps(as_record(experiment.protocol))
        works = []
        for work in trial_work(paper, experiment, scaled=scaled):
            key = (work.shared, *folds)
            if work.shared and key in done:
                continue
            done.add(key)
            works.append(work)
        trials = count(paper, experiment, scaled=scaled)
        own = measured.get(experiment.id, {})
        found.append(Line(experiment.id, experiment.table, trials, _hours(paper, works, trials, own)))
    return found


def count(paper: Paper, experiment: Experiment, *, scaled: bool = False) -> int:
    """Trials of an experiment: folds times repeats."""
    repeats = paper.scaled_repeats if scaled else experiment.repeats
    return experiment.protocol.count(data_prep.corpus(experiment.corpus)) * repeats


def config_of(paper: Paper, experiment: Experiment, *, scaled: bool = False):
    """An experiment's config as declared, or as `--scaled` has it."""
    return override(experiment.config, paper.scaled) if scaled else experiment.config


def trial_work(paper: Paper, experiment: Experiment, *, scaled: bool = False) -> list[Work]:
    """What one trial computes, as the mean over folds.

    Raises:
        UserError: the paper does not tell.
    """
    if not paper.cost:
        raise UserError(f"{paper.name} does not tell what its experiments cost.")
    corpus = data_prep.corpus(experiment.corpus)
    train, validation = experiment.protocol.shares(corpus)
    whole = corpus.subset(experiment.subset).expected
    parts = (share * whole for share in (train, validation, 1 - train - validation))
    utterances = Utterances(corpus.name, *parts, auxiliary=bool(experiment.auxiliary))
    return paper.function(paper.cost)(config_of(paper, experiment, scaled=scaled), utterances)


def pretraining_work(
    paper: Paper, experiments: Iterable[Experiment], *, scaled: bool = False
) -> Iterator[tuple[str, list[Work]]]:
    """Each network that must be pretrained for some experiments, with its work."""
    for pretraining in paper.pretrainings:
        configs = {}
        for experiment in experiments:
            config = config_of(paper, experiment, scaled=scaled)
            if getattr(config, pretraining.field) == "newest":
                configs.setdefault(tuple(getattr(config, name) for name in pretraining.matching), config)
        subset = data_prep.corpus(pretraining.corpus).subset(pretraining.subset)
        for key, config in configs.items():
            # What tells several networks of one name apart: the first setting in which they differ.
            differing = [value for value, *others in zip(key, *configs, strict=True) if len(set(others)) > 1][:1]
            name = " ".join(["ser pretrain", paper.name, pretraining.name, *(f"({value})" for value in differing)])
            whole = Utterances(pretraining.corpus, subset.expected)
            yield name, paper.function(paper.cost)(config, whole, pretraining=pretraining.name)


def _hours(paper: Paper, works: list[Work], trials: int, measured: Mapping[str, list[float]]) -> dict[str, Hours]:
    hours = {}
    for device in DEVICES:
        if device in measured:
            seconds = trials * statistics.median(measured[device])
            hours[device] = Hours(seconds / 3600, seconds / 3600, len(measured[device]))
            continue
        steps = [(work, _step(paper.name, work.network, device).seconds_per_example) for work in works]
        hours[device] = Hours(
            trials * sum(work.most * step for work, step in steps) / 3600,
            trials * sum(work.least * step for work, step in steps) / 3600,
        )
    return hours


def _step(paper: str, network: str, device: str) -> Step:
    try:
        return read_steps()[paper, network, device]
    except KeyError:
        raise UserError(
            f"ser/steps.csv has no step of {paper}'s network '{network}' on a {device}. "
            f"`python -m benchmarks steps --write {paper}` measures it."
        ) from None


def measured_seconds(
    paper: Paper, experiments: Iterable[Experiment], results: Path, *, scaled: bool = False
) -> dict[str, dict[str, list[float]]]:
    """Seconds of finished trials in a results folder, by experiment and device.

    Only of runs as declared, or as `--scaled` has them, on the whole corpus and without `--deterministic`: all else
    would be the time of something else.
    """
    declared = {experiment.id: experiment for experiment in experiments}
    found: dict[str, dict[str, list[float]]] = {}
    for folder in find_runs(results, f"{paper.name}/") if results.is_dir() else ():
        try:
            run = json.loads((folder / "run.json").read_bytes())
            experiment = declared.get(run["experiment"])
            if experiment is None or not _is_as_asked(paper, experiment, run, scaled=scaled):
                continue
            for file in sorted(folder.glob("*/trial.json")):
                trial = json.loads(file.read_bytes())
                device = trial["versions"].get("device", "")
                name = "cpu" if device == "CPU" else "gpu" if device.endswith("GPU") else None
                if name is not None:
                    seconds = float(trial["seconds"]["total"])
                    found.setdefault(experiment.id, {}).setdefault(name, []).append(seconds)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # written by a killed process or another version
    return found


def _is_as_asked(paper: Paper, experiment: Experiment, run: Mapping, *, scaled: bool) -> bool:
    if run["format"] != FORMAT or run["deterministic"] or any(flag.startswith("partial") for flag in run["flags"]):
        return False
    if not scaled:
        return not run["changes"]
    config = config_of(paper, experiment, scaled=True)
    if paper.resolve:
        config, _ = paper.function(paper.resolve)(config)
    given = {pretraining.field for pretraining in paper.pretrainings}  # a digest in the place of "newest"
    wanted = {name: value for name, value in dataclasses.asdict(config).items() if name not in given}
    return (
        (run["corpus"], run["subset"]) == (experiment.corpus, experiment.subset)
        and bool(run["auxiliary"]) == bool(experiment.auxiliary)
        and run["protocol"] == json.loads(json.dumps(as_record(experiment.protocol)))
        and {name: run["config"].get(name) for name in wanted} == json.loads(json.dumps(wanted))
    )


def total(some: Iterable[Line]) -> dict[str, Hours]:
    """The sum of lines by device."""
    some = list(some)
    return {device: sum((line.hours[device] for line in some), NONE) for device in DEVICES}


def networks(paper: Paper) -> dict[str, Any]:
    """Every network of a paper's experiments, at the paper's size and as `--scaled` has it.

    Returns:
        By key of `steps.csv`: a config that uses it.
    """
    found: dict[str, Any] = {}
    for scaled in (False, True):
        for experiment in paper.experiments:
            config = config_of(paper, experiment, scaled=scaled)
            for work in trial_work(paper, experiment, scaled=scaled):
                found.setdefault(work.network, config)
        for _, works in pretraining_work(paper, paper.experiments, scaled=scaled):
            for work in works:
                found.setdefault(work.network, config_of(paper, paper.experiments[0], scaled=scaled))
    return found


def span(hours: Hours) -> str:
    """Hours as "least … most", or one number if they are the same to two digits."""
    least, most = (rounded(value) for value in (hours.least, hours.most))
    return most if least == most else f"{least} … {most}"


def rounded(hours: float) -> str:
    """Hours to two digits; less than a thousandth is told as that."""
    if hours < 0.001:
        return "< 0.001"
    value = float(f"{hours:.2g}")
    return f"{value:,.{max(0, 1 - math.floor(math.log10(value)))}f}"


def notes(some: Iterable[Line]) -> list[str]:
    """What is measured, what is estimated and from what, a sentence or two each."""
    some = list(some)
    steps = read_steps()
    found = []
    if any(line.hours[device].measured for line in some for device in DEVICES):
        found.append(
            "Measured: the median time of finished trials of the same experiment in the results folder, run as "
            "declared, on whatever machine ran them; times trials."
        )
    if not all(line.hours[device].measured for line in some for device in DEVICES):
        found.append(
            "Estimate: examples learnt from, counted from the protocol, the subset and the settings, times what a "
            "training step takes an example (ser/steps.csv). From training that stops as early as it may … to all "
            "epochs. Left out: features, reading, the yardstick, and building and tracing networks (seconds to a "
            "minute a trial)."
        )
        ways = {device: sorted({_way(step) for key, step in steps.items() if key[2] == device}) for device in DEVICES}
        found += [f"A step on a {SHOWN[device]}: {'; '.join(ways[device])}." for device in DEVICES]
    if any(line.table == "pretraining" for line in some):
        found.append("Networks that `ser pretrain` makes are counted once, for all experiments that start from them.")
    found.append("Work that experiments share is in the line of the first that needs it.")
    return found


def _way(step: Step) -> str:
    """How a step is known, without its number of repetitions and its day."""
    kind, _, conditions = step.how.partition(": ")
    parts = [part for part in conditions.split(", ") if not part.endswith(" steps") and not part[:4].isdigit()]
    return f"{kind}, {', '.join(parts)}"


def markdown(papers: Iterable[Paper]) -> str:
    """Estimates of whole papers, for docs/scale.md: trials, hours on a core, GPU-hours; and the conditions."""
    nowhere = Path("no results")
    rows, everything = ["| Paper | Trials | Hours on a core | GPU-hours |", "|---|--:|--:|--:|"], []
    for paper in papers:
        found = lines(paper, paper.experiments, nowhere)
        everything += found
        rows.append(_row(paper.name, found))
    rows.append(_row("all", everything))
    return "\n".join([*rows, "", *(f"- {note}" for note in notes(everything))])


def _row(name: str, some: list[Line]) -> str:
    hours = total(some)
    return f"| {name} | {sum(line.trials for line in some):,} | {span(hours['cpu'])} | {span(hours['gpu'])} |"
