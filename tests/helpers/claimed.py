"""A paper that makes claims, and runs of its experiments written to disk without any training."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd

from common.contract import Experiment, Paper
from common.files import checksum
from common.splits import FixedTestSession, LeaveOneSpeakerOut
from common.targets import Dimensions
from ser.results.claims import COLUMNS
from ser.results.runs import FORMAT, as_record

CLASSES = ("angry", "sad")


@dataclasses.dataclass(frozen=True)
class Config:
    loss: str = "softmax"
    epochs: int = 50


BY_SPEAKER = LeaveOneSpeakerOut()


def _row(name, corpus, protocol=BY_SPEAKER, subset="7class", **keywords):
    config = Config(loss=name.split("/")[-1])
    return Experiment(f"claimed/{name}", name, corpus, subset, protocol, config, 2, **keywords)


PAPER = Paper(
    package=__name__,
    title="A paper that claims",
    reference="nobody, never",
    experiments=(
        *(_row(f"table1/emodb/{name}", "emodb") for name in ("new", "old", "other")),
        *(_row(f"table1/savee/{name}", "savee") for name in ("new", "old")),
        *(
            _row(f"table2/iemocap/{name}", "iemocap", FixedTestSession(), "vad", target=Dimensions())
            for name in ("words", "sounds")
        ),
    ),
    scaled={"epochs": 5},
    demo_changes={"epochs": 2},
    demo=("1",),
    features=":features",
    fit=":fit",
    load=":load",
)


def features(config):
    return {}


def fit(config, train, validation, context):
    raise AssertionError("these runs are never performed")


def load(folder):
    raise AssertionError("these runs are never performed")


def write_claims(file: Path, *lines: dict) -> None:
    """Writes a claims.csv; a line needs only what differs from a claim on WA."""
    usual = {"id": "one", "section": "abstract", "claim": "New is better.", "relation": "higher", "difference": "6.7"}
    usual |= {"metric": "wa/7class/folds", "note": ""}
    usual |= {"first": "claimed/table1/emodb/new", "second": "claimed/table1/emodb/old"}
    rows = [{name: {**usual, **line}[name] for name in COLUMNS} for line in lines]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(file, index=False)


def write_run(
    results: Path,
    name: str,
    quality: float,
    *,
    run: str = "1",
    spread: float = 0.02,
    speakers: int = 10,
    repeats: int = 2,
    tested: int | None = None,
    corpus: str = "",
    epochs: int = 50,
    backend: str = "tensorflow",
    drop: tuple[tuple[str, int], ...] = (),
    trial: dict | None = None,
    **record,
) -> Path:
    """Writes a run as `ser.results.trials` does, with made-up predictions; returns its folder.

    Args:
        results: results folder.
        name: the experiment's id without the paper.
        quality: share of utterances that are predicted correctly; for ratings, how close predictions are.
        run: name of the run's folder.
        spread: standard deviation of the quality over trials.
        speakers: number of speakers, each the test part of a fold; all in one fold for ratings.
        repeats: number of repeats.
        tested: number of folds that were run; None: all.
        corpus: another corpus than the experiment's.
        epochs: a setting of the config; 50 as declared, 5 scaled.
        backend: of all trials.
        drop: (fold, repeat) of trials that are missing.
        trial: further entries of the trials' records.
        **record: further entries of run.json.
    """
    experiment = PAPER.experiment(f"claimed/{name}")
    ratings = experiment.target.dimensions
    config = dataclasses.replace(experiment.config, epochs=epochs)
    folds = ["session-5"] if ratings else [f"speaker-{number:02d}" for number in range(1, speakers + 1)]
    changes = [f"on {corpus} instead of {experiment.corpus}"] if corpus else []
    changes += [f"epochs = {epochs} instead of 50"] if epochs != 50 else []
    folder = results / experiment.id / run
    folder.mkdir(parents=True)
    described = {
        "format": FORMAT, "paper": PAPER.name, "experiment": experiment.id, "title": experiment.title,
        "corpus": corpus or experiment.corpus, "synthetic": corpus == "demo", "subset": experiment.subset,
        "classes": [] if ratings else list(CLASSES), "dimensions": list(ratings),
        "target": as_record(experiment.target),
        "auxiliary": None, "fingerprint": "f", "utterances": 40 * speakers, "protocol": as_record(experiment.protocol),
        "protocol_name": "x", "folds": folds, "declared_repeats": 2, "config": dataclasses.asdict(config), "flags": [],
        "changes": changes, "deterministic": False, **record,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(described))
    generator = np.random.default_rng(len(name) + 1000 * len(run) + round(1e4 * quality))
    for repeat in range(1, repeats + 1):
        for number, fold in enumerate(folds[:tested], start=1):
            if (fold, repeat) in drop:
                continue
            where = folder / f"{fold}--{repeat}"
            where.mkdir()
            own = quality + generator.normal(0, spread)
            make = _ratings if ratings else _emotions
            make(fold, speakers, own).to_parquet(where / "predictions.parquet", index=False)
            made = {
                "format": FORMAT, "experiment": experiment.id, "fold": fold, "repeat": repeat,
                "seed": 1000 * repeat + number, "audit": {}, "flags": [], "peak_memory_mib": round(1000 * own),
                "versions": {"backend": backend, "machine": "x86_64", "device": "CPU"},
                "seconds": {"fit": round(10 * own, 3), "total": 20.0}, "finished": f"2026-01-0{run[0]}T00:00:00",
                "predictions": checksum(where / "predictions.parquet"), **(trial or {}),
            }  # fmt: skip
            (where / "trial.json").write_text(json.dumps(made))
    return folder


def _emotions(fold: str, speakers: int, quality: float) -> pd.DataFrame:
    """40 utterances of one speaker, a share of which is predicted correctly."""
    label = np.arange(40) % 2
    right = np.arange(40) < round(40 * quality)
    angry = (label == 0) == right
    return pd.DataFrame(
        {
            "utterance": [f"{fold}-{n}" for n in range(40)], "speaker": fold,
            "label": np.array(CLASSES, object)[label], "p_angry": angry.astype(float), "p_sad": 1.0 - angry,
        }
    )  # fmt: skip


def _ratings(fold: str, speakers: int, quality: float) -> pd.DataFrame:
    """Ratings of all speakers; predictions have the more noise the lower the quality is."""
    fixed = np.random.default_rng(0)
    columns = {"utterance": [f"u{n}" for n in range(200)], "speaker": [f"s{n % speakers}" for n in range(200)]}
    for name in Dimensions().dimensions:
        columns[name] = fixed.normal(3, 1, 200)
        columns[f"predicted_{name}"] = 3 + quality * (columns[name] - 3) + fixed.normal(0, 0.3, 200)
    return pd.DataFrame(columns)
