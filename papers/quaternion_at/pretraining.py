"""Pretraining of the orthogonal tasks' networks, `ser pretrain quaternion_at speakers` and `words` (Sec. 3.1).

Each is the experiment's VGG16; a quaternion one reads the embeddings of a fixed RH-Emo (see rhemo.py). Images are made
for each batch, since all images of LibriSpeech would not fit into memory.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence, Set
from pathlib import Path

import keras
import numpy as np

from common.contract import Context, Part
from common.errors import UserError
from common.training import BestEpoch, jit_compile
from papers.quaternion_at.config import QuaternionAtConfig, at_least_steps
from papers.quaternion_at.data import BINS, CHUNK, FRAMES, Scale, average_cells, cut_chunks
from papers.quaternion_at.model import build_encoder, build_vgg, chained


class Batches(keras.utils.PyDataset):
    """Batches of (images, labels), whose images are made when a batch is asked for.

    Args:
        rows: numbers of the images.
        labels: labels of all images, by these numbers.
        make_image: function from the number of an image and a random generator to the image, shape (frames, bins).
        batch_size: images per batch.
        seed: shuffles, and makes other random images in each epoch; None: always the same images, in order.
        **kwargs: see `keras.utils.PyDataset`.
    """

    def __init__(
        self,
        rows: np.ndarray,
        labels: np.ndarray,
        make_image: Callable[[int, np.random.Generator], np.ndarray],
        batch_size: int,
        *,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.rows, self.labels, self.make_image, self.batch_size = np.array(rows), labels, make_image, batch_size
        self._generator = None if seed is None else np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self):
        """Number of batches per epoch."""
        return -(len(self.rows) // -self.batch_size)

    def __getitem__(self, number):
        """Makes one batch."""
        rows = self.rows[number * self.batch_size : (number + 1) * self.batch_size]
        images = [self.make_image(row, self._generator or np.random.default_rng(row)) for row in rows]
        return np.stack(images)[..., None].astype(np.float32), self.labels[rows]

    def on_epoch_end(self):
        """Shuffles the images."""
        if self._generator is not None:
            self._generator.shuffle(self.rows)


def split_utterances(count: int, share: float, classes: Sequence[str], kind: str) -> list[np.ndarray]:
    """Draws the positions of the training, validation (`share`) and test part (half of it), the same in every call.

    Raises:
        UserError: There are fewer than two classes (of this kind: "speaker", "word"), or too few utterances.
    """
    order = np.random.default_rng(0).permutation(count)
    validation, test = max(1, round(share * count)), max(1, round(share * count / 2))
    parts = [order[validation + test :], order[:validation], order[validation : validation + test]]
    if len(classes) < 2 or not all(map(len, parts)):
        raise UserError(f"This pretraining needs at least two {kind}s, and utterances to train, validate and test on.")
    return [np.sort(part) for part in parts]


def train_speaker_network(config: QuaternionAtConfig, part: Part, folder: Path, context: Context) -> dict:
    """Trains the network that recognises speakers in chunks of 4 s.

    In each epoch, a chunk is moved in time by a random number of frames, and what leaves it at the end enters at its
    start: otherwise the network remembers chunks by their pauses, and recognises few speakers in others.

    Args:
        config: settings; `speaker_labels` may replace speakers by sessions, as the authors' code does on IEMOCAP.
        part: utterances with "stft" and speakers.
        folder: receives `network.keras`.
        context: seed, progress and timings.

    Raises:
        UserError: There are fewer than two speakers, or too few utterances.
    """
    names = part.table[config.speaker_labels]
    if names.isna().any():
        raise UserError(f"This corpus has no {config.speaker_labels} for each utterance. Use the other speaker_labels.")
    classes = sorted(names.unique())
    parts = split_utterances(len(part), config.task_share, classes, "speaker")
    stft, utterances = part.features["stft"], part.table["utterance"].to_numpy()

    def chunks(utterance: int) -> list[np.ndarray]:
        return cut_chunks(stft[utterances[utterance]], config.chunks)

    scale = Scale.fitted((chunk for utterance in parts[0] for chunk in chunks(utterance)), config.scaling)
    utterance, position = np.array(
        [(utterance, position) for utterance in range(len(part)) for position in range(len(chunks(utterance)))]
    ).T
    labels = names.map({name: index for index, name in enumerate(classes)}).to_numpy(np.int64)[utterance]

    def make_image(row: int, generator: np.random.Generator) -> np.ndarray:
        image = average_cells(scale(chunks(utterance[row])[position[row]]), config.shrink)
        return np.roll(image, generator.integers(len(image)), axis=0)

    rows = [np.flatnonzero(np.isin(utterance, chosen)) for chosen in parts]
    record = _train_task_network(config, rows, labels, make_image, len(classes), folder, context)
    return record | {"classes": len(classes)}


def train_word_network(config: QuaternionAtConfig, part: Part, folder: Path, context: Context) -> dict:
    """Trains the network that recognises words: each in 4 s of silence, at a random place in each epoch.

    Args:
        config: settings.
        part: utterances with paths, of a corpus with alignments of words.
        folder: receives `network.keras`.
        context: seed, progress and timings; receives flags.

    Raises:
        UserError: There are no alignments, fewer than two words, or too few utterances.
    """
    paths = part.table["path"].tolist()
    aligned = _alignments(config, paths, set(part.table["utterance"]))
    found = [row for row, utterance in enumerate(part.table["utterance"]) if utterance in aligned]
    if len(found) < len(part):
        context.flags.append(f"alignments for {len(found)} of {len(part)} utterances")
    spoken = [(row, *word) for row in found for word in aligned[part.table["utterance"].iat[row]]]
    segments, classes = _frequent_words(spoken, config)
    if len(classes) < config.word_classes:
        context.flags.append(f"{len(classes)} words instead of {config.word_classes}")
    utterance = np.array([segment[0] for segment in segments])
    parts = split_utterances(len(part), config.task_share, classes, "word")
    rows = [np.flatnonzero(np.isin(utterance, chosen)) for chosen in parts]
    if not all(map(len, rows)):
        raise UserError(
            f"{len(segments)} words of {len(found)} utterances are too few to train, validate and test on. "
            "Use more speech."
        )
    magnitudes = _segment_magnitudes(segments, paths)
    scale = Scale.fitted((magnitudes[row] for row in rows[0]), config.scaling)
    numbers = {word: index for index, word in enumerate(classes)}
    labels = np.array([numbers[segment[1]] for segment in segments])

    def make_image(row: int, generator: np.random.Generator) -> np.ndarray:
        word = magnitudes[row][::-1] if config.chunks == "code" else magnitudes[row]
        image = np.zeros((FRAMES, BINS), np.float32)
        start = generator.integers(0, FRAMES - len(word) + 1)
        image[start : start + len(word)] = scale(word, len(word))
        return average_cells(image, config.shrink)

    record = _train_task_network(config, rows, labels, make_image, len(classes), folder, context)
    return record | {"words": classes}


def _alignments(config: QuaternionAtConfig, paths: Sequence[str], utterances: Set[str]) -> dict[str, list[tuple]]:
    """Words with start and end of each utterance, from the folder that the config names.

    Raises:
        UserError: It holds no alignments.
    """
    from data_prep.fetching.sources import SOURCES, source_folder
    from data_prep.readers.librispeech import read_alignments

    if config.alignments != "audio":
        return read_alignments(config.alignments, utterances)
    fetched = source_folder(SOURCES["librispeech-alignments"])
    beside = os.path.commonpath([os.path.dirname(path) for path in paths])
    try:
        return read_alignments(beside, utterances)
    except UserError as error:
        if fetched.is_dir():
            return read_alignments(fetched, utterances)
        raise UserError(
            f"{error} `ser fetch {SOURCES['librispeech-alignments'].name}` downloads those of LibriSpeech; or name "
            "their folder with --set alignments=FOLDER."
        ) from None


def _frequent_words(spoken: Sequence[tuple], config: QuaternionAtConfig) -> tuple[list[tuple], list[str]]:
    """Chooses the segments (row of the utterance, word, start, end) of the most frequent words, and these words."""
    counts = Counter(segment[1] for segment in spoken)
    classes = sorted(sorted(counts, key=lambda word: (-counts[word], word))[: config.word_classes])
    kept = set(classes)
    segments = [segment for segment in spoken if segment[1] in kept and segment[3] > segment[2]]
    if len(segments) > config.word_segments:
        chosen = np.random.default_rng(0).choice(len(segments), config.word_segments, replace=False)
        segments = [segments[index] for index in sorted(chosen)]
    return segments, classes


def _segment_magnitudes(segments: Sequence[tuple], paths: Sequence[str]) -> list[np.ndarray]:
    """Magnitudes of each segment; consecutive segments of the same recording read it once."""
    from common import audio
    from common.features.stft16 import MagnitudeStft

    extractor = MagnitudeStft(least_samples=0)
    result, opened, signal = [], -1, np.empty(0)
    for row, _, start, end in segments:
        if row != opened:
            opened, signal = row, audio.read(paths[row], extractor.sample_rate)
        first, last = round(start * extractor.sample_rate), round(end * extractor.sample_rate)
        result.append(extractor(signal[first:last])[:CHUNK])
    return result


def _train_task_network(config, rows, labels, make_image, classes: int, folder: Path, context: Context) -> dict:
    """Trains the VGG16 of an orthogonal task without anti-transfer, saves it, and returns its test accuracy."""
    keras.config.set_dtype_policy(config.precision)
    encoder = build_encoder(config, context)
    if encoder is not None:
        encoder.trainable = False
    vgg = build_vgg(config, classes)
    model = chained(encoder, vgg)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimiser = keras.optimizers.Adam(config.task_learning_rate)
    model.compile(optimiser, loss, metrics=["accuracy"], jit_compile=jit_compile())
    size = config.task_batch_size
    training = Batches(rows[0], labels, make_image, size, seed=context.seed)
    validation, test = (Batches(some, labels, make_image, size) for some in rows[1:])

    def score() -> float:
        return -model.evaluate(validation, verbose=0, return_dict=True)["loss"]

    epochs, patience = at_least_steps(config.task_steps, len(training), config.task_epochs, config.task_patience)
    with context.timed("fit"):
        model.fit(training, epochs=epochs, callbacks=[BestEpoch(score, patience, context)], verbose=0)
    vgg.save(folder / "network.keras")
    accuracy = model.evaluate(test, verbose=0, return_dict=True)["accuracy"]
    return {"accuracy": float(accuracy), "datapoints": [len(some) for some in rows]}
