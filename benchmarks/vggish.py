"""VGGish features of EMODB: the Keras network with the NumPy front end against a SavedModel of TF-Hub's signature.

Both have the same weights (drawn, of the published size) and work on signals that are already read; they take turns, 64
utterances at a time, so that whatever else the machine does meets both. The SavedModel takes one utterance a call, as
its signature asks. Without EMODB: as much noise, of EMODB's mean duration.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import Figure, figure
from benchmarks.spectrograms import utterances
from common import audio
from common.backend import start_backend

HELPER = Path(__file__).parents[1] / "tests" / "helpers" / "hub_vggish.py"
TURN = 64


def helper():
    """The tests' helper, which writes and runs a SavedModel."""
    spec = importlib.util.spec_from_file_location("hub_vggish", HELPER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> list[Figure]:
    """Seconds of both, their ratio, and how far their features are apart."""
    start_backend()
    from common.features.vggish import Vggish
    from common.models.vggish import digest, random_vggish

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table, title = utterances(folder)
        signals = [audio.read(path, 16000) for path in table["path"]]
        hub = helper()
        checkpoint = hub.save_like_hub(random_vggish(), folder / "vggish")
        ours, theirs = Vggish(str(checkpoint), digest(checkpoint)), hub.embed_by_hub(checkpoint)
        padded = [np.pad(signal, (0, max(0, 15600 - len(signal)))) for signal in signals]
        for _ in range(2):  # not counted: both trace their graphs
            ours.batch(signals[:TURN])
            theirs(padded[0])
        seconds = np.zeros(2)
        apart = 0.0
        for first in range(0, len(signals), TURN):
            started = time.perf_counter()
            found = ours.batch(signals[first : first + TURN])
            turned = time.perf_counter()
            expected = [theirs(signal).mean(axis=0) for signal in padded[first : first + TURN]]
            seconds += turned - started, time.perf_counter() - turned
            apart = max(apart, *(np.abs(f - e).max() / np.abs(e).max() for f, e in zip(found, expected, strict=True)))
    return [
        figure(f"{title}: VGGish, the SavedModel", [seconds[1]], "s"),
        figure(f"{title}: VGGish, Keras", [seconds[0]], "s"),
        figure(f"{title}: VGGish beside the SavedModel", [100 * seconds[0] / seconds[1]], "%", 100.0),
        figure("VGGish: largest difference, of the largest feature", [1e6 * apart], "millionths", 10.0),
    ]
