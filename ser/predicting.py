"""`ser predict`: answers as a table, as CSV or as JSON."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence

from rich.table import Table

from ser.console import console
from ser.models import Model
from ser.prediction import Answer, answers, find_recordings

SHOWN = 3
"""How many classes of an answer are printed; --csv and --json have all."""


def predict(model: Model, words: Sequence[str], *, form: str, timeline: bool, window_s: float | None) -> int:
    """Predicts recordings and prints the answers.

    Args:
        model: a kept model.
        words: see `ser.prediction.find_recordings`.
        form: "table", "csv" or "json".
        timeline: also the answer for each window.
        window_s: see `ser.models.Model.predict`.

    Returns:
        0, or 1 if a recording could not be used; the others are predicted all the same.

    Raises:
        UserError: There is nothing to predict, or the model needs transcripts.
    """
    found = answers(model.paper, model.fitted, find_recordings(words), window_s)
    problems: list[str] = []
    show = {"table": _show_table, "csv": _write_csv, "json": _write_json}[form]
    show(model, _usable(found, problems), timeline)
    for problem in problems:
        print(f"ser: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _usable(found: Iterable[Answer], problems: list[str]) -> Iterator[Answer]:
    for one in found:
        if one.problem:
            problems.append(one.problem)
        else:
            yield one


def _rows(one: Answer, timeline: bool) -> Iterator[tuple[float, float, dict[str, float]]]:
    """The answer for the whole recording, then, if asked for and if there are several, that for each window."""
    yield 0.0, one.seconds, one.overall
    if timeline and len(one.spans) > 1:
        for number, (start, end) in enumerate(one.spans):
            yield start, end, {name: float(values[number]) for name, values in one.columns.items()}


def _show_table(model: Model, found: Iterable[Answer], timeline: bool) -> None:
    out = console()
    out.print(f"Model: {model}", markup=False)
    table = Table(header_style="bold")
    table.add_column("Recording", overflow="fold")
    table.add_column("Seconds", justify="right", no_wrap=True)
    table.add_column("Answer", overflow="fold")
    for one in found:
        for number, (start, end, values) in enumerate(_rows(one, timeline)):
            span = f"{start:.1f} … {end:.1f}" if number else f"{end:.1f}"
            table.add_row("" if number else one.name.replace("[", r"\["), span, in_words(values))
    out.print(table)


def in_words(values: dict[str, float]) -> str:
    """Ratings by dimension, or the most likely classes."""
    if any(name.startswith("predicted_") for name in values):
        shown = list(values.items())
    else:
        shown = sorted(values.items(), key=lambda pair: -pair[1])[:SHOWN]
    return ", ".join(f"{name.removeprefix('predicted_').removeprefix('p_')} {value:.2f}" for name, value in shown)


def _write_csv(model: Model, found: Iterable[Answer], timeline: bool) -> None:
    writer = None
    for one in found:
        for start, end, values in _rows(one, timeline):
            if writer is None:
                writer = csv.writer(sys.stdout, lineterminator="\n")
                writer.writerow(["file", "start", "end", *values])
            writer.writerow([one.name, f"{start:.3f}", f"{end:.3f}", *(f"{value:.6f}" for value in values.values())])


def _write_json(model: Model, found: Iterable[Answer], timeline: bool) -> None:
    content = []
    for one in found:
        (_, _, overall), *rest = _rows(one, timeline)
        seconds = None if math.isnan(one.seconds) else round(one.seconds, 3)
        content.append({"file": one.name, "seconds": seconds, **overall})
        if rest:
            content[-1]["windows"] = [{"start": start, "end": end, **values} for start, end, values in rest]
    json.dump({"model": str(model), "recordings": content}, sys.stdout, indent=1, allow_nan=False)
    print()
