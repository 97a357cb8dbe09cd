"""What reading a corpus costs, for generated ones as large as the released: time and peak memory of a fresh process.

IEMOCAP (10,039 utterances), MSP-IMPROV (8,438) and 100,000 utterances of LibriSpeech. The generators are the tests':
real names and label lines, a few milliseconds of tone for speech. So the figures are those of names, labels and
headers; a corpus on a slow disk adds the disk. Generation is not counted.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Figure, figure

GENERATORS = Path(__file__).parents[1] / "tests" / "data_prep" / "corpora.py"
MEMORY_LIMIT_MB = 500.0
CHILD = """
import json, resource, sys, time
import data_prep
started = time.perf_counter()
table = data_prep.read(*sys.argv[1:])
seconds = time.perf_counter() - started
print(json.dumps([len(table), seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000]))
"""


def generators():
    """The tests' module that writes corpora; tests are no package."""
    spec = importlib.util.spec_from_file_location("generated_corpora", GENERATORS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def librispeech(root: Path) -> None:
    """100,000 utterances: 1,000 chapters of 100, each by a speaker of its own."""
    chapters = [
        ("train-clean-360", f"{speaker}", "FM"[speaker % 2], f"{100_000 + speaker}", f"{speaker % 300}", 100)
        for speaker in range(1, 1001)
    ]
    generators().librispeech(root, chapters)


def main() -> list[Figure]:
    """Seconds and megabytes of reading each corpus, the imports that it needs among them."""
    figures = []
    for name, title, generate, size, limit_s in (
        ("iemocap", "IEMOCAP", generators().iemocap_full, 10039, 5.0),
        ("msp_improv", "MSP-IMPROV", generators().msp_improv_full, 8438, 5.0),
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
