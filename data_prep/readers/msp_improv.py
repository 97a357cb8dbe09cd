"""MSP-IMPROV: 8,438 English utterances of 12 actors, two in each of 6 sessions, who improvise around target sentences.

Layout of the release (the folder Audio may be left out):

    Evalution.txt                                                  labels (the release's spelling; or Evaluation.txt)
    Audio/session1/S01A/P/MSP-IMPROV-S01A-F01-P-FM01.wav           session 1 to 6; mostly 48 kHz, some 44.1 kHz
    All_human_transcriptions/MSP-IMPROV-S01A-F01-P-FM01.txt        what was said; also below Human_transcriptions, or
                                                                   in folders session1 to session6

A name is the target sentence (S01 to S20), the emotion its scene was to lead to (A), the speaker (F01: the woman of
session 1), the scenario and the turn. The scenario is T (the target sentence, improvised), R (the target sentence,
read), S (the other improvised turns) or P (what the two said to each other between the takes). The emotion in the
name is not the label: the label is what raters heard.

T and R have the same words for all speakers and emotions; `script` is their target sentence, without the emotion. S
and T of one scene are one `dialogue` ("01-S01A"), P around it is another ("01-S01A-P"), R is none. The names do not
tell apart the two improvisations that a scene may have, one led by either actor; these share a dialogue here.

Copies of the label file with activation upside down (1: very active) are in use, and parsers that turn it with or
without need. So the direction is read from the labels: anger is active, so where angry utterances have a lower mean
than sad and neutral ones, activation is turned (6 - A) and a note says so.

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
"""Emotion by its letter in the label file."""

LABEL_FILES = ("Evalution.txt", "Evaluation.txt")
"""Names of the label file: as released, and as some copies correct it."""

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
"""Angry, and sad or neutral, utterances needed to tell which way activation runs."""

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
        root: the folder that holds the label file and Audio (or session1 to session6). Sessions that are not there
            are left out; selecting a subset then says how the counts differ.

    Returns:
        The utterance table (see `common.corpus`). Valence, arousal and dominance are the raters' means, 1 to 5,
        arousal with 5 as most active. `attrs["notes"]` says if the file had it the other way round.

    Raises:
        UserError: the folder is not MSP-IMPROV; a label line that cannot be read or an unknown label (names file and
            line); an utterance with a label but no audio file, or the other way round (names the first, and how many).
    """
    from common.corpus import build_table

    root = Path(root).absolute()
    labels, sessions = _label_file(root), _sessions(root)
    audio = {number: _audio_files(folder) for number, folder in sessions.items()}
    texts = _texts(root)
    rows: list[dict] = []
    silent: list[str] = []
    labelled: dict[str, dict] = {}
    for number, row in _labels(labels):
        utterance, session = row["utterance"], row["session"]
        if utterance in labelled:
            raise UserError(f"{labels}, line {number}: {utterance} is labelled a second time.")
        labelled[utterance] = row
        if session not in sessions:
            continue
        if utterance not in audio[session]:
            silent.append(f"{sessions[session]}/.../{utterance}.wav")
            continue
        rows.append({**row, "path": audio[session][utterance], "text": texts.get(utterance)})
    unlabelled = [path for files in audio.values() for utterance, path in files.items() if utterance not in labelled]
    _refuse(silent, "labelled utterances have no audio file")
    _refuse(unlabelled, f"audio files have no label in {labels.name}")
    # The whole label file decides, so that a folder with one session is turned as the whole release is.
    inverted, notes = _direction(list(labelled.values()), labels.name)
    if inverted:
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
    """Session ("01") -> its folder."""
    for folder in (root / "Audio", root):
        sessions = {f"0{number}": folder / f"session{number}" for number in range(1, 7)}
        if found := {number: path for number, path in sessions.items() if path.is_dir()}:
            return found
    raise _not_this_corpus(root)


def _not_this_corpus(root: Path) -> WrongFolder:
    names = sorted(name for name in os.listdir(root) if not name.startswith(".")) if root.is_dir() else []
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return WrongFolder(
        f"{root} is not MSP-IMPROV: expected {LABEL_FILES[0]} (or {LABEL_FILES[1]}) and the folders session1 to "
        f"session6, there or in Audio, but found {listed or 'nothing'}."
    )


def _refuse(paths: list[str], what: str) -> None:
    if paths:
        raise UserError(f"msp_improv: {len(paths)} {what}; the first is {paths[0]}.")


def _audio_files(session: Path) -> dict[str, str]:
    """Utterance -> audio file, of a session."""
    found: dict[str, str] = {}
    for folder, folders, names in os.walk(session):
        folders.sort()
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)
            # Archives packed on a Mac carry a "._NAME" of metadata beside every file; videos lie beside the audio.
            if name.startswith(".") or suffix.lower() not in (".wav", ".flac"):
                continue
            if stem in found:
                raise UserError(f"Two audio files for one utterance: {found[stem]} and {os.path.join(folder, name)}.")
            found[stem] = os.path.join(folder, name)
    return found


def _texts(root: Path) -> dict[str, str]:
    """Utterance -> transcript; empty ones are left out."""
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

    A block is the line of an utterance and one line for each time that a rater heard it, some raters twice; the means
    in the first line are what counts. Raters' lines hold free text and are passed over: should a damaged line of an
    utterance be taken for one of them, its audio file is left without a label, which is an error.
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
    """Whether activation is stored upside down, and what to say of it."""
    rated = [row for row in rows if not math.isnan(row["arousal"])]
    angry = [row["arousal"] for row in rated if row["emotion"] == "angry"]
    calm = [row["arousal"] for row in rated if row["emotion"] in ("sad", "neutral")]
    if min(len(angry), len(calm)) < ENOUGH:
        return False, [
            f"arousal may be upside down: {file} has {len(angry)} angry and {len(calm)} sad or neutral utterances, too "
            "few to tell; taken as it stands"
        ]
    high, low = sum(angry) / len(angry), sum(calm) / len(calm)
    if high >= low:
        return False, []
    return True, [
        f"arousal is 6 - A: {file} has activation upside down (mean {high:.2f} for angry, {low:.2f} for sad and "
        "neutral)"
    ]
