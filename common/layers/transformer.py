"""The transformer layer of wav2vec 2.0 and its successors, with normalisation after or before its two blocks."""

from __future__ import annotations

import keras
from keras import ops

from common.layers.relative_positions import PositionGate
from common.layers.waveform import gelu


@keras.saving.register_keras_serializable(package="ser")
class TransformerLayer(keras.layers.Layer):
    """Self-attention block and feed-forward block, each with dropout and a residual connection (Vaswani et al. 2017).

    Args:
        heads: number of attention heads.
        intermediate: width of the feed-forward network.
        norm_first: normalise before each block instead of after its residual connection.
        epsilon: of the normalisations.
        dropout: after each block.
        attention_dropout: of attention weights.
        activation_dropout: within the feed-forward network.
        layerdrop: probability that a training step skips the layer. The layer is computed and then not used, so that
            every backend can compile the step (PyTorch's loop does not compute it).
        gated_positions: adds position biases to the scores of the attention, scaled by a gate (WavLM).
        **kwargs: as in `keras.layers.Layer`.

    Call:
        inputs: shape (batch, frames, width).
        valid: which frames may be attended to, bool, shape (batch, frames); None: all.
        positions: biases of `RelativePositionBias`, shape (1, heads, frames, frames), if there is a gate for them.
        Returns (batch, frames, width).
    """

    def __init__(
        self,
        heads: int,
        intermediate: int,
        norm_first: bool = False,
        epsilon: float = 1e-5,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        layerdrop: float = 0.0,
        gated_positions: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.settings = {
            "heads": heads,
            "intermediate": intermediate,
            "norm_first": norm_first,
            "epsilon": epsilon,
            "dropout": dropout,
            "attention_dropout": attention_dropout,
            "activation_dropout": activation_dropout,
            "layerdrop": layerdrop,
            "gated_positions": gated_positions,
        }
        self.heads = heads
        self.norm_first = norm_first
        self.layerdrop = layerdrop
        policy = self.dtype_policy
        self.attention_norm = keras.layers.LayerNormalization(epsilon=epsilon, dtype=policy, name="attention_norm")
        self.final_norm = keras.layers.LayerNormalization(epsilon=epsilon, dtype=policy, name="final_norm")
        self.dropout = keras.layers.Dropout(dropout, dtype=policy)
        self.attention_dropout = keras.layers.Dropout(attention_dropout, dtype=policy)
        self.activation_dropout = keras.layers.Dropout(activation_dropout, dtype=policy)
        self.gate = PositionGate(heads, dtype=policy, name="position_gate") if gated_positions else None
        self.seeds = keras.random.SeedGenerator() if layerdrop else None

    def build(self, inputs_shape, valid_shape=None, positions_shape=None):
        """Creates the projections, normalisations and, if requested, the gate."""
        width = inputs_shape[-1]
        shape = (None, None, width)
        for name in ("query", "key", "value", "out"):
            setattr(self, name, keras.layers.Dense(width, dtype=self.dtype_policy, name=name))
            getattr(self, name).build(shape)
        self.widen = keras.layers.Dense(self.settings["intermediate"], dtype=self.dtype_policy, name="widen")
        self.narrow = keras.layers.Dense(width, dtype=self.dtype_policy, name="narrow")
        self.widen.build(shape)
        self.narrow.build((None, None, self.settings["intermediate"]))
        self.attention_norm.build(shape)
        self.final_norm.build(shape)
        if self.gate is not None:
            self.gate.build(shape)

    def call(self, inputs, valid=None, positions=None, training=None):
        """Output of the layer, or its input if the layer is skipped."""
        if self.norm_first:
            middle = inputs + self._attend(self.attention_norm(inputs), valid, positions, training)
            outputs = middle + self._feed_forward(self.final_norm(middle), training)
        else:
            middle = self.attention_norm(inputs + self._attend(inputs, valid, positions, training))
            outputs = self.final_norm(middle + self._feed_forward(middle, training))
        if training and self.layerdrop:
            dropped = keras.random.uniform((), seed=self.seeds) < self.layerdrop
            outputs = ops.where(dropped, inputs, outputs)
        return outputs

    def _attend(self, x, valid, positions, training):
        batch, frames, width = ops.shape(x)[0], ops.shape(x)[1], x.shape[-1]
        size = width // self.heads

        def split(projected):
            return ops.transpose(ops.reshape(projected, (batch, frames, self.heads, size)), (0, 2, 1, 3))

        query, key, value = split(self.query(x) * size**-0.5), split(self.key(x)), split(self.value(x))
        scores = ops.cast(ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))), "float32")
        if positions is not None:
            scores = scores + self.gate(x, positions)
        if valid is not None:
            scores = ops.where(valid[:, None, None, :], scores, -1e30)
        weights = ops.cast(ops.softmax(scores, axis=-1), self.compute_dtype)
        mixed = ops.matmul(self.attention_dropout(weights, training=training), value)
        mixed = ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (batch, frames, width))
        return self.dropout(self.out(mixed), training=training)

    def _feed_forward(self, x, training):
        wide = self.activation_dropout(gelu(self.widen(x)), training=training)
        return self.dropout(self.narrow(wide), training=training)

    def compute_output_shape(self, inputs_shape, valid_shape=None, positions_shape=None):
        """Same shape as the inputs."""
        return inputs_shape

    def get_config(self):
        """Arguments of the constructor, for saving."""
        return {**super().get_config(), **self.settings}
