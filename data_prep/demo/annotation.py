"""How the demo corpus is annotated: the lines of IEMOCAP's label files, and simulated raters."""

import collections

import numpy as np

HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]"
CATEGORIES = {
    "neu": "Neutral",
    "hap": "Happiness",
    "ang": "Anger",
    "sad": "Sadness",
    "exc": "Excited",
    "fru": "Frustration",
    "sur": "Surprise",
    "fea": "Fear",
    "dis": "Disgust",
    "oth": "Other",
}
# Valence, activation and dominance, 1 to 5, of each emotion when it is fully expressed.
RATED = {
    "neu": (3.0, 2.4, 2.9),
    "ang": (1.6, 4.1, 4.0),
    "hap": (4.1, 3.4, 3.3),
    "exc": (4.4, 4.2, 3.7),
    "sad": (1.8, 1.9, 2.3),
    "fru": (2.0, 3.1, 3.4),
    "sur": (3.4, 3.8, 2.8),
    "fea": (1.9, 3.6, 1.8),
    "dis": (1.7, 2.9, 3.5),
    "oth": (3.2, 2.8, 3.1),
    "xxx": (2.6, 2.8, 3.0),
}
# Emotions that a label may be confused with, by the voice and by the raters.
NEIGHBOURS = {
    "neu": ("sad", "fru", "hap"),
    "ang": ("fru", "exc", "dis"),
    "hap": ("exc", "neu", "sur"),
    "exc": ("hap", "ang", "sur"),
    "sad": ("neu", "fru", "fea"),
    "fru": ("ang", "neu", "sad"),
    "sur": ("exc", "hap"),
    "fea": ("sad", "sur"),
    "dis": ("ang", "fru"),
    "oth": ("neu", "hap"),
    "xxx": ("neu", "fru", "sad", "hap"),
}
COMMENTS = {"oth": "curious", "ang": "threatening", "hap": "amused", "sad": "close to tears"}


def majority(votes: list[list[str]]) -> str:
    """The label that more than half of the raters gave, or `xxx`.

    Args:
        votes: The labels of each rater, who may give several.

    Returns:
        The label that the most raters gave, if these are more than half of all raters; otherwise `xxx`.
    """
    counts = collections.Counter(label for labels in votes for label in set(labels)).most_common()
    tied = len(counts) > 1 and counts[0][1] == counts[1][1]
    return "xxx" if tied or 2 * counts[0][1] <= len(votes) else counts[0][0]


def mean_vad(ratings: list[tuple[int, int, int | None]]) -> tuple[float, float, float]:
    """Means of valence, activation and dominance over the evaluators who gave them, without self reports."""
    return tuple(
        float(np.mean([rating for rating in axis if rating is not None])) for axis in zip(*ratings, strict=True)
    )


def evaluation_line(start: float, end: float, utterance: str, label: str, vad: tuple[float, float, float]) -> str:
    """An utterance's line in EmoEvaluation; `start` and `end` in seconds."""
    return f"[{start:.4f} - {end:.4f}]\t{utterance}\t{label}\t[{vad[0]:.4f}, {vad[1]:.4f}, {vad[2]:.4f}]"


def categorical_line(rater: str, labels: list[str], comment: str = "") -> str:
    """A rater's categories, for example `C-E3:`, `Neutral; Sadness;`, `()`, separated by tabs.

    Args:
        rater: E and a number for an evaluator, F or M and a number for a self report.
        labels: Short labels, `neu` for Neutral.
        comment: What the rater wrote.
    """
    return f"C-{rater}:\t{' '.join(f'{CATEGORIES[label]};' for label in labels)}\t({comment})"


def attribute_line(rater: str, rating: tuple[int, int, int | None], comment: str = "", blank: bool = False) -> str:
    """A rater's attributes, for example `A-E3:`, `val 3; act 2; dom  2;`, `()`; dominance may be missing (None).

    Args:
        rater: As in `categorical_line`.
        rating: Valence, activation, dominance.
        comment: What the rater wrote.
        blank: Whether a missing dominance leaves an empty `dom  ;` behind, or nothing.
    """
    valence, activation, dominance = rating
    last = f" dom  {dominance};" if dominance is not None else " dom  ;" if blank else ""
    return f"A-{rater}:\tval {valence}; act {activation};{last}\t({comment})"


def transcription_line(name: str, start: float, end: float, text: str) -> str:
    """A line of a transcription, for example `Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.`."""
    return f"{name} [{start:08.4f}-{end:08.4f}]: {text}"


def rate(
    label: str, style: str, intensity: float, ambiguous: bool, self_rater: str, generator: np.random.Generator
) -> tuple[tuple[float, float, float], list[str]]:
    """Simulates the raters, who perceive activation from the voice and valence from the words, each with own errors.

    Args:
        label: The label that more than half of them will give.
        style: The emotion in whose style the voice speaks (a key of `voice.STYLES`).
        intensity: Intensity of the style, 0 to about 1.
        ambiguous: Whether the words fit any emotion, which moves valence towards the middle.
        self_rater: Who may add a self report, for example F1.
        generator: Draws votes and ratings.

    Returns:
        Mean valence, activation and dominance, and the raters' lines.
    """
    valence, activation, dominance = RATED[label]
    perceived = RATED["neu"][1] + intensity * (RATED[style][1] - RATED["neu"][1])
    truth = (3.0 + (0.7 if ambiguous else 1.0) * (valence - 3.0), 0.2 * activation + 0.8 * perceived, dominance)
    evaluators = (("E2", "E3", "E4"), ("E1", "E2", "E4"), ("E1", "E3", "E4"))[generator.choice(3, p=(0.7, 0.15, 0.15))]
    votes = []
    while not votes or majority(votes) != label:
        votes = [_vote(label, generator) for _ in evaluators]
    lines = []
    for rater, labels in zip(evaluators, votes, strict=True):
        comment = COMMENTS.get(labels[0], "") if generator.random() < 0.2 else ""
        lines.append(categorical_line(rater, labels, comment))
    ratings = {rater: _rating(truth, generator) for rater in evaluators[generator.choice((0, 1), p=(0.2, 0.8)) :]}
    if generator.random() < 0.04:  # IEMOCAP lacks dominance on a few lines
        ratings[evaluators[-1]] = (*ratings[evaluators[-1]][:2], None)
    blank = generator.random() < 0.5
    reports = generator.random() < 0.85
    if reports:
        lines.append(categorical_line(self_rater, _vote(label, generator)))
    lines += [attribute_line(rater, rating, blank=blank) for rater, rating in ratings.items()]
    if reports:
        lines.append(attribute_line(self_rater, _rating(truth, generator)))
    return mean_vad(list(ratings.values())), lines


def _vote(label: str, generator: np.random.Generator) -> list[str]:
    """One rater's labels: mostly the label, sometimes a neighbour of it, sometimes both."""
    neighbour = str(generator.choice(NEIGHBOURS[label]))
    if label == "xxx" or generator.random() < 0.2:
        return [neighbour]
    return [label, neighbour] if generator.random() < 0.1 else [label]


def _rating(truth: tuple[float, float, float], generator: np.random.Generator) -> tuple[int, int, int]:
    """One rater's ratings, in whole steps from 1 to 5."""
    return tuple(int(np.clip(round(value + 0.45 * generator.standard_normal()), 1, 5)) for value in truth)
