"""Peak memory of the pseudo-labels' k-means at IEMOCAP's size: 1.26 million frames of 768 numbers.

The frames are generated (a mixture, as wide as HuBERT's), the fit is shortened: three steps for 64, 512 and 4096
clusters, from one k-means++ start for 64 and from random frames for the others. Memory does not grow with steps, each
of which draws 10,000 frames from the file, nor with starts, which all see a sample of 30,000.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import Figure, figure
from papers.gmp_atl.pseudo_labels import assign, fit_codebook, write_frames

FRAMES = 1_260_000
"""50 a second of IEMOCAP's 419 minutes of four emotions."""

WIDTH = 768

CLUSTERS = (64, 512, 4096)

LABELLED = 20_000
"""Frames that are labelled with each codebook; labelling reads 5,000 at once."""

LIMIT_GIB = 4.0


def generated(frames: int):
    """Frames by the thousand, of a mixture of 200."""
    generator = np.random.default_rng(0)
    centres = generator.normal(0, 1, (200, WIDTH)).astype(np.float32)
    noise = generator.normal(0, 0.3, (1000, WIDTH)).astype(np.float32)
    for _ in range(0, frames, 1000):
        yield centres[generator.integers(0, 200, 1000)] + noise[generator.permutation(1000)]


def fit(folder: Path) -> None:
    """Prints the peak memory of this process, in GiB, and the seconds of each codebook."""
    frames = write_frames(folder / "frames.f16", generated(FRAMES), FRAMES, WIDTH)
    seconds = []
    for clusters in CLUSTERS:
        started = time.perf_counter()
        # The declared 100 passes would be 12,600 steps; 0.024 of a pass are three, on the full batch.
        centres = fit_codebook(frames, clusters, seed=0, starts=int(clusters == 64), passes=3 * 10_000 / FRAMES)
        assign(frames[:LABELLED], centres)
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(peak, *seconds)


def main() -> list[Figure]:
    """In a process of its own, whose memory is then nothing but this."""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "benchmarks.pseudo_labels", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, *seconds = map(float, done.stdout.split())
    return [
        figure(f"k-means on {FRAMES:,} x {WIDTH} frames: peak memory", [peak], "GiB", LIMIT_GIB),
        *(figure(f"three steps for {k} clusters", [s], "s") for k, s in zip(CLUSTERS, seconds, strict=True)),
    ]


if __name__ == "__main__":
    fit(Path(sys.argv[1]))
