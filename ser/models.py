"""Kept models: finding, loading and predicting with them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.contract import Fitted, Paper, Part
from common.errors import UserError
from common.files import checksum, find
from ser import registry

if TYPE_CHECKING:
    import pandas as pd


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

    def predict(self, *files: str | Path) -> pd.DataFrame:
        """Predicts audio files.

        Args:
            files: audio files, in any format and rate that libsndfile reads.

        Returns:
            One row per file. A classification has a probability "p_<class>" for each class, a regression a column
            "predicted_<dimension>" for each dimension.

        Raises:
            UserError: A file cannot be used, or the model also needs transcripts.
        """
        import pandas as pd

        paths = [Path(file) for file in files]
        columns = self.fitted.predict(_part(self.paper, self.fitted, paths))
        return pd.DataFrame(columns, index=pd.Index([str(path) for path in paths], name="file"))


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


def show_predictions(model: Model, files: Sequence[Path]) -> None:
    """Prints what the model is, and the prediction for each file.

    Raises:
        UserError: A file cannot be used.
    """
    predictions = model.predict(*files)
    print(f"Model: {model}")
    for file, (_, row) in zip(files, predictions.iterrows(), strict=True):
        print(f"{file}: {_in_words(row.to_dict())}")


def _in_words(row: Mapping[str, float]) -> str:
    """Ratings by dimension, or the three most likely classes."""
    ratings = {name.removeprefix("predicted_"): value for name, value in row.items() if name.startswith("predicted_")}
    if ratings:
        return ", ".join(f"{name} {value:.2f}" for name, value in ratings.items())
    best = sorted(row.items(), key=lambda pair: -pair[1])[:3]
    return ", ".join(f"{name.removeprefix('p_')} {value:.2f}" for name, value in best)


def _part(paper: Paper, fitted: Fitted, files: Sequence[Path]) -> Part:
    """Audio files as a part to be predicted. Nothing is cached: the same files are rarely predicted twice."""
    import pandas as pd

    from common import audio
    from common.corpus import COLUMNS

    table = pd.DataFrame({"utterance": [str(file) for file in files]}).reindex(columns=list(COLUMNS))
    extractors = paper.function(paper.features)(fitted.config)
    if getattr(fitted, "reads_text", False) or any(
        getattr(one, "reads", "audio") == "text" for one in extractors.values()
    ):
        raise UserError(
            "This model reads transcripts besides audio, and an audio file has none. Keep a model of speech alone."
        )
    features = {
        name: {str(file): extractor(audio.read(file, extractor.sample_rate)) for file in files}
        for name, extractor in extractors.items()
    }
    return Part(table, features, getattr(fitted, "classes", ()))
