"""Short-term features of pyAudioAnalysis: this suite's implementation compared with the package's own, on one core.

Uses EMODB if SER_CORPORA has it, otherwise noise signals of its mean duration (2.78 s). Both implementations run with
one thread in one process, in turn on each file, so that other load on the machine affects both alike; the audio is read
before.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Figure, figure, in_own_process

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
FILES = 135
"""Every fourth file of EMODB, because the package takes half a minute for all of them."""


def main() -> list[Figure]:
    """Time in percent of the package's."""
    found = in_own_process("benchmarks.paa", environment=dict.fromkeys(THREADS, "1"))
    shares = [100 * own / package for own, package in found["rounds"]]
    ratio = sum(package for _, package in found["rounds"]) / sum(own for own, _ in found["rounds"])
    name = f"{found['title']}: pAA's 34 features compared with pyAudioAnalysis ({ratio:.0f} times as fast)"
    return [figure(name, shares, "%", 100 / 15)]


def _measure() -> None:
    """Prints the seconds of both for all files, in some rounds; fails if their features differ."""
    import numpy as np

    from benchmarks.spectrograms import utterances
    from common import audio
    from common.features.paa import PaaShortTerm

    if hasattr(os, "sched_setaffinity"):  # not on macOS
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        table, title = utterances(Path(folder))
        signals = [audio.read(path, 16000) for path in table.path[::4][:FILES]]
    own, package = PaaShortTerm(), PaaShortTerm(implementation="package")
    for extractor in (own, package):
        extractor(signals[0])  # not counted: imports
    rounds = []
    for _ in range(3):
        seconds = {own: 0.0, package: 0.0}
        for signal in signals:
            made = {}
            for extractor in (own, package):
                started = time.perf_counter()
                made[extractor] = extractor(signal)
                seconds[extractor] += time.perf_counter() - started
            np.testing.assert_allclose(made[own], made[package], rtol=1e-6, atol=1e-12)
        rounds.append((seconds[own], seconds[package]))
    title = f"{len(signals)} {'files of EMODB' if title == 'EMODB' else 'signals of its mean duration'}"
    print(json.dumps({"title": title, "rounds": rounds}))


if __name__ == "__main__":
    _measure()
