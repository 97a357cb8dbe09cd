"""Training a network with the anti-transfer loss, at one or several of its layers.

The extractor is a pretrained network whose weights are fixed. If its input is fixed too (spectrograms, or embeddings of
a fixed network), its signature of an example never changes: `cached_signatures` computes it once, and batches carry it.
If the input changes (it comes from a network in training, or is augmented), `AntiTransferTraining` takes the extractor
itself and runs it at each step. Both ways give the same loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from common.errors import UserError
from common.layers.anti_transfer import AntiTransfer
from common.layers.gram import GramSignature
from common.models.signature_cache import SignatureFile


def signature_model(extractor: keras.Model, feature_map, *, variant: str = "datapoint") -> keras.Model:
    """Builds a model of the signature of one of the extractor's feature maps.

    Args:
        extractor: pretrained network; its layers become fixed (not trainable).
        feature_map: tensor of its graph, shape (batch, height, width, channels).
        variant: of the loss, see `AntiTransfer`.

    Returns:
        Model from the extractor's input to the signature, not trainable.
    """
    signature = GramSignature("raw" if variant == "batch" else None, name="signature")(feature_map)
    model = keras.Model(extractor.input, signature, name="extractor")
    model.trainable = False
    return model


class AntiTransferTraining(keras.Model):
    """A model for training a network with anti-transfer; after training, only the network is used.

    Args:
        network: the network to train.
        feature_maps: tensors of its graph, one per anti-transfer layer (S_AT of Eq. 2).
        sources: the extractor's signatures, one source per feature map. Either results of `cached_signatures` (only
            their shapes are used here; the rows come with the inputs), or models of `signature_model`, which are run
            at each step.
        beta: weight of the loss.
        variant: "datapoint" or "batch", see `AntiTransfer`.
        **kwargs: as in `keras.Model`.

    Call:
        inputs: (inputs of the network, signature for feature map 1, ...), or only the inputs of the network if the
            sources are models. Returns the outputs of the network.

    Raises:
        UserError: A source does not fit its feature map, or their numbers differ.
    """

    def __init__(
        self,
        network: keras.Model,
        feature_maps: Sequence,
        sources: Sequence[SignatureFile] | Sequence[keras.Model],
        *,
        beta: float = 1.0,
        variant: str = "datapoint",
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # in mixed precision, signatures must keep their precision
        count = len(feature_maps)
        if len(sources) != count:
            raise UserError(f"Anti-transfer at {count} layers needs {count} extractors, not {len(sources)}.")
        self.network = network
        self.with_feature_maps = keras.Model(network.input, [network.output, *feature_maps])
        self.terms = [AntiTransfer(beta, variant, name=f"anti_transfer{number}") for number in range(1, count + 1)]
        are_models = [isinstance(source, keras.Model) for source in sources]
        self.extractors = list(sources) if all(are_models) else []
        # Build the layers now, so that the user sees their error message and not one of a compiled step.
        for term, feature_map, source, is_model in zip(self.terms, feature_maps, sources, are_models, strict=True):
            shape = source.output_shape if is_model else source.shape
            term.build([tuple(feature_map.shape), (None, *shape[1:])])
        self.built = True

    def call(self, inputs, training=False):
        """Outputs of the network; adds the anti-transfer losses."""
        if self.extractors:
            signatures = [extractor(inputs, training=False) for extractor in self.extractors]
        else:
            inputs, *signatures = inputs
        outputs, *feature_maps = self.with_feature_maps(inputs, training=training)
        for term, feature_map, signature in zip(self.terms, feature_maps, signatures, strict=True):
            term([feature_map, signature])
        return outputs


class BatchesWithSignatures(keras.utils.PyDataset):
    """Batches of ((inputs, signature for feature map 1, ...), labels) for `AntiTransferTraining`.

    Args:
        inputs: array with one row per example.
        labels: array with one row per example.
        signatures: results of `cached_signatures` for these inputs.
        batch_size: examples per batch; the last batch may be smaller.
        seed: shuffles before each epoch; None: in order.
        **kwargs: as in `keras.utils.PyDataset`.
    """

    def __init__(
        self,
        inputs: np.ndarray,
        labels: np.ndarray,
        signatures: Sequence[SignatureFile],
        batch_size: int,
        *,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        counts = {len(inputs), len(labels), *map(len, signatures)}
        if len(counts) != 1:
            raise UserError(
                "Anti-transfer needs one signature per example, but the numbers of examples and signatures are "
                f"{sorted(counts)}. Compute the signatures again."
            )
        self.inputs, self.labels, self.signatures = inputs, labels, list(signatures)
        self.batch_size = batch_size
        self._generator = None if seed is None else np.random.default_rng(seed)
        self._order = np.arange(len(inputs))
        self.on_epoch_end()

    def __len__(self):
        """Batches per epoch."""
        return -(len(self.inputs) // -self.batch_size)

    def __getitem__(self, number):
        """One batch."""
        rows = self._order[number * self.batch_size : (number + 1) * self.batch_size]
        return (self.inputs[rows], *(file.read(rows) for file in self.signatures)), self.labels[rows]

    def on_epoch_end(self):
        """Shuffles for the next epoch."""
        if self._generator is not None:
            self._generator.shuffle(self._order)
