"""TextGrids of Praat, which the Montreal Forced Aligner writes: the times at which words and phones were said.

A file has tiers, each a list of intervals with a label or of points with a mark. There are two text formats. The long
one names each value (``xmin = 0.5``), the short one gives the same values in the same order, one per line. Praat reads
both in the same way, and so does this module: of a text file only numbers that stand alone, strings in quotation marks
and flags such as ``<exists>`` count, and the rest is explanation.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator

from common.errors import UserError

Interval = tuple[str, float, float]
"""Label, start and end in s."""

_TOKEN = re.compile(
    r'"(?P<string>(?:[^"]|"")*)"|(?<!\S)(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?!\S)'
    r"|(?P<flag><\w+>)(?!\S)|![^\n]*)"
)


def read_intervals(path: str | os.PathLike) -> dict[str, list[Interval]]:
    """Reads the tiers of intervals in a TextGrid; those of points are left out.

    Args:
        path: a text file in the long or the short format, UTF-8, or UTF-16 with a byte order mark.

    Returns:
        The intervals by the name of their tier, in order. Empty labels (silences) are among them.

    Raises:
        UserError: The file is not a TextGrid, ends early, or has times that go back or are not finite. Names the file.
    """
    with open(path, "rb") as file:
        content = file.read()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    tokens = _tokens(content.decode(encoding, errors="replace"))
    try:
        if (next(tokens), next(tokens)) != ("ooTextFile", "TextGrid"):
            raise UserError(f"{path} is not a TextGrid in one of Praat's text formats.")
        _numbers(tokens, 2)
        tiers: dict[str, list[Interval]] = {}
        count = _numbers(tokens, 1)[0] if next(tokens) == "<exists>" else 0
        for _ in range(int(count)):
            kind, name = next(tokens), next(tokens)
            _, _, length = _numbers(tokens, 3)
            times = 2 if kind == "IntervalTier" else 1
            rows = [(_numbers(tokens, times), next(tokens)) for _ in range(int(length))]
            if kind == "IntervalTier":
                tiers[str(name)] = [(str(label), start, end) for (start, end), label in rows]
    except (StopIteration, ValueError, OverflowError):
        raise UserError(f"{path} is damaged: it is no whole TextGrid in one of Praat's text formats.") from None
    for name, intervals in tiers.items():
        ends = [0.0, *(end for _, _, end in intervals)]
        if any(not before - 1e-6 <= start <= end < math.inf for before, (_, start, end) in zip(ends, intervals)):  # noqa: B905
            raise UserError(f"{path}: the times of the tier '{name}' go back or are not finite.")
    return tiers


def _tokens(text: str) -> Iterator[str | float]:
    """The strings, numbers and flags of a text, in order."""
    for match in _TOKEN.finditer(text):
        if match["string"] is not None:
            yield match["string"].replace('""', '"')
        elif match["number"] is not None:
            yield float(match["number"])
        elif match["flag"] is not None:
            yield match["flag"]


def _numbers(tokens: Iterator[str | float], count: int) -> list[float]:
    """The next tokens, which must be numbers."""
    found = [next(tokens) for _ in range(count)]
    if not all(isinstance(one, float) for one in found):
        raise ValueError(found)
    return found
