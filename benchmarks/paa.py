"""pyAudioAnalysis' short-term features: this suite's against the package's own, file by file, on one core.

Uses the real EMODB where SER_CORPORA has it; otherwise signals of noise with its mean duration (2.78 s). Both run with
one thread in one process, in turn on each file, so that both meet the same machine; audio is read before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Figure, figure

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
FILES = 135
"""Every fourth file of EMODB: the package takes half a minute for all."""


def main() -> list[Figure]:
    """Time in percent of the package's, of a few rounds."""
    command = [sys.executable, "-m", "benchmarks.paa"]
    environment = os.environ | dict.fromkeys(THREADS, "1")
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
    shares = [100 * ours / package for ours, package in found["rounds"]]
    ratio = sum(package for _, package in found["rounds"]) / sum(ours for ours, _ in found["rounds"])
    name = f"{found['title']}: pAA's 34 features beside pyAudioAnalysis ({ratio:.0f} times as fast)"
    return [figure(name, shares, "%", 100 / 15)]


def _measure() -> None:
    """Seconds of both for all files, some rounds; stops if they do not agree."""
    import numpy as np

    from benchmarks.spectrograms import utterances
    from common import audio
    from common.features.paa import PaaShortTerm

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        table, title = utterances(Path(folder))
        signals = [audio.read(path, 16000) for path in table.path[::4][:FILES]]
    ours, package = PaaShortTerm(), PaaShortTerm(implementation="package")
    for extractor in (ours, package):
        extractor(signals[0])  # not counted: imports
    rounds = []
    for _ in range(3):
        seconds = {ours: 0.0, package: 0.0}
        for signal in signals:
            made = {}
            for extractor in (ours, package):
                started = time.perf_counter()
                made[extractor] = extractor(signal)
                seconds[extractor] += time.perf_counter() - started
            np.testing.assert_allclose(made[ours], made[package], rtol=1e-6, atol=1e-12)
        rounds.append((seconds[ours], seconds[package]))
    title = f"{len(signals)} {'files of EMODB' if title == 'EMODB' else 'signals of its mean duration'}"
    print(json.dumps({"title": title, "rounds": rounds}))


if __name__ == "__main__":
    _measure()
