"""Time and peak memory of reading a corpus in a new process, for generated corpora of the released size.

IEMOCAP (10,039 utterances), MSP-IMPROV (8,438) and 100,000 utterances of LibriSpeech, written by a helper of the tests
with real names and label lines, and short tones instead of speech. So the figures are those of reading names, labels
and headers; a slow disk adds to them. Writing the corpora is not counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Figure, figure
from tests.helpers import corpora

MEMORY_LIMIT_MB = 500.0
CHILD = """
import json, sys, time
import data_prep
from common.machine import peak_bytes
started = time.perf_counter()
table = data_prep.read(*sys.argv[1:])
seconds = time.perf_counter() - started
print(json.dumps([len(table), seconds, peak_bytes() / 1e6]))
"""


def librispeech(root: Path) -> None:
    """Writes 100,000 utterances: 1,000 chapters of 100, each by another speaker."""
    chapters = [
        ("train-clean-360", f"{speaker}", "FM"[speaker % 2], f"{100_000 + speaker}", f"{speaker % 300}", 100)
        for speaker in range(1, 1001)
    ]
    corpora.librispeech(root, chapters)


def main() -> list[Figure]:
    """Seconds and megabytes of reading each corpus, including the imports that this needs."""
    figures = []
    for name, title, generate, size, limit_s in (
        ("iemocap", "IEMOCAP", corpora.iemocap_full, 10039, 5.0),
        ("msp_improv", "MSP-IMPROV", corpora.msp_improv_full, 8438, 5.0),
        ("librispeech", "LibriSpeech", librispeech, 100_000, 15.0),
    ):
        with tempfile.TemporaryDirectory() as folder:
            generate(Path(folder))
            seconds, megabytes = [], []
            for _ in range(3):
                done = subprocess.run([sys.executable, "-c", CHILD, name, folder], check=True, stdout=subprocess.PIPE)
                read, taken, memory = json.loads(done.stdout)
                assert read == size, read
                seconds.append(taken)
                megabytes.append(memory)
        title = f"{title}: table of {size:,} utterances"
        figures.append(figure(title, seconds, "s", limit_s))
        figures.append(figure(f"{title}, peak memory", megabytes, "MB", MEMORY_LIMIT_MB))
    return figures
