"""Runs all benchmarks, or those named, and prints one table."""

from __future__ import annotations

import datetime
import importlib
import sys

from benchmarks.measure import machine

NAMES = ("start", "corpora", "spectrograms", "paa", "harness")


def main() -> int:
    """Prints a Markdown table; exits with 2 for an unknown name."""
    names = sys.argv[1:] or NAMES
    for name in names:
        if name not in NAMES:
            print(f"There is no benchmark '{name}'. There is: {', '.join(NAMES)}.", file=sys.stderr)
            return 2
    print(f"{machine()}; {datetime.date.today().isoformat()}\n")
    print("| Figure | Median | Lowest … highest | Limit | |\n|---|--:|--:|--:|---|")
    for name in names:
        for one in importlib.import_module(f"benchmarks.{name}").main():
            print(one.line(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
