"""What a plain model reaches on the same folds: eGeMAPS functionals and an RBF support vector machine.

Shown beside every side-by-side, so that a reader sees what a deep model adds. "plain" scales features with training
statistics; "speaker-normalised" standardises each speaker's utterances by themselves, which sees the test speaker's
unlabelled data, and says so. The machine learns from training and validation part together: it chooses nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.files import write_json
from common.metrics import by_run_fold_speaker

if TYPE_CHECKING:
    import pandas as pd

    from common.splits import Fold

KINDS = {
    "plain": "eGeMAPS + SVM",
    "normalised": "eGeMAPS + SVM, per-speaker normalised (sees the test speaker's unlabelled data)",
}


@dataclass(frozen=True)
class Yardstick:
    """Confusion counts of one kind of yardstick on all folds of a protocol.

    Attributes:
        kind: key of `KINDS`.
        folds: names of the folds, sorted.
        counts: shape (1, folds, speakers, classes, classes), as `common.reported.measure` takes them.
    """

    kind: str
    folds: tuple[str, ...]
    counts: np.ndarray

    def on(self, folds: Iterable[str]) -> np.ndarray:
        """The counts of some folds only, for a run that has not all of them, and of the speakers tested there."""
        wanted = set(folds)
        counts = self.counts[:, [number for number, fold in enumerate(self.folds) if fold in wanted]]
        return counts[:, :, counts.sum(axis=(0, 1, 3, 4)) > 0]


def classifier():
    """Standardisation and class-balanced RBF SVM, C = 1, gamma = 1 / number of features of unit variance."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    return make_pipeline(StandardScaler(), SVC(C=1.0, kernel="rbf", gamma="scale", class_weight="balanced"))


def normalise_by_speaker(features: np.ndarray, speakers: np.ndarray) -> np.ndarray:
    """Each speaker's features to mean 0 and deviation 1.

    Args:
        features: shape (utterances, features).
        speakers: shape (utterances,).
    """
    result = np.empty_like(features)
    for speaker in np.unique(speakers):
        own = features[speakers == speaker]
        deviation = own.std(axis=0)
        result[speakers == speaker] = (own - own.mean(axis=0)) / np.where(deviation > 1e-9, deviation, 1.0)
    return result


def evaluate(
    table: pd.DataFrame, features: np.ndarray, folds: Sequence[Fold], classes: Sequence[str], kind: str
) -> Yardstick:
    """Fits and tests one kind of yardstick on every fold.

    Args:
        table: utterances, in the order of `features`.
        features: functionals, shape (utterances, features).
        folds: of the protocol.
        classes: emotions in the order that numbers them.
        kind: key of `KINDS`.
    """
    labels = table["emotion"].map({emotion: number for number, emotion in enumerate(classes)}).to_numpy(np.int64)
    speakers = table["speaker"].to_numpy(str)
    if kind == "normalised":
        features = normalise_by_speaker(features, speakers)
    place = {utterance: row for row, utterance in enumerate(table["utterance"])}
    truth, predictions, tested = [], [], []
    for fold in folds:
        learn = [place[u] for u in (*fold.train, *fold.validation) if u in place]
        test = [place[u] for u in fold.test if u in place]
        model = classifier().fit(features[learn], labels[learn])
        truth.append(labels[test])
        predictions.append(model.predict(features[test]))
        tested.append(speakers[test])
    names = [fold.name for fold in folds]
    counts = by_run_fold_speaker(truth, predictions, tested, [1] * len(names), names, len(classes))
    return Yardstick(kind, tuple(sorted(names)), counts)


def file_of(results: Path, run: Mapping) -> Path:
    """Where the yardsticks of a run are kept; all runs on the same folds share them.

    Args:
        results: results folder.
        run: content of `run.json`.
    """
    described = {name: run[name] for name in ("corpus", "subset", "fingerprint", "protocol")}
    digest = hashlib.blake2b(
        json.dumps({**described, "version": 1}, sort_keys=True).encode(), digest_size=5
    ).hexdigest()
    return results / "yardstick" / f"{run['corpus']}-{run['subset']}-{digest}.json"


def read(file: Path) -> list[Yardstick]:
    """The yardsticks in a file that `write` wrote; none if there is no such file or it is damaged."""
    try:
        stored = json.loads(file.read_bytes())
        folds = tuple(stored["folds"])
        return [Yardstick(kind, folds, np.array(stored["counts"][kind], np.int64)) for kind in KINDS]
    except (OSError, ValueError, KeyError):
        return []


def write(
    file: Path,
    table: pd.DataFrame,
    functionals: Mapping[str, np.ndarray],
    folds: Sequence[Fold],
    classes: Sequence[str],
) -> None:
    """Evaluates both kinds on all folds and keeps them.

    Args:
        file: see `file_of`.
        table: utterances; those without functionals are left out.
        functionals: eGeMAPS functionals by utterance.
        folds: of the protocol.
        classes: emotions in the order that numbers them.
    """
    table = table[table["utterance"].isin(list(functionals))]
    features = np.stack([functionals[utterance] for utterance in table["utterance"]]).astype(np.float64)
    found = [evaluate(table, features, folds, classes, kind) for kind in KINDS]
    write_json(file, {"folds": found[0].folds, "counts": {one.kind: one.counts.tolist() for one in found}})
