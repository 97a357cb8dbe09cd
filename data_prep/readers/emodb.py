"""EMODB, the Berlin Database of Emotional Speech: 535 acted German utterances of 10 speakers in 7 emotions.

Layout: `wav/03a01Fa.wav`, or the wav files directly in the folder; 16 kHz, 16 bit, mono. A file name consists of the
speaker (03), the sentence (a01), the first letter of the emotion's German name (F for Freude) and the version (a).
Every speaker says the same ten sentences in every emotion, so it is difficult to split the corpus such that neither
speakers nor sentences are shared; the overlap audit shows what is shared.

Licence: CC0. Source: Burkhardt et al., "A database of German emotional speech", Interspeech 2005.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from common.corpus import Corpus, Subset
from common.errors import UserError
from data_prep.folders import check_codes, wav_files, wrong_folder

if TYPE_CHECKING:
    import pandas as pd

GENDER = {
    "03": "male", "08": "female", "09": "female", "10": "male", "11": "male",
    "12": "male", "13": "female", "14": "female", "15": "male", "16": "female",
}  # fmt: skip
"""Gender of each speaker."""

TEXTS = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
"""The ten sentences by their code, as the corpus's documentation prints them; they are the transcripts."""

EMOTION = {
    "W": "angry",  # Wut
    "L": "bored",  # Langeweile
    "E": "disgusted",  # Ekel
    "A": "fearful",  # Angst
    "F": "happy",  # Freude
    "N": "neutral",
    "T": "sad",  # Trauer
}
"""Emotion of each letter in the file names."""

CORPUS = Corpus(
    name="emodb",
    title="EMODB (Berlin Database of Emotional Speech)",
    language="German",
    licence="CC0 1.0",
    access="it is free, without registration, from http://emodb.bilderbar.info.",
    layout="wav/03a01Fa.wav and 534 more, or these files directly in the folder",
    subsets=(
        Subset(
            "7class",
            {"angry": 127, "bored": 81, "disgusted": 46, "fearful": 69, "happy": 71, "neutral": 79, "sad": 62},
            source="MTAP, Sec. 5.1",
        ),
        Subset(
            "4class",
            {"angry": 127, "happy": 71, "neutral": 79, "sad": 62},
            source="MTAP, Sec. 5.1: four of the seven classes",
        ),
    ),
    default_subset="7class",
    utterances=535,
    hours=535 * 2.78 / 3600,  # its files last 2.78 s on average
    speakers=10,
)

_NAME = re.compile(r"(?P<speaker>\d\d)(?P<text>[a-z]\d\d)(?P<emotion>[A-Z])(?P<version>[a-z])")


def read(root: str | Path) -> pd.DataFrame:
    """Reads EMODB.

    Args:
        root: the folder that holds `wav`, or the wav files themselves.

    Returns:
        The utterance table (see `common.corpus`). Session and dialogue are missing; script is the sentence's code.

    Raises:
        UserError: The folder is not EMODB, or a file name does not follow its grammar.
    """
    from common.corpus import build_table

    root = Path(root).absolute()
    files = wav_files(root / "wav") or wav_files(root)
    if not any(_NAME.fullmatch(path.stem) for path in files):
        raise wrong_folder(root, "EMODB", "files such as 03a01Fa.wav there or in its folder wav", files)
    return build_table([_row(path) for path in files], "emodb")


def _row(path: Path) -> dict[str, str]:
    name = _NAME.fullmatch(path.stem)
    if name is None:
        raise UserError(
            f"{path}: not an EMODB file name; expected speaker, text, emotion letter and version as in 03a01Fa.wav."
        )
    check_codes(path, name, {"speaker": GENDER, "text": TEXTS, "emotion": EMOTION}, "EMODB")
    return {
        "utterance": path.stem,
        "path": str(path),
        "speaker": name["speaker"],
        "gender": GENDER[name["speaker"]],
        "script": name["text"],
        "text": TEXTS[name["text"]],
        "emotion": EMOTION[name["emotion"]],
    }
