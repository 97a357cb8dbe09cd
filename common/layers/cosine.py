"""A classification head whose outputs are cosines."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="ser")
class CosineDense(keras.layers.Layer):
    """Cosine of the angle between a feature vector and one weight vector per class.

    ``cos(theta_j) = W_j . x / (|W_j| |x|)``, without bias (Wen et al. 2023, Sec. 3.1; Deng et al. 2019, Eq. 2).
    Computed and returned in float32, because half precision cannot distinguish small angles.

    Args:
        units: number of classes.
        epsilon: lower limit of the norms, so that an all-zero feature vector has cosines of 0 and finite gradients.
        **kwargs: as in `keras.layers.Layer`.

    Call:
        inputs: features, shape (batch, width). Returns cosines, shape (batch, units).
    """

    def __init__(self, units: int, epsilon: float = 1e-7, **kwargs):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.units = units
        self.epsilon = epsilon

    def build(self, input_shape):
        """Creates the class vectors, shape (width, units)."""
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), initializer="glorot_uniform", name="kernel")

    def call(self, inputs):
        """Cosines, shape (batch, units)."""
        features = ops.cast(inputs, "float32")
        return ops.matmul(self._unit(features, axis=-1), self._unit(self.kernel, axis=0))

    def _unit(self, vectors, axis):
        # sqrt(x + eps^2) instead of max(norm, eps), because it has a derivative at the zero vector.
        square = ops.sum(vectors * vectors, axis=axis, keepdims=True)
        return vectors / ops.sqrt(square + self.epsilon**2)

    def compute_output_shape(self, input_shape):
        """(batch, units)."""
        return (*input_shape[:-1], self.units)

    def get_config(self):
        """Arguments of the constructor, for saving."""
        return {**super().get_config(), "units": self.units, "epsilon": self.epsilon}
