"""What fusion costs in training: an epoch of the full net (MTL-C, widths of BERT base and VGGish) beside the plain one.

With DenseNet169 on spectrograms cut to what a processor steps in seconds (a smaller picture makes the fusion's share
larger, never smaller), and with the small network of `--scaled`. The two nets take turns.
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
"""Backbone, frames, bins, utterances, epochs that count."""


def main() -> list[Figure]:
    """Ratio of epochs, by backbone."""
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
        nets = []
        for config in (fused, alone):
            config = override(config, {"backbone": backbone, "frames": frames, "bins": bins, "weights": "random"})
            model = build_model(config, 4, widths)
            compile_model(model, config)
            inputs, targets = (arrays, [labels, gender]) if config.text else (arrays["spectrogram"], labels)
            nets.append((model, inputs, targets))
        seconds = ([], [])
        for epoch in range(epochs + 1):
            for (model, inputs, targets), spent in zip(nets, seconds, strict=True):
                started = time.perf_counter()
                model.fit(inputs, targets, batch_size=32, epochs=1, verbose=0)
                if epoch:  # the first also traces
                    spent.append(time.perf_counter() - started)
        ratio = statistics.median(seconds[0]) / statistics.median(seconds[1])
        title = f"{backbone}, {frames} x {bins}, epoch of {count}"
        figures.append(figure(f"{title}: spectrogram alone", seconds[1], "s"))
        figures.append(figure(f"{title}: all three and gender", seconds[0], "s"))
        figures.append(figure(f"three modalities beside spectrograms alone, {backbone}", [ratio], "times", LIMIT))
    return figures
