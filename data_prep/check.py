"""Compares a corpus's folder with what is known of the corpus: counts, files, audio. `ser corpora check` prints it."""

from __future__ import annotations

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import data_prep
from common.errors import AudioError, CorpusAbsent, UserError, WrongFolder
from common.machine import cores

if TYPE_CHECKING:
    import pandas as pd

    from common.corpus import Corpus

AUDIO_SUFFIXES = (".aif", ".aiff", ".flac", ".m4a", ".mp3", ".ogg", ".sph", ".wav")
"""Files with one of these suffixes are listed if no utterance uses them."""

SHORTEST_S, LONGEST_S = 0.1, 60.0
"""Utterances that are shorter or longer are listed: no corpus of the suite has any."""

_DATA_SIZE = re.compile(r"^data *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_SIZE = 0x7FFFF000
"""Programs that write to a pipe do not know the size of the samples in advance; they state this size, or more."""


@dataclass(frozen=True)
class Count:
    """How many of something there are, and how many there should be."""

    found: int
    expected: int


@dataclass(frozen=True)
class SubsetCount:
    """The number of utterances of a subset, compared with what papers state.

    Attributes:
        found: utterances in the folder.
        expected: utterances that papers state.
        classes: the counts of each emotion; empty for a subset that keeps all labels.
        difference: how the counts differ, in words; empty if they do not.
    """

    found: int
    expected: int
    classes: dict[str, Count]
    difference: str


@dataclass(frozen=True)
class BadAudio:
    """An audio file that a run would refuse, and the reason; the path is relative to the folder."""

    path: str
    problem: str


@dataclass(frozen=True)
class Length:
    """An utterance's duration."""

    utterance: str
    seconds: float


@dataclass(frozen=True)
class Durations:
    """The durations of all utterances whose audio can be opened.

    Attributes:
        total_s: sum.
        median_s: median.
        shortest: the shortest utterance.
        longest: the longest utterance.
        too_short: utterances below `SHORTEST_S`, shortest first.
        too_long: utterances above `LONGEST_S`, longest first.
    """

    total_s: float
    median_s: float
    shortest: Length
    longest: Length
    too_short: list[Length]
    too_long: list[Length]


@dataclass(frozen=True)
class Check:
    """What a folder holds, compared with what it should hold.

    Attributes:
        corpus: name of the corpus.
        root: the folder.
        quick: only the headers of the audio files were read.
        refusal: why the reader refuses the folder (a label without audio, a line that it cannot read); None if it does
            not. Everything below is empty for a refused folder.
        utterances: number of utterances in the folder and in the release.
        speakers: number of speakers, likewise.
        sessions: number of sessions, likewise; None for a corpus without sessions.
        texts: number of utterances with a transcript. No release states it, so it never counts as a difference.
        subsets: counts of each subset, by name.
        bad_audio: files that are unreadable, cut short, empty or silent, or have samples that are not finite.
        unused_files: audio files that belong to no utterance, relative to the folder. Releases have some (whole
            dialogues in IEMOCAP, songs in RAVDESS), so they do not count as a difference.
        durations: None if no audio file can be opened.
        sample_rates: number of files by sampling rate in Hz.
        channels: number of files by number of channels.
        notes: what the reader decided.
    """

    corpus: str
    root: str
    quick: bool
    refusal: str | None = None
    utterances: Count | None = None
    speakers: Count | None = None
    sessions: Count | None = None
    texts: int = 0
    subsets: dict[str, SubsetCount] = dataclasses.field(default_factory=dict)
    bad_audio: list[BadAudio] = dataclasses.field(default_factory=list)
    unused_files: list[str] = dataclasses.field(default_factory=list)
    durations: Durations | None = None
    sample_rates: dict[int, int] = dataclasses.field(default_factory=dict)
    channels: dict[int, int] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def differences(self) -> list[str]:
        """All differences from what is stated, in words; empty if there are none."""
        if self.refusal is not None:
            return [self.refusal]
        found = []
        for name in ("utterances", "speakers", "sessions"):
            count = getattr(self, name)
            if count is not None and count.found != count.expected:
                found.append(f"{count.found} {name} instead of {count.expected}")
        names = [name for name, subset in self.subsets.items() if subset.difference]
        if names:
            found.append(f"unexpected counts in {', '.join(names)}")
        if self.bad_audio:
            found.append(f"{len(self.bad_audio)} audio files that cannot be used")
        if self.durations is not None and self.durations.too_short:
            found.append(f"{len(self.durations.too_short)} utterances under {SHORTEST_S:g} s")
        if self.durations is not None and self.durations.too_long:
            found.append(f"{len(self.durations.too_long)} utterances over {LONGEST_S:g} s")
        return found

    def as_dict(self) -> dict:
        """All fields by name, and `differences`, as types that JSON has."""
        return {**dataclasses.asdict(self), "differences": self.differences}


def check(
    name: str, root: str | Path, *, quick: bool = False, progress: Callable[[int, int], None] | None = None
) -> Check:
    """Reads a folder and compares it with what is known of the corpus.

    Args:
        name: name of the corpus.
        root: its folder.
        quick: read only the headers of the audio files.
        progress: called after each audio file with the number of files read so far and of all files.

    Raises:
        UserError: There is no such corpus or folder, or the folder is another corpus.
    """
    spec = data_prep.corpus(name)
    folder = data_prep.find_root(name, root)
    try:
        table = data_prep.read(name, folder)
    except (CorpusAbsent, WrongFolder):
        raise
    except UserError as error:
        return Check(name, str(folder), quick, refusal=str(error))
    bad_audio, sample_rates, channels = _check_audio(table, folder, quick, progress)
    return Check(
        corpus=name,
        root=str(folder),
        quick=quick,
        utterances=Count(len(table), spec.utterances),
        speakers=Count(int(table["speaker"].nunique()), spec.speakers),
        sessions=Count(int(table["session"].nunique()), spec.sessions) if spec.sessions else None,
        texts=int(table["text"].notna().sum()),
        subsets=count_subsets(table, spec),
        bad_audio=bad_audio,
        unused_files=_unused_files(table, folder),
        durations=_durations(table),
        sample_rates=sample_rates,
        channels=channels,
        notes=list(table.attrs.get("notes", [])),
    )


def count_subsets(table: pd.DataFrame, corpus: Corpus) -> dict[str, SubsetCount]:
    """Counts the utterances of each subset of a corpus, by the subset's name, in its utterance table."""
    from common.corpus import count_difference, select

    counts = {}
    for subset in corpus.subsets:
        try:
            chosen, _ = select(table, corpus.name, subset, partial=True)
            difference = count_difference(chosen, subset)
        except CorpusAbsent:  # for example a part of LibriSpeech that was not downloaded
            chosen, difference = table[:0], f"no utterance instead of {subset.expected}"
        found = chosen["emotion"].value_counts()
        classes = {emotion: Count(int(found.get(emotion, 0)), count) for emotion, count in subset.counts.items()}
        counts[subset.name] = SubsetCount(len(chosen), subset.expected, classes, difference)
    return counts


def _check_audio(
    table: pd.DataFrame, folder: Path, quick: bool, progress: Callable[[int, int], None] | None
) -> tuple[list[BadAudio], dict[int, int], dict[int, int]]:
    """Bad files, and the numbers of files by sampling rate and by channels."""
    bad: list[BadAudio] = []
    rates: Counter[int] = Counter()
    channels: Counter[int] = Counter()
    # libsndfile works without holding Python's lock, so threads are sufficient.
    with ThreadPoolExecutor(cores()) as pool:
        results = pool.map(_check_file, table["path"], table["start"], table["end"], [quick] * len(table))
        for done, (path, result) in enumerate(zip(table["path"], results, strict=True), start=1):
            rate, count, problem = result
            if rate:
                rates[rate] += 1
                channels[count] += 1
            if problem:
                bad.append(BadAudio(os.path.relpath(path, folder), problem))
            if progress is not None:
                progress(done, len(table))
    return bad, dict(sorted(rates.items())), dict(sorted(channels.items()))


def _check_file(path: str, start: float, end: float, quick: bool) -> tuple[int, int, str]:
    """Sampling rate and channels of a file (0 if it cannot be opened), and what is wrong with it."""
    import soundfile

    from common import audio

    try:
        info = soundfile.info(path, verbose=True)
    except (soundfile.SoundFileError, OSError):
        return 0, 0, "not readable as audio"
    # libsndfile reads a file that was cut short without an error, so the size that its header states is compared.
    sizes = _DATA_SIZE.search(info.extra_info)
    problem = ""
    if not info.frames:
        problem = "empty"
    elif sizes and int(sizes[2]) < int(sizes[1]) < _UNKNOWN_SIZE:
        problem = f"cut short: {sizes[2]} of {sizes[1]} bytes of samples are there"
    elif not quick:
        try:
            audio.read(path, info.samplerate, start, end)
        except AudioError as error:
            problem = str(error).split(": ", 1)[-1].removeprefix("the audio is ").rstrip(".")
    return info.samplerate, info.channels, problem


def _durations(table: pd.DataFrame) -> Durations | None:
    known = table[table["duration"].notna()].sort_values("duration", kind="stable")
    if not len(known):
        return None
    lengths = [Length(*pair) for pair in zip(known["utterance"], known["duration"].tolist(), strict=True)]
    return Durations(
        total_s=float(known["duration"].sum()),
        median_s=float(known["duration"].median()),
        shortest=lengths[0],
        longest=lengths[-1],
        too_short=[length for length in lengths if length.seconds < SHORTEST_S],
        too_long=[length for length in reversed(lengths) if length.seconds > LONGEST_S],
    )


def _unused_files(table: pd.DataFrame, folder: Path) -> list[str]:
    used = set(table["path"])
    unused = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        audio = (name for name in names if name.lower().endswith(AUDIO_SUFFIXES) and not name.startswith("."))
        unused += [path for name in audio if (path := os.path.join(parent, name)) not in used]
    return sorted(os.path.relpath(path, folder) for path in unused)
