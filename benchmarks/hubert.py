"""HuBERT base compared with Hugging Face's PyTorch model: forward pass and training step on 4 s of audio, two threads.

Each library runs in its own process, in turn, with random weights, default dropout and Adam. Layerdrop is 0, because
PyTorch's loop would save the time of a dropped layer. Without torch and transformers, only Keras is measured.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np

from benchmarks.measure import Absent, Figure, figure, not_installed

SAMPLES = 64000
THREADS = 2
TASKS = (("forward", 1, 1.1, 5), ("forward", 8, 1.1, 3), ("train", 4, 1.5, 3))
"""What is timed: kind, batch size, limit of the ratio to PyTorch, repetitions."""


def keras_actions():
    """Forward pass and training step in Keras, as functions of a batch of waveforms."""
    import keras

    from common.models.hubert import HubertConfig
    from common.models.speech_encoder import speech_encoder, truncate

    network = truncate(speech_encoder(HubertConfig(layerdrop=0.0)), -1)
    network.compile(keras.optimizers.Adam(1e-5), lambda _, y: keras.ops.mean(y * y), jit_compile=False)
    return {
        "forward": lambda waves: network.predict_on_batch({"waveform": waves}),
        "train": lambda waves: network.train_on_batch({"waveform": waves}, np.zeros((len(waves), 1), np.float32)),
    }


def torch_actions():
    """The same in PyTorch."""
    import torch
    from transformers import HubertConfig, HubertModel

    torch.set_num_threads(THREADS)
    network = HubertModel(HubertConfig(layerdrop=0.0, apply_spec_augment=False))
    optimizer = torch.optim.Adam(network.parameters(), 1e-5)

    def forward(waves):
        network.eval()
        with torch.no_grad():
            return network(torch.from_numpy(waves)).last_hidden_state.numpy()

    def train(waves):
        network.train()
        optimizer.zero_grad()
        loss = network(torch.from_numpy(waves)).last_hidden_state.square().mean()
        loss.backward()
        optimizer.step()
        return float(loss)

    return {"forward": forward, "train": train}


def worker(library: str) -> None:
    """Reads tasks from standard input, one per line, and prints the seconds that each takes."""
    actions = {"keras": keras_actions, "torch": torch_actions}[library]()
    for line in sys.stdin:
        kind, batch = line.split()
        waves = np.random.default_rng(0).standard_normal((int(batch), SAMPLES)).astype(np.float32)
        started = time.perf_counter()
        actions[kind](waves)
        print("seconds", time.perf_counter() - started, flush=True)


def start(library: str) -> subprocess.Popen:
    """A process that waits for tasks."""
    threads = {name: str(THREADS) for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")}
    environment = {**os.environ, **threads, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-m", "benchmarks.hubert", library]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, env=environment, text=True, **pipes)


def ask(process: subprocess.Popen, kind: str, batch: int) -> float:
    """Has a worker perform a task, and returns the seconds that it took."""
    process.stdin.write(f"{kind} {batch}\n")
    process.stdin.flush()
    for line in process.stdout:
        if line.startswith("seconds "):
            return float(line.split()[1])
    raise RuntimeError(f"The {process.args[-1]} process ended; run `python -m benchmarks.hubert {process.args[-1]}`.")


def main() -> Iterator[Figure | Absent]:
    """Seconds of both libraries, and their ratio."""
    missing = not_installed("torch", "transformers")
    processes = [start(library) for library in (("keras",) if missing else ("keras", "torch"))]
    try:
        for kind, batch, limit, repeats in TASKS:
            title = f"HuBERT base, {kind}, batch {batch}"
            for process in processes:
                ask(process, kind, batch)  # traces the graph, fills caches
            rounds = [[ask(process, kind, batch) for process in processes] for _ in range(repeats)]
            yield figure(f"{title}: Keras", [one[0] for one in rounds], "s")
            if missing:
                yield Absent(f"{title}: Keras compared with PyTorch", missing)
            else:
                yield figure(f"{title}: PyTorch", [one[1] for one in rounds], "s")
                ratios = [one[0] / one[1] for one in rounds]
                yield figure(f"{title}: Keras compared with PyTorch", ratios, "times", limit)
    finally:
        for process in processes:
            process.kill()


if __name__ == "__main__":
    worker(sys.argv[1])
