"""What benchmarks share: a figure, and how a table of figures is printed."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.backend import machine_bytes


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        name: what was measured.
        value: median.
        unit: of the value.
        limit: what it must stay under; NaN if none is stated.
        spread: lowest and highest of the repetitions.
    """

    name: str
    value: float
    unit: str
    limit: float
    spread: tuple[float, float]

    def line(self) -> str:
        """The figure as a line of a Markdown table."""
        low, high = self.spread
        if self.limit != self.limit:
            verdict = ""
        else:
            verdict = "met" if self.value <= self.limit else f"missed by {100 * (self.value / self.limit - 1):.0f} %"
        limit = "" if self.limit != self.limit else f"{self.limit:g} {self.unit}"
        return f"| {self.name} | {self.value:.2f} {self.unit} | {low:.2f} … {high:.2f} | {limit} | {verdict} |"


def timed(action: Callable[[], object], repeats: int) -> list[float]:
    """Wall-clock seconds of some repetitions of an action."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return seconds


def figure(name: str, values: Sequence[float], unit: str, limit: float = float("nan")) -> Figure:
    """The median of repetitions."""
    return Figure(name, statistics.median(values), unit, limit, (min(values), max(values)))


def machine() -> str:
    """The machine in words: cores in use, processor, memory, Python."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            model = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    memory = machine_bytes() / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {model}, {memory:.0f} GiB, Python {platform.python_version()}"
