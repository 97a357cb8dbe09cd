"""LibriSpeech: 292,367 utterances read from English audiobooks by 2,484 speakers, in seven parts; no emotion labels.

Layout: `LibriSpeech/train-clean-100/19/198/19-198-0000.flac` (part, speaker, chapter; 16 kHz) with the transcripts of a
chapter beside it in `19-198.trans.txt`; SPEAKERS.TXT and CHAPTERS.TXT lie beside the parts. Any of the parts may be
missing; each is a subset of the same name. Other folders (intro, mp3) are not read.

`dialogue` is the chapter: one recording by one speaker. `script` is the book ("book121", its number in Project
Gutenberg, from CHAPTERS.TXT), because a text that two speakers read has two chapter numbers. The audit thus counts the
books that a test part shares with training, whether or not the same passages were read. Without CHAPTERS.TXT, `script`
is the chapter ("chapter198"), and a note says that shared books are not detected.

The times at which each word was said are published separately, made with the Montreal Forced Aligner: as one TextGrid
per utterance (`ser fetch librispeech-alignments`), and in another edition as one file `19-198.alignment.txt` per
chapter; see `read_alignments`.

Licence: CC BY 4.0. Source: Panayotov et al., "LibriSpeech: an ASR corpus based on public domain audio books", ICASSP
2015.
"""

from __future__ import annotations

import functools
import math
import os
import re
import sys
from collections.abc import Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from common.corpus import Corpus, Subset
from common.errors import UserError
from data_prep import textgrid
from data_prep.folders import file_names, wrong_folder

if TYPE_CHECKING:
    import pandas as pd

PARTS = {
    "train-clean-100": 28539,
    "train-clean-360": 104014,
    "train-other-500": 148688,
    "dev-clean": 2703,
    "dev-other": 2864,
    "test-clean": 2620,
    "test-other": 2939,
}
"""Number of utterances of each part of the release, by the name of its folder."""


def is_in_part(table: pd.DataFrame, part: str) -> pd.Series:
    """Mask of the utterances of a part, recognised by the folder that holds the speaker's folder."""
    return table["path"].map(lambda path: path.rsplit(os.sep, 4)[-4] == part).astype(bool)


CORPUS = Corpus(
    name="librispeech",
    title="LibriSpeech",
    language="English",
    licence="CC BY 4.0",
    access="it is free from https://www.openslr.org/12.",
    layout=(
        "LibriSpeech (or its contents directly) with SPEAKERS.TXT, CHAPTERS.TXT and any of "
        f"{', '.join(PARTS)}, each with SPEAKER/CHAPTER/SPEAKER-CHAPTER-0000.flac and SPEAKER-CHAPTER.trans.txt"
    ),
    subsets=(
        *(
            Subset(part, total=count, where=functools.partial(is_in_part, part=part), source="the release")
            for part, count in PARTS.items()
        ),
        # If parts are missing, --partial continues, and every result says with how many utterances.
        Subset("all", total=sum(PARTS.values()), source="the release, all seven parts"),
    ),
    default_subset="train-clean-100",
    utterances=sum(PARTS.values()),
    speakers=2484,
    hours=982.3,  # column MINUTES of SPEAKERS.TXT; train-clean-100 has 100.6 of them
)

_GENDER = {"F": "female", "M": "male"}
_UTTERANCE = re.compile(r"(\d+)-(\d+)-\d{4}")
_SPOKEN = re.compile(r"(?P<utterance>\d+-\d+-\d{4}) (?P<text>\S.*)")
_ALIGNED = re.compile(r'(?P<utterance>\d+-\d+-\d{4}) "(?P<words>[^"]*)" "(?P<ends>[^"]*)"')


def read(root: str | Path) -> pd.DataFrame:
    """Reads those parts of LibriSpeech that are there; 100,000 utterances take a few seconds.

    Args:
        root: the folder of the parts, or the one that holds LibriSpeech.

    Returns:
        The utterance table (see `common.corpus`). Emotion, session and the dimensions are missing; text is missing
        where a chapter has no transcript file. `attrs["notes"]` says whether SPEAKERS.TXT or CHAPTERS.TXT, and thus
        gender or books, are missing.

    Raises:
        UserError: The folder is not LibriSpeech. Or a file name or a line does not follow its grammar, or a list lacks
            a speaker or chapter (the message names the file, and the line where there is one).
    """
    from common.corpus import build_table

    root = _release(Path(root).absolute())
    notes: list[str] = []
    genders = _read_list(root / "SPEAKERS.TXT", fields=5, column=1)
    if genders is None:
        notes.append("gender is missing: LibriSpeech's SPEAKERS.TXT is not there")
    books = _read_list(root / "CHAPTERS.TXT", fields=8, column=5)
    if books is None:
        notes.append("books that several speakers read are not detected: LibriSpeech's CHAPTERS.TXT is not there")
    rows = [row for chapter in _chapters(root) for row in _rows(chapter, root, genders, books)]
    if not rows:
        raise UserError(f"{root} has parts of LibriSpeech, but no utterance such as 19/198/19-198-0000.flac in them.")
    table = build_table(rows, "librispeech")
    table.attrs["notes"] = notes
    return table


def _release(root: Path) -> Path:
    for folder in (root, root / "LibriSpeech"):
        if any((folder / part).is_dir() for part in PARTS):
            return folder
    expected = f"at least one of the folders {', '.join(PARTS)}, there or in LibriSpeech"
    raise wrong_folder(root, "LibriSpeech", expected)


def _read_list(path: Path, fields: int, column: int) -> dict[str, str] | None:
    """Maps the first field of each line of a list such as SPEAKERS.TXT to another one; None if there is no such file.

    Args:
        path: the list, whose fields are separated by "|".
        fields: number of fields per line; the last one may contain "|".
        column: index of the other field.
    """
    if not path.is_file():
        return None
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        if not line.strip() or line.startswith(";"):
            continue
        parts = [part.strip() for part in line.split("|", fields - 1)]
        if len(parts) < fields or not parts[0].isdigit():
            raise UserError(
                f"{path}, line {number}: expected {fields} fields separated by '|', but found '{line[:80]}'."
            )
        found[parts[0]] = parts[column]
    return found


def _folders(path: str | Path) -> list[str]:
    with os.scandir(path) as entries:
        return sorted(entry.path for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def _chapters(root: Path) -> Iterator[str]:
    for part in PARTS:
        if (root / part).is_dir():
            for speaker in _folders(root / part):
                yield from _folders(speaker)


def _rows(folder: str, root: Path, genders: dict[str, str] | None, books: dict[str, str] | None) -> Iterator[dict]:
    """The rows of a chapter's folder."""
    parent, chapter = os.path.split(folder)
    speaker = os.path.basename(parent)
    files = file_names(folder, ".flac")
    if not files:
        return
    gender = None if genders is None else _GENDER.get(genders.get(speaker, ""))
    if genders is not None and gender is None:
        raise UserError(f"{root / 'SPEAKERS.TXT'}: no F or M for speaker {speaker}, whose audio is in {parent}.")
    if books is not None and chapter not in books:
        raise UserError(f"{root / 'CHAPTERS.TXT'}: no chapter {chapter}, whose audio is in {folder}.")
    texts = _texts(os.path.join(folder, f"{speaker}-{chapter}.trans.txt"))
    for name in files:
        utterance, path = name[:-5], os.path.join(folder, name)
        match = _UTTERANCE.fullmatch(utterance)
        if match is None or match.groups() != (speaker, chapter):
            raise UserError(f"{path}: expected the name {speaker}-{chapter}-0000.flac, or other last digits.")
        yield {
            "utterance": utterance,
            "path": path,
            "speaker": speaker,
            "gender": gender,
            "dialogue": chapter,
            "script": f"chapter{chapter}" if books is None else f"book{books[chapter]}",
            "text": texts.get(utterance),
            "duration": _duration(path),
        }


def _texts(path: str) -> dict[str, str]:
    """Transcript of each utterance of a chapter; empty if there is no such file."""
    if not os.path.isfile(path):
        return {}
    texts = {}
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            match = _SPOKEN.fullmatch(line.rstrip())
            if match is None:
                raise UserError(f"{path}, line {number}: expected '19-198-0000 TEXT', but found '{line.strip()[:80]}'.")
            texts[match["utterance"]] = match["text"]
    return texts


def _duration(path: str) -> float:
    """Seconds according to a FLAC file's first block; NaN if it is not a FLAC file or does not say.

    The block STREAMINFO always comes first, so reading 42 bytes is enough. This is ten times as fast as opening the
    file as audio, which `build_table` does for the few files that remain. (RFC 9639, Sec. 8.2: from byte 18, 20 bits
    sampling rate, 3 bits channels, 5 bits per sample, 36 bits total number of samples.)
    """
    try:
        with open(path, "rb", buffering=0) as file:
            header = file.read(42)
    except OSError:
        return math.nan
    if len(header) < 42 or header[:4] != b"fLaC" or header[4] & 0x7F != 0:
        return math.nan
    bits = int.from_bytes(header[18:26], "big")
    sample_rate, samples = bits >> 44, bits & (1 << 36) - 1
    return samples / sample_rate if sample_rate and samples else math.nan


def read_alignments(
    root: str | Path, utterances: Container[str] | None = None
) -> dict[str, list[tuple[str, float, float]]]:
    """Reads the times of all words from the alignments in a folder and below it, in either of two forms.

    A file `19-198.alignment.txt` has a line for each utterance of a chapter: its words, and the time in s at which each
    of them ends; an empty word is a silence:

        1272-128104-0000 ",A,MAN,SAID," "0.210,0.430,0.780,1.120,1.500"

    A file `19-198-0000.TextGrid` is that of one utterance, as the Montreal Forced Aligner writes it: a tier "words"
    (or "SPEAKER - words"). Its words are changed to capital letters, as in LibriSpeech's transcripts.

    All 292,367 utterances take about a gigabyte of memory, so name those that are needed.

    Args:
        root: the folder of the alignments, which may lie beside the audio.
        utterances: only these; None: all.

    Returns:
        For each utterance its words in order, with start and end in s; silences are left out.

    Raises:
        UserError: There is no such file. Or one cannot be read, has more or fewer times than words, times that go back,
            or an utterance for the second time (the message names the file, and the line where there is one).
    """
    found: dict[str, list[tuple[str, float, float]]] = {}
    root = Path(root).absolute()
    files = 0
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if name.startswith("."):
                continue
            if name.endswith(".TextGrid"):
                files += 1
                utterance = name.removesuffix(".TextGrid")
                if utterances is None or utterance in utterances:
                    _add(found, utterance, _words_of_textgrid(path), path)
            elif name.endswith(".alignment.txt"):
                files += 1
                with open(path, encoding="utf-8-sig", errors="replace") as file:
                    for number, line in enumerate(file, start=1):
                        if line.strip() and (utterances is None or line.split(maxsplit=1)[0] in utterances):
                            _add_words(found, line.strip(), f"{path}, line {number}")
    if not files:
        raise UserError(
            f"{root} holds no alignments: no file such as 19-198.alignment.txt or 19-198-0000.TextGrid there or below."
        )
    return found


_NO_WORDS = {"", "sil", "sp", "spn", "<eps>", "<unk>"}
"""Labels of the Montreal Forced Aligner for silence, noise and words that its dictionary lacks."""


def _words_of_textgrid(path: str) -> list[tuple[str, float, float]]:
    tiers = textgrid.read_intervals(path)
    own = [words for name, words in tiers.items() if name.lower() == "words" or name.lower().endswith("- words")]
    if len(own) != 1:
        raise UserError(f"{path}: expected one tier 'words', but found the tiers {', '.join(tiers) or 'none'}.")
    return [(sys.intern(word.upper()), start, end) for word, start, end in own[0] if word.lower() not in _NO_WORDS]


def _add(found: dict[str, list], utterance: str, words: list[tuple[str, float, float]], place: str) -> None:
    if utterance in found:
        raise UserError(f"{place}: utterance {utterance} is aligned a second time.")
    found[utterance] = words


def _add_words(found: dict[str, list[tuple[str, float, float]]], line: str, place: str) -> None:
    """Adds the words of a line of an alignment; `place` is its file and number."""
    match = _ALIGNED.fullmatch(line)
    if match is None:
        raise UserError(
            f'{place}: expected \'UTTERANCE "WORD,WORD,..." "END,END,..."\' with an utterance such as '
            f"1272-128104-0000, but found '{line[:80]}'."
        )
    words = match["words"].split(",")
    try:
        ends = [float(end) for end in match["ends"].removesuffix(",").split(",")]
    except ValueError:
        raise UserError(f"{place}: an end that is not a number of seconds in '{match['ends'][:80]}'.") from None
    if len(ends) != len(words):
        raise UserError(f"{place}: {len(words)} words (silences count) but {len(ends)} ends.")
    starts = [0.0, *ends[:-1]]
    if not all(0 <= start <= end < math.inf for start, end in zip(starts, ends, strict=True)):
        raise UserError(f"{place}: the ends of the words go back in time or are not finite.")
    # Interning keeps each of the few distinct words in memory once.
    timed = [(sys.intern(word), start, end) for word, start, end in zip(words, starts, ends, strict=True) if word]
    _add(found, match["utterance"], timed, place)
