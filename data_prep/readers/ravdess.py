"""RAVDESS, speech: 1,440 acted English utterances of 24 actors in 8 emotions, with two sentences.

Layout: `Actor_01/03-01-06-01-02-01-12.wav` and so on for 24 actors, directly in the folder or one folder deeper (the
release unpacks to `Audio_Speech_Actors_01-24`), or all files in one folder; 48 kHz, 16 bit, a few files in stereo. A
file name consists of seven codes: modality (03: audio only), channel (01: speech), emotion, intensity, statement,
repetition and actor. Actors with odd numbers are men.

Songs (channel 02) and files of the video recordings (modalities 01 and 02, of the same takes) may lie beside the
speech; they are not read. All actors say the same two sentences in every emotion, so the parts of a split by actors
share both scripts, and the overlap audit says so. Intensity and repetition are in the utterance's name only. The
release holds two files of equal content under different names; both are kept, and the audit reports them if training
and test part have one each.

Licence: CC BY-NC-SA 4.0. Source: Livingstone and Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song
(RAVDESS)", PLoS ONE 13(5), 2018.
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

EMOTION = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgusted",
    "08": "surprised",
}
"""Emotion of each code in the file names."""

TEXTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
"""The two sentences by their code."""

CODES = {
    "modality": ("01", "02", "03"),
    "channel": ("01", "02"),
    "emotion": tuple(EMOTION),
    "intensity": ("01", "02"),
    "statement": tuple(TEXTS),
    "repetition": ("01", "02"),
    "actor": tuple(f"{number:02d}" for number in range(1, 25)),
}
"""The codes of each kind that exist, in the order of the file name."""

CORPUS = Corpus(
    name="ravdess",
    title="RAVDESS (Ryerson Audio-Visual Database of Emotional Speech and Song), speech",
    language="English (North American)",
    licence="CC BY-NC-SA 4.0",
    access="it is free from https://zenodo.org/records/1188976 (Audio_Speech_Actors_01-24.zip).",
    layout="Actor_01 to Actor_24 with 03-01-06-01-02-01-12.wav and 1439 more, or these files directly in the folder",
    subsets=(
        Subset(
            "8class",
            # Neutral has one intensity, the others have two.
            {emotion: 96 if emotion == "neutral" else 192 for emotion in EMOTION.values()},
            source="the release: 24 actors with 60 utterances each; used whole by quaternion AT",
        ),
    ),
    default_subset="8class",
    utterances=1440,
    hours=1440 * 3.70 / 3600,  # its files last 3.70 s on average
    speakers=24,
)

_NAME = re.compile("-".join(rf"(?P<{kind}>\d\d)" for kind in CODES))


def read(root: str | Path) -> pd.DataFrame:
    """Reads the speech of RAVDESS.

    Args:
        root: the folder that holds Actor_01 and so on, its parent, or the folder of the files.

    Returns:
        The utterance table (see `common.corpus`). Session and dialogue are missing; script is the statement's code.

    Raises:
        UserError: The folder is not RAVDESS or has no speech, or a file name does not follow its grammar.
    """
    from common.corpus import build_table

    root = Path(root).absolute()
    files = grouped_wav_files(root, re.compile(r"Actor_\d\d").fullmatch)
    rows = []
    if any(_NAME.fullmatch(path.stem) for path in files):
        rows = [row for path in files if (row := _row(path)) is not None]
    if not rows:
        expected = "the folders Actor_01 to Actor_24 with files such as 03-01-06-01-02-01-12.wav"
        raise wrong_folder(root, "RAVDESS with its speech", expected, files)
    return build_table(rows, "ravdess")


def _row(path: Path) -> dict[str, str] | None:
    """The row of a file; None for songs and video recordings."""
    name = _NAME.fullmatch(path.stem)
    if name is None:
        raise UserError(
            f"{path}: not a RAVDESS file name; expected seven codes ({', '.join(CODES)}) as in "
            "03-01-06-01-02-01-12.wav."
        )
    check_codes(path, name, CODES, "RAVDESS")
    if name["emotion"] == "01" and name["intensity"] == "02":
        raise UserError(f"{path}: neutral has no strong intensity (02) in RAVDESS.")
    if path.parent.name.startswith("Actor_") and path.parent.name != f"Actor_{name['actor']}":
        raise UserError(f"{path}: actor {name['actor']} in the name, but the folder is {path.parent.name}.")
    if (name["modality"], name["channel"]) != ("03", "01"):
        return None
    return {
        "utterance": path.stem,
        "path": str(path),
        "speaker": name["actor"],
        "gender": "male" if int(name["actor"]) % 2 else "female",
        "script": name["statement"],
        "text": TEXTS[name["statement"]],
        "emotion": EMOTION[name["emotion"]],
    }
