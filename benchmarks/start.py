"""How long a person waits for an answer that needs no TensorFlow."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.measure import Figure, figure, timed


def main() -> list[Figure]:
    """`ser --help` and `ser list`, as processes."""
    figures = []
    for arguments in (["--help"], ["list"]):
        command = [sys.executable, "-m", "papers.cli", *arguments]
        subprocess.run(command, capture_output=True, check=True)  # not counted: reads the files from disk
        seconds = timed(lambda command=command: subprocess.run(command, capture_output=True, check=True), 5)
        figures.append(figure(f"`ser {arguments[0]}`", seconds, "s", 1.0))
    return figures
