"""data2vec audio (Baevski et al. 2022); base has 93,164,288 parameters, large 313,276,416."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import keras

from common.layers.positional import PositionalConvolutionStack
from common.models.checkpoint import StoredWeight
from common.models.speech_config import SpeechConfig


@dataclass(frozen=True)
class Data2VecConfig(SpeechConfig):
    """Sizes and dropout of a data2vec audio network; the network is Hugging Face's Data2VecAudioModel.

    It differs from wav2vec 2.0 in the positional embedding, a stack of convolutions. The front end normalises each
    frame, and the transformer layers normalise after their blocks, in base and in large, whatever config.json says.

    Attributes:
        num_conv_pos_embeddings: number of positional convolutions.
        conv_pos_kernel_size: their kernel size.
    """

    family: ClassVar[str] = "data2vec-audio"
    title: ClassVar[str] = "data2vec audio"
    prefix: ClassVar[str] = "data2vec_audio."
    fixed: ClassVar[tuple[str, ...]] = (*SpeechConfig.fixed, "feat_extract_norm", "do_stable_layer_norm")

    feat_extract_norm: Literal["layer"] = "layer"
    num_conv_pos_embeddings: int = 5
    conv_pos_kernel_size: int = 19

    def add_positions(self, x, valid):
        """Adds the positional embedding to the frames, without any effect of padding if `valid` is given."""
        depth, size, groups = (
            self.num_conv_pos_embeddings,
            self.conv_pos_kernel_size,
            self.num_conv_pos_embedding_groups,
        )
        return PositionalConvolutionStack(depth, size, groups, name="position")(x, valid=valid)

    def position_tensors(self, model: keras.Model) -> dict[str, StoredWeight]:
        """Those of the positional convolutions."""
        position, found = model.get_layer("position"), {}
        for number, (kernel, bias) in enumerate(zip(position.kernels, position.biases, strict=True)):
            name = f"encoder.pos_conv_embed.layers.{number}.conv"
            found[f"{name}.weight"] = StoredWeight.like(kernel, transposed=True)
            found[f"{name}.bias"] = StoredWeight.like(bias)
        return found
