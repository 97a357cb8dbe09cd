"""Kept models: finding, loading and predicting with them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.contract import Fitted, Paper
from common.errors import UserError
from common.files import checksum, find
from ser import registry
from ser.prediction import Answer, Recording, answers


@dataclass(frozen=True)
class Model:
    """A kept model, ready to predict.

    Attributes:
        paper: the paper that trained it.
        fitted: the fitted model.
        trial: content of the trial's `trial.json`: experiment, fold, seed, flags, versions.
    """

    paper: Paper
    fitted: Fitted
    trial: Mapping[str, Any]

    def __str__(self) -> str:
        flags = "; ".join(self.trial["flags"]) or "no flags"
        return f"{self.trial['experiment']}, {self.trial['fold']}, run {self.trial['repeat']}; {flags}"

    def predict(self, *sources: str | Path | np.ndarray, sample_rate: int = 16000, window_s: float | None = None):
        """Predicts recordings.

        Args:
            sources: audio files, in any format and rate that libsndfile reads, or arrays of samples in [-1, 1], shape
                (samples,) or (samples, channels).
            sample_rate: of the arrays, in Hz.
            window_s: a recording that is longer is cut into windows of this length, which overlap by half; None: as
                much as the network takes in at once.

        Returns:
            A data frame with one row per recording: the mean over its windows. A classification has a probability
            "p_<class>" for each class, a regression a column "predicted_<dimension>" for each dimension.

        Raises:
            UserError: A recording cannot be used, or the model also needs transcripts.
        """
        import pandas as pd

        found = list(self._answers(sources, sample_rate, window_s))
        return pd.DataFrame([one.overall for one in found], index=pd.Index([one.name for one in found], name="file"))

    def timeline(self, source: str | Path | np.ndarray, sample_rate: int = 16000, window_s: float | None = None):
        """Predicts each window of a recording; arguments and errors as for `predict`.

        Returns:
            A data frame with one row per window: start and end in seconds, then the columns of `predict`. Silent
            windows are left out.
        """
        (found,) = self._answers([source], sample_rate, window_s)
        return found.timeline()

    def _answers(self, sources: Sequence, sample_rate: int, window_s: float | None) -> Iterator[Answer]:
        recordings = [
            Recording(f"audio {number}", one, sample_rate) if isinstance(one, np.ndarray) else Recording(str(one))
            for number, one in enumerate(sources, start=1)
        ]
        for answer in answers(self.paper, self.fitted, recordings, window_s):
            if answer.problem:
                raise UserError(answer.problem)
            yield answer


def newest_model(results: Path) -> Path:
    """The folder of the kept model that was written last.

    Raises:
        UserError: No model was kept.
    """
    models = [folder for folder in find(results, "model") if (folder.parent / "trial.json").exists()]
    if not models:
        raise UserError(f"{results} holds no kept model. Run with --keep-models, or name a model with --model FOLDER.")
    return max(models, key=lambda folder: (folder.parent / "trial.json").stat().st_mtime)


def load_model(folder: Path) -> Model:
    """Loads a kept model.

    Args:
        folder: a trial's `model` folder.

    Raises:
        UserError: The folder is not that of a kept model, or a file has changed since it was written.
    """
    from common.backend import start_backend

    try:
        trial = json.loads((folder.parent / "trial.json").read_bytes())
    except (OSError, ValueError):
        raise UserError(f"{folder} is not the model folder of a trial (no readable trial.json beside it).") from None
    damaged = [name for name, expected in trial.get("model", {}).items() if _checksum(folder / name) != expected]
    if damaged:
        raise UserError(
            f"{folder / damaged[0]} is not the file that the trial wrote: it was changed, damaged or removed. Do the "
            "trial again, or restore the file."
        )
    paper = registry.paper(trial["paper"])
    start_backend()
    return Model(paper, paper.function(paper.load)(folder), trial)


def _checksum(file: Path) -> str:
    return checksum(file) if file.is_file() else ""
