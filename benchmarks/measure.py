"""What benchmarks share: figures, how to measure them, and a description of the machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.machine import cores, machine_bytes

NAN = float("nan")

RATIOS = ("times", "%")
"""Units of a figure that is compared with a peer."""


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        name: what was measured.
        value: median of the repetitions.
        unit: unit of the value; "times" and "%" are relative to a peer that was measured in the same run.
        limit: what the value must not exceed; NaN if no limit is stated.
        spread: lowest and highest value of the repetitions.
        headline: whether the README shows the figure; otherwise only RESULTS.md does.
        floor: the limit is what the value must reach instead.
    """

    name: str
    value: float
    unit: str
    limit: float
    spread: tuple[float, float]
    headline: bool = True
    floor: bool = False

    def line(self) -> str:
        """The figure as a row of a Markdown table."""
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
    """A figure that could not be measured.

    Attributes:
        name: what would have been measured.
        why: the reason, in words, for example "PyTorch is not installed".
        headline: see `Figure`.
    """

    name: str
    why: str
    headline: bool = True

    def line(self) -> str:
        """The row of a Markdown table in the figure's place."""
        return f"| {self.name} | – | | | {self.why} |"


HEAD = "| Figure | Median | Lowest … highest | Limit | |\n|---|--:|--:|--:|---|"
"""Head of the Markdown table whose rows are figures."""


def figure(
    name: str,
    values: Sequence[float],
    unit: str,
    limit: float = NAN,
    *,
    headline: bool | None = None,
    floor: bool = False,
) -> Figure:
    """The median of some repetitions; a headline if it is a ratio or has a limit, unless stated otherwise."""
    values, limit = [float(value) for value in values], float(limit)  # NumPy's numbers cannot be written as JSON
    if headline is None:
        headline = unit in RATIOS or limit == limit
    return Figure(name, statistics.median(values), unit, limit, (min(values), max(values)), headline, floor)


def worst(name: str, figures: Sequence[Figure]) -> Figure:
    """The largest of several figures with the same unit and limit; its spread is that of the figures."""
    values = [one.value for one in figures]
    return Figure(name, max(values), figures[0].unit, figures[0].limit, (min(values), max(values)))


def not_installed(*packages: str) -> str:
    """Why something that needs these packages cannot be measured; empty if all of them are installed."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    return f"not run: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed" if missing else ""


def timed(action: Callable[[], object], repeats: int) -> list[float]:
    """Wall-clock seconds of some repetitions of an action."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return seconds


def in_own_process(module: str, *arguments: object, environment: Mapping[str, str] | None = None) -> Any:
    """Runs `python -m MODULE ARGUMENTS` and returns what its last line of output says, as JSON.

    The peak memory of a process is that of everything it has ever done, and its number of threads cannot be changed, so
    some figures need a process of their own.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
    )
    return json.loads(done.stdout.splitlines()[-1])


def cache_entry(features: np.ndarray) -> bytes:
    """Features as the feature cache stores them (see `common.features.store`)."""
    buffer = io.BytesIO()
    np.save(buffer, features)
    body = buffer.getvalue()
    return body + hashlib.blake2b(body, digest_size=16).digest()


def machine() -> str:
    """The machine in words: cores that may be used, processor, memory, Python."""
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
    """Versions of the packages that figures depend on, if installed: "keras 3.15.1, tensorflow 2.20.0"."""
    found = []
    for package in ("keras", "tensorflow", "numpy", "torch", "transformers"):
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
