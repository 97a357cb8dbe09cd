"""A folder held against what is known of its corpus: counts, files, audio. `ser corpora check` prints it."""

from __future__ import annotations

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import data_prep
from common.errors import AudioError, CorpusAbsent, UserError, WrongFolder

if TYPE_CHECKING:
    import pandas as pd

    from common.corpus import Corpus

AUDIO_SUFFIXES = (".aif", ".aiff", ".flac", ".m4a", ".mp3", ".ogg", ".sph", ".wav")
"""A file with one of these that no utterance uses is listed."""

SHORTEST_S, LONGEST_S = 0.1, 60.0
"""An utterance that is shorter or longer is listed: no corpus of the suite has one."""

_CUT = re.compile(r"^data *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_STREAMED = 0x7FFFF000  # programs that write to a pipe cannot know the length; they leave this, or more


@dataclass(frozen=True)
class Count:
    """How many there are, and how many there should be."""

    found: int
    expected: int


@dataclass(frozen=True)
class Part:
    """A subset as the folder gives it.

    Attributes:
        found: utterances in the folder.
        expected: utterances that papers state.
        classes: likewise for each emotion; empty for a subset that keeps all labels.
        difference: how the counts differ, in words; empty if they do not.
    """

    found: int
    expected: int
    classes: dict[str, Count]
    difference: str


@dataclass(frozen=True)
class BadAudio:
    """An audio file that a run would refuse, and why; the path is relative to the folder."""

    path: str
    problem: str


@dataclass(frozen=True)
class Length:
    """An utterance's duration."""

    utterance: str
    seconds: float


@dataclass(frozen=True)
class Durations:
    """What the durations say; utterances whose audio cannot be opened have none.

    Attributes:
        total_s: sum.
        median_s: median.
        shortest: shortest utterance.
        longest: longest utterance.
        too_short: those under `SHORTEST_S`, shortest first.
        too_long: those over `LONGEST_S`, longest first.
    """

    total_s: float
    median_s: float
    shortest: Length
    longest: Length
    too_short: list[Length]
    too_long: list[Length]


@dataclass(frozen=True)
class Check:
    """What a folder holds, beside what it should.

    Attributes:
        corpus: name of the corpus.
        root: the folder.
        quick: only the headers of the audio files were read.
        refusal: why the reader refuses the folder (a label without its audio, a line it cannot read); None if it does
            not. A refused folder has no counts: all below are empty then.
        utterances: in the folder and in the release.
        speakers: likewise.
        sessions: likewise; None for a corpus without sessions.
        texts: utterances with a transcript; nobody states how many there should be, so this is no difference.
        subsets: each subset by its name.
        bad_audio: files that are unreadable, cut short, empty, silent, or hold samples that are not finite.
        unused_files: audio files that belong to no utterance, relative to the folder. Releases have some (IEMOCAP's
            whole dialogues, RAVDESS' songs), so they are no difference.
        durations: None if there is none.
        sample_rates: number of files by rate in Hz.
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
    subsets: dict[str, Part] = dataclasses.field(default_factory=dict)
    bad_audio: list[BadAudio] = dataclasses.field(default_factory=list)
    unused_files: list[str] = dataclasses.field(default_factory=list)
    durations: Durations | None = None
    sample_rates: dict[int, int] = dataclasses.field(default_factory=dict)
    channels: dict[int, int] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def differences(self) -> list[str]:
        """What is not as stated, a short sentence each; empty if all is."""
        if self.refusal is not None:
            return [self.refusal]
        found = []
        for name in ("utterances", "speakers", "sessions"):
            count = getattr(self, name)
            if count is not None and count.found != count.expected:
                found.append(f"{count.found} {name} instead of {count.expected}")
        names = [name for name, part in self.subsets.items() if part.difference]
        if names:
            found.append(f"other counts than stated in {', '.join(names)}")
        if self.bad_audio:
            found.append(f"{len(self.bad_audio)} audio files that cannot be used")
        if self.durations is not None and self.durations.too_short:
            found.append(f"{len(self.durations.too_short)} utterances under {SHORTEST_S:g} s")
        if self.durations is not None and self.durations.too_long:
            found.append(f"{len(self.durations.too_long)} utterances over {LONGEST_S:g} s")
        return found

    def as_dict(self) -> dict:
        """All fields under their names, and `differences`, in types that JSON has."""
        return {**dataclasses.asdict(self), "differences": self.differences}


def check(
    name: str, root: str | Path, *, quick: bool = False, progress: Callable[[int, int], None] | None = None
) -> Check:
    """Reads a folder and holds it against what is known of the corpus.

    Args:
        name: corpus.
        root: its folder.
        quick: read only the headers of the audio files.
        progress: is called with the number of audio files done and of all.

    Raises:
        UserError: there is no such corpus or folder, or the folder is another corpus.
    """
    spec = data_prep.corpus(name)
    folder = data_prep.find_root(name, root)
    try:
        table = data_prep.read(name, folder)
    except (CorpusAbsent, WrongFolder):
        raise
    except UserError as error:
        return Check(name, str(folder), quick, refusal=str(error))
    bad, rates, channels = _listen(table, folder, quick, progress)
    return Check(
        corpus=name,
        root=str(folder),
        quick=quick,
        utterances=Count(len(table), spec.utterances),
        speakers=Count(int(table["speaker"].nunique()), spec.speakers),
        sessions=Count(int(table["session"].nunique()), spec.sessions) if spec.sessions else None,
        texts=int(table["text"].notna().sum()),
        subsets=count_subsets(table, spec),
        bad_audio=bad,
        unused_files=_unused(table, folder),
        durations=_durations(table),
        sample_rates=rates,
        channels=channels,
        notes=list(table.attrs.get("notes", [])),
    )


def count_subsets(table: pd.DataFrame, corpus: Corpus) -> dict[str, Part]:
    """The subsets of a corpus by name, as its utterance table has them."""
    from common.corpus import count_difference, select

    parts = {}
    for subset in corpus.subsets:
        try:
            chosen, _ = select(table, corpus.name, subset, partial=True)
            difference = count_difference(chosen, subset)
        except UserError:  # a corpus whose parts are downloaded one by one
            chosen, difference = table[:0], f"no utterance instead of {subset.expected}"
        found = chosen["emotion"].value_counts()
        classes = {emotion: Count(int(found.get(emotion, 0)), count) for emotion, count in subset.counts.items()}
        parts[subset.name] = Part(len(chosen), subset.expected, classes, difference)
    return parts


def _listen(
    table: pd.DataFrame, folder: Path, quick: bool, progress: Callable[[int, int], None] | None
) -> tuple[list[BadAudio], dict[int, int], dict[int, int]]:
    """Bad files, and the numbers of files by sampling rate and by channels."""
    bad: list[BadAudio] = []
    rates: Counter[int] = Counter()
    channels: Counter[int] = Counter()
    # libsndfile works outside Python's lock, so threads are enough.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = pool.map(_look, table["path"], table["start"], table["end"], [quick] * len(table))
        for done, (path, answer) in enumerate(zip(table["path"], answers, strict=True), start=1):
            rate, count, problem = answer
            if rate:
                rates[rate] += 1
                channels[count] += 1
            if problem:
                bad.append(BadAudio(os.path.relpath(path, folder), problem))
            if progress is not None:
                progress(done, len(table))
    return bad, dict(sorted(rates.items())), dict(sorted(channels.items()))


def _look(path: str, start: float, end: float, quick: bool) -> tuple[int, int, str]:
    """Sampling rate and channels of a file, 0 if it cannot be opened, and what is wrong with it."""
    import soundfile

    from common import audio

    try:
        info = soundfile.info(path, verbose=True)
    except (soundfile.SoundFileError, OSError):
        return 0, 0, "not readable as audio"
    # What libsndfile reads is what is there, so a file that was cut short is found by what its header says.
    cut = _CUT.search(info.extra_info)
    problem = ""
    if not info.frames:
        problem = "empty"
    elif cut and int(cut[2]) < int(cut[1]) < _STREAMED:
        problem = f"cut short: {cut[2]} of {cut[1]} bytes of samples are there"
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


def _unused(table: pd.DataFrame, folder: Path) -> list[str]:
    used = set(table["path"])
    return sorted(os.path.relpath(path, folder) for path in _audio_files(folder) if path not in used)


def _audio_files(folder: Path) -> Iterator[str]:
    for upper, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            # Archives packed on a Mac carry a "._NAME" of metadata beside every file.
            if name.lower().endswith(AUDIO_SUFFIXES) and not name.startswith("."):
                yield os.path.join(upper, name)
