"""What it costs to know what a run is made of: the checksums of IEMOCAP's 10,039 audio files.

Files of 64 KiB stand in for the recordings; only the first reading depends on their size. The first figure is also that
of a corpus that was just copied. Reading what was found before is what every later command does.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.measure import Figure, figure
from common.checksums import Checksums

FILES, BYTES = 10_039, 65_536


def main() -> list[Figure]:
    """Seconds of checking all files when nothing is known, and when nothing has changed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [folder / "corpus" / f"{number:05d}.wav" for number in range(FILES)]
        files[0].parent.mkdir()
        for number, file in enumerate(files):
            file.write_bytes(number.to_bytes(8, "big") * (BYTES // 8))
        time.sleep(3)  # files that are two seconds old are read again
        started = time.perf_counter()
        found = Checksums(folder / "cache").of("audio-iemocap", files)
        first = time.perf_counter() - started
        again = []
        for _ in range(5):
            started = time.perf_counter()
            assert Checksums(folder / "cache").of("audio-iemocap", files) == found
            again.append(time.perf_counter() - started)
        assert len(set(found)) == FILES
    return [
        figure("10,039 audio files: checksums, nothing known", [first], "s"),
        figure("10,039 audio files: nothing has changed", again, "s", 1.0),
    ]
