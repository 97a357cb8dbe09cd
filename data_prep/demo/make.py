"""Makes the embedded demo corpus: synthetic emotional speech in the layout of IEMOCAP's release.

    python -m data_prep.demo.make OUT [--expected expected.json]

The same version of espeak-ng gives the same files. `texts.py` determines what is said, `voice.py` how it is said, and
`annotation.py` how it is rated; this file plans the sessions and writes the folders:

    OUT/Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.flac     (IEMOCAP: .wav)
    OUT/Session1/dialog/EmoEvaluation/Ses01F_impro01.txt
    OUT/Session1/dialog/transcriptions/Ses01F_impro01.txt
"""

import argparse
import collections
import dataclasses
import json
import pathlib
import sys
import zlib

import numpy as np

from data_prep.demo import annotation, texts

SEED = 20
SESSIONS = (1, 2, 3, 4, 5)
EXTRAS = ("ang", "sad", "hap", "neu")  # one more of the four classes for each speaker, in turn
RARE = ("fru", "xxx", "sur", "fru", "fea", "xxx", "dis", "fru", "oth", "xxx", "fru")


@dataclasses.dataclass(frozen=True)
class Turn:
    """One planned utterance: its name as in IEMOCAP, its label, and how it is said (a style at an intensity)."""

    utterance: str
    label: str
    text: str
    pool: str
    style: str
    intensity: float

    @property
    def dialogue(self) -> str:
        """The utterance without its last token."""
        return self.utterance.rsplit("_", 1)[0]

    @property
    def session(self) -> int:
        """1 to 5."""
        return int(self.utterance[3:5])

    @property
    def speaker(self) -> str:
        """Session and the letter of the LAST token; the `F` of `Ses01F` only says who wore the markers."""
        return f"{self.session}{self.utterance.rsplit('_', 1)[1][0]}"


def generator_of(name: str) -> np.random.Generator:
    """A separate random generator for each name, so that a change to one utterance does not change the others."""
    return np.random.default_rng([SEED, zlib.crc32(name.encode())])


def _scripted_label(label: str, generator: np.random.Generator) -> str:
    """The label of a scripted line, which not every actor plays in the same way."""
    chance, other = generator.random(), str(generator.choice(annotation.NEIGHBOURS[label]))
    return other if chance < 0.2 else label


def _style_and_intensity(label: str, generator: np.random.Generator) -> tuple[str, float]:
    """The style and intensity of an utterance: some are toned down, some sound like a neighbouring emotion."""
    chance = generator.random()
    if label == "xxx":
        return str(generator.choice(annotation.NEIGHBOURS["xxx"])), generator.uniform(0.3, 0.9)
    if chance < 0.08:
        return label, generator.uniform(0.15, 0.4)
    if chance < 0.16:
        return str(generator.choice(annotation.NEIGHBOURS[label])), generator.uniform(0.5, 0.9)
    return label, generator.uniform(0.7, 1.15)


def plan() -> list[Turn]:
    """All turns in the order in which they are spoken: 5 sessions with 7 dialogues each, 24 turns per speaker."""
    pool = texts.TextPool(generator_of("texts"))
    turns = []
    for session in SESSIONS:
        generator = generator_of(f"session {session}")
        scenes = {}
        for speaker, letter in enumerate("FM"):
            index = 2 * (session - 1) + speaker
            first, second = RARE[2 * index % len(RARE)], RARE[(2 * index + 1) % len(RARE)]
            parts = (
                ("ang", "ang", "neu", first),
                ("sad", "sad", "sad", "neu"),
                ("hap", "hap", "hap", "exc"),
                ("ang", "neu", EXTRAS[index % 4], second),
            )
            for number, labels in enumerate(parts, start=1):
                prefix = "FM"[(session + number) % 2]
                lines = [(letter, *pool.draw(label)[::-1], label) for label in map(str, generator.permutation(labels))]
                scenes.setdefault(f"Ses{session:02d}{prefix}_impro{number:02d}", []).append(lines)
        dialogues = {
            name: [line for pair in zip(*sides, strict=True) for line in pair] for name, sides in scenes.items()
        }
        scripted = {
            "F_script01_1": ("script01_1", 6),
            "M_script02_2": ("script02_2", 6),
            "M_script01_1b" if session == 5 else "M_script01_1": ("script01_1", 4),
        }
        for name, (script, length) in scripted.items():
            dialogues[f"Ses{session:02d}{name}"] = [
                (letter, "script", text, _scripted_label(label, generator))
                for letter, text, label in texts.SCRIPTS[script][:length]
            ]
        for name, lines in dialogues.items():
            counts = collections.Counter()
            for letter, source, text, label in lines:
                utterance = f"{name}_{letter}{counts[letter]:03d}"
                counts[letter] += 1
                acted = _style_and_intensity(label, generator_of(f"acted {utterance}"))
                turns.append(Turn(utterance, label, text, source, *acted))
    return turns


def count(turns: list[Turn]) -> dict:
    """Numbers of utterances: in total, by label, part, session and speaker, and of the usual 4-class subsets."""
    improvised = [turn for turn in turns if "impro" in turn.dialogue]

    def four(chosen: list[Turn], merged: bool) -> dict[str, int]:
        names = ["hap" if merged and turn.label == "exc" else turn.label for turn in chosen]
        return {label: names.count(label) for label in ("ang", "hap", "neu", "sad")}

    def by(key) -> dict[str, int]:
        return dict(sorted(collections.Counter(map(key, turns)).items()))

    return {
        "total": len(turns),
        "emotion": by(lambda turn: turn.label),
        "part": {"improvised": len(improvised), "scripted": len(turns) - len(improvised)},
        "session": by(lambda turn: f"Session{turn.session}"),
        "speaker": by(lambda turn: f"{turn.session:02d}{turn.speaker[1]}"),
        "4class-improvised": four(improvised, merged=False),
        "4class-excited": four(turns, merged=True),
        "4class": four(turns, merged=False),
        "4class-improvised-excited": four(improvised, merged=True),
    }


def write(turns: list[Turn], out: pathlib.Path) -> None:
    """Synthesises all turns and writes the corpus under `out`."""
    import soundfile

    from data_prep.demo import voice

    dialogues = {}
    for turn in turns:
        dialogues.setdefault(turn.dialogue, []).append(turn)
    for dialogue, members in dialogues.items():
        generator = generator_of(f"dialogue {dialogue}")
        root = out / f"Session{members[0].session}"
        audio, evaluation, transcription = (
            root / "sentences" / "wav" / dialogue,
            root / "dialog" / "EmoEvaluation" / f"{dialogue}.txt",
            root / "dialog" / "transcriptions" / f"{dialogue}.txt",
        )
        for folder in (audio, evaluation.parent, transcription.parent):
            folder.mkdir(parents=True, exist_ok=True)
        blocks, spoken, clock = [annotation.HEADER, ""], [], generator.uniform(5.0, 8.0)
        for position, turn in enumerate(members):
            noise = generator_of(f"spoken {turn.utterance}")
            samples = voice.synthesise(
                turn.text,
                voice.SPEAKERS[turn.speaker],
                voice.STYLES[turn.style].at(turn.intensity, noise),
                generator_of(f"room {turn.session}"),
                noise,
            )
            soundfile.write(audio / f"{turn.utterance}.flac", samples, voice.RATE_HZ, "PCM_16", compression_level=1.0)
            start, end = round(clock, 4), round(clock + len(samples) / voice.RATE_HZ, 4)
            vad, lines = annotation.rate(
                turn.label,
                turn.style,
                turn.intensity,
                turn.pool == "ambiguous",
                f"{turn.speaker[1]}{turn.session}",
                generator_of(f"rated {turn.utterance}"),
            )
            blocks += [annotation.evaluation_line(start, end, turn.utterance, turn.label, vad), *lines, ""]
            spoken.append(annotation.transcription_line(turn.utterance, start, end, turn.text))
            other = "M" if turn.speaker[1] == "F" else "F"
            if position == 2 and generator.random() < 0.5:  # a pitfall of IEMOCAP: a line without label and audio
                name = f"{dialogue}_{other}XX0"
                spoken.append(annotation.transcription_line(name, end + 0.1, end + 0.7, "[BREATHING]"))
            elif position == 3 and generator.random() < 0.4:
                spoken.append(f"{other}: [LAUGHTER]")
            clock = end + generator.uniform(0.8, 2.5)
        evaluation.write_text("\n".join(blocks) + "\n", encoding="ascii", newline="\n")
        transcription.write_text("\n".join(spoken) + "\n", encoding="ascii", newline="\n")


def main() -> None:
    """Reads the command line and makes the corpus."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.demo.make", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path, help="folder to fill; it must be empty or absent")
    parser.add_argument("--expected", type=pathlib.Path, help="also write the planned counts to this JSON file")
    arguments = parser.parse_args()
    if arguments.out.exists() and any(arguments.out.iterdir()):
        sys.exit(f"{arguments.out} is not empty: name a new folder.")
    from data_prep.demo import voice

    try:
        version = voice.espeak_version()
    except RuntimeError as error:
        sys.exit(str(error))
    turns = plan()
    write(turns, arguments.out)
    if arguments.expected:
        arguments.expected.write_text(json.dumps(count(turns), indent=2) + "\n", encoding="ascii")
    print(f"{len(turns)} utterances in {arguments.out}, spoken by {version}")


if __name__ == "__main__":
    main()
