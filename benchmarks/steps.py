"""Measures `ser/steps.csv`, the seconds per unit of work from which `ser list --cost` estimates hours.

    python -m benchmarks steps [--write] [PAPER ...]      minutes to half an hour per paper

Each step that some experiment needs, as declared or scaled, is measured by running the paper's own `fit` on a few
utterances of the demo corpus, for four epochs and one value of each searched setting. The time of a unit is that
of the fastest epoch after the first one, divided by the paper's own count of its work, so reading and tracing do not
count. On a CPU it is the processor time of a single thread, on a GPU the elapsed time. Other programs slow a thread
down even if they run on other cores, so measure on a quiet machine.
"""

from __future__ import annotations

import csv
import datetime
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.measure import figure, machine
from common.backend import start_backend
from common.contract import Context, Experiment, Paper, override
from common.costs import Speech
from common.files import write_text
from ser.costs import STEPS, config_of, trial_work
from ser.options import Options
from ser.progress import Progress
from ser.registry import PAPERS, paper
from ser.session import Session

SHORT = {"epochs": 4, "epochs3": 4, "rhemo_epochs": 4, "rhemo_steps": 0}
SHORT |= {"alpha": 0.4, "choose": "none", "at_layers": "7", "pseudo_labels": False}
"""Values of config fields that make a fit short. A paper has some of these fields."""

FEW, MANY, MOST = 4, 100, 192
"""Numbers of utterances to train on: networks at the paper's size, scaled networks, and the limit, which leaves a fifth
of the demo corpus for validation. With more than 4, a DenseNet would need more than 8 GB. A step whose name contains
its batch size needs a whole batch."""

ENOUGH_S = 2.0
"""If an epoch takes less than half of it, another fit trains on more utterances: at least as many as take this long."""


def steps_of(one: Paper) -> dict[str, tuple[Experiment, bool]]:
    """All steps of a paper: for each the first experiment that needs it, and True if only scaled experiments do."""
    found: dict[str, tuple[Experiment, bool]] = {}
    for scaled in (False, True):
        for experiment in one.experiments:
            for work in trial_work(one, experiment, scaled=scaled):
                found.setdefault(work.step, (experiment, scaled))
    return found


def measure(one: Paper, steps: Mapping[str, tuple[Experiment, bool]]) -> Iterator[tuple[str, float]]:
    """Yields seconds per unit of some steps of a paper (see `steps_of`), and of other steps of the same fits."""
    start_backend()
    done: set[str] = set()
    with tempfile.TemporaryDirectory() as cache:
        for step, (experiment, scaled) in steps.items():
            if step in done:
                continue
            config = config_of(one, experiment, scaled=scaled)
            if step.startswith("k-means"):
                found = {step: k_means_seconds(config, step)}
            else:
                whole_batch = config.batch_size if "batch_size=" in step else 0
                count = MANY if scaled else max(FEW, min(whole_batch, MOST))
                found = fit_seconds(one, experiment, scaled, Path(cache), count)
            yield from ((name, found[name]) for name in found if name not in done)
            done |= set(found)


def fit_seconds(one: Paper, experiment: Experiment, scaled: bool, cache: Path, count: int) -> dict[str, float]:
    """Trains on a few utterances; returns seconds per unit of each step of the experiment's fit.

    Args:
        one: the paper.
        experiment: one of its experiments.
        scaled: whether to train as `--scaled` does.
        cache: folder of the feature cache.
        count: number of utterances to train on; a quarter as many are for validation.
    """
    from common.training import clear_models

    declared = config_of(one, experiment, scaled=scaled)
    short = {name: value for name, value in SHORT.items() if hasattr(declared, name)}
    if isinstance(short.get("choose"), str) and isinstance(declared.choose, bool):
        short["choose"] = False
    options = Options(
        corpus="demo", cache=cache, scaled=scaled, auxiliary="none", settings=short, allow_random_weights=True
    )
    session = Session(options, Progress(Console(quiet=True)))
    run = session.prepare(one, experiment)  # with random weights where pretrained ones are not on this machine
    data = session.data_source.part(run, session.observer)
    # The demo corpus is short, so its longest utterances resemble those of other corpora most.
    longest = tuple(data.table.sort_values("duration", ascending=False)["utterance"])
    train, validation = data.take(longest[:count]), data.take(longest[count : count * 5 // 4])
    ended: list[tuple[int, float]] = []
    context = Context(on_epoch=lambda epoch, _, logs: ended.append((epoch, clock())), auxiliary=data.without_labels())
    clear_models()
    one.function(one.fit)(run.config, train, validation, context)
    trainings: list[list[float]] = []
    for number, (epoch, moment) in enumerate(ended):
        if epoch == 1:
            trainings.append([])
        else:
            trainings[-1].append(moment - ended[number - 1][1])
    enough = min(int(count * ENOUGH_S / sum(map(min, trainings))), MOST)
    if not scaled and enough > 2 * count:
        return fit_seconds(one, experiment, scaled, cache, max(enough, min(declared.batch_size, MOST)))
    speech = Speech(count, float(train.table["duration"].sum()))
    pairs = zip(one.function(one.cost)(override(declared, short), speech), trainings, strict=True)
    return {work.step: min(seconds) * (len(seconds) + 1) / work.most for work, seconds in pairs}


def k_means_seconds(config: Any, step: str) -> float:
    """Seconds of one k-means++ start, or of one step, for all codebooks of GMP-ATL, on random frames."""
    import numpy as np

    from papers.gmp_atl.model import HubertConfig, tiny
    from papers.gmp_atl.pseudo_labels import fit_codebook

    width = (tiny(config.layer) if config.hubert == "random-tiny" else HubertConfig()).hidden_size
    frames = np.random.default_rng(0).standard_normal((3 * config.kmeans_batch, width), np.float32)

    def seconds(starts: int, steps: int) -> float:
        started = clock()
        for clusters in config.cluster_counts:
            fit_codebook(frames, clusters, 0, batch=config.kmeans_batch, starts=starts, passes=(steps + 0.5) / 3)
        return clock() - started

    seconds(0, 1)  # imports
    once = seconds(0, 1)
    return seconds(1, 1) - once if step.startswith("k-means start") else (seconds(0, 11) - once) / 10


def gpu_name() -> str:
    """The first GPU's name; empty if there is none."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(gpus[0])["device_name"] if gpus else ""


def clock() -> float:
    """Seconds of processor time so far, or of elapsed time if there is a GPU."""
    return time.perf_counter() if gpu_name() else time.process_time()


def with_rows(text: str, name: str, found: Iterable[Sequence[str]], used: Iterable[str]) -> str:
    """Replaces or adds rows of one paper in `steps.csv`; the lines of other papers stay as they are.

    Args:
        text: contents of the file.
        name: name of the paper.
        found: new rows of the paper.
        used: all steps of the paper; its rows of other steps are dropped.

    Returns:
        The new contents, sorted.
    """
    head, *before = text.splitlines(keepends=True)
    own = [line for line in before if line.startswith(f"{name},")]
    rows = {tuple(row[1:3]): row for row in [*csv.reader(own), *found] if row[1] in used}
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(rows.values())
    others = [line for line in before if line not in own]
    return "".join([head, *sorted([*others, *written.getvalue().splitlines(keepends=True)])])


def measure_paper(one: Paper, *, write: bool) -> None:
    """Prints milliseconds per unit of each step of a paper, and writes them to `steps.csv` if `write` is True."""
    steps = steps_of(one)
    for step, seconds in measure(one, steps):
        print(figure(f"{one.name}, {step}", [1e3 * seconds], "ms").line(), flush=True)
        if write:
            where = f"{gpu_name() or machine()}, {datetime.date.today()}"
            row = (one.name, step, "gpu" if gpu_name() else "cpu", f"{seconds:.3g}", where)
            write_text(STEPS, with_rows(STEPS.read_text(encoding="utf-8"), one.name, [row], steps))


def main(arguments: Sequence[str]) -> int:
    """Measures papers (all if none is named), each in its own process, which frees its memory when it ends."""
    names = [paper(name).name for name in arguments if name != "--write"]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
    command = [sys.executable, "-m", "benchmarks.steps", "--write" if "--write" in arguments else ""]
    return max(subprocess.run([*command, name], env={**os.environ, **threads}).returncode for name in names or PAPERS)


if __name__ == "__main__":
    measure_paper(paper(sys.argv[2]), write=sys.argv[1] == "--write")
