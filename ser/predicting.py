"""`ser predict`: a kept model on audio files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from common.errors import UserError
from common.experiments import Paper, Part
from common.files import find


def newest_model(results: Path) -> Path:
    """The kept model that was written last.

    Raises:
        UserError: none was kept.
    """
    models = [folder for folder in find(results, "model") if (folder.parent / "trial.json").exists()]
    if not models:
        raise UserError(f"{results} holds no kept model. Run with --keep-models, or name a model with --model FOLDER.")
    return max(models, key=lambda folder: (folder.parent / "trial.json").stat().st_mtime)


def show(find_paper: Callable[[str], Paper], folder: Path, files: Sequence[Path]) -> None:
    """Prints each file's emotion with its probability, and what the model is.

    Args:
        find_paper: gives a paper by name.
        folder: a trial's `model` folder.
        files: audio files.

    Raises:
        UserError: no such model, or audio that cannot be used.
    """
    from common.backend import start_backend

    try:
        trial = json.loads((folder.parent / "trial.json").read_bytes())
    except (OSError, ValueError):
        raise UserError(f"{folder} is not the model folder of a trial (no readable trial.json beside it).") from None
    paper = find_paper(trial["paper"])
    start_backend()
    fitted = paper.call("load")(folder)
    part = _part(paper, fitted, files)
    columns = fitted.predict(part)
    flags = "; ".join(trial["flags"]) or "no flags"
    print(f"Model: {trial['experiment']}, {trial['fold']}, run {trial['repeat']}; {flags}")
    for number, file in enumerate(files):
        row = {name: float(values[number]) for name, values in columns.items()}
        print(f"{file}: {_in_words(row)}")


def _in_words(row: Mapping[str, float]) -> str:
    """Ratings by dimension, or the three likeliest classes."""
    ratings = {name.removeprefix("predicted_"): value for name, value in row.items() if name.startswith("predicted_")}
    if ratings:
        return ", ".join(f"{name} {value:.2f}" for name, value in ratings.items())
    best = sorted(row.items(), key=lambda pair: -pair[1])[:3]
    return ", ".join(f"{name.removeprefix('p_')} {value:.2f}" for name, value in best)


def _part(paper: Paper, fitted, files: Sequence[Path]) -> Part:
    """Audio files as the part a model predicts for; nothing is cached, since nothing will ask again."""
    import pandas as pd

    from common import audio
    from common.corpus import COLUMNS

    table = pd.DataFrame({"utterance": [str(file) for file in files]}).reindex(columns=list(COLUMNS))
    extractors = paper.call("features")(fitted.config)
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
