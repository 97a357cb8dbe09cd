"""Peak memory of the pseudo-labels' k-means at IEMOCAP's size: 1.26 million frames of 768 numbers.

The frames are drawn from a mixture and are as wide as HuBERT's. The fit is shortened to three steps for 64, 512 and
4096 clusters, from one k-means++ start for 64 clusters and from random frames for the others. Memory grows neither with
the steps, each of which draws 10,000 frames from the file, nor with the starts, which use a sample of 30,000 frames.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import Figure, figure, in_own_process
from common.machine import peak_bytes
from papers.gmp_atl.pseudo_labels import assign, fit_codebook, write_frames

FRAMES = 1_260_000
"""50 per second of IEMOCAP's 419 minutes of four emotions."""

WIDTH = 768

CLUSTERS = (64, 512, 4096)

LABELLED = 20_000
"""Frames that are labelled with each codebook; labelling reads 5,000 at a time."""

LIMIT_GIB = 4.0


def generated(frames: int):
    """Arrays of 1,000 frames each, drawn from a mixture of 200 components."""
    generator = np.random.default_rng(0)
    centres = generator.normal(0, 1, (200, WIDTH)).astype(np.float32)
    noise = generator.normal(0, 0.3, (1000, WIDTH)).astype(np.float32)
    for _ in range(0, frames, 1000):
        yield centres[generator.integers(0, 200, 1000)] + noise[generator.permutation(1000)]


def measure(folder: Path) -> dict:
    """Peak memory of this process in GiB, and the seconds of each codebook."""
    frames = write_frames(folder / "frames.f16", generated(FRAMES), FRAMES, WIDTH)
    seconds = []
    for clusters in CLUSTERS:
        started = time.perf_counter()
        # The 100 passes of the config would be 12,600 steps; 0.024 passes are three steps on full batches.
        centres = fit_codebook(frames, clusters, seed=0, starts=int(clusters == 64), passes=3 * 10_000 / FRAMES)
        assign(frames[:LABELLED], centres)
        seconds.append(time.perf_counter() - started)
    return {"peak_gib": peak_bytes() / 2**30, "seconds": seconds}


def main() -> list[Figure]:
    """Peak memory and seconds of each codebook, measured in a process that does nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        found = in_own_process("benchmarks.pseudo_labels", folder)
    return [
        figure(f"k-means on {FRAMES:,} x {WIDTH} frames: peak memory", [found["peak_gib"]], "GiB", LIMIT_GIB),
        *(figure(f"three steps for {k} clusters", [s], "s") for k, s in zip(CLUSTERS, found["seconds"], strict=True)),
    ]


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
