"""On a GPU: the paper's largest input through the cuDNN LSTM."""

import numpy as np
import pytest

pytestmark = pytest.mark.gpu


def test_low_level_descriptors_of_full_length_use_cudnn(monkeypatch):
    import importlib

    import keras
    import tensorflow as tf

    from common.training import jit_compile
    from papers.dimensional_mtl.experiments import PAPER
    from papers.dimensional_mtl.model import build_loss, build_model, build_optimiser

    assert tf.config.list_physical_devices("GPU"), "the gpu tier needs a GPU that TensorFlow sees"
    rnn = importlib.import_module("keras.src.backend.tensorflow.rnn")
    returned = []
    cudnn = rnn._cudnn_lstm

    def counted(*arguments):
        outputs = cudnn(*arguments)
        returned.append(outputs)
        return outputs

    monkeypatch.setattr(rnn, "_cudnn_lstm", counted)
    config = PAPER.experiment("dimensional_mtl/table3/iemocap/lstm-paa-lld").config
    keras.utils.set_random_seed(0)
    model = build_model(config, (config.frames, 34))
    model.compile(build_optimiser(config), build_loss(config), jit_compile=jit_compile())
    generator = np.random.default_rng(0)
    inputs = {"acoustic": generator.normal(size=(8, config.frames, 34)).astype(np.float32)}
    targets = generator.uniform(-1, 1, (8, 3)).astype(np.float32)
    losses = [float(model.train_on_batch(inputs, targets)) for _ in range(5)]
    assert len(returned) >= 3  # each of the three layers, when traced
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
