"""Quaternion anti-transfer: pretraining of the orthogonal tasks' networks and of RH-Emo, and use of the artefacts."""

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import soundfile

from common.artefacts import Artefacts
from common.contract import Context, Part
from common.corpus import COLUMNS
from common.errors import UserError
from papers.quaternion_at import model, pretraining, rhemo
from papers.quaternion_at.config import at_least_steps
from papers.quaternion_at.data import Scale
from papers.quaternion_at.experiments import PAPER, config_of
from ser import cli
from tests.helpers.eagerly import eagerly

eager = pytest.fixture(scope="module", autouse=True)(eagerly)

SMALL = {
    "width": 0.001, "shrink": 4, "initializer": "he", "task_epochs": 6, "task_batch_size": 8, "rhemo_units": 8,
    "rhemo_epochs": 3, "rhemo_batch_size": 8, "rhemo_steps": 0, "task_steps": 0, "task_learning_rate": 3e-3,
}  # fmt: skip


def small(network="real", **changes):
    return dataclasses.replace(config_of(network), **{**SMALL, **changes})


@pytest.fixture
def read(tmp_path):
    """Twelve aligned recordings of 3 s in LibriSpeech's layout: two voices (pitches), three words (bursts) each."""
    rows, lines = [], {}
    generator = np.random.default_rng(0)
    for number in range(12):
        speaker = "19" if number % 2 else "26"
        folder = tmp_path / "train-clean-100" / speaker / "7"
        folder.mkdir(parents=True, exist_ok=True)
        time = np.arange(48000) / 16000
        signal = generator.normal(0, 0.001, 48000)
        signal += 0.1 * np.sin(2 * np.pi * (500 if number % 2 else 3000) * time)
        for word, start in enumerate((0.5, 1.0, 1.5)):
            burst = slice(int(start * 16000), int((start + 0.4) * 16000))
            signal[burst] += 0.3 * np.sin(2 * np.pi * (1000 + 2000 * word) * time[burst])
        utterance = f"{speaker}-7-{number:04d}"
        soundfile.write(folder / f"{utterance}.flac", signal, 16000)
        lines.setdefault(folder / f"{speaker}-7.alignment.txt", []).append(
            f'{utterance} ",A,,MAN,,SAID," "0.5,0.9,1.0,1.4,1.5,1.9,3.0"'
        )
        path = str(folder / f"{utterance}.flac")
        rows.append({"utterance": utterance, "path": path, "speaker": speaker, "emotion": "sad"})
    for path, content in lines.items():
        path.write_text("\n".join(content))
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS))


def part(table):
    from common import audio

    (extractor,) = PAPER.function(PAPER.features)(small()).values()
    stft = {row.utterance: extractor(audio.read(row.path, 16000)) for row in table.itertuples()}
    return Part(table, {"stft": stft}, ())


def test_the_speaker_network_learns_and_has_the_architecture_of_the_experiments(read, tmp_path):
    context, config = Context(), small(width=0.02)
    keras.utils.set_random_seed(1)
    record = pretraining.train_speaker_network(config, part(read), tmp_path, context)
    assert record["classes"] == 2 and record["datapoints"] == [9, 2, 1]  # 12 utterances of one chunk, 70/20/10
    assert len(context.history["loss"]) == 6 and context.history["loss"][-1] < context.history["loss"][0]
    network = keras.saving.load_model(tmp_path / "network.keras", compile=False)
    assert network.input_shape[1:] == model.input_shape(config) and network.output_shape == (None, 2)


def test_speakers_are_moved_in_time_in_each_epoch(read, tmp_path, monkeypatch):
    """An image is another one in each epoch of the training, with the same cells in each band; words are moved too."""
    seen = {}

    def record_arguments(config, rows, labels, make_image, classes, folder, context):
        seen["image"] = make_image
        return {}

    monkeypatch.setattr(pretraining, "_train_task_network", record_arguments)
    pretraining.train_speaker_network(small(shrink=1), part(read), tmp_path, Context())
    images = [seen["image"](0, np.random.default_rng(seed)) for seed in range(5)]
    assert len({image.tobytes() for image in images}) == 5
    for image in images[1:]:
        np.testing.assert_allclose(np.sort(image, axis=0), np.sort(images[0], axis=0))
        moved = (np.roll(images[0], shift, axis=0) for shift in range(512))
        assert any(np.array_equal(image, one) for one in moved)


def test_words_are_cut_according_to_their_alignments(read, tmp_path, monkeypatch):
    seen = {}

    def record_arguments(config, rows, labels, make_image, classes, folder, context):
        seen.update(rows=rows, labels=labels, image=make_image, classes=classes)
        return {}

    monkeypatch.setattr(pretraining, "_train_task_network", record_arguments)
    context = Context()
    config = small(shrink=1)
    record = pretraining.train_word_network(config, Part(read, {}, ()), tmp_path, context)
    assert record == {"words": ["A", "MAN", "SAID"]}
    assert context.flags == ["3 words instead of 1000"]
    assert len(seen["labels"]) == 36 and [len(rows) for rows in seen["rows"]] == [27, 6, 3]
    for row in range(9):
        image = seen["image"](row, np.random.default_rng(row))
        spoken = np.flatnonzero(image.any(axis=1))
        # 0.4 s are 6400 samples: 51 windows with a hop of 128; the rest is silence.
        assert image.shape == (512, 128) and spoken[-1] - spoken[0] + 1 == len(spoken) == 51
        loudest = image.mean(axis=0)[12:].argmax() + 12  # above the first voice's 500 Hz, bin 8
        known = {16: 0, 48: 1, 80: 2}  # 1000, 3000 and 5000 Hz are bins of 62.5 Hz; a voice is at 3000 Hz too
        assert known[loudest] == seen["labels"][row] or loudest == 48
    places = {np.flatnonzero(seen["image"](0, np.random.default_rng(k)).any(axis=1))[0] for k in range(30)}
    assert len(places) > 20 and max(places) <= 512 - 51  # at random places


def test_the_word_network_can_read_embeddings(read, tmp_path):
    config = small("quat", shrink=2, task_epochs=1, rhemo="random")
    record = pretraining.train_word_network(config, Part(read, {}, ()), tmp_path, Context())
    assert record["datapoints"] == [27, 6, 3] and 0 <= record["accuracy"] <= 1
    network = keras.saving.load_model(tmp_path / "network.keras", compile=False)
    assert network.input_shape[1:] == (32, 32, 4) and network.output_shape == (None, 3)


def test_the_most_frequent_words_are_kept_and_their_number_is_limited():
    spoken = [(0, word, 0.0, 0.1) for word in "BBBAACCD"] + [(0, "B", 0.5, 0.5)]
    segments, classes = pretraining._frequent_words(spoken, small(word_classes=3))
    assert classes == ["A", "B", "C"] and len(segments) == 7  # D is rare, the last B has no length
    segments, _ = pretraining._frequent_words(spoken, small(word_classes=3, word_segments=4))
    assert len(segments) == 4


def test_missing_alignments_are_flagged_or_refused(read, tmp_path, monkeypatch):
    files = list(tmp_path.rglob("*.alignment.txt"))
    files[0].unlink()
    context = Context()
    config = small(task_epochs=1)
    pretraining.train_word_network(config, Part(read, {}, ()), tmp_path, context)
    assert context.flags[0] == "alignments for 6 of 12 utterances"
    files[1].unlink()
    monkeypatch.setenv("SER_MODELS", str(tmp_path / "models"))
    with pytest.raises(UserError, match=r"holds no alignments.*`ser fetch librispeech-alignments`"):
        pretraining.train_word_network(config, Part(read, {}, ()), tmp_path, Context())
    with pytest.raises(UserError, match="elsewhere holds no alignments"):
        pretraining.train_word_network(
            dataclasses.replace(config, alignments="elsewhere"), Part(read, {}, ()), tmp_path, Context()
        )


def test_fetched_alignments_are_found(read, tmp_path, monkeypatch):
    """`ser fetch` puts a TextGrid per utterance below the folder of models, with all parts of LibriSpeech."""
    monkeypatch.setenv("SER_MODELS", str(tmp_path / "models"))
    for file in tmp_path.rglob("*.alignment.txt"):
        file.unlink()
    chapter = tmp_path / "models" / "librispeech-alignments" / "LibriSpeech" / "train-clean-100" / "26" / "7"
    chapter.mkdir(parents=True)
    words = '"ooTextFile" "TextGrid" 0 3 <exists> 1 "IntervalTier" "words" 0 3 2 0 0.5 "" 0.5 0.9 "man"'
    (chapter / "26-7-0000.TextGrid").write_text(words)
    (chapter / "26-8-0000.TextGrid").write_text("of an utterance that is not trained on, so it is not read")
    paths, utterances = read["path"].tolist(), set(read["utterance"])
    assert pretraining._alignments(small(), paths, utterances) == {"26-7-0000": [("MAN", 0.5, 0.9)]}


def test_a_small_corpus_gives_enough_steps():
    """Nine steps per epoch: 5000 steps are 556 epochs, and the patience is a tenth of them."""
    assert at_least_steps(5000, 9, 10, 20) == (556, 55)
    assert at_least_steps(5000, 499, 500, 20) == (500, 20)  # LibriSpeech, 70 % of train-clean-100
    assert at_least_steps(0, 9, 10, 20) == (10, 20)


def test_the_networks_of_tasks_are_trained_by_steps(read, tmp_path, monkeypatch):
    """Nine training chunks in batches of four are three steps: 20 steps are seven epochs."""
    epochs = []
    fitted = keras.Model.fit

    def counted(self, *arguments, **settings):
        epochs.append(settings["epochs"])
        return fitted(self, *arguments, **{**settings, "epochs": 1})

    monkeypatch.setattr(keras.Model, "fit", counted)
    pretraining.train_speaker_network(small(task_steps=20, task_batch_size=4), part(read), tmp_path, Context())
    assert epochs == [7]


def test_sessions_instead_of_speakers_need_two_sessions(read, tmp_path):
    with pytest.raises(UserError, match="no session for each utterance"):
        pretraining.train_speaker_network(small(speaker_labels="session"), part(read), tmp_path, Context())
    one = read.assign(session="1")
    with pytest.raises(UserError, match="at least two speakers"):
        pretraining.train_speaker_network(small(speaker_labels="session"), part(one), tmp_path, Context())


def test_rhemo_learns_to_reconstruct_and_then_with_its_heads(read, tmp_path):
    emotions = ["neutral", "angry", "happy", "sad", "fearful", "other"] * 2
    rated = read.assign(emotion=emotions, valence=2.0, arousal=3.0, dominance=np.arange(12) % 5 + 1.0)
    config, context = small(shrink=2), Context()
    record = rhemo.pretrain_rhemo(config, part(rated), tmp_path, context)
    assert record["datapoints"][:2] == [9, 2] and record["datapoints"][2] < 9
    loss = context.history["loss"]
    assert len(loss) == 6 and loss[2] < loss[0]  # three epochs a stage; the second's loss has more terms
    assert [flag for flag in context.flags if "emotions of all utterances" in flag]
    encoder = keras.saving.load_model(tmp_path / "encoder.keras", compile=False)
    assert encoder.input_shape == (None, 256, 64, 1) and encoder.output_shape == (None, 32, 32, 4)
    assert (tmp_path / "decoder.keras").is_file()
    with pytest.raises(UserError, match="some utterances lack them"):
        rhemo.pretrain_rhemo(config, part(read.assign(valence=float("nan"))), tmp_path, context)


def test_batches_are_random_in_training_and_constant_in_validation():
    labels = np.arange(7)

    def image(row, generator):
        return np.full((2, 2), row + generator.random(), np.float32)

    held_out = pretraining.Batches([1, 4, 6], labels, image, 2)
    assert len(held_out) == 2 and held_out[1][1].tolist() == [6]
    first = held_out[0][0]
    held_out.on_epoch_end()
    np.testing.assert_array_equal(held_out[0][0], first)
    training = pretraining.Batches(np.arange(7), labels, image, 7, seed=1)
    images, own = training[0]
    np.testing.assert_array_equal(images[:, 0, 0, 0].astype(int), own)  # images and labels go together
    training.on_epoch_end()
    assert sorted(training[0][1]) == list(range(7)) and not np.array_equal(training[0][1], own)


def test_utterances_are_split_about_70_20_10():
    parts = pretraining.split_utterances(100, 0.2, ("angry", "sad"), "emotion")
    assert [len(part) for part in parts] == [70, 20, 10] and sorted(np.concatenate(parts)) == list(range(100))


def test_a_run_uses_the_newest_pretrained_network_and_names_it(tmp_path):
    """`ser pretrain` makes the network; a quaternion row would not use this real one."""
    folders = ["--results", str(tmp_path / "r"), "--cache", str(tmp_path / "c"), "--corpus", "demo", "--scaled"]
    tiny = ["--set", "width=0.001", "--set", "shrink=4", "--set", "epochs=1", "--set", "task_epochs=1"]
    tiny += ["--set", "task_steps=0"]
    assert cli.main(["pretrain", "quaternion_at", "speakers", *folders, *tiny]) == 0
    (made,) = Path(tmp_path / "c" / "artefacts" / "quaternion_at" / "speakers").glob("[!.]*")
    row = "quaternion_at/resources/iemocap/real-s"
    assert cli.main(["run", row, *folders, *tiny[:-4], "--no-yardstick"]) == 0
    (trial,) = (json.loads(file.read_bytes()) for file in (tmp_path / "r").rglob("trial.json"))
    assert trial["config"]["speakers"] == made.name
    named = f"speaker recognition network {made.name}, trained on demo/4class-improvised: synthetic corpus"
    assert [flag for flag in trial["flags"] if flag.startswith(named)]
    assert not [flag for flag in trial["flags"] if flag.startswith("random weights")]
    assert Artefacts(tmp_path / "c" / "artefacts").newest("quaternion_at/speakers", {"network": "quaternion"}) is None


def test_silence_around_words_does_not_change_the_scale():
    """Words are scaled before they are placed in silence."""
    scale = Scale.fitted([np.full((51, 129), 3.0), np.full((51, 129), 5.0)], "standard")
    assert (scale.shift, scale.factor) == (4.0, 1.0)
