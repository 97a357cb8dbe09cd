"""Numbers of quaternion layers and of anti-transfer that every backend must agree on."""

import random
import sys

import keras
import numpy as np

from common.layers.anti_transfer import AntiTransfer, batch_squared_cosine, squared_cosines
from common.layers.gram import GramSignature
from common.layers.quaternion import (
    QuaternionBatchNormalization,
    QuaternionConv2D,
    QuaternionConv2DTranspose,
    QuaternionDense,
)
from common.models.anti_transfer import AntiTransferTraining
from common.training import jit_compile


def numbers() -> dict:
    """Outputs, anti-transfer values, and outputs after two steps of training."""
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 4)).astype("float32")
    random.seed(0)  # of QuaternionInitializer; keras.utils.set_random_seed would import TensorFlow
    inputs = keras.Input((8, 8, 4))
    y = feature_map = QuaternionConv2D(8, 3, padding="same", activation="relu", kernel_initializer="he")(inputs)
    y = QuaternionBatchNormalization()(y)
    y = QuaternionConv2DTranspose(4, 3, 2, padding="same")(y)
    y = QuaternionDense(8)(keras.layers.Flatten()(y))
    model = keras.Model(inputs, y)
    few_places = keras.Input((2, 2, 64))  # no kernel is assembled
    narrow = keras.Model(few_places, QuaternionConv2D(4, 3, padding="same")(few_places))
    activation = keras.Model(inputs, feature_map)(x)
    other = keras.ops.convert_to_tensor(np.roll(keras.ops.convert_to_numpy(activation), 1, axis=3) ** 2)
    wide = np.random.default_rng(1).normal(size=(3, 2, 2, 64)).astype("float32")
    result = {"before": model(x), "few places": narrow(wide)}
    result["raw"] = batch_squared_cosine(activation, GramSignature("raw")(other))
    for form in ("gram", "features"):
        result[form] = squared_cosines(activation, GramSignature(form)(other))
    result["layer"] = AntiTransfer()([activation, GramSignature()(other)])
    tensorflow = "tensorflow" in sys.modules  # Keras' own fit imports it where it can
    signatures = keras.ops.convert_to_numpy(GramSignature()(other))
    training = AntiTransferTraining(model, [feature_map], [signatures])
    training.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=jit_compile())
    training.fit((x, signatures), np.ones((4, 8)), epochs=2, verbose=0, shuffle=False)
    result["after"] = model(x)
    values = {
        name: np.asarray(keras.ops.convert_to_numpy(value), float).ravel().tolist() for name, value in result.items()
    }
    return {"backend": keras.backend.backend(), "tensorflow": tensorflow, "values": values}
