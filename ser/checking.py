"""`ser corpora check`: checks a corpus folder and prints a summary or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from data_prep.check import LONGEST_S, SHORTEST_S, Check, SubsetCount, check
from ser.console import console
from ser.progress import counted, duration_in_words

SHOWN = 5
"""How many entries of a list are printed; --json prints all."""


def check_folder(name: str, root: Path, *, quick: bool, as_json: bool) -> int:
    """Checks a folder and prints the result.

    Args:
        name: corpus.
        root: its folder.
        quick: read only the headers of the audio files.
        as_json: print one JSON object: the fields of `data_prep.check.Check`, in which counts are
            {"found", "expected"}, and `differences`, a list of sentences that is empty if nothing differs.

    Returns:
        0 if everything is as expected, 1 if something differs.

    Raises:
        UserError: There is no such corpus or folder, or the folder is another corpus.
    """
    stderr = Console(stderr=True, highlight=False)
    with Progress(console=stderr, transient=True, disable=not stderr.is_terminal) as bars:
        task = bars.add_task("headers" if quick else "audio", total=None)
        result = check(
            name, root, quick=quick, progress=lambda done, total: bars.update(task, completed=done, total=total)
        )
    if as_json:
        json.dump(result.as_dict(), sys.stdout, indent=1, allow_nan=False)
        print()
    else:
        show(result)
    return 1 if result.differences else 0


def show(result: Check) -> None:
    """Prints the result of a check."""
    out = console()

    def line(text: str, style: str | None = None) -> None:
        out.print(text, style=style, markup=False, soft_wrap=True)

    line(f"{result.corpus} in {result.root}", "bold")
    if result.refusal is not None:
        line(f"The folder cannot be read as this corpus: {result.refusal}")
        return
    counts = [(name, getattr(result, name)) for name in ("utterances", "speakers", "sessions")]
    found = ", ".join(f"{_of(count.found, count.expected)} {name}" for name, count in counts if count is not None)
    texts = "all" if result.texts == result.utterances.found else result.texts or "none"
    line(f"{found}; {texts} of the utterances have a transcript")
    table = Table(header_style="bold")
    for name in ("Subset", "Found", "Expected", "Classes"):
        table.add_column(name, justify="right" if name in ("Found", "Expected") else "left")
    for name, part in result.subsets.items():
        style = "yellow" if part.difference else None
        table.add_row(name, str(part.found), str(part.expected), _classes(part), style=style)
    out.print(table)
    for text in _audio_lines(result):
        line(text)
    _show_list(line, "Audio that cannot be used", (f"{bad.path}: {bad.problem}" for bad in result.bad_audio))
    if result.durations is not None:
        for title, lengths in (
            (f"Shorter than {SHORTEST_S:g} s", result.durations.too_short),
            (f"Longer than {LONGEST_S:g} s", result.durations.too_long),
        ):
            _show_list(line, title, (f"{length.utterance}: {length.seconds:.2f} s" for length in lengths))
    _show_list(line, "Audio files that no utterance uses", result.unused_files)
    for note in result.notes:
        line(f"Note: {note}")
    if not result.differences:
        line("Everything is as expected.", "green")
        return
    line(f"Not as expected: {'; '.join(result.differences)}.", "yellow")
    if any(part.difference for part in result.subsets.values()):
        line("Complete the folder, or run with --partial: every result then says so.")
    if result.bad_audio:
        line("Replace the bad files, or run with --skip-bad-audio: every result then says so.")


def _of(found: int, expected: int) -> str:
    return str(found) if found == expected else f"{found} of {expected}"


def _classes(part: SubsetCount) -> str:
    return ", ".join(f"{name} {_of(count.found, count.expected)}" for name, count in part.classes.items())


def _audio_lines(result: Check) -> Iterable[str]:
    lengths = result.durations
    if lengths is not None:
        yield (
            f"Durations: {duration_in_words(lengths.total_s)} in total; shortest {lengths.shortest.seconds:.2f} s "
            f"({lengths.shortest.utterance}), median {lengths.median_s:.2f} s, longest {lengths.longest.seconds:.2f} s "
            f"({lengths.longest.utterance})"
        )
    if result.sample_rates:
        rates = ", ".join(f"{rate} Hz in {counted(files, 'file')}" for rate, files in result.sample_rates.items())
        channels = ", ".join(
            f"{counted(number, 'channel')} in {counted(files, 'file')}" for number, files in result.channels.items()
        )
        yield f"Audio: {rates}; {channels}{' (only headers were read)' if result.quick else ''}"


def _show_list(line, title: str, entries: Iterable[str]) -> None:
    entries = list(entries)
    if entries:
        line(f"{title}: {len(entries)}")
        for entry in entries[:SHOWN]:
            line(f"  {entry}")
        if len(entries) > SHOWN:
            line(f"  and {len(entries) - SHOWN} more (--json lists all)")
