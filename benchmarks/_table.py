"""One table of all benchmarks: each in a process of its own, so that one that fails or fills memory stops no other."""

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
"""Before each figure in a benchmark's output; all else that it prints is not read."""

CHILD = """
import importlib, sys
from benchmarks._table import tell
sys.exit(tell(importlib.import_module(sys.argv[1])))
"""

LIMIT_S = 900
"""A benchmark that takes longer has failed; each should take less than four minutes."""


@dataclass(frozen=True)
class Result:
    """What one benchmark gave.

    Attributes:
        name: of its module.
        title: first sentence of its documentation.
        figures: in the order in which it gave them; last, if it failed, the line that says so.
        seconds: that it took.
        failed: it did not come to its end.
    """

    name: str
    title: str
    figures: tuple[Figure | Absent, ...]
    seconds: float
    failed: bool = False


def tell(module) -> int:
    """Runs a benchmark in this process and prints its figures, each as soon as it is there."""
    from common.errors import CorpusAbsent

    title = " ".join((module.__doc__ or module.__name__).split("\n\n")[0].split())
    print(MARK + json.dumps({"title": title}), flush=True)
    try:
        for one in module.main():
            print(MARK + json.dumps(dataclasses.asdict(one)), flush=True)
    except CorpusAbsent as absent:
        print(MARK + json.dumps(dataclasses.asdict(Absent(title, f"not run: {absent}"))), flush=True)
    return 0


def run(name: str, module: str, *, limit_s: float = LIMIT_S) -> Result:
    """Runs one benchmark.

    Args:
        name: what it is called in the table.
        module: to import, "benchmarks.hubert".
        limit_s: seconds after which it is ended and has failed.
    """
    started, why = time.perf_counter(), ""
    try:
        done = subprocess.run(
            [sys.executable, "-c", CHILD, module], capture_output=True, text=True, timeout=limit_s, cwd=ROOT
        )
        output = done.stdout
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            signal = f"signal {-done.returncode}" if done.returncode < 0 else last
            why = f"failed: {signal}; `python -m benchmarks {name}` again"
    except subprocess.TimeoutExpired as late:
        output = (late.stdout or b"").decode(errors="replace")
        why = f"failed: still not done after {limit_s:.0f} s"
    told = [json.loads(line.removeprefix(MARK)) for line in output.splitlines() if line.startswith(MARK)]
    title = next((one["title"] for one in told if "title" in one), name)
    figures = [_figure(one) for one in told if "title" not in one]
    if why:
        figures.append(Absent(name, _cell(why)))
    return Result(name, title, tuple(figures), time.perf_counter() - started, failed=bool(why))


def _figure(told: dict) -> Figure | Absent:
    if "why" in told:
        return Absent(**told | {"why": _cell(told["why"])})
    return Figure(**told | {"spread": tuple(told["spread"])})


def _cell(text: str) -> str:
    """Text that ends no cell and no table."""
    return " ".join(text.replace("|", "/").split())


def run_all(modules: Mapping[str, str], on_result: Callable[[Result], None]) -> list[Result]:
    """Runs benchmarks one after another.

    Args:
        modules: by name.
        on_result: is told of each.
    """
    results = []
    for name, module in modules.items():
        results.append(run(name, module))
        on_result(results[-1])
    return results


def conditions(day: datetime.date | None = None) -> str:
    """Machine, versions and day."""
    return f"{machine()}; {versions()}; {(day or datetime.date.today()).isoformat()}"


def block(results: Sequence[Result], where: str) -> str:
    """The README's table: of each benchmark the figures beside a peer or a limit."""
    lines = [f"`make bench`, one run on {where}:", "", HEAD]
    lines += [one.line() for result in results for one in result.figures if one.headline]
    seconds = sum(result.seconds for result in results)
    lines += ["", f"All figures, {seconds / 60:.0f} minutes' work: [benchmarks/RESULTS.md](benchmarks/RESULTS.md)."]
    return "\n".join(lines)


def page(results: Sequence[Result], where: str) -> str:
    """RESULTS.md: everything that was measured, a table a benchmark."""
    parts = [f"# All figures of one `make bench`\n\nWritten by `python -m benchmarks --write`, on {where}."]
    for result in results:
        lines = [f"## {result.name}", "", f"{result.title} ({result.seconds:.0f} s)", "", HEAD]
        parts.append("\n".join([*lines, *(one.line() for one in result.figures)]))
    return "\n\n".join(parts) + "\n"


def write(results: Sequence[Result], where: str, readme: Path = README, page_file: Path = RESULTS) -> None:
    """Writes both."""
    text = with_block(readme.read_text(encoding="utf-8"), "bench", block(results, where))
    write_text(page_file, page(results, where))
    write_text(readme, text)
