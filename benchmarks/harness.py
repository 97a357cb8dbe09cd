"""What the harness costs: everything in a trial except Keras's own fit and predict.

One fold of MTAP with the small network, as `--scaled` runs it, with as many epochs as take about a minute. Two short
trials, which also load TensorFlow, determine that number. Running finished trials again is measured as well.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import data_prep
from benchmarks.measure import Figure, figure
from common.backend import start_backend
from common.errors import CorpusAbsent
from papers.mtap.experiments import PAPER
from ser.execution.executor import Job, execute
from ser.execution.in_process import InProcess
from ser.options import Options
from ser.progress import Progress
from ser.session import Session


def main() -> list[Figure]:
    """The harness's share of a trial, and seconds of running a finished trial again."""
    try:
        data_prep.find_root("emodb")
        experiment, corpus = "mtap/table1/emodb/apfl", "emodb"
    except CorpusAbsent:
        experiment, corpus = "mtap/table3/iemocap/apfl", "demo"
    start_backend()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def trial(epochs: int, results: str):
            options = Options(
                corpus=corpus,
                cache=folder / "cache",
                results=folder / results,
                scaled=True,
                settings={"epochs": str(epochs), "patience": str(epochs)},
                folds="1",
                yardstick=False,
            )
            session = Session(options, Progress())
            run = session.prepare(PAPER, PAPER.experiment(experiment))
            session.observer.runs_planned([run], options.results)
            session.data_source.part(run, session.observer)  # extraction is not part of a trial
            started = time.perf_counter()
            execute([Job(run, session.data_source, folder / results)], lambda trials: InProcess(), session.observer)
            seconds = time.perf_counter() - started
            record = json.loads(next((folder / results).glob("**/trial.json")).read_text())["seconds"]
            return seconds, record["fit"] + record["predict"]

        # The first epoch of a trial also traces the graph, so the time of an epoch is found as a difference.
        few, more = trial(2, "two")[1], trial(6, "six")[1]
        epochs = 6 + round((60 - more) / ((more - few) / 4))
        total, keras_seconds = trial(epochs, "counted")
        command = [sys.executable, "-m", "ser.cli", "run", experiment, "--corpus", corpus, "--scaled"]
        command += ["--folds", "1", "--set", f"epochs={epochs}", "--set", f"patience={epochs}", "--no-yardstick"]
        command += ["--results", str(folder / "counted"), "--cache", str(folder / "cache")]
        again = []
        for _ in range(3):
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            again.append(time.perf_counter() - started)
    share = 100 * (total - keras_seconds) / total
    return [
        figure(f"harness in a trial of {total:.0f} s", [share], "%", 3.0),
        figure("`ser run` of a finished trial", again, "s", headline=True),
    ]
