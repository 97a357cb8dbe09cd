"""What the network takes: spectrograms of fixed length, text and audio features; scaled by the training part alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.contract import Part
from common.corpus import GENDERS
from common.errors import UserError
from common.features.bert import Bert
from common.features.spectrogram import Spectrogram, fix_length
from common.features.vggish import Vggish
from papers.mtap.config import MtapConfig

FETCHED = {"google/vggish": "vggish", "bert-base-uncased": "bert-base-uncased"}
"""Checkpoints by the names of the config: what `ser fetch` calls them."""


def fetched(checkpoint: str) -> Path | None:
    """Where `ser fetch` puts a checkpoint; None for one that it does not know."""
    from data_prep.fetching import sources

    return sources.place(sources.SOURCES[FETCHED[checkpoint]]) if checkpoint in FETCHED else None


def features(config: MtapConfig) -> dict[str, Spectrogram | Bert | Vggish]:
    """The extractors that a config needs: spectrogram (Sec. 5.2.1), BERT of the transcript (4.2), VGGish (4.3)."""
    extractors: dict[str, Spectrogram | Bert | Vggish] = {}
    if config.image:
        extractors["spectrogram"] = Spectrogram(
            frame_ms=config.frame_ms, hop_ms=config.hop_ms, dft_length=config.dft_length, bins=config.bins
        )
    if config.text:
        from common.models.bert import digest

        checkpoint = str(fetched(config.bert) or config.bert)
        extractors["text"] = Bert(checkpoint, digest(checkpoint), config.text_pooling)
    if config.audio:
        extractors["audio"] = _vggish(config)
    return extractors


def _vggish(config: MtapConfig) -> Vggish:
    import hashlib

    from common.models.vggish import digest

    checkpoint = str(fetched(config.vggish) or config.vggish)
    pca = config.vggish_pca
    if pca and not Path(pca).is_file():
        raise UserError(f"vggish_pca: there is no file {pca}.")
    return Vggish(
        checkpoint,
        checkpoint if checkpoint.startswith("random") else digest(checkpoint),
        config.audio_pooling,
        pca,
        hashlib.blake2b(Path(pca).read_bytes(), digest_size=8).hexdigest() if pca else "",
    )


@dataclass(frozen=True)
class Normalisation:
    """Mean and deviation of spectrogram bins; padding is added after it, so padding reads as the mean.

    Attributes:
        mean: shape (bins,).
        deviation: shape (bins,), positive.
    """

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def fitted(cls, spectrograms: list[np.ndarray], kind: str) -> Normalisation:
        """Statistics over all frames of the training part.

        Args:
            spectrograms: training utterances, each (frames, bins).
            kind: "bin", "corpus" or "none" (see `MtapConfig.normalisation`).
        """
        bins = spectrograms[0].shape[1]
        if kind == "none":
            return cls(np.zeros(bins, np.float32), np.ones(bins, np.float32))
        frames = sum(len(s) for s in spectrograms)
        mean = sum(s.sum(0, dtype=np.float64) for s in spectrograms) / frames
        if kind == "corpus":
            mean = np.full(bins, mean.mean())
        variance = sum(np.square(s - mean.astype(np.float32)).sum(0, dtype=np.float64) for s in spectrograms) / frames
        if kind == "corpus":
            variance = np.full(bins, variance.mean())
        # A bin that never changes carries nothing; it is left at 0 instead of being blown up.
        deviation = np.where(variance > 1e-12, np.sqrt(variance), 1.0)
        return cls(mean.astype(np.float32), deviation.astype(np.float32))

    def images(self, spectrograms: list[np.ndarray], frames: int) -> np.ndarray:
        """Normalised spectrograms of equal length, shape (utterances, frames, bins, 1), float32."""
        images = np.zeros((len(spectrograms), frames, len(self.mean), 1), np.float32)
        for image, spectrogram in zip(images, spectrograms, strict=True):
            image[..., 0] = fix_length((spectrogram[:] - self.mean) / self.deviation, frames)
        return images


def spectrograms(part: Part) -> list[np.ndarray]:
    """The part's spectrograms, in its order, each (frames, bins)."""
    source = part.features["spectrogram"]
    return [source[utterance] for utterance in part.table["utterance"]]


@dataclass(frozen=True)
class Scaling:
    """How a frozen network's features are scaled (see `MtapConfig.frozen_scaling`).

    Attributes:
        mean: shape (features,).
        deviation: shape (features,), positive; empty: each vector is brought to length 1.
    """

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def fitted(cls, vectors: np.ndarray, kind: str) -> Scaling:
        """Statistics over the training utterances, of vectors of shape (utterances, features)."""
        width = vectors.shape[1]
        if kind == "unit":
            return cls(np.zeros(width, np.float32), np.zeros(0, np.float32))
        if kind == "none":
            return cls(np.zeros(width, np.float32), np.ones(width, np.float32))
        deviation = vectors.std(axis=0, dtype=np.float64)
        mean = vectors.mean(axis=0, dtype=np.float64)
        # A feature that rounding alone moves (every utterance has the same transcript) carries nothing.
        still = deviation <= 1e-6 * np.maximum(1.0, np.abs(mean))
        return cls(mean.astype(np.float32), np.where(still, 1.0, deviation).astype(np.float32))

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Scaled vectors, shape (utterances, features), float32."""
        if not len(self.deviation):
            return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return (vectors - self.mean) / self.deviation


def vectors(part: Part, modality: str) -> np.ndarray:
    """The part's "text" or "audio" features, in its order, shape (utterances, features)."""
    source = part.features[modality]
    return np.stack([source[utterance] for utterance in part.table["utterance"]]).astype(np.float32)


@dataclass(frozen=True)
class Inputs:
    """Makes the network's inputs from a part; fitted on the training part.

    Attributes:
        config: names the modalities.
        normalisation: of spectrograms; None without the modality image.
        scalings: of the frozen features, by modality.
    """

    config: MtapConfig
    normalisation: Normalisation | None
    scalings: dict[str, Scaling]

    @classmethod
    def fitted(cls, config: MtapConfig, train: Part) -> tuple[Inputs, np.ndarray | dict[str, np.ndarray]]:
        """Statistics of the training part, and that part as the network takes it (so it is read once)."""
        images = spectrograms(train) if config.image else []
        normalisation = Normalisation.fitted(images, config.normalisation) if config.image else None
        frozen = [name for name in config.modalities if name != "image"]
        scalings = {name: Scaling.fitted(vectors(train, name), config.frozen_scaling) for name in frozen}
        inputs = cls(config, normalisation, scalings)
        return inputs, inputs._scaled(train, images)

    @property
    def widths(self) -> dict[str, int]:
        """Length of each frozen feature vector, by modality."""
        return {name: len(scaling.mean) for name, scaling in self.scalings.items()}

    def __call__(self, part: Part) -> np.ndarray | dict[str, np.ndarray]:
        """The network's input: spectrograms alone, or a dictionary if there are text or audio features."""
        return self._scaled(part, spectrograms(part) if self.config.image else [])

    def _scaled(self, part: Part, images: list[np.ndarray]) -> np.ndarray | dict[str, np.ndarray]:
        inputs = {name: scaling(vectors(part, name)) for name, scaling in self.scalings.items()}
        if self.normalisation is not None:
            inputs["spectrogram"] = self.normalisation.images(images, self.config.frames)
        return inputs if self.scalings else inputs["spectrogram"]

    def arrays(self) -> dict[str, np.ndarray]:
        """What `from_arrays` needs."""
        stored = {f"{name}_{field}": getattr(one, field) for name, one in self.scalings.items() for field in FIELDS}
        if self.normalisation is not None:
            stored |= {field: getattr(self.normalisation, field) for field in FIELDS}
        return stored

    @classmethod
    def from_arrays(cls, config: MtapConfig, stored) -> Inputs:
        """The inverse of `arrays`."""
        normalisation = Normalisation(*(stored[field] for field in FIELDS)) if config.image else None
        frozen = [name for name in config.modalities if name != "image"]
        scalings = {name: Scaling(*(stored[f"{name}_{field}"] for field in FIELDS)) for name in frozen}
        return cls(config, normalisation, scalings)


FIELDS = ("mean", "deviation")


def genders(part: Part) -> np.ndarray:
    """Number of each speaker's gender in `common.corpus.GENDERS`, the order of the gender head's outputs, int64.

    Raises:
        UserError: a speaker's gender is not known.
    """
    numbers = part.table["gender"].map({name: number for number, name in enumerate(GENDERS)})
    if numbers.isna().any():
        name = part.table.loc[numbers.isna(), "utterance"].iloc[0]
        raise UserError(f"{name}: the speaker's gender is not known, and gender_head learns it. Use gender_head=none.")
    return numbers.to_numpy("int64")
