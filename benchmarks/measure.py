"""What benchmarks share: a figure, a figure that could not be taken, and what was measured on."""

from __future__ import annotations

import importlib.metadata
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.machine import cores, machine_bytes

NAN = float("nan")

RATIOS = ("times", "%")
"""Units of a figure that stands beside its peer."""


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        name: what was measured.
        value: median.
        unit: of the value; "times" and "%" are of a peer, measured in the same run.
        limit: what it must stay under; NaN if none is stated.
        spread: lowest and highest of the repetitions.
        headline: the README shows it; otherwise only RESULTS.md.
        floor: the limit is what the value must reach.
    """

    name: str
    value: float
    unit: str
    limit: float
    spread: tuple[float, float]
    headline: bool = True
    floor: bool = False

    def line(self) -> str:
        """The figure as a line of a Markdown table."""
        low, high = self.spread
        if self.limit != self.limit:
            limit = verdict = ""
        else:
            share = self.value / self.limit
            limit = f"{'at least ' if self.floor else ''}{self.limit:.3g} {self.unit}"
            met = share >= 1 if self.floor else share <= 1
            verdict = f"met, {100 * share:.0f} % of it" if met else f"missed by {100 * abs(share - 1):.0f} %"
        spread = f"{low:.2f} … {high:.2f}" if low < high else ""
        return f"| {self.name} | {self.value:.2f} {self.unit} | {spread} | {limit} | {verdict} |"


@dataclass(frozen=True)
class Absent:
    """A figure that could not be taken.

    Attributes:
        name: what would have been measured.
        why: in words, "PyTorch is not installed".
        headline: see `Figure`.
    """

    name: str
    why: str
    headline: bool = True

    def line(self) -> str:
        """The line that stands in its place."""
        return f"| {self.name} | – | | | {self.why} |"


HEAD = "| Figure | Median | Lowest … highest | Limit | |\n|---|--:|--:|--:|---|"
"""Of the table whose lines figures are."""


def timed(action: Callable[[], object], repeats: int) -> list[float]:
    """Wall-clock seconds of some repetitions of an action."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return seconds


def figure(
    name: str,
    values: Sequence[float],
    unit: str,
    limit: float = NAN,
    *,
    headline: bool | None = None,
    floor: bool = False,
) -> Figure:
    """The median of repetitions; a headline if it is a ratio or has a limit, unless told otherwise."""
    if headline is None:
        headline = unit in RATIOS or limit == limit
    return Figure(name, statistics.median(values), unit, limit, (min(values), max(values)), headline, floor)


def worst(name: str, figures: Sequence[Figure]) -> Figure:
    """The largest of several figures of one unit and limit, and between what they lie."""
    values = [one.value for one in figures]
    return Figure(name, max(values), figures[0].unit, figures[0].limit, (min(values), max(values)))


def machine() -> str:
    """The machine in words: cores in use, processor, memory, Python."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            model = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    memory = machine_bytes() / 2**30
    count = cores()
    return f"{count} core{'s' if count > 1 else ''} of {model}, {memory:.0f} GiB, Python {platform.python_version()}"


def versions() -> str:
    """What the figures depend on, as far as it is installed: "keras 3.15.1, tensorflow 2.20.0"."""
    found = []
    for package in ("keras", "tensorflow", "numpy", "torch", "transformers"):
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
