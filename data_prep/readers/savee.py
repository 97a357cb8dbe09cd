"""SAVEE, Surrey Audio-Visual Expressed Emotion: 480 acted British English utterances of 4 men in 7 emotions.

Two layouts are in circulation: `AudioData/DC/a01.wav` (the release), and `DC_a01.wav` with all files in one folder (a
repackaging, often named ALL); 44.1 kHz, 16 bit. A file name consists of the speaker's initials, the letters of the
emotion and the number of the sentence. All four speakers read the same list: 15 TIMIT sentences per emotion and 30
neutral ones. So "a01" is the same text whoever says it, and `script` is that code without the speaker: the parts of a
split by speakers share every script, and the overlap audit says so. Three sentences are common to all emotions, and
twelve sentences of the emotions' own were also read neutrally. The file names do not tell which neutral sentence is
which, so one text may have several codes, and the audit's number of shared texts is a lower bound.

Transcripts are missing. The corpus's documentation prints some of the sentences (three common ones, and one or two of
each emotion's own) but not which number belongs to which sentence, and a transcript that may be another utterance's is
worse than none. A network that reads text then gets an empty text for every utterance, and the result says so.

Predicting gender as a second task is meaningless here: all speakers are men.

Licence: free for research after registration. Source: Haq and Jackson, "Speaker-dependent audio-visual emotion
recognition", AVSP 2009.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from common.corpus import Corpus, Subset
from common.errors import UserError
from data_prep.folders import check_codes, subfolders, wav_files, wrong_folder

if TYPE_CHECKING:
    import pandas as pd

SPEAKERS = ("DC", "JE", "JK", "KL")
"""The four speakers, all men."""

EMOTION = {
    "a": "angry",
    "d": "disgusted",
    "f": "fearful",
    "h": "happy",
    "n": "neutral",
    "sa": "sad",
    "su": "surprised",
}
"""Emotion of the letters in the file names."""

CORPUS = Corpus(
    name="savee",
    title="SAVEE (Surrey Audio-Visual Expressed Emotion)",
    language="English (British)",
    licence="research use, registration needed",
    access="register at http://kahlan.eps.surrey.ac.uk/savee/Download.html to get it.",
    layout="AudioData/DC/a01.wav (folders DC, JE, JK, KL), or DC_a01.wav and 479 more in one folder",
    subsets=(
        Subset(
            "7class",
            {"angry": 60, "disgusted": 60, "fearful": 60, "happy": 60, "neutral": 120, "sad": 60, "surprised": 60},
            source="MTAP, Sec. 5.1",
        ),
    ),
    default_subset="7class",
    utterances=480,
    hours=480 * 3.84 / 3600,  # its files last 3.84 s on average
    speakers=4,
)

_NAME = re.compile(r"(?P<speaker>[A-Z]{2})_(?P<script>(?P<emotion>[a-z]{1,2})(?P<sentence>\d\d))")


def read(root: str | Path) -> pd.DataFrame:
    """Reads SAVEE in either layout.

    Args:
        root: the folder that holds AudioData, AudioData itself, or the folder of the `DC_a01.wav` files.

    Returns:
        The utterance table (see `common.corpus`). Utterances are named "DC_a01" in either layout; session, dialogue
        and text are missing (the release does not contain the sentences' wording).

    Raises:
        UserError: The folder is not SAVEE, or a file name does not follow its grammar.
    """
    from common.corpus import build_table

    root = Path(root).absolute()
    files = _by_speaker(root / "AudioData") or _by_speaker(root) or _flat(root) or _flat(root / "ALL")
    if not any(_NAME.fullmatch(utterance) for utterance, _ in files):
        expected = "the folder AudioData with DC/a01.wav and so on, or files such as DC_a01.wav"
        folders = [root, *subfolders(root)]
        raise wrong_folder(root, "SAVEE", expected, next(filter(None, map(wav_files, folders)), []))
    return build_table([_row(utterance, path) for utterance, path in files], "savee")


def _flat(folder: Path) -> list[tuple[str, Path]]:
    return [(path.stem, path) for path in wav_files(folder)]


def _by_speaker(folder: Path) -> list[tuple[str, Path]]:
    """Utterances and files of the layout SPEAKER/a01.wav; none if no folder has a speaker's name."""
    if not any((folder / speaker).is_dir() for speaker in SPEAKERS):
        return []
    # Every folder with wav files is read, so that an unknown speaker is an error and not silently left out.
    return [(f"{speaker.name}_{path.stem}", path) for speaker in subfolders(folder) for path in wav_files(speaker)]


def _row(utterance: str, path: Path) -> dict[str, str]:
    name = _NAME.fullmatch(utterance)
    if name is None:
        raise UserError(
            f"{path}: not a SAVEE file name; expected speaker, emotion letters and sentence as in DC_a01.wav "
            "or DC/a01.wav."
        )
    check_codes(path, name, {"speaker": SPEAKERS, "emotion": EMOTION}, "SAVEE")
    emotion, sentences = EMOTION[name["emotion"]], 30 if name["emotion"] == "n" else 15
    if not 1 <= int(name["sentence"]) <= sentences:
        raise UserError(f"{path}: there is no sentence {name['sentence']}; SAVEE has 01 to {sentences} for {emotion}.")
    return {
        "utterance": utterance,
        "path": str(path),
        "speaker": name["speaker"],
        "gender": "male",
        "script": name["script"],
        "emotion": emotion,
    }
