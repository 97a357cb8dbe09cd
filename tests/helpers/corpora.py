"""Writes corpora in their real layouts, with real file names and label lines, and short tones instead of speech.

Each corpus has a function `small_NAME(root)` that writes a small folder of it.
"""

from __future__ import annotations

import functools
import io
from itertools import islice, product
from pathlib import Path

import numpy as np
import soundfile

EMODB_LETTERS = {"W": 127, "L": 81, "E": 46, "A": 69, "F": 71, "N": 79, "T": 62}
EMODB_SPEAKERS = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
EMODB_TEXTS = ("a01", "a02", "a04", "a05", "a07", "b01", "b02", "b03", "b09", "b10")
SAVEE_LETTERS = {"a": 15, "d": 15, "f": 15, "h": 15, "n": 30, "sa": 15, "su": 15}
SAVEE_SPEAKERS = ("DC", "JE", "JK", "KL")
MSP_SCENARIOS = {
    "T": {"A": 115, "S": 106, "H": 136, "N": 283, "O": 7, "X": 5},
    "R": {"A": 169, "S": 80, "H": 88, "N": 241, "O": 22, "X": 20},
    "S": {"A": 470, "S": 633, "H": 1048, "N": 1789, "O": 241, "X": 200},
    "P": {"A": 38, "S": 66, "H": 1372, "N": 1164, "O": 45, "X": 100},
}
MSP_ACTIVATION = {"A": 3.8, "H": 3.2, "N": 2.6, "S": 2.3, "O": 3.0, "X": 3.0}
TESS_EMOTIONS = {
    "angry": "angry", "disgust": "disgust", "fear": "Fear", "happy": "happy", "neutral": "neutral",
    "ps": "Pleasant_surprise", "sad": "Sad",
}  # fmt: skip
TESS_WORDS = ["".join(letters) for letters in product("bdfgklmnpr", "aeiou", "dgkt")]
SESSION_SIZES = {1: 1819, 2: 1811, 3: 2136, 4: 2103, 5: 2170}
IEMOCAP_LABEL_FILES = {1: 28, 2: 30, 3: 32, 4: 30, 5: 31}
IEMOCAP_FOUR = {1: (528, 557), 2: (481, 542), 3: (522, 629), 4: (528, 503), 5: (590, 651)}
"""Utterances of the four classes (excited counts as happy) by the woman and by the man of each session."""
IEMOCAP_CLASSES = [
    ({("ang", "impro"): 289, ("ang", "script"): 814}, (229, 137, 240, 327, 170)),
    ({("hap", "impro"): 284, ("exc", "impro"): 663, ("hap", "script"): 311, ("exc", "script"): 378},
     (278, 327, 286, 303, 442)),
    ({("neu", "impro"): 1099, ("neu", "script"): 609}, (384, 362, 320, 258, 384)),
    ({("sad", "impro"): 608, ("sad", "script"): 476}, (194, 197, 305, 143, 245)),
]  # fmt: skip
"""For each of the four classes: utterances by label and kind of scene, and by session."""
IEMOCAP_REST = {
    ("fru", "impro"): 841, ("fru", "script"): 1008, ("xxx", "impro"): 1000, ("xxx", "script"): 1507,
    ("sur", "impro"): 60, ("sur", "script"): 47, ("fea", "impro"): 20, ("fea", "script"): 20, ("dis", "impro"): 2,
    ("oth", "script"): 3,
}  # fmt: skip


@functools.cache
def tone(suffix: str = ".wav", sample_rate: int = 16000, duration_s: float = 0.01, channels: int = 1) -> bytes:
    """The bytes of an audio file."""
    buffer = io.BytesIO()
    time_s = np.arange(round(duration_s * sample_rate)) / sample_rate
    samples = np.tile(0.5 * np.sin(2 * np.pi * 440 * time_s)[:, None], channels)
    soundfile.write(buffer, samples, sample_rate, format=suffix[1:].upper())
    return buffer.getvalue()


def write_audio(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tone(path.suffix.lower()))
    return path


def emodb_names() -> list[str]:
    """535 names in EMODB's grammar with its counts by emotion."""
    names = []
    for letter, count in EMODB_LETTERS.items():
        takes = product("abcdef", EMODB_TEXTS, EMODB_SPEAKERS)
        names += [f"{speaker}{text}{letter}{version}" for version, text, speaker in islice(takes, count)]
    return names


def emodb(root: Path, names: list[str] | None = None, folder: str = "wav") -> Path:
    for name in names if names is not None else emodb_names():
        write_audio(root / folder / f"{name}.wav")
    return root


def savee_names() -> list[tuple[str, str]]:
    """480 pairs of speaker and name in SAVEE's grammar."""
    return [
        (speaker, f"{letters}{sentence:02d}")
        for speaker in SAVEE_SPEAKERS
        for letters, count in SAVEE_LETTERS.items()
        for sentence in range(1, count + 1)
    ]


def savee(root: Path, layout: str, names: list[tuple[str, str]] | None = None) -> Path:
    for speaker, name in names if names is not None else savee_names():
        write_audio(root / (f"{speaker}_{name}.wav" if layout == "flat" else f"AudioData/{speaker}/{name}.wav"))
    return root


def iemocap_dialogue(root: Path, dialogue: str, turns: list[tuple], suffix: str = ".wav") -> Path:
    """Adds a dialogue with all kinds of lines that the files of the release have.

    Args:
        root: the folder of Session1 to Session5.
        dialogue: for example "Ses01F_impro01".
        turns: (last token, label, V, A, D, transcript or None).
        suffix: of the audio files.

    Returns:
        The label file.
    """
    session = root / f"Session{dialogue[4]}"
    labels = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    spoken = []
    for index, (token, label, valence, arousal, dominance, text) in enumerate(turns):
        start, end = 6.2901 + 3 * index, 8.2357 + 3 * index
        utterance = f"{dialogue}_{token}"
        write_audio(session / "sentences" / "wav" / dialogue / f"{utterance}{suffix}")
        labels += [
            f"[{start:.4f} - {end:.4f}]\t{utterance}\t{label}\t[{valence:.4f}, {arousal:.4f}, {dominance:.4f}]",
            "C-E2:\tNeutral;\t()",
            "C-E3:\tNeutral; Frustration;\t(curious)",
            "C-F1:\tAnger;\t()",
            "A-E3:\tval 3; act 2; dom  2;\t()",
            "A-E4:\tval 2; act 3; dom  ;\t()",
            "",
        ]
        if text is not None:
            spoken.append(f"{utterance} [{start:08.4f}-{end:08.4f}]: {text}")
    spoken.insert(1, f"{dialogue}_MXX0 [001.0000-002.0000]: [BREATHING]")
    spoken.append("F: Hm.")
    for folder, lines in (("EmoEvaluation", labels), ("transcriptions", spoken)):
        path = session / "dialog" / folder / f"{dialogue}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    return session / "dialog" / "EmoEvaluation" / f"{dialogue}.txt"


def iemocap(root: Path, suffix: str = ".wav") -> Path:
    """Two sessions, 13 utterances, every label, every form of a dialogue's name, and files that a reader must skip."""
    dialogues = {
        "Ses01F_impro01": [
            ("F000", "neu", 2.5, 2.5, 2.5, "Excuse me."),
            ("M000", "fru", 2.0, 3.5, 3.5, "Do you have your forms?"),
            ("F001", "xxx", 2.3333, 3.0, 2.6667, None),
            ("M001", "ang", 1.5, 4.0, 4.5, "Yes: [LAUGHTER] and no."),
        ],
        "Ses01M_script01_1": [("M000", "hap", 4.5, 3.0, 3.0, "What?"), ("F000", "exc", 5.0, 5.5, 4.0, "Yes.")],
        "Ses01F_script02_2": [("M012", "sad", 1.5, 0.5, 1.0, "No.")],
        "Ses02M_script01_1b": [("F000", "sad", 2.0, 2.0, 2.0, "Then."), ("M000", "neu", 3.0, 2.0, 3.0, "Now.")],
        "Ses02F_impro08a": [
            ("M000", "sur", 3.0, 4.0, 3.0, "Oh."),
            ("F000", "fea", 2.0, 4.0, 1.0, "Help."),
            ("F001", "dis", 1.0, 3.0, 3.0, "Ugh."),
            ("M001", "oth", 3.0, 3.0, 3.0, "Well."),
        ],
    }
    for dialogue, turns in dialogues.items():
        iemocap_dialogue(root, dialogue, turns, suffix)
    # Archives packed on a Mac hold a binary file of metadata beside every file.
    for folder in ("dialog/EmoEvaluation", "dialog/transcriptions"):
        (root / "Session1" / folder / "._Ses01F_impro01.txt").write_bytes(b"\x00\x05\x16\x07[\xff\n[\x00\xb0\n")
    waves = root / "Session1" / "sentences" / "wav"
    (waves / "Ses01F_impro01" / "._Ses01F_impro01_F000.wav").write_bytes(b"\x00\x05\x16\x07")
    (waves / "Ses01F_impro01" / "Ses01F_impro01.lab").write_text("not audio\n")
    (waves / "._Ses01F_impro01").write_bytes(b"\x00\x05\x16\x07")
    for folder, name in (("Categorical", "e2_cat"), ("Attribute", "e2_atr"), ("Self-evaluation", "f1")):
        path = root / "Session1" / "dialog" / "EmoEvaluation" / folder / f"Ses01F_impro01_{name}.txt"
        path.parent.mkdir()
        path.write_text("[a single rater's line of another grammar]\n")
    return root


def iemocap_full(root: Path) -> Path:
    """10,039 utterances with the counts of the release by emotion, kind of scene, session, speaker and label file.

    Only the numbers of improvised and scripted utterances outside the four classes are made up.
    """
    generator = np.random.default_rng(0)
    letters = {session: shuffled("F" * women + "M" * men, generator) for session, (women, men) in IEMOCAP_FOUR.items()}
    # In 2,750 of the 5,531 utterances of the four classes the speaker is not the actor whose markers name the dialogue.
    others = shuffled([True] * 2750 + [False] * 2781, generator)
    turns: dict[int, list[tuple[str, str, str, str]]] = {session: [] for session in SESSION_SIZES}
    for labels, per_session in IEMOCAP_CLASSES:
        queue = shuffled([pair for pair, count in labels.items() for _ in range(count)], generator)
        for session, count in zip(SESSION_SIZES, per_session, strict=True):
            for label, kind in (queue.pop() for _ in range(count)):
                letter = letters[session].pop()
                wearer = "FM"[(letter == "M") != others.pop()]
                turns[session].append((kind, wearer, letter, label))
    queue = shuffled([pair for pair, count in IEMOCAP_REST.items() for _ in range(count)], generator)
    for session, size in SESSION_SIZES.items():
        while len(turns[session]) < size:
            label, kind = queue.pop()
            turns[session].append((kind, "FM"[len(queue) % 2], "FM"[len(queue) // 2 % 2], label))
    assert not queue and not others and not any(letters.values())
    for session, files in IEMOCAP_LABEL_FILES.items():
        scenes = list(product(("impro", "script"), "FM"))
        for index, (kind, wearer) in enumerate(scenes):
            part = [(letter, label) for *scene, letter, label in turns[session] if scene == [kind, wearer]]
            number = files // 4 + (index < files % 4)
            for scene in range(number):
                dialogue = f"Ses0{session}{wearer}_{kind}{scene + 1:02d}" + "_1" * (kind == "script")
                iemocap_dialogue(
                    root,
                    dialogue,
                    [
                        (f"{letter}{token:03d}", label, 3.0, 3.0, 3.0, "Words that were said.")
                        for token, (letter, label) in enumerate(part[scene::number])
                    ],
                )
    return root


def shuffled(things, generator: np.random.Generator) -> list:
    things = list(things)
    return [things[index] for index in generator.permutation(len(things))]


def msp_improv_line(name: str, label: str, values: tuple) -> str:
    """The line of an utterance; the release, too, has a space after the value of D."""
    arousal, valence, dominance = (f"{value:f}".replace("nan", "NaN") for value in values)
    return f"UTD-IMPROV-{name}.avi; {label}; A:{arousal}; V:{valence}; D:{dominance} ; N:4.000000;"


def msp_improv(
    root: Path, turns: list[tuple], *, audio: str = "Audio", labels: str = "Evalution.txt", texts: str | None = None
) -> Path:
    """Writes a label file with raters' lines of all kinds, the audio, and transcripts.

    Args:
        root: the folder.
        turns: (name such as "S01A-F01-S-FM01", letter of the label, (A, V, D), transcript or None).
        audio: folder of the sessions.
        labels: name of the label file.
        texts: folder of the transcripts; None: as in the release.

    Returns:
        The folder.
    """
    lines = []
    for name, label, values, text in turns:
        scene, speaker, scenario, _ = name.split("-")
        folder = root / audio / f"session{int(speaker[1:])}" / scene / scenario
        write_audio(folder / f"MSP-IMPROV-{name}.wav")
        lines += [
            msp_improv_line(name, label, values),
            "WORKER0001-p00; Neutral; Neutral,Other (what; is: it?); A:3.000000; V:3.000000; D:3.000000; N:4.000000;",
            "WORKER0002-p01; Angry; ; A:3.000000; V:3.000000; D:NaN; N:NaN;",
            "WORKER0002-p01; Sad; Sad,Depressed; A:2.000000; V:3.000000; D:2.000000; N:3.000000;",  # judged it twice
            "",
        ]
        if text is not None:
            path = root / (texts or "All_human_transcriptions") / f"MSP-IMPROV-{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    (root / labels).write_text("\n".join(lines) + "\n")
    return root


def msp_improv_full(root: Path, inverted: bool = False) -> Path:
    """8,438 utterances with the counts of the release by scenario and emotion, divided among its 12 speakers."""
    turns = []
    for scenario, counts in MSP_SCENARIOS.items():
        letters = [letter for letter, count in counts.items() for _ in range(count)]
        for index, position in enumerate(np.random.default_rng(0).permutation(len(letters))):
            letter = letters[position]
            speaker = f"{'FM'[index % 2]}0{index // 2 % 6 + 1}"
            scene = f"S{index // 12 % 20 + 1:02d}{'AHSN'[index // 240 % 4]}"
            arousal = MSP_ACTIVATION[letter] + (index % 3 - 1)
            values = (6 - arousal if inverted else arousal, 3.0, 3.0)
            turns.append((f"{scene}-{speaker}-{scenario}-FM{index // 960 + 1:02d}", letter, values, "It was said."))
    return msp_improv(root, turns)


def ravdess_names() -> list[str]:
    """1440 names in RAVDESS's grammar: neutral in one intensity, all others in two."""
    return [
        f"03-01-{emotion:02d}-{intensity:02d}-{statement:02d}-{repetition:02d}-{actor:02d}"
        for actor in range(1, 25)
        for emotion in range(1, 9)
        for intensity in ((1,) if emotion == 1 else (1, 2))
        for statement in (1, 2)
        for repetition in (1, 2)
    ]


def ravdess(root: Path, names: list[str] | None = None, layout: str = "actors") -> Path:
    """Writes the files in folders by actor ("actors"), one level deeper ("release"), or all in one folder ("flat")."""
    for name in names if names is not None else ravdess_names():
        actor = f"Actor_{name[-2:]}"
        folder = {"actors": actor, "release": f"Audio_Speech_Actors_01-24/{actor}", "flat": "."}[layout]
        write_audio(root / folder / f"{name}.wav")
    return root


def tess_names() -> list[str]:
    """2800 names in TESS's grammar, with the misspelt one; the words are made up."""
    words = ["bite", *TESS_WORDS[1:]]
    names = [f"{speaker}_{word}_{emotion}" for speaker in ("OAF", "YAF") for emotion in TESS_EMOTIONS for word in words]
    return ["OA_bite_neutral" if name == "OAF_bite_neutral" else name for name in names]


def tess(root: Path, names: list[str] | None = None, layout: str = "folders") -> Path:
    """Writes the files in folders by speaker and emotion ("folders"), one level deeper ("nested"), or in one ("flat").

    The folders are spelt as in the release, which is not the same for both speakers.
    """
    for name in names if names is not None else tess_names():
        speaker, _, emotion = name.split("_")
        label = TESS_EMOTIONS.get(emotion, emotion)
        if speaker == "YAF":
            label = {"Pleasant_surprise": "pleasant_surprised"}.get(label, label.lower())
        folder = f"{'OAF' if speaker == 'OA' else speaker}_{label}"
        folder = {"folders": folder, "nested": f"TESS Toronto emotional speech set data/{folder}", "flat": "."}[layout]
        write_audio(root / folder / f"{name}.wav")
    return root


def librispeech(root: Path, chapters: list[tuple], lists: bool = True) -> Path:
    """Writes parts of LibriSpeech with its lists.

    Args:
        root: the folder of the parts.
        chapters: (part, speaker, "F" or "M", chapter, book, number of utterances).
        lists: write SPEAKERS.TXT and CHAPTERS.TXT.

    Returns:
        The folder.
    """
    speakers = {"14": "14   | F | train-clean-360  | 25.03 | Kristin | LeMoine"}
    listed = ["1      | 14   | 19.77 | train-clean-360  | 53   | 1023  | In Chancery | Bleak House | with a bar"]
    for part, speaker, letter, chapter, book, count in chapters:
        folder = root / part / speaker / chapter
        names = [f"{speaker}-{chapter}-{index:04d}" for index in range(count)]
        for name in names:
            write_audio(folder / f"{name}.flac")
        (folder / f"{speaker}-{chapter}.trans.txt").write_text("".join(f"{name} IT IS {name[-1]}\n" for name in names))
        speakers[speaker] = f"{speaker:<4} | {letter} | {part:<16} | 25.03 | A Name"
        listed.append(f"{chapter:<6} | {speaker:<4} | 7.67  | {part:<16} | 68   | {book:<5} | A Chapter | A Book")
    if lists:
        (root / "SPEAKERS.TXT").write_text(
            "; Some pipe(|) separated metadata\n;ID  |SEX|\n" + "\n".join(speakers.values())
        )
        (root / "CHAPTERS.TXT").write_text("; Some pipe(|) separated metadata\n" + "\n".join(listed) + "\n")
    return root


def small_emodb(root: Path) -> Path:
    return emodb(root, emodb_names()[::40])


small_iemocap = iemocap


def small_librispeech(root: Path) -> Path:
    return librispeech(
        root, [("train-clean-100", "19", "F", "198", "121", 4), ("dev-other", "116", "M", "288045", "376", 3)]
    )


def small_msp_improv(root: Path) -> Path:
    turns = [
        (f"S{index // 4 + 1:02d}{'AHSN'[index % 4]}-{'FM'[index % 2]}0{index % 3 + 1}-{'STPR'[index % 4]}-FM01",
         "AHSNOX"[index % 6], (3.0, 2.5, 3.5), f"It was said. Number {index}.")
        for index in range(14)
    ]  # fmt: skip
    return msp_improv(root, turns)


def small_ravdess(root: Path) -> Path:
    return ravdess(root, ravdess_names()[::100])


def small_savee(root: Path) -> Path:
    return savee(root, "folders", savee_names()[::30])


def small_tess(root: Path) -> Path:
    return tess(root, tess_names()[::180])


WRITERS = {name.removeprefix("small_"): make for name, make in list(globals().items()) if name.startswith("small_")}
"""The functions `small_NAME(root)` of this file, by the name of the corpus."""
