"""What `ser pretrain quaternion_at speakers` and `words` make: the networks of the orthogonal tasks (Sec. 3.1).

They are the VGG16 of the experiment (RH-Emo is in rhemo.py). What reads embeddings learns from those of a
fixed RH-Emo. Datapoints are made when a batch asks for them: LibriSpeech's would not fit into memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from common.contract import Context, Part
from common.errors import UserError
from common.training import BestEpoch, jit_compile
from papers.quaternion_at.config import QuaternionAtConfig
from papers.quaternion_at.data import BINS, CHUNK, FRAMES, Scale, cut, shrunk
from papers.quaternion_at.model import build_encoder, build_vgg, chained


class Batches(keras.utils.PyDataset):
    """Batches of (images, labels) that are made when they are asked for.

    Args:
        rows: numbers of the datapoints.
        labels: of all datapoints, by those numbers.
        image: makes a datapoint's image, shape (frames, bins), from its number and a generator.
        batch_size: datapoints a batch.
        seed: shuffles, and draws anew each epoch; None: in order, the same draws each time.
        **kwargs: as in `keras.utils.PyDataset`.
    """

    def __init__(
        self,
        rows: np.ndarray,
        labels: np.ndarray,
        image: Callable[[int, np.random.Generator], np.ndarray],
        batch_size: int,
        *,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.rows, self.labels, self.image, self.batch_size = np.array(rows), labels, image, batch_size
        self._generator = None if seed is None else np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self):
        """Batches an epoch."""
        return -(len(self.rows) // -self.batch_size)

    def __getitem__(self, number):
        """One batch."""
        rows = self.rows[number * self.batch_size : (number + 1) * self.batch_size]
        images = [self.image(row, self._generator or np.random.default_rng(row)) for row in rows]
        return np.stack(images)[..., None].astype(np.float32), self.labels[rows]

    def on_epoch_end(self):
        """Shuffles."""
        if self._generator is not None:
            self._generator.shuffle(self.rows)


def drawn(count: int, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of the utterances that train, validate (`share`) and test (half of it): about 70/20/10."""
    order = np.random.default_rng(0).permutation(count)
    validating, testing = max(1, round(share * count)), max(1, round(share * count / 2))
    return np.sort(order[validating + testing :]), np.sort(order[:validating]), np.sort(order[validating:][:testing])


def speakers(config: QuaternionAtConfig, part: Part, folder: Path, context: Context) -> dict:
    """Trains the network that tells speakers by chunks of 4 s.

    Args:
        config: settings; `speaker_labels` may put sessions for speakers, as the authors' code does on IEMOCAP.
        part: utterances with "stft" and speakers.
        folder: receives `network.keras`.
        context: progress and timings.

    Raises:
        UserError: fewer than two speakers, or too few utterances.
    """
    names = part.table[config.speaker_labels]
    if names.isna().any():
        raise UserError(f"This corpus has no {config.speaker_labels} for each utterance; set the other speaker_labels.")
    classes = sorted(names.unique())
    number = {name: index for index, name in enumerate(classes)}
    stft, utterances = part.features["stft"], part.table["utterance"].to_numpy()
    parts = enough(drawn(len(part), config.task_share), classes, "speaker")

    def count(utterance: int) -> int:
        return len(cut(stft[utterances[utterance]], config.chunks))

    scale = Scale.fitted(
        (piece for one in parts[0] for piece in cut(stft[utterances[one]], config.chunks)), config.scaling
    )
    owner, which = np.array([(one, piece) for one in range(len(part)) for piece in range(count(one))]).T
    labels = names.map(number).to_numpy(np.int64)[owner]

    def image(row: int, generator: np.random.Generator) -> np.ndarray:
        chunk = cut(stft[utterances[owner[row]]], config.chunks)[which[row]]
        return shrunk(scale(chunk), config.shrink)

    rows = [np.flatnonzero(np.isin(owner, chosen)) for chosen in parts]
    return _train(config, rows, labels, image, len(classes), folder, context) | {"classes": len(classes)}


def words(config: QuaternionAtConfig, part: Part, folder: Path, context: Context) -> dict:
    """Trains the network that tells words: each alone in 4 s of silence, at a place drawn anew each epoch.

    Args:
        config: settings.
        part: utterances with paths, of a corpus whose alignments are at hand.
        folder: receives `network.keras`.
        context: progress, timings and flags.

    Raises:
        UserError: no alignments, or fewer than two words.
    """
    from data_prep.readers.librispeech import read_alignments

    paths = part.table["path"].tolist()
    place = os.path.commonpath([os.path.dirname(path) for path in paths])
    aligned = read_alignments(place if config.alignments == "audio" else config.alignments)
    found = [row for row, utterance in enumerate(part.table["utterance"]) if utterance in aligned]
    if len(found) < len(part):
        context.flags.append(f"alignments for {len(found)} of {len(part)} utterances")
    spoken = [(row, *word) for row in found for word in aligned[part.table["utterance"].iat[row]]]
    segments, classes = _chosen(spoken, config)
    if len(classes) < config.word_classes:
        context.flags.append(f"{len(classes)} words instead of {config.word_classes}")
    own = np.array([segment[0] for segment in segments])
    parts = enough(drawn(len(part), config.task_share), classes, "word")
    rows = [np.flatnonzero(np.isin(own, chosen)) for chosen in parts]
    if not all(map(len, rows)):
        raise UserError(f"{len(segments)} words of {len(found)} utterances cannot be parted in three; use more speech.")
    images = _magnitudes(segments, paths)
    scale = Scale.fitted((images[row] for row in rows[0]), config.scaling)
    number = {word: index for index, word in enumerate(classes)}
    labels = np.array([number[segment[1]] for segment in segments])

    def image(row: int, generator: np.random.Generator) -> np.ndarray:
        word = images[row][::-1] if config.chunks == "code" else images[row]
        placed = np.zeros((FRAMES, BINS), np.float32)
        start = generator.integers(0, FRAMES - len(word) + 1)
        placed[start : start + len(word)] = scale(word, len(word))
        return shrunk(placed, config.shrink)

    return _train(config, rows, labels, image, len(classes), folder, context) | {"words": classes}


def _chosen(spoken: Sequence[tuple], config: QuaternionAtConfig) -> tuple[list[tuple], list[str]]:
    """Segments (utterance's row, word, start, end) of the most frequent words, and those words."""
    counts: dict[str, int] = {}
    for _, word, _, _ in spoken:
        counts[word] = counts.get(word, 0) + 1
    classes = sorted(sorted(counts, key=lambda word: (-counts[word], word))[: config.word_classes])
    kept = set(classes)
    segments = [segment for segment in spoken if segment[1] in kept and segment[3] > segment[2]]
    if len(segments) > config.word_segments:
        chosen = np.random.default_rng(0).choice(len(segments), config.word_segments, replace=False)
        segments = [segments[index] for index in sorted(chosen)]
    return segments, classes


def _magnitudes(segments: Sequence[tuple], paths: Sequence[str]) -> list[np.ndarray]:
    """Magnitudes of each segment; a recording is read once for its segments, which come one after another."""
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


def enough(parts: tuple[np.ndarray, ...], classes: Sequence[str], kind: str) -> tuple[np.ndarray, ...]:
    """The parts of `drawn`, if there is something to tell apart in each of them."""
    if len(classes) < 2 or not all(map(len, parts)):
        raise UserError(f"Telling {kind}s needs two of them and some utterances to learn, validate and test with.")
    return parts


def _train(config, rows, labels, image, classes: int, folder: Path, context: Context) -> dict:
    """Trains the VGG16 of an orthogonal task, without anti-transfer; the accuracy is on the part that tests."""
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
    learnt = Batches(rows[0], labels, image, size, seed=context.seed)
    held_out, tested = (Batches(some, labels, image, size) for some in rows[1:])

    def score() -> float:
        return -model.evaluate(held_out, verbose=0, return_dict=True)["loss"]

    with context.timed("fit"):
        callbacks = [BestEpoch(score, config.task_patience, context)]
        model.fit(learnt, epochs=config.task_epochs, callbacks=callbacks, verbose=0)
    vgg.save(folder / "network.keras")
    accuracy = model.evaluate(tested, verbose=0, return_dict=True)["accuracy"]
    return {"accuracy": float(accuracy), "datapoints": [len(some) for some in rows]}
