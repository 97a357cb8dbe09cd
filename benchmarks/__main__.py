"""Runs benchmarks and prints one table; `--write` puts it into README.md and RESULTS.md.

python -m benchmarks [NAME ...]                       some benchmarks; without names, all
python -m benchmarks --write                          all benchmarks, because the table must be of one run
python -m benchmarks steps [--write] [PAPER ...]      measures ser/steps.csv for `ser list --cost`; not part of all
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import _table
from benchmarks.measure import HEAD

BY_NAME_ONLY = ("steps",)
"""Measures data for `ser list --cost`, without a peer or a limit."""

NOT_A_BENCHMARK = ("measure",)

FIRST = ("start", "harness", "corpora", "spectrograms", "paa", "vggish", "hubert")
"""First rows of the table; the others follow in alphabetical order."""

ALL = sorted(
    (file.stem for file in Path(__file__).parent.glob("[!_]*.py") if file.stem not in NOT_A_BENCHMARK),
    key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name),
)
NAMES = [name for name in ALL if name not in BY_NAME_ONLY]


def main(arguments: list[str]) -> int:
    """Runs the command line; returns 2 for a wrong argument, 1 if a benchmark failed, else 0."""
    if arguments[:1] == ["steps"]:
        return steps(arguments[1:])
    names = [one for one in arguments if one != "--write"]
    writing = len(names) < len(arguments)
    for name in names:
        if name not in NAMES:
            print(f"There is no benchmark '{name}'. There is: {', '.join(ALL)}.", file=sys.stderr)
            return 2
    if writing and names:
        print("--write writes the table of one run of all benchmarks: give no names.", file=sys.stderr)
        return 2
    where = _table.conditions()
    print(f"{where}\n\n{HEAD}", flush=True)

    def show(result: _table.Result) -> None:
        print("\n".join(one.line() for one in result.figures), flush=True)
        print(f"{result.name}: {result.seconds:.0f} s", file=sys.stderr)

    results = _table.run_all({name: f"benchmarks.{name}" for name in names or NAMES}, show)
    if writing:
        _table.write(results, where)
    return int(any(result.failed for result in results))


def steps(arguments: list[str]) -> int:
    """`python -m benchmarks steps`."""
    from benchmarks import steps as benchmark
    from ser.cli import guarded

    print(f"{_table.conditions()}\n\n{HEAD}", flush=True)
    return guarded(lambda: benchmark.main(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
