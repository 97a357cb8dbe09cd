"""Training a network with anti-transfer: its taps, the extractor's signatures, and the batches that carry both.

The extractor is fixed, and where its input does not change either (spectrograms, or embeddings of a frozen RH-Emo),
what it says of a datapoint never changes: `cached_targets` computes it once, and training reads it back. Where the
input does change (a trained RH-Emo, augmentation), `AntiTransferTraining` takes the extractor itself and runs it each
step. Both give the same loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from common.errors import UserError
from common.layers.anti_transfer import AntiTransfer
from common.layers.gram import GramSignature
from common.models.target_cache import TargetFile


def signature_model(extractor: keras.Model, tap, *, variant: str = "datapoint") -> keras.Model:
    """The fixed extractor up to a tap, and the signature of what is seen there.

    Args:
        extractor: pretrained network. Its layers are frozen by this.
        tap: tensor of its graph, shape (batch, height, width, channels).
        variant: of the loss, see `AntiTransfer`.

    Returns:
        Model from the extractor's input to the signature, not trainable.
    """
    signature = GramSignature("raw" if variant == "batch" else None, name="signature")(tap)
    model = keras.Model(extractor.input, signature, name="extractor")
    model.trainable = False
    return model


class AntiTransferTraining(keras.Model):
    """A network in training with anti-transfer at one or several taps; afterwards only the network is kept.

    Args:
        network: the model that is trained.
        taps: tensors of its graph, one a place in S_AT of Eq. 2.
        sources: one a tap: either all of `cached_targets` (training's or validation's: only their shape matters here),
            whose rows then come with the inputs; or all of `signature_model`, which are run at each step.
        beta: weight of the loss.
        variant: "datapoint" or "batch", see `AntiTransfer`.
        **kwargs: as in `keras.Model`.

    Call:
        inputs: (network's inputs, target of tap 1, ...), or the network's inputs alone if the sources are models.
            Returns the network's outputs.

    Raises:
        UserError: a source does not fit its tap.
    """

    def __init__(
        self,
        network: keras.Model,
        taps: Sequence,
        sources: Sequence[TargetFile] | Sequence[keras.Model],
        *,
        beta: float = 1.0,
        variant: str = "datapoint",
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # in mixed precision, targets keep every digit
        if len(sources) != len(taps):
            raise UserError(f"Anti-transfer at {len(taps)} layers needs as many extractors; {len(sources)} came.")
        self.network = network
        self.tapped = keras.Model(network.input, [network.output, *taps])
        self.terms = [AntiTransfer(beta, variant, name=f"anti_transfer{number}") for number in range(1, len(taps) + 1)]
        live = [isinstance(source, keras.Model) for source in sources]
        self.extractors = list(sources) if all(live) else []
        # Checked now, so that a misfit is one sentence and not a traceback out of a compiled step.
        for term, place, source, model in zip(self.terms, taps, sources, live, strict=True):
            target = source.output_shape if model else source.shape
            term.build([tuple(place.shape), (None, *target[1:])])
        self.built = True

    def call(self, inputs, training=False):
        """The network's outputs; the loss is added on the way."""
        if self.extractors:
            targets = [extractor(inputs, training=False) for extractor in self.extractors]
        else:
            inputs, *targets = inputs
        outputs, *activations = self.tapped(inputs, training=training)
        for term, activation, target in zip(self.terms, activations, targets, strict=True):
            term([activation, target])
        return outputs


class WithTargets(keras.utils.PyDataset):
    """Batches of ((inputs, target of tap 1, ...), labels) for `AntiTransferTraining`.

    Args:
        inputs: array, one row a datapoint.
        labels: array, one row a datapoint.
        targets: files of `cached_targets`, rows as in `inputs`.
        batch_size: datapoints a batch; the last one may be smaller.
        seed: shuffles anew each epoch; None: in order.
        **kwargs: as in `keras.utils.PyDataset`.
    """

    def __init__(
        self,
        inputs: np.ndarray,
        labels: np.ndarray,
        targets: Sequence[TargetFile],
        batch_size: int,
        *,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        counts = {len(inputs), len(labels), *map(len, targets)}
        if len(counts) != 1:
            raise UserError(
                f"Anti-transfer needs as many targets as datapoints; there are {sorted(counts)}. Make the targets anew."
            )
        self.inputs, self.labels, self.targets = inputs, labels, list(targets)
        self.batch_size = batch_size
        self._generator = None if seed is None else np.random.default_rng(seed)
        self._order = np.arange(len(inputs))
        self.on_epoch_end()

    def __len__(self):
        """Batches an epoch."""
        return -(len(self.inputs) // -self.batch_size)

    def __getitem__(self, number):
        """One batch."""
        rows = self._order[number * self.batch_size : (number + 1) * self.batch_size]
        return (self.inputs[rows], *(target.read(rows) for target in self.targets)), self.labels[rows]

    def on_epoch_end(self):
        """Shuffles."""
        if self._generator is not None:
            self._generator.shuffle(self._order)
