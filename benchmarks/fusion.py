"""Training with fusion (MTL-C, with the widths of BERT base and VGGish), compared with spectrograms alone.

Measured with DenseNet169 on spectrograms that are small enough for a CPU (smaller ones make the share of fusion larger,
never smaller), and with the small network of `--scaled`. The two networks take turns.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from benchmarks.measure import Figure, figure
from common.backend import start_backend
from common.contract import override

LIMIT = 1.1
CASES = (("densenet169", 160, 200, 32, 3), ("small_cnn", 300, 400, 256, 7))
"""Backbone, frames, bins, utterances, measured epochs."""


def main() -> list[Figure]:
    """Seconds of both epochs and their ratio, for each backbone."""
    start_backend()
    from papers.mtap.experiments import PAPER
    from papers.mtap.model import build_model, compile_model

    widths = {"text": 768, "audio": 128}
    fused = PAPER.experiment("mtap/table5/iemocap/densenet169+mtl-c").config
    alone = PAPER.experiment("mtap/table3/iemocap/softmax").config
    figures = []
    for backbone, frames, bins, count, epochs in CASES:
        generator = np.random.default_rng(0)
        arrays = {name: generator.normal(size=(count, width)).astype(np.float32) for name, width in widths.items()}
        arrays["spectrogram"] = generator.normal(size=(count, frames, bins, 1)).astype(np.float32)
        labels, gender = generator.integers(0, 4, count), generator.integers(0, 2, count)
        networks = []
        for config in (fused, alone):
            config = override(config, {"backbone": backbone, "frames": frames, "bins": bins, "weights": "random"})
            model = build_model(config, 4, widths)
            compile_model(model, config)
            inputs, targets = (arrays, [labels, gender]) if config.text else (arrays["spectrogram"], labels)
            networks.append((model, inputs, targets))
        seconds: tuple[list[float], list[float]] = ([], [])
        for epoch in range(epochs + 1):
            for (model, inputs, targets), spent in zip(networks, seconds, strict=True):
                started = time.perf_counter()
                model.fit(inputs, targets, batch_size=32, epochs=1, verbose=0)
                if epoch:  # the first one also traces the graph
                    spent.append(time.perf_counter() - started)
        ratio = statistics.median(seconds[0]) / statistics.median(seconds[1])
        title = f"{backbone}, {frames} x {bins}, epoch of {count}"
        figures.append(figure(f"{title}: spectrogram alone", seconds[1], "s"))
        figures.append(figure(f"{title}: all three modalities and gender", seconds[0], "s"))
        figures.append(
            figure(f"three modalities compared with spectrograms alone, {backbone}", [ratio], "times", LIMIT)
        )
    return figures
