"""How long the user waits for commands that do not need TensorFlow."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.measure import Figure, figure, timed


def main() -> list[Figure]:
    """Seconds of `ser --help`, `ser list` and `ser list --cost`."""
    figures = []
    for arguments, limit_s in ((["--help"], 1.0), (["list"], 1.0), (["list", "--cost"], 2.0)):
        command = [sys.executable, "-m", "ser.cli", *arguments]
        subprocess.run(command, capture_output=True, check=True)  # reads the files from disk, which is not counted
        seconds = timed(lambda command=command: subprocess.run(command, capture_output=True, check=True), 5)
        figures.append(figure(f"`ser {' '.join(arguments)}`", seconds, "s", limit_s))
    return figures
