"""An epoch of the paper's LSTM networks beside the same network in PyTorch, on one device.

LSTM on pAA functionals (Table 3) and LSTM + LSTM (Table 5), both at full width, and the LSTM on low-level descriptors
with fewer frames on a CPU. Batches are in memory and alike on both sides; both sides compute the same loss with RMSprop
in float32. On a CPU, PyTorch has a fused LSTM and TensorFlow has none (its fused one is cuDNN's), so long sequences
take TensorFlow several times as long there. PyTorch is no dependency: without it only Keras is timed. Each side runs
in a process of its own.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time

import numpy as np

from benchmarks.measure import Absent, Figure, figure

CASES = {
    "acoustic LSTM, functionals": {"steps": 1, "descriptors": 68, "words": 0, "batch": 8, "batches": 100},
    "LSTM + LSTM": {"steps": 1, "descriptors": 68, "words": 3438, "batch": 8, "batches": 10},
    "acoustic LSTM, LLD": {"steps": 3411, "descriptors": 34, "words": 0, "batch": 8, "batches": 100},
}
ON_CPU = {"acoustic LSTM, LLD": {"steps": 300, "batches": 3}}
"""What a CPU does of them."""

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
    """Seconds of each epoch, the first (which traces) left out."""
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
    """The same network, loss and optimiser in PyTorch."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    inputs, targets = batch(case)

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.normalisation = torch.nn.BatchNorm1d(case["descriptors"], eps=1e-3)
            self.heard = torch.nn.LSTM(case["descriptors"], WIDTH, num_layers=3, batch_first=True)
            self.dropout = torch.nn.Dropout(0.1)
            size = case["steps"] * WIDTH
            self.reads = bool(case["words"])
            if self.reads:
                self.embedding = torch.nn.Embedding(case["words"], 300)
                self.read = torch.nn.LSTM(300, WIDTH, num_layers=3, batch_first=True)
                self.text = torch.nn.Sequential(torch.nn.Linear(WIDTH, 64), torch.nn.Dropout(0.4))
                layers = [torch.nn.Linear(size + 64, 64), torch.nn.Linear(64, 32), torch.nn.Dropout(0.4)]
                self.fusion, size = torch.nn.Sequential(*layers), 32
            self.head = torch.nn.Linear(size, 3)

        def forward(self, acoustic, text=None):
            x = self.normalisation(acoustic.transpose(1, 2)).transpose(1, 2)
            x = self.dropout(self.heard(x)[0].flatten(1))
            if self.reads:
                words = self.text(self.read(self.embedding(text))[0][:, -1])
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
    epoch()
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        epoch()
        seconds.append(time.perf_counter() - started)
    return seconds


SIDES = {"keras": with_keras, "torch": with_torch}


def _run(side: str, case: dict) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.lstm_peer", side, json.dumps(case)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _gpu() -> bool:
    check = "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    return done.returncode == 0 and int(done.stdout.split()[-1]) > 0


def main() -> list[Figure | Absent]:
    """Milliseconds a step of each network on each side, and how many times PyTorch's that is."""
    on_gpu = _gpu()
    figures = []
    for name, case in CASES.items():
        case = case if on_gpu else {**case, **ON_CPU.get(name, {})}
        title = f"{name}, {case['steps']} steps, batch {case['batch']}, {'GPU' if on_gpu else 'CPU'}"
        milliseconds = {}
        for side in SIDES:
            if side == "torch" and importlib.util.find_spec("torch") is None:
                continue
            milliseconds[side] = [1e3 * seconds / case["batches"] for seconds in _run(side, case)]
            figures.append(figure(f"{title}: a step in {side}", milliseconds[side], "ms"))
        if "torch" in milliseconds:
            ratios = [one / other for one, other in zip(*milliseconds.values(), strict=True)]
            figures.append(figure(f"{title}: a step beside PyTorch's", ratios, "times"))
        else:
            figures.append(Absent(f"{title}: a step beside PyTorch's", "not run: torch is not installed"))
    return figures


if __name__ == "__main__":
    print(json.dumps(SIDES[sys.argv[1]](json.loads(sys.argv[2]))))
