"""TESS, Toronto Emotional Speech Set: 2,800 acted English utterances of 2 women in 7 emotions, with 200 words.

Layout: `OAF_angry/OAF_back_angry.wav` in 14 folders (older actress OAF, younger actress YAF; seven emotions each),
directly in the folder or one folder deeper, or all files in one folder; 24.414 kHz, 16 bit, mono. A file name consists
of the speaker, the word and the emotion ("ps": pleasant surprise); each utterance is "Say the word WORD".

Irregularities of the release: the spelling of the folders varies (OAF_Fear, OAF_Pleasant_surprise,
YAF_pleasant_surprised); one file is named OA_bite_neutral.wav although OAF speaks; one file has 96 kHz; some files are
AIFF although they are named .wav. All are read, and the utterance of OA_bite_neutral.wav is named OAF_bite_neutral.

With one speaker for training and one for test, no speaker is left for validation. Both say the same 200 words in every
emotion: `script` is the word, and the parts of a split by speakers share all of them. Predicting gender as a second
task is meaningless here.

Licence: CC BY-NC-ND 4.0. Source: Pichora-Fuller and Dupuis, "Toronto emotional speech set (TESS)", University of
Toronto, 2010, https://doi.org/10.5683/SP2/E8H2MF.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from common.corpus import Corpus, Subset
from common.errors import UserError
from data_prep.folders import check_codes, grouped_wav_files, wrong_folder

if TYPE_CHECKING:
    import pandas as pd

SPEAKERS = ("OAF", "YAF")
"""The two speakers, both women."""

EMOTION = {
    "angry": "angry",
    "disgust": "disgusted",
    "fear": "fearful",
    "happy": "happy",
    "neutral": "neutral",
    "sad": "sad",
    "ps": "surprised",  # "pleasant surprise"
}
"""Emotion of each word in the file names."""

FOLDERS = {**{word: word for word in EMOTION}, "pleasant_surprise": "ps", "pleasant_surprised": "ps"}
"""The word in the file names for each spelling of an emotion in the folders' names, in lower case."""

MISNAMED = {"OA_bite_neutral": "OAF_bite_neutral"}
"""File names of the release that break its grammar, and the names they should have."""

CORPUS = Corpus(
    name="tess",
    title="TESS (Toronto Emotional Speech Set)",
    language="English (Canadian)",
    licence="CC BY-NC-ND 4.0",
    access="it is free from https://doi.org/10.5683/SP2/E8H2MF.",
    layout="OAF_angry/OAF_back_angry.wav in 14 folders (OAF_ and YAF_, seven emotions), or these files in one folder",
    subsets=(
        Subset(
            "7class",
            dict.fromkeys(EMOTION.values(), 400),
            source="the release: 200 words in 7 emotions by 2 speakers; used whole by quaternion AT",
        ),
    ),
    default_subset="7class",
    utterances=2800,
    hours=2800 * 2.06 / 3600,  # its files last 2.06 s on average
    speakers=2,
)

_NAME = re.compile(r"(?P<speaker>[A-Z]+)_(?P<word>[a-z]+)_(?P<emotion>[a-z]+)")
_FOLDER = re.compile(r"(?P<speaker>[OY]AF)_(?P<emotion>\w+)", re.IGNORECASE)


def read(root: str | Path) -> pd.DataFrame:
    """Reads TESS.

    Args:
        root: the folder that holds OAF_angry and so on, its parent, or the folder of the files.

    Returns:
        The utterance table (see `common.corpus`). Session and dialogue are missing; script is the word.

    Raises:
        UserError: The folder is not TESS, or the name of a file or folder does not follow its grammar.
    """
    from common.corpus import build_table

    root = Path(root).absolute()
    files = grouped_wav_files(root, _FOLDER.fullmatch)
    names = (_NAME.fullmatch(path.stem) for path in files)
    if not any(name and name["speaker"] in SPEAKERS for name in names):
        raise wrong_folder(root, "TESS", "the folders OAF_angry and so on with files such as OAF_back_angry.wav", files)
    return build_table([_row(path) for path in files], "tess")


def _row(path: Path) -> dict[str, str]:
    utterance = MISNAMED.get(path.stem, path.stem)
    name = _NAME.fullmatch(utterance)
    if name is None:
        raise UserError(f"{path}: not a TESS file name; expected speaker, word and emotion as in OAF_back_angry.wav.")
    check_codes(path, name, {"speaker": SPEAKERS, "emotion": EMOTION}, "TESS")
    folder = _FOLDER.fullmatch(path.parent.name)
    if folder is not None:
        group = (folder["speaker"].upper(), FOLDERS.get(folder["emotion"].lower()))
        if group != (name["speaker"], name["emotion"]):
            raise UserError(f"{path}: the name says {utterance}, but the folder is {path.parent.name}.")
    return {
        "utterance": utterance,
        "path": str(path),
        "speaker": name["speaker"],
        "gender": "female",
        "script": name["word"],
        "text": f"Say the word {name['word']}",
        "emotion": EMOTION[name["emotion"]],
    }
