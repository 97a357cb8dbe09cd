"""SAVEE, Surrey Audio-Visual Expressed Emotion: 480 acted British English utterances of 4 men, 7 emotions.

Two layouts are in circulation: `AudioData/DC/a01.wav` (the release) and `DC_a01.wav` in one folder (a
repackaging, often named ALL); 44.1 kHz, 16 bit. A name is the speaker's initials, the letter of the emotion and the
number of the sentence. All four speakers read the same list: 15 TIMIT sentences per emotion and 30 neutral ones. So
"a01" is one text whoever says it, and `script` is that code without the speaker: a split by speakers shares
every script and the overlap audit says so. Three sentences are common to all emotions, and twelve of the
emotions' own were read neutrally too; the file names do not tell which neutral one is which, so these
keep one code an emotion and the audit counts shared texts from below.

Transcripts are missing. The corpus' documentation prints some of the sentences (three common ones, one or two of each
emotion's own) but not which number is which sentence, and a transcript that may be another utterance's is worse than
none. A network that reads text then gets an empty one for every utterance, and the result says so.

Gender as a second task means nothing here: all speakers are men.

Licence: free for research after registration. Source: Haq and Jackson, "Speaker-dependent audio-visual emotion
recognition", AVSP 2009.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from common.corpus import Corpus, Subset
from common.errors import UserError, WrongFolder
from data_prep.folders import wav_files

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
"""Emotion by its letters in the file name."""

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
        The utterance table (see `common.corpus`); utterances are named "DC_a01" in either layout; session,
        dialogue and text are missing (the release does not hold the sentences' wording).

    Raises:
        UserError: the folder is not SAVEE, or a file name does not follow its grammar.
    """
    from common.corpus import build_table

    root = Path(root).absolute()
    files = _by_speaker(root / "AudioData") or _by_speaker(root) or _flat(root) or _flat(root / "ALL")
    if not any(_NAME.fullmatch(utterance) for utterance, _ in files):
        raise WrongFolder(
            f"{root} is not SAVEE: expected the folder AudioData with DC/a01.wav and so on, or files such as "
            f"DC_a01.wav, but found {_description(root)}."
        )
    return build_table([_row(utterance, path) for utterance, path in files], "savee")


def _flat(folder: Path) -> list[tuple[str, Path]]:
    return [(path.stem, path) for path in wav_files(folder)]


def _by_speaker(folder: Path) -> list[tuple[str, Path]]:
    """Utterances and files of the layout SPEAKER/a01.wav; none if no folder is named as a speaker."""
    if not any((folder / speaker).is_dir() for speaker in SPEAKERS):
        return []
    # Every folder with wav files is read, so that an unknown speaker is an error and not silently left out.
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [(f"{speaker.name}_{path.stem}", path) for speaker in folders for path in wav_files(speaker)]


def _description(root: Path) -> str:
    for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        if files := wav_files(folder):
            return f"{len(files)} wav files such as {files[0].relative_to(root)}"
    return "no wav file"


def _row(utterance: str, path: Path) -> dict[str, str]:
    match = _NAME.fullmatch(utterance)
    if match is None:
        raise UserError(
            f"{path}: not a SAVEE file name; expected speaker, emotion letters and sentence as in DC_a01.wav "
            "or DC/a01.wav."
        )
    for part, known in (("speaker", SPEAKERS), ("emotion", EMOTION)):
        if match[part] not in known:
            raise UserError(f"{path}: unknown {part} '{match[part]}' in the name; SAVEE has {', '.join(known)}.")
    sentences = 30 if match["emotion"] == "n" else 15
    if not 1 <= int(match["sentence"]) <= sentences:
        raise UserError(
            f"{path}: there is no sentence {match['sentence']}; SAVEE has 01 to {sentences} "
            f"for {EMOTION[match['emotion']]}."
        )
    return {
        "utterance": utterance,
        "path": str(path),
        "speaker": match["speaker"],
        "gender": "male",
        "script": match["script"],
        "emotion": EMOTION[match["emotion"]],
    }
