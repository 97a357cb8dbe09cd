"""Runs and their trials, read back from a results folder."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable
from pathlib import Path

from common.contract import Paper
from common.errors import UserError
from common.files import checksum, find
from common.results import RunResults
from ser.results.runs import FORMAT


def read_run(folder: Path) -> RunResults:
    """Reads a run's finished trials; damaged ones are left out.

    Raises:
        UserError: The folder contains no run, or a run in another format.
    """
    import pandas as pd

    try:
        run = json.loads((folder / "run.json").read_bytes())
    except (OSError, ValueError):
        raise UserError(f"{folder} contains no run (no readable run.json).") from None
    if run.get("format") != FORMAT:
        raise UserError(
            f"{folder} was written in format {run.get('format')}; this version reads {FORMAT}. Run it again."
        )
    trials, predictions, folders = [], [], []
    for file in find(folder, "trial.json"):
        try:
            trial = json.loads(file.read_bytes())
            table = file.with_name("predictions.parquet")
            if trial["predictions"] == checksum(table):
                predictions.append(pd.read_parquet(table))
                trials.append(trial)
                folders.append(file.parent)
        except (OSError, ValueError, KeyError):
            continue
    return RunResults(run, trials, predictions, folders)


def find_runs(results: Path, prefix: str = "") -> list[Path]:
    """Folders of all runs below a results folder whose experiment id starts with `prefix`, newest last."""
    folders = [file.parent for file in find(results, "run.json")]
    folders = [folder for folder in folders if folder.relative_to(results).as_posix().startswith(prefix)]
    return sorted(folders, key=lambda folder: (folder / "run.json").stat().st_mtime)


def read_runs(paper: Paper, results: Path, experiments: Container[str] | None = None) -> list[RunResults]:
    """Reads all runs of a paper, newest last.

    Args:
        paper: the paper.
        results: results folder.
        experiments: only runs of these experiments; None: all.
    """
    folders = find_runs(results, f"{paper.name}/")
    wanted = [
        one for one in folders if experiments is None or one.parent.relative_to(results).as_posix() in experiments
    ]
    return [read_run(folder) for folder in wanted]


def best_runs(runs: Iterable[RunResults]) -> dict[str, RunResults]:
    """For each experiment with trials, its best run: preferably as declared, then complete, then the newest.

    Args:
        runs: all runs, newest last (see `read_runs`).
    """
    best: dict[str, tuple[tuple, RunResults]] = {}
    for age, found in enumerate(runs):
        rank = (not found.run["changes"], found.complete, len(found.trials) > 0, age)
        experiment = found.run["experiment"]
        if found.trials and (experiment not in best or rank > best[experiment][0]):
            best[experiment] = rank, found
    return {experiment: found for experiment, (_, found) in best.items()}
