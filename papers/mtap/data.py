"""What the network takes: spectrograms of fixed length, text and audio features; scaled by the training part alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.contract import Part
from common.errors import UserError
from common.features.bert import Bert
from common.features.spectrogram import Spectrogram, fix_length
from common.features.vggish import Vggish
from common.normalisation import Normalisation
from papers.mtap.config import MtapConfig

FETCHED = {
    "google/vggish": "vggish",
    "bert-base-uncased": "bert-base-uncased",
    "densenet169": "densenet169-imagenet",
    "resnet50": "resnet50-imagenet",
}
"""Pretrained networks by their names in the config: what `ser fetch` calls them."""


def fetched(checkpoint: str) -> Path | None:
    """Where `ser fetch` puts a pretrained network; None for one that it does not know."""
    from data_prep.fetching import sources

    return sources.source_folder(sources.SOURCES[FETCHED[checkpoint]]) if checkpoint in FETCHED else None


def imagenet_file(backbone: str) -> Path | None:
    """The file of a backbone's ImageNet weights; None if it was not fetched, or if there are none.

    A copy that `keras.applications` has downloaded into its own folder is used as well.
    """
    from data_prep.fetching import sources

    if backbone not in FETCHED:
        return None
    name = sources.SOURCES[FETCHED[backbone]].holds
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    return next((file for file in (fetched(backbone) / name, home / "models" / name) if file.is_file()), None)


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


def vectors(part: Part, modality: str) -> np.ndarray:
    """The part's "text" or "audio" features, in its order, shape (utterances, features)."""
    return np.stack(list(part.each(modality))).astype(np.float32)


@dataclass(frozen=True)
class Inputs:
    """Makes the network's inputs from a part; fitted on the training part.

    Attributes:
        config: names the modalities.
        normalisations: of the spectrogram ("image") and of the frozen networks' features ("text", "audio").
    """

    config: MtapConfig
    normalisations: dict[str, Normalisation]

    @classmethod
    def fitted(cls, config: MtapConfig, train: Part) -> tuple[Inputs, np.ndarray | dict[str, np.ndarray]]:
        """Statistics of the training part, and that part as the network takes it, so that it is read only once."""
        arrays = _arrays(config, train)
        normalisations = {}
        for name, found in arrays.items():
            kind = config.normalisation if name == "image" else config.frozen_scaling
            if kind in ("none", "unit"):
                normalisations[name] = Normalisation.identity(found[0].shape[-1])
            else:
                normalisations[name] = Normalisation.fitted(
                    found if name == "image" else [found], pooled=kind == "corpus"
                )
        inputs = cls(config, normalisations)
        return inputs, inputs._normalised(arrays)

    @property
    def widths(self) -> dict[str, int]:
        """Length of each frozen network's feature vector, by modality."""
        return {name: len(one.mean) for name, one in self.normalisations.items() if name != "image"}

    def __call__(self, part: Part) -> np.ndarray | dict[str, np.ndarray]:
        """The network's input: spectrograms alone, or a dictionary if there are text or audio features."""
        return self._normalised(_arrays(self.config, part))

    def _normalised(self, arrays: dict[str, list[np.ndarray] | np.ndarray]) -> np.ndarray | dict[str, np.ndarray]:
        inputs = {}
        for name, normalisation in self.normalisations.items():
            found = arrays.pop(name)  # frees the raw spectrograms, which are as large as the images
            if name == "image":
                inputs["spectrogram"] = images(found, normalisation, self.config.frames)
            elif self.config.frozen_scaling == "unit":
                inputs[name] = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
            else:
                inputs[name] = normalisation(found)
        return inputs["spectrogram"] if list(inputs) == ["spectrogram"] else inputs

    def arrays(self) -> dict[str, np.ndarray]:
        """What `from_arrays` needs."""
        stored = {}
        for name, normalisation in self.normalisations.items():
            stored |= normalisation.arrays(_prefix(name))
        return stored

    @classmethod
    def from_arrays(cls, config: MtapConfig, stored: Mapping[str, np.ndarray]) -> Inputs:
        """The inverse of `arrays`."""
        return cls(config, {name: Normalisation.from_arrays(stored, _prefix(name)) for name in config.modalities})


def _prefix(modality: str) -> str:
    return "" if modality == "image" else f"{modality}_"


def _arrays(config: MtapConfig, part: Part) -> dict[str, list[np.ndarray] | np.ndarray]:
    """Raw features by modality: spectrograms as a list of (frames, bins), vectors as (utterances, features)."""
    return {
        name: list(part.each("spectrogram")) if name == "image" else vectors(part, name) for name in config.modalities
    }


def images(spectrograms: list[np.ndarray], normalisation: Normalisation, frames: int) -> np.ndarray:
    """Normalised spectrograms of equal length, padded with zeros, float32, shape (utterances, frames, bins, 1)."""
    result = np.zeros((len(spectrograms), frames, len(normalisation.mean), 1), np.float32)
    for image, spectrogram in zip(result, spectrograms, strict=True):
        image[..., 0] = fix_length(normalisation(spectrogram[:]), frames)
    return result
