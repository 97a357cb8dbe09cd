"""What a kept model says about audio: one answer per recording, and one per window of a long recording."""

from __future__ import annotations

import glob
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common import audio
from common.contract import Fitted, Paper, Part
from common.errors import AudioError, UserError

if TYPE_CHECKING:
    import pandas as pd

AUDIO_SUFFIXES = (".aif", ".aiff", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav")
"""What is audio in a folder; a file that is named by hand may have any name."""

WINDOW_S = 15.0
"""Length of a window for models that take recordings of any length."""

BATCH = 32
"""How many windows are read and predicted together."""


@dataclass(frozen=True)
class Recording:
    """Audio to be predicted.

    Attributes:
        name: file name, or what stands for it.
        signal: samples, shape (samples,); None: they are in the file of that name.
        sample_rate: of the samples, in Hz.
    """

    name: str
    signal: np.ndarray | None = None
    sample_rate: int = 16000

    @property
    def seconds(self) -> float:
        """Length; NaN if it cannot be read."""
        return audio.duration(self.name) if self.signal is None else len(self.signal) / self.sample_rate

    def read(self, sample_rate: int, start: float, end: float) -> np.ndarray:
        """The samples of a span at a sample rate.

        Raises:
            AudioError: The audio cannot be used.
        """
        if self.signal is None:
            return audio.read(self.name, sample_rate, start, end)
        first, last = round(start * self.sample_rate), round(end * self.sample_rate)
        return audio.prepared(self.signal[first:last], self.sample_rate, sample_rate, self.name)


@dataclass(frozen=True)
class Answer:
    """What a model says about a recording.

    Attributes:
        name: of the recording.
        seconds: its length.
        spans: start and end of each window, in seconds; silent windows are left out.
        columns: a number for each window: "p_<class>" or "predicted_<dimension>".
        problem: why the recording could not be used; then there are no windows.
    """

    name: str
    seconds: float = math.nan
    spans: Sequence[tuple[float, float]] = ()
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    problem: str = ""

    @property
    def overall(self) -> dict[str, float]:
        """The mean over the windows."""
        return {name: float(np.mean(values)) for name, values in self.columns.items()}

    def timeline(self) -> pd.DataFrame:
        """One row per window: start, end (seconds), and the columns."""
        import pandas as pd

        spans = np.array(self.spans, np.float64).reshape(-1, 2)
        return pd.DataFrame({"start": spans[:, 0], "end": spans[:, 1], **self.columns})


def find_recordings(words: Iterable[str]) -> list[Recording]:
    """The recordings that words on the command line name.

    Args:
        words: files; folders, whose audio files are taken with those of their subfolders; patterns with * and ?; or
            "-" for a list of such words on standard input, one per line.

    Raises:
        UserError: A folder or pattern gives no audio file.
    """
    found = []
    for word in words:
        if word == "-":
            found += find_recordings(line.strip() for line in sys.stdin if line.strip())
        elif Path(word).is_dir():
            files = sorted(file for file in Path(word).rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES)
            if not files:
                raise UserError(f"The folder {word} holds no audio file ({', '.join(AUDIO_SUFFIXES)}).")
            found += [Recording(str(file)) for file in files]
        elif not Path(word).exists() and glob.has_magic(word):
            names = sorted(glob.glob(word, recursive=True))
            if not names:
                raise UserError(f"No file matches {word}.")
            found += [Recording(name) for name in names]
        else:
            found.append(Recording(word))
    return list(dict.fromkeys(found))


def windows(seconds: float, window_s: float) -> list[tuple[float, float]]:
    """Spans that cover a recording: the whole if it fits into a window, else windows that overlap by half.

    The last window ends with the recording.
    """
    if seconds <= window_s:
        return [(0.0, seconds)]
    # A window that would start less than a tenth of a step before the last one says nothing new.
    count = max(1, math.ceil((seconds - window_s) / (window_s / 2) - 0.1))
    starts = [number * window_s / 2 for number in range(count)] + [seconds - window_s]
    return [(start, start + window_s) for start in starts]


def window_of(fitted: Fitted) -> float:
    """The length of a window for a model: how much its network takes in at once, in seconds."""
    return getattr(fitted.config, "window_s", WINDOW_S)


def answers(
    paper: Paper, fitted: Fitted, recordings: Iterable[Recording], window_s: float | None = None
) -> Iterator[Answer]:
    """Predicts recordings one after another; what cannot be used is named in its answer, and the others go on.

    Args:
        paper: the model's paper.
        fitted: the model.
        recordings: what to predict.
        window_s: length of a window, in seconds; None: see `window_of`.

    Raises:
        UserError: The model needs transcripts.
    """
    extractors = paper.function(paper.features)(fitted.config)
    if getattr(fitted, "reads_text", False) or any(
        getattr(one, "reads", "audio") == "text" for one in extractors.values()
    ):
        raise UserError(
            "This model reads transcripts besides audio, and an audio file has none. Keep a model of speech alone."
        )
    for one in recordings:
        try:
            yield _answer(fitted, extractors, one, window_s or window_of(fitted))
        except AudioError as error:
            yield Answer(one.name, problem=str(error))


def _answer(fitted: Fitted, extractors: Mapping[str, Any], one: Recording, window_s: float) -> Answer:
    seconds = one.seconds
    spans = windows(seconds, window_s) if seconds == seconds else [(0.0, math.nan)]
    kept, columns, problem = [], {}, None
    for first in range(0, len(spans), BATCH):
        own, features = [], {name: {} for name in extractors}
        for number, span in enumerate(spans[first : first + BATCH], start=first):
            try:
                extracted = {name: _features(extractor, one, span) for name, extractor in extractors.items()}
            except AudioError as error:  # a silent window of a long recording
                problem = problem or error
                continue
            own.append(span)
            for name, values in extracted.items():
                features[name][str(number)] = values
        if own:
            for name, values in _predicted(fitted, features).items():
                columns.setdefault(name, []).append(values)
            kept += own
    if not kept:
        raise problem
    return Answer(one.name, seconds, kept, {name: np.concatenate(values) for name, values in columns.items()})


def _features(extractor: Any, one: Recording, span: tuple[float, float]) -> np.ndarray:
    signal = one.read(extractor.sample_rate, *span)
    try:
        return extractor(signal)
    except AudioError as error:  # an extractor does not know the file's name
        raise AudioError(f"{one.name}: {error}") from None


def _predicted(fitted: Fitted, features: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What the model says about windows: probabilities or ratings, without what else it may return."""
    import pandas as pd

    from common.corpus import COLUMNS

    names = list(next(iter(features.values())))
    table = pd.DataFrame({"utterance": names}).reindex(columns=list(COLUMNS))
    columns = fitted.predict(Part(table, features, getattr(fitted, "classes", ())))
    return {name: np.asarray(values) for name, values in columns.items() if name.startswith(("p_", "predicted_"))}
