"""DenseNet169 at the paper's input size on a GPU, in full and in mixed precision."""

import dataclasses
import math

import numpy as np
import pytest

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("precision", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_densenet169_trains_at_the_paper_s_size(precision):
    import keras
    import tensorflow as tf

    from papers.mtap.experiments import PAPER
    from papers.mtap.model import build_loss, build_model, build_optimiser

    assert tf.config.list_physical_devices("GPU"), "the gpu tier needs a GPU that TensorFlow sees"
    config = PAPER.experiment("mtap/table1/emodb/apfl").config
    config = dataclasses.replace(config, weights="random", precision=precision)
    keras.config.set_dtype_policy(precision)
    try:
        model = build_model(config, 7)
        model.compile(build_optimiser(config), build_loss(config))
        generator = np.random.default_rng(0)
        images = generator.normal(size=(config.batch_size, config.frames, config.bins, 1)).astype(np.float32)
        labels = generator.integers(0, 7, config.batch_size)
        losses = [float(model.train_on_batch(images, labels)) for _ in range(5)]
    finally:
        keras.config.set_dtype_policy("float32")
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < losses[0]
