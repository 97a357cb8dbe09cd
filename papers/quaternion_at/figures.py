"""Figure 2, and a figure of time and memory of training (Sec. 3.2.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from papers.quaternion_at.config import LAYERS, layer_name
from papers.quaternion_at.experiments import METHODS, NETWORKS, SUBSETS, row_of, title_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from common.results import Comparison, RunResults

SPLITS = {"rnd": "random", "act": "actor"}


def accuracy(measured: RunResults) -> float:
    """Accuracy of a run's chunks in percent, as in Table 1, averaged over its trials."""
    classes = measured.run["classes"]
    shares = []
    for table in measured.predictions:
        votes = table[[f"chunks_{name}" for name in classes]].to_numpy()
        right = votes[np.array(classes, object)[None, :] == table["label"].to_numpy(object)[:, None]]
        shares.append(right.sum() / votes.sum())
    return 100 * float(np.mean(shares))


def gains(runs: Mapping[str, RunResults], network: str, method: str, split: str) -> np.ndarray:
    """Accuracy gained by anti-transfer at each layer, averaged over the corpora that were run.

    Args:
        runs: runs by experiment id.
        network: "real" or "quat".
        method: "S" or "W".
        split: "rnd" or "act".

    Returns:
        Shape (13,), percentage points; NaN if a layer, or the network without anti-transfer, was not run.
    """
    sums, counts = np.zeros(LAYERS), np.zeros(LAYERS)
    for corpus in SUBSETS:
        without = runs.get(f"quaternion_at/table1/{corpus}/{network}/{split}")
        for layer in range(1, LAYERS + 1):
            at = runs.get(f"quaternion_at/fig2/{corpus}/{row_of(network, method)}/{split}/{layer_name(layer)}")
            if without is not None and at is not None and without.trials and at.trials:
                sums[layer - 1] += accuracy(at) - accuracy(without)
                counts[layer - 1] += 1
    return np.divide(sums, counts, out=np.full(LAYERS, np.nan), where=counts > 0)


def draw_layers(runs: Mapping[str, RunResults], comparisons: Sequence[Comparison]) -> Figure | None:
    """Draws Figure 2: accuracy gained by anti-transfer at each layer, with the mean, one panel per network."""
    lines = {
        (network, method, split): gains(runs, network, method, split)
        for network in NETWORKS
        for method in ("S", "W")
        for split in SPLITS
    }
    if all(np.isnan(values).all() for values in lines.values()):
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    layers = np.arange(1, LAYERS + 1)
    for axis, (network, name) in zip(axes, NETWORKS.items(), strict=True):
        own = {key: values for key, values in lines.items() if key[0] == network}
        for (_, method, split), values in own.items():
            if not np.isnan(values).all():
                axis.plot(layers, values, marker=".", label=f"{METHODS[method]}, {SPLITS[split]} split")
        stacked = np.stack(list(own.values()))
        known = ~np.isnan(stacked)
        counts = known.sum(axis=0)
        mean = np.divide(np.where(known, stacked, 0).sum(axis=0), counts, out=np.full(LAYERS, np.nan), where=counts > 0)
        axis.plot(layers, mean, color="green", linestyle=":", label="mean")
        axis.axhline(0, color="grey", linewidth=0.6)
        axis.set(title=name, xlabel="anti-transfer layer", xticks=layers)
        axis.legend(fontsize=7)
    axes[0].set_ylabel("accuracy gained, percentage points")
    return figure


def draw_resources(runs: Mapping[str, RunResults], comparisons: Sequence[Comparison]) -> Figure | None:
    """Draws seconds per epoch and peak memory of real and quaternion networks, without and with anti-transfer.

    Trials in the same process share its peak memory, so run each experiment with a command of its own.
    """
    shown = {}
    for network in NETWORKS:
        for method in ("none", "S"):
            run = runs.get(f"quaternion_at/resources/iemocap/{row_of(network, method)}")
            if run is not None and run.trials:
                seconds = [seconds_per_epoch(trial) for trial in run.trials]
                memory = [trial["peak_memory_mib"] for trial in run.trials]
                shown[title_of(network, method)] = float(np.mean(seconds)), float(np.mean(memory))
    if not shown:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, number, label in zip(axes, (0, 1), ("seconds per epoch", "peak memory of the process, MiB"), strict=True):
        axis.barh(list(shown), [values[number] for values in shown.values()], color="steelblue")
        axis.invert_yaxis()
        axis.set_xlabel(label)
    return figure


def seconds_per_epoch(trial: dict) -> float:
    """Training time of a trial per epoch; with dual anti-transfer, over the epochs of both trainings."""
    epochs = sum(len(values) for name, values in trial["history"].items() if name.endswith("loss"))
    return trial["seconds"]["fit"] / max(1, epochs)
