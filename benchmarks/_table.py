"""One table of all benchmarks. Each runs in its own process, so that one that fails or fills memory stops no other."""

from __future__ import annotations

import dataclasses
import datetime
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import HEAD, Absent, Figure, machine, versions
from common.files import write_text
from ser.generated import with_block

ROOT = Path(__file__).parents[1]
README, RESULTS = ROOT / "README.md", ROOT / "benchmarks" / "RESULTS.md"

MARK = "figure: "
"""Begins the lines of a benchmark's output that hold a figure; all other lines are ignored."""

CHILD = """
import importlib, sys
from benchmarks._table import print_figures
print_figures(importlib.import_module(sys.argv[1]))
"""

LIMIT_S = 900
"""A benchmark that takes longer has failed; each should take less than four minutes."""


@dataclass(frozen=True)
class Result:
    """What one benchmark gave.

    Attributes:
        name: name of its module.
        title: first paragraph of its docstring.
        figures: in the order of measurement; if it failed, the last one says so.
        seconds: how long it took.
        failed: whether it failed.
    """

    name: str
    title: str
    figures: tuple[Figure | Absent, ...]
    seconds: float
    failed: bool = False


def print_figures(module) -> None:
    """Runs a benchmark in this process and prints each of its figures as soon as it is measured."""
    from common.errors import CorpusAbsent

    title = " ".join((module.__doc__ or module.__name__).split("\n\n")[0].split())
    print(MARK + json.dumps({"title": title}), flush=True)
    try:
        for one in module.main():
            print(MARK + json.dumps(dataclasses.asdict(one)), flush=True)
    except CorpusAbsent as absent:
        print(MARK + json.dumps(dataclasses.asdict(Absent(title, f"not run: {absent}"))), flush=True)


def run(name: str, module: str, *, limit_s: float = LIMIT_S) -> Result:
    """Runs one benchmark.

    Args:
        name: its name in the table.
        module: the module to import, for example "benchmarks.hubert".
        limit_s: seconds after which it is stopped and has failed.
    """
    started, why = time.perf_counter(), ""
    try:
        done = subprocess.run(
            [sys.executable, "-c", CHILD, module], capture_output=True, text=True, timeout=limit_s, cwd=ROOT
        )
        output = done.stdout
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            reason = f"signal {-done.returncode}" if done.returncode < 0 else last
            why = f"failed: {reason}; run `python -m benchmarks {name}` again"
    except subprocess.TimeoutExpired as late:
        output = (late.stdout or b"").decode(errors="replace")
        why = f"failed: still not done after {limit_s:.0f} s"
    printed = [json.loads(line.removeprefix(MARK)) for line in output.splitlines() if line.startswith(MARK)]
    title = next((one["title"] for one in printed if "title" in one), name)
    figures = [_figure(one) for one in printed if "title" not in one]
    if why:
        figures.append(Absent(name, _cell(why)))
    return Result(name, title, tuple(figures), time.perf_counter() - started, failed=bool(why))


def _figure(printed: dict) -> Figure | Absent:
    if "why" in printed:
        return Absent(**printed | {"why": _cell(printed["why"])})
    return Figure(**printed | {"spread": tuple(printed["spread"])})


def _cell(text: str) -> str:
    """Text without characters that end a cell or a table in Markdown."""
    return " ".join(text.replace("|", "/").split())


def run_all(modules: Mapping[str, str], on_result: Callable[[Result], None]) -> list[Result]:
    """Runs benchmarks one after another.

    Args:
        modules: the modules by name of the benchmark.
        on_result: called with each result.
    """
    results = []
    for name, module in modules.items():
        results.append(run(name, module))
        on_result(results[-1])
    return results


def conditions(day: datetime.date | None = None) -> str:
    """Machine, versions and day of a run."""
    return f"{machine()}; {versions()}; {(day or datetime.date.today()).isoformat()}"


def readme_table(results: Sequence[Result], where: str) -> str:
    """The README's table: the figures of all benchmarks that have a peer or a limit."""
    lines = [f"`make bench`, one run on {where}:", "", HEAD]
    lines += [one.line() for result in results for one in result.figures if one.headline]
    minutes = sum(result.seconds for result in results) / 60
    lines += ["", f"All figures of this run ({minutes:.0f} minutes): [benchmarks/RESULTS.md](benchmarks/RESULTS.md)."]
    return "\n".join(lines)


def results_page(results: Sequence[Result], where: str) -> str:
    """RESULTS.md: everything that was measured, one table per benchmark."""
    parts = [f"# All figures of one `make bench`\n\nWritten by `python -m benchmarks --write`, on {where}."]
    for result in results:
        lines = [f"## {result.name}", "", f"{result.title} ({result.seconds:.0f} s)", "", HEAD]
        parts.append("\n".join([*lines, *(one.line() for one in result.figures)]))
    return "\n\n".join(parts) + "\n"


def write(results: Sequence[Result], where: str, readme: Path = README, page: Path = RESULTS) -> None:
    """Writes RESULTS.md and the README's table."""
    text = with_block(readme.read_text(encoding="utf-8"), "bench", readme_table(results, where))
    write_text(page, results_page(results, where))
    write_text(readme, text)
