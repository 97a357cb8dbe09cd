"""WavLM (Chen et al. 2022); base and base+ have 94,381,936 parameters, large 315,453,120."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import keras

from common.layers.relative_positions import RelativePositionBias
from common.models.checkpoint import StoredWeight
from common.models.speech_config import SpeechConfig


@dataclass(frozen=True)
class WavLMConfig(SpeechConfig):
    """Sizes and dropout of a WavLM; the network is Hugging Face's WavLMModel.

    It differs from wav2vec 2.0 in the attention, whose scores also depend on the distance between the frames (see
    `common.layers.relative_positions`).

    Attributes:
        num_buckets: buckets of distances, both directions together.
        max_bucket_distance: distance in frames from which on all are in the last bucket.
    """

    family: ClassVar[str] = "wavlm"
    title: ClassVar[str] = "WavLM"
    prefix: ClassVar[str] = "wavlm."

    num_buckets: int = 320
    max_bucket_distance: int = 800

    def check(self) -> None:
        """Raises ValueError if the sizes do not fit each other."""
        super().check()
        if self.num_buckets % 2 or not 0 < self.num_buckets // 4 < self.max_bucket_distance:
            raise ValueError("num_buckets is not even or too small or large for max_bucket_distance")

    def position_biases(self, x):
        """Biases for the attention of all layers, shape (1, heads, frames, frames)."""
        heads, buckets, distance = self.num_attention_heads, self.num_buckets, self.max_bucket_distance
        return RelativePositionBias(heads, buckets, distance, name="relative_positions")(x)

    def position_tensors(self, model: keras.Model) -> dict[str, StoredWeight]:
        """Those of the positional convolution, of the biases (in the first layer) and of each layer's gate."""
        found = super().position_tensors(model)
        first = "encoder.layers.0.attention.rel_attn_embed.weight"
        found[first] = StoredWeight.like(model.get_layer("relative_positions").bias)
        for number in range(self.num_hidden_layers):
            name, gate = f"encoder.layers.{number}.attention.gru_rel_pos", model.get_layer(f"layer_{number + 1}").gate
            found[f"{name}_const"] = StoredWeight(gate.constant, (1, self.num_attention_heads, 1, 1))
            found[f"{name}_linear.weight"] = StoredWeight.like(gate.kernel, transposed=True)
            found[f"{name}_linear.bias"] = StoredWeight.like(gate.bias)
        return found
