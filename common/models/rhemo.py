"""RH-Emo: an autoencoder with a quaternion embedding, whose components represent emotion, valence, arousal, dominance.

Guizzo, Weyde, Scardapane & Comminiello (2023), "Learning speech emotion representations in the quaternion domain". The
sizes of the layers are those of its public code (the class with real encoder and quaternion decoder), which Guizzo et
al. (WASPAA 2023) use. A real encoder maps a magnitude spectrogram (512, 128, 1) to an embedding (64, 64, 4), whose
channels are the components r, i, j, k. A quaternion decoder reconstructs the spectrogram, and a head on each component
predicts, in this order, the emotion, valence, arousal and dominance.
"""

from __future__ import annotations

import keras
from keras import layers

from common.errors import UserError
from common.layers.quaternion import QuaternionBatchNormalization, QuaternionConv2DTranspose

FRAMES, BINS = 512, 128
COMPONENTS = ("emotion", "valence", "arousal", "dominance")


def encoder(frames: int = FRAMES, bins: int = BINS) -> keras.Model:
    """Builds the real encoder, with 256 trainable parameters.

    Args:
        frames: frames of the spectrogram, a multiple of 8.
        bins: bins of the spectrogram, an even number.

    Returns:
        Model from spectrograms (batch, frames, bins, 1) to embeddings (batch, frames / 8, bins / 2, 4), which are not
        negative.

    Raises:
        UserError: `frames` or `bins` is not such a multiple.
    """
    if frames % 8 or bins % 2:
        raise UserError(f"RH-Emo needs a multiple of 8 frames and of 2 bins; pad the spectrogram of {frames} x {bins}.")
    inputs = x = keras.Input((frames, bins, 1), name="spectrogram")
    for number, (channels, pool) in enumerate(((2, (2, 2)), (4, (2, 1)), (4, (2, 1))), start=1):
        x = layers.Conv2D(
            channels, 3, padding="same", activation="relu", kernel_initializer="glorot_normal", name=f"encode{number}"
        )(x)
        x = layers.MaxPooling2D(pool, name=f"pool{number}")(x)
        if number < 3:
            x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"norm{number}")(x)
    return keras.Model(inputs, x, name="rhemo_encoder")


def decoder(frames: int = FRAMES, bins: int = BINS) -> keras.Model:
    """Builds the quaternion decoder, with 130 trainable parameters.

    Args:
        frames: frames of the spectrogram, a multiple of 8.
        bins: bins of the spectrogram, an even number.

    Returns:
        Model from embeddings (batch, frames / 8, bins / 2, 4) to (batch, frames, bins, 4), in (0, 1); the
        reconstruction is the mean over the last axis.
    """
    inputs = x = keras.Input((frames // 8, bins // 2, 4), name="embedding")
    for number, strides in enumerate(((2, 1), (2, 1), (2, 2)), start=1):
        x = QuaternionConv2DTranspose(4, 3, strides, padding="valid", name=f"decode{number}")(x)
        # PyTorch's padding 1 removes the first row and column and, unless the stride is 2 (output padding), the last.
        cut = tuple((1, 0) if stride == 2 else (1, 1) for stride in strides)
        x = layers.Cropping2D(cut, name=f"cut{number}")(x)
        if number < 3:
            x = layers.ReLU(name=f"relu{number}")(x)
            x = QuaternionBatchNormalization(name=f"qnorm{number}")(x)
    return keras.Model(inputs, layers.Activation("sigmoid", name="restored")(x), name="rhemo_decoder")


def heads(
    classes: int = 5, *, frames: int = FRAMES, bins: int = BINS, units: int = 4096, dropout: float = 0.5
) -> keras.Model:
    """Builds four real heads, one on each component; they have 134,283,272 parameters with five classes.

    Args:
        classes: classes of the emotion head; five in the public code (four emotions and "any other").
        frames: frames of the spectrogram.
        bins: bins of the spectrogram.
        units: units of each of the two hidden layers of a head.
        dropout: after each hidden layer.

    Returns:
        Model from embeddings (batch, frames / 8, bins / 2, 4) to a dict: "emotion": logits (batch, classes);
        "valence", "arousal", "dominance": (batch, 1), the probability that the rating is high.
    """
    inputs = keras.Input((frames // 8, bins // 2, 4), name="embedding")
    parts = layers.Reshape((4, -1), name="flat")(layers.Permute((3, 1, 2), name="components_first")(inputs))
    outputs = {}
    for component, name in enumerate(COMPONENTS):
        x = layers.Flatten(name=f"{name}_part")(
            layers.Cropping1D((component, 3 - component), name=f"{name}_cut")(parts)
        )
        for number in (1, 2):
            x = _dense(units, f"{name}_dense{number}", activation="relu")(x)
            x = layers.Dropout(dropout, name=f"{name}_dropout{number}")(x)
        last = _dense(classes if name == "emotion" else 1, f"{name}_last", dtype="float32")(x)
        kind = "linear" if name == "emotion" else "sigmoid"
        outputs[name] = layers.Activation(kind, dtype="float32", name=name)(last)
    return keras.Model(inputs, outputs, name="rhemo_heads")


def _dense(units: int, name: str, **keywords):
    return layers.Dense(units, kernel_initializer="glorot_normal", name=name, **keywords)


def rhemo(
    classes: int = 5, *, frames: int = FRAMES, bins: int = BINS, units: int = 4096, dropout: float = 0.5
) -> keras.Model:
    """Builds the whole network, for training it.

    Args:
        classes: see `heads`.
        frames: frames of the spectrogram, a multiple of 8.
        bins: bins of the spectrogram, an even number.
        units: see `heads`.
        dropout: see `heads`.

    Returns:
        Model from spectrograms (batch, frames, bins, 1) to a dict: "reconstruction", (batch, frames, bins, 1), and the
        outputs of `heads`. Its layers rhemo_encoder, rhemo_decoder and rhemo_heads are models.
    """
    inputs = keras.Input((frames, bins, 1), name="spectrogram")
    embedding = encoder(frames, bins)(inputs)
    restored = decoder(frames, bins)(embedding)
    # Mean over channels by a layer of Keras, so that a saved model needs no class of this module.
    flat = layers.Reshape((frames * bins, 4), name="cells")(restored)
    mean = layers.GlobalAveragePooling1D(data_format="channels_first", name="mean")(flat)
    reconstruction = layers.Reshape((frames, bins, 1), name="reconstruction")(mean)
    predictions = heads(classes, frames=frames, bins=bins, units=units, dropout=dropout)(embedding)
    return keras.Model(inputs, {"reconstruction": reconstruction, **predictions}, name="rhemo")
