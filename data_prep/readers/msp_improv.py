"""MSP-IMPROV: 8,438 English utterances of 12 actors, two in each of 6 sessions, who improvise around target sentences.

Layout of the release (the folder Audio may be missing, with the sessions directly in the folder):

    Evalution.txt                                                  labels (the release's spelling; or Evaluation.txt)
    Audio/session1/S01A/P/MSP-IMPROV-S01A-F01-P-FM01.wav           sessions 1 to 6; mostly 48 kHz, some 44.1 kHz
    All_human_transcriptions/MSP-IMPROV-S01A-F01-P-FM01.txt        what was said; also in Human_transcriptions, or in
                                                                   folders session1 to session6

A name consists of the target sentence (S01 to S20), the emotion its scene was meant to lead to (A), the speaker (F01:
the woman of session 1), the scenario and the turn. The scenario is T (the target sentence, improvised), R (the target
sentence, read), S (the other improvised turns) or P (what the two actors said to each other between the takes). The
emotion in the name is not the label: the label is what the raters perceived.

In T and R all speakers say the same words in every emotion: `script` is their target sentence, without the emotion. S
and T of one scene are one `dialogue` ("01-S01A"), P around it is another one ("01-S01A-P"), and R has none. A scene may
have two improvisations, one led by either actor; the names do not distinguish them, so both are one dialogue here.

Some copies of the label file have activation reversed (1: very active), and some parsers reverse it without checking
whether they should. Here the direction is inferred from the labels: anger is active, so if the mean of angry utterances
is lower than that of sad and neutral ones, activation is reversed (6 - A), and a note says so.

Licence: research use after a signed agreement. Source: Busso et al., "MSP-IMPROV: An acted corpus of dyadic
interactions to study emotion perception", IEEE Transactions on Affective Computing 8, 2017.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from common.corpus import Corpus, Subset
from common.errors import UserError, WrongFolder
from data_prep.folders import audio_by_utterance, refuse_any, wrong_folder

if TYPE_CHECKING:
    import pandas as pd

EMOTION = {
    "A": "angry",
    "H": "happy",
    "S": "sad",
    "N": "neutral",
    "O": "other",
    "X": "unresolved",  # the raters did not agree
}
"""Emotion of each letter in the label file."""

LABEL_FILES = ("Evalution.txt", "Evaluation.txt")
"""Names of the label file: as released, and as corrected in some copies."""

CORPUS = Corpus(
    name="msp_improv",
    title="MSP-IMPROV",
    language="English (American)",
    licence="research use, signed agreement needed",
    access="request it at https://lab-msp.com/MSP/MSP-Improv.html.",
    layout=(
        "Evalution.txt, Audio/session1 to session6 (or these directly in the folder), each with folders such as "
        "S01A/P, R, S, T of UTTERANCE.wav, and All_human_transcriptions/UTTERANCE.txt"
    ),
    subsets=(
        Subset(
            "4class",
            {"angry": 792, "happy": 2644, "neutral": 3477, "sad": 885},
            source=(
                "adversarial autoencoder, data section: 7,798 utterances; it prints 3,477 for sad too, but its total "
                "leaves 885, as the release has"
            ),
        ),
        Subset("vad", total=8438, source="the release: all utterances, rated on 1 to 5"),
    ),
    default_subset="4class",
    utterances=8438,
    speakers=12,
    sessions=6,
    hours=9.6,  # Busso et al. 2017
)

ENOUGH = 10
"""Angry utterances, and sad or neutral ones, that are needed to infer the direction of activation."""

_UTTERANCE = re.compile(
    r"MSP-IMPROV-(?P<scene>(?P<sentence>S(?:0[1-9]|1\d|20))[AHSN])-(?P<speaker>(?P<letter>[FM])(?P<session>0[1-6]))"
    r"-(?P<scenario>[PRST])-[FM]{2}\d{2,3}"
)
_VALUE = r"\d+(?:\.\d+)?|NaN"
_SUMMARY = re.compile(
    rf"UTD-(?P<name>IMPROV-[^;]+)\.avi\s*;\s*(?P<label>[^;]*?)\s*;\s*A:\s*(?P<arousal>{_VALUE})\s*;"
    rf"\s*V:\s*(?P<valence>{_VALUE})\s*;\s*D:\s*(?P<dominance>{_VALUE})\s*;\s*N:\s*(?:{_VALUE})\s*;?"
)
_GENDER = {"F": "female", "M": "male"}


def read(root: str | Path) -> pd.DataFrame:
    """Reads MSP-IMPROV.

    Args:
        root: the folder that holds the label file and Audio (or session1 to session6). Missing sessions are left out;
            selecting a subset then says how the counts differ.

    Returns:
        The utterance table (see `common.corpus`). Valence, arousal and dominance are the raters' means, 1 to 5; an
        arousal of 5 is the most active. `attrs["notes"]` says whether the file had it reversed.

    Raises:
        UserError: The folder is not MSP-IMPROV. Or a label line cannot be read or has an unknown label (the message
            names file and line). Or utterances have a label but no audio file, or an audio file but no label (the
            message counts them and names the first one).
    """
    from common.corpus import build_table

    root = Path(root).absolute()
    labels, sessions = _label_file(root), _sessions(root)
    audio = {number: audio_by_utterance(_all_folders(folder)) for number, folder in sessions.items()}
    texts = _texts(root)
    rows: list[dict] = []
    without_audio: list[str] = []
    labelled: dict[str, dict] = {}
    for number, row in _labels(labels):
        utterance, session = row["utterance"], row["session"]
        if utterance in labelled:
            raise UserError(f"{labels}, line {number}: {utterance} is labelled a second time.")
        labelled[utterance] = row
        if session not in sessions:
            continue
        if utterance in audio[session]:
            rows.append({**row, "path": audio[session][utterance], "text": texts.get(utterance)})
        else:
            without_audio.append(f"{sessions[session]}/.../{utterance}.wav")
    without_label = [path for files in audio.values() for utterance, path in files.items() if utterance not in labelled]
    refuse_any(without_audio, "msp_improv", "labelled utterances have no audio file")
    refuse_any(without_label, "msp_improv", f"audio files have no label in {labels.name}")
    # All labels decide, also those of missing sessions, so that a single session is treated like the whole release.
    reverse, notes = _direction(list(labelled.values()), labels.name)
    if reverse:
        rows = [{**row, "arousal": 6 - row["arousal"]} for row in rows]
    table = build_table(rows, "msp_improv")
    table.attrs["notes"] = notes
    return table


def _label_file(root: Path) -> Path:
    for name in LABEL_FILES:
        if (root / name).is_file():
            return root / name
    raise _not_this_corpus(root)


def _sessions(root: Path) -> dict[str, Path]:
    """Folder of each session ("01")."""
    for folder in (root / "Audio", root):
        sessions = {f"0{number}": folder / f"session{number}" for number in range(1, 7)}
        if found := {number: path for number, path in sessions.items() if path.is_dir()}:
            return found
    raise _not_this_corpus(root)


def _not_this_corpus(root: Path) -> WrongFolder:
    expected = f"{LABEL_FILES[0]} (or {LABEL_FILES[1]}) and the folders session1 to session6, there or in Audio"
    return wrong_folder(root, "MSP-IMPROV", expected)


def _all_folders(session: Path) -> list[str]:
    return sorted(folder for folder, _, _ in os.walk(session))


def _texts(root: Path) -> dict[str, str]:
    """Transcript of each utterance; empty ones are left out."""
    texts: dict[str, str] = {}
    for top in (root / "All_human_transcriptions", root / "Human_transcriptions" / "All_human_transcriptions"):
        for folder, _, names in os.walk(top):
            for name in names:
                if name.startswith(".") or not name.lower().endswith(".txt"):
                    continue
                with open(os.path.join(folder, name), encoding="utf-8-sig", errors="replace") as file:
                    if text := " ".join(file.read().split()):
                        texts[name[:-4]] = text
    return texts


def _labels(path: Path) -> Iterator[tuple[int, dict]]:
    """Line number and row of each utterance.

    A block consists of an utterance's line with the raters' means, which are what counts, and one line for each time
    that a rater judged it (some raters did so twice). The raters' lines hold free text and are skipped. If a damaged
    line of an utterance is mistaken for one of them, its audio file has no label, which is an error.
    """
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if line.lstrip("\ufeff \t").startswith(("UTD-", "MSP-")):
                yield number, _row(line.strip("\ufeff \t\r\n"), path, number)


def _row(line: str, path: Path, number: int) -> dict:
    match = _SUMMARY.fullmatch(line)
    name = _UTTERANCE.fullmatch(f"MSP-{match['name']}") if match else None
    if match is None or name is None:
        raise UserError(
            f"{path}, line {number}: expected 'UTTERANCE.avi; LABEL; A:VALUE; V:VALUE; D:VALUE ; N:VALUE;' with an "
            f"utterance such as UTD-IMPROV-S01A-F01-S-FM01, but found '{line[:80]}'."
        )
    if match["label"] not in EMOTION:
        raise UserError(f"{path}, line {number}: unknown label '{match['label']}'; known are {', '.join(EMOTION)}.")
    values = {key: float(match[key]) for key in ("valence", "arousal", "dominance")}
    for key, value in values.items():
        if not (math.isnan(value) or 1 <= value <= 5):
            raise UserError(f"{path}, line {number}: {key} is {value}; MSP-IMPROV's scale is 1 to 5.")
    scenario, dialogue = name["scenario"], f"{name['session']}-{name['scene']}"
    return {
        "utterance": name[0],
        "speaker": name["speaker"],
        "gender": _GENDER[name["letter"]],
        "session": name["session"],
        "dialogue": {"S": dialogue, "T": dialogue, "P": f"{dialogue}-P", "R": None}[scenario],
        "script": name["sentence"] if scenario in "TR" else None,
        "emotion": EMOTION[match["label"]],
        **values,
    }


def _direction(rows: list[dict], file: str) -> tuple[bool, list[str]]:
    """Whether activation must be reversed, and the notes that results must carry."""
    rated = [row for row in rows if not math.isnan(row["arousal"])]
    angry = [row["arousal"] for row in rated if row["emotion"] == "angry"]
    calm = [row["arousal"] for row in rated if row["emotion"] in ("sad", "neutral")]
    if min(len(angry), len(calm)) < ENOUGH:
        return False, [
            f"arousal may be reversed: {file} has {len(angry)} angry and {len(calm)} sad or neutral utterances, too "
            "few to tell; it is left as it is"
        ]
    high, low = sum(angry) / len(angry), sum(calm) / len(calm)
    if high >= low:
        return False, []
    means = f"mean {high:.2f} for angry, {low:.2f} for sad and neutral"
    return True, [f"arousal is 6 - A: {file} has activation reversed ({means})"]
