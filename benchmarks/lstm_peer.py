"""Training steps of the paper's LSTM networks, compared with the same networks in PyTorch on the same device.

These are the LSTM on pAA functionals (Table 3) and LSTM + LSTM (Table 5), both at full width, and the LSTM on low-level
descriptors, with fewer frames on a CPU. Both libraries get the same batches from memory and compute the same loss with
RMSprop in float32, each in its own process. On a CPU, PyTorch has a fused LSTM and TensorFlow does not (its fused one
is cuDNN's), so long sequences take TensorFlow several times as long. Without torch, only Keras is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np

from benchmarks.measure import Absent, Figure, figure, in_own_process, not_installed, timed

CASES = {
    "acoustic LSTM, functionals": {"steps": 1, "descriptors": 68, "words": 0, "batch": 8, "batches": 100},
    "LSTM + LSTM": {"steps": 1, "descriptors": 68, "words": 3438, "batch": 8, "batches": 10},
    "acoustic LSTM, LLD": {"steps": 3411, "descriptors": 34, "words": 0, "batch": 8, "batches": 100},
}
ON_CPU = {"acoustic LSTM, LLD": {"steps": 300, "batches": 3}}
"""Fewer steps and batches on a CPU."""

LENGTH, WIDTH = 100, 256
REPEATS = 3


def batch(case: dict) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Random input and labels of one batch."""
    generator = np.random.default_rng(0)
    shape = case["batch"], case["steps"], case["descriptors"]
    inputs = {"acoustic": generator.standard_normal(shape, np.float32)}
    if case["words"]:
        inputs["text"] = generator.integers(0, case["words"], (case["batch"], LENGTH)).astype(np.int32)
    return inputs, generator.uniform(-1, 1, (case["batch"], 3)).astype(np.float32)


def with_keras(case: dict) -> list[float]:
    """Seconds of each epoch with Keras."""
    from common.backend import start_backend

    start_backend()
    from common.training import jit_compile
    from papers.dimensional_mtl.config import DimensionalConfig
    from papers.dimensional_mtl.model import build_loss, build_model, build_optimiser

    level = "hsf" if case["steps"] == 1 else "lld"
    modality = "both" if case["words"] else "acoustic"
    config = DimensionalConfig(modality=modality, level=level, weighting="none", batch_size=case["batch"])
    model = build_model(config, (case["steps"], case["descriptors"]), case["words"])
    model.compile(build_optimiser(config), build_loss(config), jit_compile=jit_compile())
    inputs, targets = batch(case)
    repeated = {name: np.concatenate([array] * case["batches"]) for name, array in inputs.items()}
    truth = np.concatenate([targets] * case["batches"])

    def epoch() -> None:
        model.fit(repeated, truth, batch_size=case["batch"], epochs=1, shuffle=False, verbose=0)

    return _seconds(epoch)


def with_torch(case: dict) -> list[float]:
    """Seconds of each epoch with the same network, loss and optimiser in PyTorch."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    inputs, targets = batch(case)

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.normalisation = torch.nn.BatchNorm1d(case["descriptors"], eps=1e-3)
            self.acoustic = torch.nn.LSTM(case["descriptors"], WIDTH, num_layers=3, batch_first=True)
            self.dropout = torch.nn.Dropout(0.1)
            size = case["steps"] * WIDTH
            self.with_text = bool(case["words"])
            if self.with_text:
                self.embedding = torch.nn.Embedding(case["words"], 300)
                self.words = torch.nn.LSTM(300, WIDTH, num_layers=3, batch_first=True)
                self.text = torch.nn.Sequential(torch.nn.Linear(WIDTH, 64), torch.nn.Dropout(0.4))
                layers = [torch.nn.Linear(size + 64, 64), torch.nn.Linear(64, 32), torch.nn.Dropout(0.4)]
                self.fusion, size = torch.nn.Sequential(*layers), 32
            self.head = torch.nn.Linear(size, 3)

        def forward(self, acoustic, text=None):
            x = self.normalisation(acoustic.transpose(1, 2)).transpose(1, 2)
            x = self.dropout(self.acoustic(x)[0].flatten(1))
            if self.with_text:
                words = self.text(self.words(self.embedding(text))[0][:, -1])
                x = self.fusion(torch.cat([x, words], dim=1))
            return self.head(x)

    def loss(truth, prediction):
        t, p = truth - truth.mean(0), prediction - prediction.mean(0)
        spread = (t**2).mean(0) + (p**2).mean(0) + (truth.mean(0) - prediction.mean(0)) ** 2
        return (1 - 2 * (t * p).mean(0) / (spread + 1e-8)).sum()

    network = Network().to(device)
    optimiser = torch.optim.RMSprop(network.parameters(), lr=1e-3, alpha=0.9, eps=1e-7)
    tensors = {name: torch.from_numpy(array).to(device) for name, array in inputs.items()}
    truth = torch.from_numpy(targets).to(device)

    def epoch() -> None:
        for _ in range(case["batches"]):
            optimiser.zero_grad()
            loss(truth, network(**tensors)).backward()
            optimiser.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return _seconds(epoch)


def _seconds(epoch) -> list[float]:
    epoch()  # traces the graph
    return timed(epoch, REPEATS)


LIBRARIES = {"keras": with_keras, "torch": with_torch}


def _gpu() -> bool:
    check = "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    return done.returncode == 0 and int(done.stdout.split()[-1]) > 0


def main() -> list[Figure | Absent]:
    """Milliseconds per step of each network in each library, and their ratio."""
    on_gpu, missing = _gpu(), not_installed("torch")
    figures = []
    for name, case in CASES.items():
        case = case if on_gpu else {**case, **ON_CPU.get(name, {})}
        title = f"{name}, {case['steps']} steps, batch {case['batch']}, {'GPU' if on_gpu else 'CPU'}"
        milliseconds = {}
        for library in ("keras",) if missing else LIBRARIES:
            seconds = in_own_process("benchmarks.lstm_peer", library, json.dumps(case))
            milliseconds[library] = [1e3 * one / case["batches"] for one in seconds]
            figures.append(figure(f"{title}: a step in {library}", milliseconds[library], "ms"))
        if missing:
            figures.append(Absent(f"{title}: a step compared with PyTorch", missing))
        else:
            ratios = [one / other for one, other in zip(*milliseconds.values(), strict=True)]
            figures.append(figure(f"{title}: a step compared with PyTorch", ratios, "times"))
    return figures


if __name__ == "__main__":
    print(json.dumps(LIBRARIES[sys.argv[1]](json.loads(sys.argv[2]))))
