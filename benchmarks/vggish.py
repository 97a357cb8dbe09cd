"""VGGish features of EMODB: the Keras network and NumPy front end, compared with a SavedModel like TF-Hub's.

Both have the same random weights of the published size. The audio is read before; they take turns with 64 utterances at
a time, so that other load on the machine affects both alike. The SavedModel takes one utterance per call, as its
signature requires. Without EMODB, noise signals of its mean duration are used.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import Figure, figure
from benchmarks.spectrograms import utterances
from common import audio
from common.backend import start_backend

TURN = 64
"""Utterances per turn."""


def main() -> list[Figure]:
    """Seconds of both, their ratio, and the largest difference of their features."""
    start_backend()
    from common.features.vggish import Vggish
    from common.models.vggish import digest, random_vggish
    from tests.helpers.hub_vggish import embed_by_hub, save_like_hub

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table, title = utterances(folder)
        signals = [audio.read(path, 16000) for path in table["path"]]
        checkpoint = save_like_hub(random_vggish(), folder / "vggish")
        network, saved_model = Vggish(str(checkpoint), digest(checkpoint)), embed_by_hub(checkpoint)
        padded = [np.pad(signal, (0, max(0, 15600 - len(signal)))) for signal in signals]
        for _ in range(2):  # both trace their graphs, which is not counted
            network.batch(signals[:TURN])
            saved_model(padded[0])
        seconds = np.zeros(2)
        difference = 0.0
        for first in range(0, len(signals), TURN):
            started = time.perf_counter()
            found = network.batch(signals[first : first + TURN])
            turned = time.perf_counter()
            expected = [saved_model(signal).mean(axis=0) for signal in padded[first : first + TURN]]
            seconds += turned - started, time.perf_counter() - turned
            differences = (np.abs(f - e).max() / np.abs(e).max() for f, e in zip(found, expected, strict=True))
            difference = max(difference, *differences)
    return [
        figure(f"{title}: VGGish, the SavedModel", [seconds[1]], "s"),
        figure(f"{title}: VGGish, Keras", [seconds[0]], "s"),
        figure(f"{title}: VGGish compared with the SavedModel", [100 * seconds[0] / seconds[1]], "%", 100.0),
        figure("VGGish: largest difference, relative to the largest feature", [1e6 * difference], "millionths", 10.0),
    ]
