"""Figures 4 and 5: t-SNE of the test utterances' features F, by loss and by modality.

The figures show the test part of the first fold in the first run, in Euclidean and in angular space. The paper does not
define its angular space; here it is t-SNE on cosine distances. The perplexity is 30, the middle of the range that van
der Maaten and Hinton recommend, or less for few utterances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from common.results import Comparison, RunResults

SPACES = {"euclidean": "Euclidean space", "cosine": "angular space"}

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#5f5f5f")
"""Okabe and Ito's palette, which colour-blind readers can distinguish; for at most seven classes."""

MARKERS = "osD^vPX"


def draw_losses(runs: Mapping[str, RunResults], comparisons: Sequence[Comparison]) -> Figure | None:
    """Draws Figure 4: one row each for softmax, focal loss, ArcFace and APFL."""
    return _draw("mtap/fig4/", runs)


def draw_modalities(runs: Mapping[str, RunResults], comparisons: Sequence[Comparison]) -> Figure | None:
    """Draws Figure 5: one row each for the spectrogram alone, with text, with audio, and with both."""
    return _draw("mtap/fig5/", runs)


def _draw(prefix: str, runs: Mapping[str, RunResults]) -> Figure | None:
    from papers.mtap.experiments import PAPER

    shown = []
    for experiment in PAPER.experiments:
        if experiment.id.startswith(prefix) and experiment.id in runs:
            found = first_fold(runs[experiment.id])
            if found is not None:
                shown.append((experiment.title, *found, runs[experiment.id].run))
    if not shown:
        return None
    from matplotlib.figure import Figure

    classes = shown[0][3]["classes"]
    figure = Figure(figsize=(8.0, 3.1 * len(shown) + 0.6), layout="constrained")
    axes = figure.subplots(len(shown), 2, squeeze=False)
    for row, (title, features, labels, _) in zip(axes, shown, strict=True):
        for axis, (metric, space) in zip(row, SPACES.items(), strict=True):
            points = embed(features, metric)
            size = max(9, min(40, 900 / len(points)))
            for number, name in enumerate(classes):
                own = points[labels == name]
                axis.scatter(
                    *own.T, s=size, c=COLOURS[number], marker=MARKERS[number], linewidths=0, alpha=0.8, label=name
                )
            axis.set_title(f"{title}, {space}", fontsize=10)
            axis.set_xticks([])
            axis.set_yticks([])
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(classes), markerscale=2, frameon=False)
    run = shown[0][3]
    figure.suptitle(f"{run['corpus']}/{run['subset']}, test part of the first fold", fontsize=11)
    return figure


def first_fold(measured: RunResults) -> tuple[np.ndarray, np.ndarray] | None:
    """Features (utterances, width) and class names of the first fold's test part; None if they were not kept."""
    order = {fold: number for number, fold in enumerate(measured.run["folds"])}
    trials = sorted(
        range(len(measured.trials)), key=lambda k: (order[measured.trials[k]["fold"]], measured.trials[k]["repeat"])
    )
    for number in trials:
        kept = measured.activations(number)
        if "features" in kept:
            return kept["features"], measured.predictions[number]["label"].to_numpy(str)
    return None


def embed(features: np.ndarray, metric: str, seed: int = 0) -> np.ndarray:
    """Computes t-SNE of feature vectors, shape (utterances, 2).

    Args:
        features: shape (utterances, width), at least 4 utterances.
        metric: "euclidean" or "cosine".
        seed: seeds the optimisation.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    features = np.asarray(features, np.float64)
    if metric == "cosine":
        # Only directions matter for angles, so the initial positions must not depend on lengths either.
        features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    start = PCA(2, random_state=seed).fit_transform(features)
    start *= 1e-4 / max(start[:, 0].std(), 1e-12)
    perplexity = min(30.0, (len(features) - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, metric=metric, init=start, random_state=seed)
    with threadpool_limits(1):  # several threads are slower for few points, and sum in a random order
        return tsne.fit_transform(features)
