"""The yardstick: eGeMAPS functionals and an RBF support vector machine (or regression) on the same folds.

Reports show it below each table, so that readers see what a deep model adds. The kind "plain" scales features with
statistics of the training part. The kind "normalised" standardises the utterances of each speaker separately, which
uses the unlabelled data of the test speakers, and says so. Both are trained on the training and validation parts
together, since they have nothing to select.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.files import write_json
from common.metrics import METRICS, STATISTICS
from common.targets import EMOTION
from ser.results.measuring import FoldStatistics, statistics_of

if TYPE_CHECKING:
    import pandas as pd

    from common.splits import Fold
    from common.targets import Target

KINDS = {
    "plain": "eGeMAPS + SVM",
    "normalised": "eGeMAPS + SVM, per-speaker normalised (sees the test speaker's unlabelled data)",
}


@dataclass(frozen=True)
class Yardstick:
    """Results of one kind of yardstick on all folds of a protocol.

    Attributes:
        kind: key of `KINDS`.
        statistics: what metrics are computed from, by key of `common.metrics.STATISTICS`.
    """

    kind: str
    statistics: Mapping[str, FoldStatistics]

    def of(self, metric: str) -> FoldStatistics | None:
        """The statistics that a metric is computed from; None if yardsticks do not have them."""
        return self.statistics.get(METRICS[metric].statistic)


def classifier():
    """Standardisation and a class-balanced SVM, C = 1, gamma = 1 / number of features."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    return make_pipeline(StandardScaler(), SVC(C=1.0, kernel="rbf", gamma="scale", class_weight="balanced"))


def regressor():
    """Standardisation and a support vector regression for one dimension, C = 1, epsilon = 0.1 label units."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR

    return make_pipeline(StandardScaler(), SVR(C=1.0, kernel="rbf", gamma="scale", epsilon=0.1))


def normalise_by_speaker(features: np.ndarray, speakers: np.ndarray) -> np.ndarray:
    """Scales the features of each speaker to mean 0 and standard deviation 1; constant features become 0.

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
    table: pd.DataFrame,
    features: np.ndarray,
    folds: Sequence[Fold],
    classes: Sequence[str],
    kind: str,
    target: Target = EMOTION,
) -> Yardstick:
    """Trains and tests one kind of yardstick on every fold.

    Args:
        table: utterances, in the order of `features`.
        features: functionals, shape (utterances, features).
        folds: of the protocol.
        classes: the classes, in the order of their numbers; empty for a regression.
        kind: key of `KINDS`.
        target: what is predicted.
    """
    speakers = table["speaker"].to_numpy(str)
    row_of = {utterance: row for row, utterance in enumerate(table["utterance"])}
    if kind == "normalised":
        features = normalise_by_speaker(features, speakers)
    truth, predictions, tested = [], [], []
    for fold in folds:
        train = [row_of[u] for u in (*fold.train, *fold.validation) if u in row_of]
        test = [row_of[u] for u in fold.test if u in row_of]
        tested.append(speakers[test])
        if classes:
            label = target.labeller(table.iloc[[row_of[u] for u in fold.train if u in row_of]], classes)
            truth.append(label(table.iloc[test]))
            predicted = classifier().fit(features[train], label(table.iloc[train])).predict(features[test])
            predictions.append(np.eye(len(classes))[predicted])
        else:
            values = table[list(target.dimensions)].to_numpy(np.float64)
            truth.append(values[test])
            columns = [regressor().fit(features[train], one[train]).predict(features[test]) for one in values.T]
            predictions.append(np.stack(columns, axis=1))
    names = [fold.name for fold in folds]
    task = "classification" if classes else "regression"
    return Yardstick(
        kind,
        {
            name: statistics_of(name, truth, predictions, tested, [1] * len(names), names, target.dimensions)
            for name, one in STATISTICS.items()
            if one.task == task and one.columns != "chunks_"  # yardsticks do not cut utterances into chunks
        },
    )


def file_of(results: Path, run: Mapping) -> Path:
    """The file with the yardsticks of a run; all runs on the same folds with the same target share it.

    Args:
        results: results folder.
        run: content of `run.json`.
    """
    described = {name: run[name] for name in ("corpus", "subset", "fingerprint", "protocol", "target")}
    digest = hashlib.blake2b(
        json.dumps({**described, "version": 2}, sort_keys=True).encode(), digest_size=5
    ).hexdigest()
    return results / "yardstick" / f"{run['corpus']}-{run['subset']}-{digest}.json"


def read(file: Path) -> list[Yardstick]:
    """Reads the yardsticks that `evaluate_and_write` wrote; empty if the file does not exist or is damaged."""
    try:
        stored = json.loads(file.read_bytes())
        return [
            Yardstick(
                kind,
                {
                    name: FoldStatistics(np.array(one["sums"]), tuple(one["folds"]), tuple(one["dimensions"]))
                    for name, one in stored[kind].items()
                },
            )
            for kind in KINDS
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def evaluate_and_write(
    file: Path,
    table: pd.DataFrame,
    functionals: Mapping[str, np.ndarray],
    folds: Sequence[Fold],
    classes: Sequence[str],
    target: Target = EMOTION,
) -> None:
    """Trains and tests both kinds on all folds, and writes the results.

    Args:
        file: see `file_of`.
        table: utterances; those without functionals are left out.
        functionals: eGeMAPS functionals by utterance.
        folds: of the protocol.
        classes: the classes, in the order of their numbers; empty for a regression.
        target: what is predicted.
    """
    table = table[table["utterance"].isin(list(functionals))]
    features = np.stack([functionals[utterance] for utterance in table["utterance"]]).astype(np.float64)
    found = [evaluate(table, features, folds, classes, kind, target) for kind in KINDS]
    write_json(
        file,
        {
            one.kind: {
                name: {"folds": part.folds, "dimensions": part.dimensions, "sums": part.sums.tolist()}
                for name, part in one.statistics.items()
            }
            for one in found
        },
    )
