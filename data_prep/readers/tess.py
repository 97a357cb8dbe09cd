"""TESS, Toronto Emotional Speech Set: 2,800 acted English utterances of 2 women, 7 emotions, 200 words.

Layout: `OAF_angry/OAF_back_angry.wav` in 14 folders (older actress OAF, younger actress YAF; seven emotions each),
directly in the folder or in a folder of it, or all files in one folder; 24.414 kHz, 16 bit, mono. A name is the
speaker, the word and the emotion ("ps": pleasant surprise); each utterance is "Say the word WORD".

Known in the release: the folders' spelling varies (OAF_Fear, OAF_Pleasant_surprise, YAF_pleasant_surprised), one file
is named OA_bite_neutral.wav though OAF speaks, one has 96 kHz, and some are AIFF although named .wav. All are
read; the utterance of the first is named OAF_bite_neutral.

With two speakers, none is left for validation once one is for training and one for test. Both say the same 200 words
in every emotion: `script` is the word, and a split by speakers shares all of them. Gender as a second task means
nothing here.

Licence: CC BY-NC-ND 4.0. Source: Pichora-Fuller and Dupuis, "Toronto emotional speech set (TESS)", University of
Toronto, 2010, https://doi.org/10.5683/SP2/E8H2MF.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from common.corpus import Corpus, Subset
from common.errors import UserError, WrongFolder
from data_prep.folders import grouped_wav_files

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
"""Emotion by its word in the file name."""

FOLDERS = {**{word: word for word in EMOTION}, "pleasant_surprise": "ps", "pleasant_surprised": "ps"}
"""Emotion's word in the file names by what a folder is named after, in lower case."""

MISNAMED = {"OA_bite_neutral": "OAF_bite_neutral"}
"""Names of the release that break its grammar, and what they should be."""

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
        root: the folder that holds OAF_angry and so on, one that holds that folder, or the folder of the files.

    Returns:
        The utterance table (see `common.corpus`); session and dialogue are missing, script is the word.

    Raises:
        UserError: the folder is not TESS, or a file or folder name does not follow its grammar.
    """
    from common.corpus import build_table

    root = Path(root).absolute()
    files = grouped_wav_files(root, _FOLDER.fullmatch)
    names = (_NAME.fullmatch(path.stem) for path in files)
    if not any(name and name["speaker"] in SPEAKERS for name in names):
        found = f"{len(files)} wav files such as {files[0].relative_to(root)}" if files else "no wav file"
        raise WrongFolder(
            f"{root} is not TESS: expected the folders OAF_angry and so on with files such as OAF_back_angry.wav, "
            f"but found {found}."
        )
    return build_table([_row(path) for path in files], "tess")


def _row(path: Path) -> dict[str, str]:
    utterance = MISNAMED.get(path.stem, path.stem)
    match = _NAME.fullmatch(utterance)
    if match is None:
        raise UserError(f"{path}: not a TESS file name; expected speaker, word and emotion as in OAF_back_angry.wav.")
    for part, known in (("speaker", SPEAKERS), ("emotion", EMOTION)):
        if match[part] not in known:
            raise UserError(f"{path}: unknown {part} '{match[part]}' in the name; TESS has {', '.join(known)}.")
    folder = _FOLDER.fullmatch(path.parent.name)
    if folder is not None:
        said = (folder["speaker"].upper(), FOLDERS.get(folder["emotion"].lower()))
        if said != (match["speaker"], match["emotion"]):
            raise UserError(f"{path}: the name says {utterance}, but the folder is {path.parent.name}.")
    return {
        "utterance": utterance,
        "path": str(path),
        "speaker": match["speaker"],
        "gender": "female",
        "script": match["word"],
        "text": f"Say the word {match['word']}",
        "emotion": EMOTION[match["emotion"]],
    }
