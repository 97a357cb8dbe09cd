"""`ser predict`: a kept model on audio files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

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
    classes = [name.removeprefix("p_") for name in columns]
    probabilities = np.stack(list(columns.values()), axis=1)
    flags = "; ".join(trial["flags"]) or "no flags"
    print(f"Model: {trial['experiment']}, {trial['fold']}, run {trial['repeat']}; {flags}")
    for file, row in zip(files, probabilities, strict=True):
        best = row.argsort()[::-1][:3]
        print(f"{file}: " + ", ".join(f"{classes[number]} {row[number]:.2f}" for number in best))


def _part(paper: Paper, fitted, files: Sequence[Path]) -> Part:
    """Audio files as the part a model predicts for; nothing is cached, since nothing will ask again."""
    import pandas as pd

    from common import audio
    from common.corpus import COLUMNS

    table = pd.DataFrame({"utterance": [str(file) for file in files]}).reindex(columns=list(COLUMNS))
    features = {
        name: {str(file): extractor(audio.read(file, extractor.sample_rate)) for file in files}
        for name, extractor in paper.call("features")(fitted.config).items()
    }
    return Part(table, features, fitted.classes)
