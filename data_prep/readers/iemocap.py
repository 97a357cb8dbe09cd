"""IEMOCAP, Interactive Emotional Dyadic Motion Capture: 10,039 English utterances of 10 actors in 5 sessions.

Layout of the release, `IEMOCAP_full_release/Session1` to `Session5`, each with

    sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav     one utterance per file, 16 kHz
    dialog/EmoEvaluation/Ses01F_impro01.txt                  labels (subfolders hold those of single raters; not read)
    dialog/transcriptions/Ses01F_impro01.txt                 what was said

`Ses01F` in a name is the session and the actor who wore the motion-capture markers, NOT the speaker: the speaker is
given by the letter of the last token. Taking the prefix gives half of the utterances the wrong speaker and gender.

Licence: free for research after a signed request. Source: Busso et al., Language Resources and Evaluation 42, 2008.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from common.corpus import Corpus, Subset
from common.errors import UserError
from data_prep.folders import audio_by_utterance, refuse_any, subfolders, wrong_folder

if TYPE_CHECKING:
    import pandas as pd

EMOTION = {
    "neu": "neutral",
    "hap": "happy",
    "ang": "angry",
    "sad": "sad",
    "exc": "excited",
    "fru": "frustrated",
    "sur": "surprised",
    "fea": "fearful",
    "dis": "disgusted",
    "oth": "other",
    "xxx": "unresolved",  # the raters did not agree
}
"""Emotion of each label in the EmoEvaluation files."""


def improvised(table: pd.DataFrame) -> pd.Series:
    """Mask of the utterances that were improvised."""
    return table["script"].isna()


def scripted(table: pd.DataFrame) -> pd.Series:
    """Mask of the utterances that were acted from a script."""
    return table["script"].notna()


_EXCITED = {"excited": "happy"}

CORPUS = Corpus(
    name="iemocap",
    title="IEMOCAP (Interactive Emotional Dyadic Motion Capture)",
    language="English (American)",
    licence="research use, signed request needed",
    access="request it at https://sail.usc.edu/iemocap/.",
    layout=(
        "Session1 to Session5 (or IEMOCAP_full_release with them), each with sentences/wav/DIALOGUE/UTTERANCE.wav, "
        "dialog/EmoEvaluation/DIALOGUE.txt and dialog/transcriptions/DIALOGUE.txt"
    ),
    subsets=(
        Subset("vad", total=10039, source="dimensional MTL, data section: all utterances"),
        Subset(
            "4class-excited",
            {"angry": 1103, "happy": 1636, "neutral": 1708, "sad": 1084},
            merge=_EXCITED,
            source="GMP-ATL, Table 1: 5,531 utterances",
        ),
        Subset(
            "4class",
            {"angry": 1103, "happy": 595, "neutral": 1708, "sad": 1084},
            source="quaternion AT, its authors' code leaves excited out: 4,490 utterances",
        ),
        Subset(
            "4class-improvised",
            {"angry": 289, "happy": 284, "neutral": 1099, "sad": 608},
            where=improvised,
            source="MTAP, Sec. 5.1: 2,280 utterances",
        ),
        # Counting excited as happy changes the count of happy alone, which therefore follows from the known total of
        # 2,943. The scripted utterances are the rest of "4class-excited" (2,588).
        Subset(
            "4class-improvised-excited",
            {"angry": 289, "happy": 947, "neutral": 1099, "sad": 608},
            merge=_EXCITED,
            where=improvised,
            source="counted in the release: 2,943 utterances",
        ),
        Subset(
            "4class-scripted-excited",
            {"angry": 814, "happy": 689, "neutral": 609, "sad": 476},
            merge=_EXCITED,
            where=scripted,
            source="counted in the release: 2,588 utterances",
        ),
    ),
    default_subset="4class-improvised",
    utterances=10039,
    speakers=10,
    sessions=5,
    # GMP-ATL, Table 1: 5,531 utterances are 419.3 minutes; the others are taken to be as long.
    hours=10039 / 5531 * 419.3 / 60,
)

_UTTERANCE = re.compile(
    r"(?P<dialogue>Ses0(?P<session>[1-5])[FM]_(?P<kind>impro|script)(?P<scene>\d\d)[a-z]?(?:_(?P<part>\d)[a-z]?)?)"
    r"_(?P<letter>[FM])\d{3}"
)
_NUMBER = r"\d+(?:\.\d+)?"
_LABELLED = re.compile(
    rf"\[{_NUMBER} - {_NUMBER}\]\s+(?P<utterance>\S+)\s+(?P<label>\S+)"
    rf"\s+\[(?P<valence>{_NUMBER}), (?P<arousal>{_NUMBER}), (?P<dominance>{_NUMBER})\]\s*"
)
_SPOKEN = re.compile(r"(?P<utterance>Ses\w+) *\[[^\]]*\]: *(?P<text>.*?)\s*")
_GENDER = {"F": "female", "M": "male"}


def read(root: str | Path) -> pd.DataFrame:
    """Reads IEMOCAP; see `read_release`."""
    return read_release(root)


def read_release(root: str | Path, corpus_name: str = "iemocap") -> pd.DataFrame:
    """Reads a corpus that has the layout of IEMOCAP's release.

    Args:
        root: the folder that holds Session1 to Session5, or the one that holds IEMOCAP_full_release. Missing sessions
            are left out; selecting a subset then says how the counts differ.
        corpus_name: for error messages.

    Returns:
        The utterance table (see `common.corpus`). `speaker` is "Ses01F" (session, and letter of the last token);
        `script` is the acted scene ("script01_1"), which all sessions that act it share, and is missing where the
        dialogue was improvised. Valence, arousal and dominance are the raters' means on IEMOCAP's scale, 1 to 5 (a
        few values are 0.5 or 5.5).

    Raises:
        UserError: There is no session. Or a label line cannot be read or has an unknown label (the message names file
            and line). Or utterances have a label but no audio file, or an audio file but no label (the message counts
            them and names the first one).
    """
    from common.corpus import build_table

    rows: list[dict] = []
    without_audio: list[str] = []
    without_label: list[str] = []
    for session in _sessions(Path(root).absolute(), corpus_name):
        audio = audio_by_utterance(subfolders(_folder(session, "sentences/wav", corpus_name)))
        texts = _texts(session / "dialog" / "transcriptions")
        labelled = set()
        for row in _labels(_folder(session, "dialog/EmoEvaluation", corpus_name)):
            utterance = row["utterance"]
            labelled.add(utterance)
            if utterance in audio:
                rows.append({**row, "path": audio[utterance], "text": texts.get(utterance)})
            else:
                without_audio.append(f"{session}/sentences/wav/{row['dialogue']}/{utterance}.wav")
        without_label += [path for utterance, path in audio.items() if utterance not in labelled]
    refuse_any(without_audio, corpus_name, "labelled utterances have no audio file")
    refuse_any(without_label, corpus_name, "audio files have no label in dialog/EmoEvaluation")
    return build_table(rows, corpus_name)


def _sessions(root: Path, corpus_name: str) -> list[Path]:
    for release in (root, root / "IEMOCAP_full_release"):
        sessions = [release / f"Session{number}" for number in range(1, 6)]
        if found := [session for session in sessions if session.is_dir()]:
            return found
    raise wrong_folder(root, corpus_name, "the folders Session1 to Session5 (or IEMOCAP_full_release with them)")


def _folder(session: Path, name: str, corpus_name: str) -> Path:
    if not (session / name).is_dir():
        raise UserError(f"{corpus_name}: {session} should hold the folder {name}, but does not.")
    return session / name


def _text_files(folder: Path) -> Iterator[Path]:
    # The subfolders of EmoEvaluation hold the labels of single raters in another format: they are not read.
    return (path for path in sorted(folder.glob("*.txt")) if not path.name.startswith("."))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8-sig", errors="replace").split("\n")


def _labels(folder: Path) -> Iterator[dict]:
    """One row per labelled utterance; skips the lines of single raters ("C-E2:", "A-E3:"), "%" and blank lines."""
    for path in _text_files(folder):
        for number, line in enumerate(_lines(path), start=1):
            if line.startswith("["):
                yield _row(line, path, number)


def _row(line: str, path: Path, number: int) -> dict:
    match = _LABELLED.fullmatch(line)
    name = _UTTERANCE.fullmatch(match["utterance"]) if match else None
    if match is None or name is None:
        raise UserError(
            f"{path}, line {number}: expected '[START - END] UTTERANCE LABEL [V, A, D]' with an utterance such as "
            f"Ses01F_impro01_F000, but found '{line.strip()[:80]}'."
        )
    if match["label"] not in EMOTION:
        raise UserError(f"{path}, line {number}: unknown label '{match['label']}'; known are {', '.join(EMOTION)}.")
    values = {key: float(match[key]) for key in ("valence", "arousal", "dominance")}
    for key, value in values.items():
        if not 0.5 <= value <= 5.5:
            raise UserError(
                f"{path}, line {number}: {key} is {value}; IEMOCAP's scale is 1 to 5, a few values are 0.5 or 5.5."
            )
    scene = f"{name['scene']}_{name['part']}" if name["part"] else name["scene"]
    return {
        "utterance": match["utterance"],
        "speaker": f"Ses0{name['session']}{name['letter']}",
        "gender": _GENDER[name["letter"]],
        "session": name["session"],
        "dialogue": name["dialogue"],
        "script": f"script{scene}" if name["kind"] == "script" else None,
        "emotion": EMOTION[match["label"]],
        **values,
    }


def _texts(folder: Path) -> dict[str, str]:
    """Transcript of each utterance; skips lines of no utterance (breathing and overlap, with ids ending in XX0)."""
    texts: dict[str, str] = {}
    if not folder.is_dir():
        return texts
    for path in _text_files(folder):
        for line in _lines(path):
            match = _SPOKEN.fullmatch(line)
            if match and match["text"] and _UTTERANCE.fullmatch(match["utterance"]):
                texts[match["utterance"]] = match["text"]
    return texts
