"""What a training step of every network costs: `ser/steps.csv`, from which `ser list --cost` makes hours.

    python -m benchmarks steps [--write] [PAPER ...]      12 minutes on a core for all papers; not part of `make bench`

On a processor, seconds are processor time of one thread, so that another load does not count, of a small batch and few
steps; on a GPU they are the clock's, of the paper's batch. Operations are counted (`benchmarks/_flops.py`); backward is
twice forward. Where no GPU was measured, its row is an estimate:

    seconds of a step = operations / `GPU_FLOPS` + 3 passes x products that wait for one another x `LAUNCH_S` + `HOST_S`

A process a paper, so that one network's memory is gone before the next.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Figure, figure, machine
from common.backend import start_backend
from common.files import write_text
from ser.costs import STEPS, networks
from ser.registry import PAPERS, paper

GPU_FLOPS = 30e12
"""An assumption: what a GPU of the H100's class keeps up in float32 with TF32 products, a sixteenth of its peak of 495
TFLOP/s; layers that only move memory, and small ones, keep a network far below it."""

LAUNCH_S = 10e-6
"""An assumption: from one small product's start to the next one's, with what belongs to it."""

HOST_S = 3e-3
"""An assumption: what Keras itself takes for a step."""

PASSES = 3
"""Forward, and twice as much backward."""

COLUMNS = ("paper", "network", "device", "batch", "gflop_per_example", "seconds_per_example", "how")

ENOUGH_S = 6.0
"""Of steps, after one that traces; at least one is timed, at most `REPEATS`."""

REPEATS = 7


def estimated_seconds(flop: float, serial: int, batch: int) -> float:
    """Seconds an example on a GPU.

    Args:
        flop: of a training step, an example.
        serial: products of a forward pass that wait for one another.
        batch: examples a step.
    """
    return flop / GPU_FLOPS + (PASSES * serial * LAUNCH_S + HOST_S) / batch


def measure(name: str, only: list[str]) -> Iterator[dict]:
    """Rows of one paper's networks, for the device at hand and, if that is a processor, an estimate for a GPU."""
    start_backend()
    import keras

    from benchmarks._flops import counted
    from benchmarks._networks import build

    on_gpu = _on_gpu()
    clock = time.perf_counter if on_gpu else time.process_time
    for network, config in networks(paper(name)).items():
        if only and network not in only:
            continue
        built = build(name, network, config)
        count = counted(built.forward)
        frozen = counted(built.frozen).flop if built.frozen is not None else 0.0
        flop = PASSES * count.flop - (PASSES - 1) * frozen
        batch = built.batch if on_gpu else built.little
        step = built.step(batch)
        if built.parts == 1:
            step()  # traces
        seconds: list[float] = []
        while len(seconds) < (5 * REPEATS if on_gpu else REPEATS) and sum(seconds) < ENOUGH_S:
            started = clock()
            step()
            seconds.append(clock() - started)
        processor = network.startswith("k-means")
        row = {"paper": name, "network": network, "gflop_per_example": flop / 1e9}
        each = sorted(seconds)[len(seconds) // 2] * built.parts / batch
        device = "gpu" if on_gpu and not processor else "cpu"
        how = f"measured: {len(seconds)} steps, {machine()}, Keras {keras.__version__}, {datetime.date.today()}"
        yield row | {"device": device, "batch": batch, "seconds_per_example": each, "how": how, "all": seconds}
        if processor:
            how = "measured: k-means on one core of a processor"
            yield row | {"device": "gpu", "batch": batch, "seconds_per_example": each, "how": how, "all": []}
        elif not on_gpu:
            how = (
                f"estimated: {GPU_FLOPS / 1e12:g} TFLOP/s, {1e6 * LAUNCH_S:g} us a product, {1e3 * HOST_S:g} ms a step"
            )
            each = estimated_seconds(flop, count.serial, built.batch)
            yield row | {"device": "gpu", "batch": built.batch, "seconds_per_example": each, "how": how, "all": []}
        keras.utils.clear_session(free_memory=True)


def _on_gpu() -> bool:
    import keras

    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def merged(known: list[dict], found: list[dict]) -> list[dict]:
    """Rows of `steps.csv` with those just found; an estimate never takes the place of a measurement."""
    rows = {(row["paper"], row["network"], row["device"]): row for row in known}
    for row in found:
        key = row["paper"], row["network"], row["device"]
        if row["how"].startswith("estimated") and rows.get(key, {"how": ""})["how"].startswith("measured"):
            continue
        rows[key] = {
            column: f"{row[column]:.4g}" if isinstance(row[column], float) else str(row[column]) for column in COLUMNS
        }
    return [rows[key] for key in sorted(rows, key=lambda key: (PAPERS.index(key[0]), *key[1:]))]


def read(file: Path = STEPS) -> list[dict]:
    """Rows of `steps.csv`; none if there is no file yet."""
    if not file.is_file():
        return []
    with open(file, newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def write(rows: list[dict], file: Path = STEPS) -> None:
    """Writes `steps.csv`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(file, text.getvalue())


def main(arguments: tuple[str, ...] = ()) -> Iterator[Figure]:
    """Milliseconds of a step, an example, of each network; with `--write` they go into `steps.csv` as well."""
    names = [one for one in arguments if not one.startswith("--")] or list(PAPERS)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
    for name in names:
        paper(name)  # a name that is none stops here, with a sentence
        command = [sys.executable, "-m", "benchmarks.steps", name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **threads}) as worker:
            for line in worker.stdout:
                if not line.startswith("{"):
                    continue
                row = json.loads(line)
                if "--write" in arguments:
                    write(merged(read(), [row]))
                if row["all"]:
                    scale = row["seconds_per_example"] / sorted(row["all"])[len(row["all"]) // 2]
                    each = [1e3 * scale * seconds for seconds in row["all"]]
                    title = f"{name}, {row['network']}, batch {row['batch']}: a step, an example"
                    yield figure(f"{title} ({row['gflop_per_example']:.3g} GFLOP)", each, "ms")
        if worker.returncode:
            raise RuntimeError(f"The steps of {name} stopped; run `python -m benchmarks.steps {name}` to see why.")


if __name__ == "__main__":
    for one in measure(sys.argv[1], sys.argv[2:]):
        print(json.dumps(one), flush=True)
