"""Runs and their trials, read back from a results folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.contract import Experiment, Paper
from common.errors import UserError
from common.files import checksum, find
from common.results import RunResults
from ser.results.condition import condition_of
from ser.results.runs import FORMAT, further_file

if TYPE_CHECKING:
    import pandas as pd


def read_run(folder: Path) -> RunResults:
    """Reads a run's finished trials; damaged ones are left out.

    Of trials that different versions of Python, Keras, the backend, the suite or another library computed, or different
    devices, only the largest group with equal versions is used: an average of numbers that do not belong together would
    be the result of neither.

    Raises:
        UserError: The folder contains no run, or a run in another format.
    """
    try:
        run = json.loads((folder / "run.json").read_bytes())
    except (OSError, ValueError):
        raise UserError(f"{folder} contains no run (no readable run.json).") from None
    if run.get("format") != FORMAT:
        raise UserError(
            f"{folder} was written in format {run.get('format')}; this version reads {FORMAT}. Run it again."
        )
    found = []
    for file in find(folder, "trial.json"):
        try:
            trial = json.loads(file.read_bytes())
            table = file.with_name("predictions.parquet")
            if trial["predictions"] == checksum(table):
                found.append((trial, _read_predictions(table), file.parent))
        except (OSError, ValueError, KeyError):
            continue
    groups = by_versions([trial for trial, _, _ in found])
    used = versions_of(groups[0][0]) if groups else {}
    trials, predictions, folders = [], [], []
    for trial, table, place in found:
        if versions_of(trial) == used:
            trials.append(trial)
            predictions.append(table)
            folders.append(place)
    left_out = tuple(
        f"{len(group)} trial{'s' * (len(group) > 1)} left out: {', '.join(differing_versions(group[0], groups[0][0]))}"
        for group in groups[1:]
    )
    return RunResults(run, trials, predictions, folders, left_out)


def versions_of(trial: Mapping[str, Any]) -> Mapping[str, str]:
    """Versions of everything that computed a trial, and its device."""
    return trial.get("versions", {})


def by_versions(trials: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Groups of trials with equal versions, the largest first; of groups of equal size, the newest first."""
    groups: dict[tuple, list[Mapping[str, Any]]] = {}
    for trial in trials:
        groups.setdefault(tuple(sorted(versions_of(trial).items())), []).append(trial)

    def rank(group: list[Mapping[str, Any]]) -> tuple[int, str]:
        return len(group), max(trial.get("finished", "") for trial in group)

    return sorted(groups.values(), key=rank, reverse=True)


def differing_versions(trial: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """How the versions of a trial differ from those of another one: "keras 3.9.0 instead of 3.12.0".

    A library that only one of them uses, such as that of its backend, is not named if there is another difference.
    """
    own, others = versions_of(trial), versions_of(other)
    differing = [name for name in {**own, **others} if own.get(name) != others.get(name)]
    shared = [name for name in differing if name in own and name in others]
    return [
        f"{name} {own.get(name, 'unknown')} instead of {others.get(name, 'unknown')}" for name in shared or differing
    ]


def find_runs(results: Path, prefix: str = "") -> list[Path]:
    """Folders of all runs below a results folder whose experiment id starts with `prefix`, newest last."""
    folders = [file.parent for file in find(results, "run.json")]
    folders = [folder for folder in folders if folder.relative_to(results).as_posix().startswith(prefix)]
    return sorted(folders, key=lambda folder: (folder / "run.json").stat().st_mtime)


def runs_of(experiment: str, results: Path, *, outdated: bool = False) -> list[Path]:
    """Folders of the runs of one experiment that have a finished trial.

    Args:
        experiment: its id.
        results: results folder.
        outdated: those that were written in another format instead, which `read_run` does not read.
    """
    files = (results / experiment).glob("*/run.json")
    found = sorted(file.parent for file in files if next(file.parent.glob("*/trial.json"), None))
    return [folder for folder in found if (_format(folder) != FORMAT) == outdated]


def _format(folder: Path) -> int | None:
    try:
        return json.loads((folder / "run.json").read_bytes()).get("format")
    except (OSError, ValueError, AttributeError):
        return None


def part_of_run(paper: Paper, experiment: Experiment, run: RunResults) -> RunResults:
    """What a run of one experiment says about another one that is declared `within` it.

    The trials have other predictions and flags, and no cost, because they were trained together with others. Of the
    config, those fields have other values in which the two experiments are declared differently.

    Args:
        paper: the paper.
        experiment: the one that is declared within the other.
        run: a run of the other one. Trials that lack the predictions, or whose file is damaged, are left out.
    """
    source, name = experiment.within
    own, others = dataclasses.asdict(experiment.config), dataclasses.asdict(paper.experiment(source).config)
    changed = {field: value for field, value in own.items() if value != others[field]}
    record = {**run.run, "experiment": experiment.id, "title": experiment.title}
    record["config"] = {**record["config"], **changed}
    found = []
    for trial, folder in zip(run.trials, run.folders, strict=True):
        file, stored = further_file(folder, name), trial.get("further", {}).get(name)
        if stored is not None and file.is_file() and checksum(file) == stored["predictions"]:
            kept = {key: value for key, value in trial.items() if key not in ("seconds", "peak_memory_mib", "history")}
            trial = {**kept, "experiment": experiment.id, "config": record["config"], "flags": stored["flags"]}
            found.append((trial, _read_predictions(file), folder))
    trials, predictions, folders = map(list, zip(*found, strict=True)) if found else ([], [], [])
    return RunResults(record, trials, predictions, folders, run.left_out)


def read_experiment(paper: Paper, experiment: Experiment, folders: Mapping[str, Path]) -> RunResults | None:
    """The run of an experiment, or the part of another one's run; None if neither was performed.

    Args:
        paper: the paper.
        experiment: the experiment.
        folders: of the runs that were performed, by experiment.
    """
    if experiment.id in folders:
        return read_run(folders[experiment.id])
    if experiment.within is None or experiment.within[0] not in folders:
        return None
    return part_of_run(paper, experiment, read_run(folders[experiment.within[0]]))


def _read_predictions(file: Path) -> pd.DataFrame:
    from pyarrow.parquet import ParquetFile

    # `pandas.read_parquet` looks for partitioned data sets first, which takes longer than the reading.
    return ParquetFile(file).read().to_pandas()


def read_runs(paper: Paper, results: Path, experiments: Container[str] | None = None) -> list[RunResults]:
    """Reads all runs of a paper, newest last; runs in another format are left out.

    A run is followed by what it says about the experiments that are declared within its own.

    Args:
        paper: the paper.
        results: results folder.
        experiments: only runs of these experiments; None: all.

    Raises:
        UserError: All runs are in another format.
    """
    found, refused = [], []
    within: dict[str, list[Experiment]] = {}
    for one in paper.experiments:
        if one.within is not None and (experiments is None or one.id in experiments):
            within.setdefault(one.within[0], []).append(one)
    for folder in find_runs(results, f"{paper.name}/"):
        name = folder.parent.relative_to(results).as_posix()
        wanted = experiments is None or name in experiments
        if wanted or name in within:
            try:
                run = read_run(folder)
            except UserError as error:
                refused.append(error)
                continue
            found += [run] * wanted
            parts = [part_of_run(paper, one, run) for one in within.get(name, ())]
            found += [part for part in parts if part.trials]
    if refused and not found:
        raise refused[-1]
    return found


def best_runs(paper: Paper, runs: Iterable[RunResults]) -> dict[str, RunResults]:
    """For each experiment with trials, its best run: preferably as declared, then complete, then the newest.

    Args:
        paper: the paper.
        runs: all runs, newest last (see `read_runs`).
    """
    best: dict[str, tuple[tuple, RunResults]] = {}
    for age, found in enumerate(runs):
        experiment, condition = found.run["experiment"], condition_of(found, paper)
        rank = (condition.unchanged, condition.complete, age)
        if found.trials and (experiment not in best or rank > best[experiment][0]):
            best[experiment] = rank, found
    return {experiment: found for experiment, (_, found) in best.items()}
