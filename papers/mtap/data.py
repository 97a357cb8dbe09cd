"""Inputs of the network: spectrograms of equal length, text and audio features, scaled with training statistics."""

from __future__ import annotations

import dataclasses
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

SOURCE_NAMES = {
    "google/vggish": "vggish",
    "bert-base-uncased": "bert-base-uncased",
    "densenet169": "densenet169-imagenet",
    "resnet50": "resnet50-imagenet",
}
"""Names that `ser fetch` gives to the pretrained networks of the config."""


def checkpoint_folder(checkpoint: str) -> Path | None:
    """Folder in which `ser fetch` puts a pretrained network, fetched or not; None if it cannot fetch this network."""
    from data_prep.fetching import sources

    return sources.source_folder(sources.SOURCES[SOURCE_NAMES[checkpoint]]) if checkpoint in SOURCE_NAMES else None


def imagenet_file(backbone: str) -> Path | None:
    """File with a backbone's ImageNet weights; None if it was not fetched or does not exist.

    A file that `keras.applications` has downloaded into its own folder is used as well.
    """
    from data_prep.fetching import sources

    if backbone not in SOURCE_NAMES:
        return None
    name = sources.SOURCES[SOURCE_NAMES[backbone]].holds
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    return next((file for file in (checkpoint_folder(backbone) / name, home / "models" / name) if file.is_file()), None)


def features(config: MtapConfig) -> dict[str, Spectrogram | Bert | Vggish]:
    """The extractors that a config needs: spectrogram (Sec. 5.2.1), BERT (Sec. 4.2), VGGish (Sec. 4.3)."""
    extractors: dict[str, Spectrogram | Bert | Vggish] = {}
    if config.image:
        extractors["spectrogram"] = spectrogram_extractor(config)
    if config.text:
        from common.models.bert import digest

        checkpoint = str(checkpoint_folder(config.bert) or config.bert)
        extractors["text"] = Bert(checkpoint, digest(checkpoint), config.text_pooling)
    if config.audio:
        extractors["audio"] = _vggish(config)
    return extractors


def spectrogram_extractor(config: MtapConfig) -> Spectrogram:
    """The extractor of spectrograms (Sec. 5.2.1)."""
    same = {name: getattr(config, name) for name in ("frame_ms", "hop_ms", "dft_length", "bins")}
    return Spectrogram(floor=10 ** (config.floor_db / 20), log=config.spectrum == "log", **same)


def _vggish(config: MtapConfig) -> Vggish:
    import hashlib

    from common.models.vggish import digest

    checkpoint = str(checkpoint_folder(config.vggish) or config.vggish)
    pca = config.vggish_pca
    if pca and not Path(pca).is_file():
        raise UserError(f"vggish_pca: the file {pca} does not exist.")
    return Vggish(
        checkpoint,
        checkpoint if checkpoint.startswith("random") else digest(checkpoint),
        config.audio_pooling,
        pca,
        hashlib.blake2b(Path(pca).read_bytes(), digest_size=8).hexdigest() if pca else "",
    )


@dataclass(frozen=True)
class InputPreparation:
    """Turns a part into the network's input, with statistics of the training part.

    Attributes:
        config: names the modalities.
        normalisations: of the spectrogram ("image") and of the frozen networks' features ("text", "audio").
        pixels: of the images that they become, per channel, for a network with ImageNet weights; None: there is none.
    """

    config: MtapConfig
    normalisations: dict[str, Normalisation]
    pixels: Normalisation | None = None

    @classmethod
    def fitted(cls, config: MtapConfig, train: Part) -> tuple[InputPreparation, np.ndarray | dict[str, np.ndarray]]:
        """Computes the statistics, and returns the prepared training part as well, so that it is read only once."""
        arrays = _raw_features(config, train)
        normalisations = {}
        for name, features in arrays.items():
            kind = config.normalisation if name == "image" else config.frozen_scaling
            if kind in ("none", "unit"):
                normalisations[name] = Normalisation.identity(features[0].shape[-1])
            else:
                normalisations[name] = Normalisation.fitted(
                    features if name == "image" else [features], pooled=kind == "corpus"
                )
        preparation = cls(config, normalisations)
        inputs = preparation._normalised(arrays)
        if config.image_scale != "unchanged":
            images = inputs if isinstance(inputs, np.ndarray) else inputs["spectrogram"]
            preparation = dataclasses.replace(preparation, pixels=fitted_pixels(config, images))
            preparation._scale(images)
        return preparation, inputs

    @property
    def widths(self) -> dict[str, int]:
        """Number of text and of audio features, by modality."""
        return {name: len(one.mean) for name, one in self.normalisations.items() if name != "image"}

    def __call__(self, part: Part) -> np.ndarray | dict[str, np.ndarray]:
        """Returns the network's input: spectrograms alone, or a dictionary if there are text or audio features."""
        return self._normalised(_raw_features(self.config, part))

    def _normalised(self, arrays: dict[str, list[np.ndarray] | np.ndarray]) -> np.ndarray | dict[str, np.ndarray]:
        inputs = {}
        for name, normalisation in self.normalisations.items():
            features = arrays.pop(name)  # frees the raw spectrograms, which are as large as the normalised ones
            if name == "image":
                inputs["spectrogram"] = normalised_images(features, normalisation, self.config)
                self._scale(inputs["spectrogram"])
            elif self.config.frozen_scaling == "unit":
                inputs[name] = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
            else:
                inputs[name] = normalisation(features)
        return inputs["spectrogram"] if list(inputs) == ["spectrogram"] else inputs

    def _scale(self, images: np.ndarray) -> None:
        """Scales images in place, since a copy would be as large as they are."""
        if self.pixels is not None:
            images -= self.pixels.mean
            images /= self.pixels.deviation
            if self.config.checkpoint_input == "pixels":
                np.clip(images, 0, 1, out=images)

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays that `from_arrays` needs."""
        stored = {} if self.pixels is None else self.pixels.arrays(PIXELS)
        for name, normalisation in self.normalisations.items():
            stored |= normalisation.arrays(_prefix(name))
        return stored

    @classmethod
    def from_arrays(cls, config: MtapConfig, stored: Mapping[str, np.ndarray]) -> InputPreparation:
        """Inverse of `arrays`."""
        normalisations = {name: Normalisation.from_arrays(stored, _prefix(name)) for name in config.modalities}
        scaled = any(name.startswith(PIXELS) for name in stored)
        return cls(config, normalisations, Normalisation.from_arrays(stored, PIXELS) if scaled else None)


PIXELS = "pixels_"
"""Prefix of the arrays that scale images."""


def fitted_pixels(config: MtapConfig, images: np.ndarray) -> Normalisation:
    """Scales training images (utterances, frames, bins, channels) to deviation 1 or to grey values from 0 to 1.

    Padding counts, because the network's normalisation sees it as well.
    """
    channels = images.shape[-1]
    if config.checkpoint_input == "statistics":
        return Normalisation.fitted(image.reshape(-1, channels) for image in images)
    low, high = images.min(axis=(0, 1, 2)), images.max(axis=(0, 1, 2))
    return Normalisation(low, np.where(high > low, high - low, 1).astype(np.float32))


def _prefix(modality: str) -> str:
    return "" if modality == "image" else f"{modality}_"


def _raw_features(config: MtapConfig, part: Part) -> dict[str, list[np.ndarray] | np.ndarray]:
    """Features by modality: spectrograms as a list of (frames, bins), others as float32 (utterances, features)."""
    return {
        name: list(part.each("spectrogram")) if name == "image" else np.stack(list(part.each(name))).astype(np.float32)
        for name in config.modalities
    }


def normalised_images(spectrograms: list[np.ndarray], normalisation: Normalisation, config: MtapConfig) -> np.ndarray:
    """Normalises spectrograms, then cuts or pads them, float32, shape (utterances, frames, bins, channels)."""
    bins, channels = len(normalisation.mean), 3 if config.channels == "deltas" else 1
    padding = 0.0
    if config.padding == "silence":
        padding = normalisation(np.full(bins, spectrogram_extractor(config).silence, np.float32))
    result = np.empty((len(spectrograms), config.frames, bins, channels), np.float32)
    for image, spectrogram in zip(result, spectrograms, strict=True):
        plane = normalisation(spectrogram[:])
        for channel in range(channels):
            # Silence does not change, so differences are padded with 0.
            value = 0.0 if channel else padding
            image[..., channel] = fix_length(plane, config.frames, value, config.trimming)
            if channel + 1 < channels:
                plane = slopes(plane)
    return result


def slopes(spectrogram: np.ndarray) -> np.ndarray:
    """Slope of the regression line over five frames, in each bin; the ends are repeated."""
    from scipy.signal import savgol_filter

    return savgol_filter(spectrogram, 5, 1, deriv=1, axis=0, mode="nearest")
