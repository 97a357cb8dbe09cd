"""Atmaja and Akagi 2020: settings, networks, training, and choices on the validation part."""

import dataclasses
import importlib
import math

import keras
import numpy as np
import pytest

from common.contract import Context, override
from common.errors import UserError
from common.features.gemaps import LLD_COLUMNS, GemapsLLD
from common.metrics import ccc
from papers.dimensional_mtl import data, train
from papers.dimensional_mtl.batches import Batches
from papers.dimensional_mtl.config import DimensionalConfig
from papers.dimensional_mtl.data import Preprocessor, labels, to_label_scale
from papers.dimensional_mtl.experiments import PAPER
from papers.dimensional_mtl.model import build_loss, build_model
from papers.dimensional_mtl.train import fit, load
from tests.helpers.dimensional import DIMENSIONS, part, reduced
from tests.helpers.eagerly import eagerly
from tests.helpers.resolved import resolve

eager = pytest.fixture(eagerly)

BY_ID = {experiment.id.removeprefix("dimensional_mtl/"): experiment for experiment in PAPER.experiments}


def test_the_rows_of_tables_resolve_as_declared_and_scaled():
    for experiment in PAPER.experiments:
        if not experiment.table.startswith("fig"):
            assert experiment.target.dimensions == DIMENSIONS, experiment.id
            for config in (experiment.config, override(experiment.config, PAPER.scaled)):
                resolved = resolve(PAPER, config)
                pretrained = config.uses_words and config.words != "we"
                assert ["word vectors (" in flag for flag in resolved.flags] == [True] * pretrained, experiment.id
                expected = dataclasses.replace(config, words="we" if pretrained else config.words)
                assert resolved.config == expected, experiment.id


def test_the_points_of_the_figures_have_the_papers_weights():
    figures = [experiment for experiment in PAPER.experiments if experiment.table.startswith("fig")]
    assert len(figures) == 121 + 33 + 92
    weights = {}
    for experiment in figures:
        assert resolve(PAPER, experiment.config).config.words == "we" and experiment.repeats == 1
        weights[experiment.id.removeprefix("dimensional_mtl/")] = experiment.config.weights
    # Eq. 5: the weight of dominance is 1 - alpha - beta, which may be negative. Eq. 6: the other two stay at 1.
    assert weights["fig4/iemocap/alpha-0.7-beta-0.2"] == (0.7, 0.2, 0.1)
    assert weights["fig4/iemocap/alpha-1.0-beta-1.0"] == (1.0, 1.0, -1.0)
    assert weights["fig5/iemocap/gamma-0.2"] == (1.0, 1.0, 0.2)
    assert weights["fig6/iemocap/acoustic-0.1-text-0.4"] == (1.0, 1.0, 1.0)


def test_rows_have_the_papers_settings():
    for row, repeats, settings in (
        ("table3/iemocap/lstm-paa-lld", 1, {"frames": 3411, "weights": (0.1, 0.5, 0.4), "acoustic_dropout": 0.3}),
        ("table3/iemocap/cnn-gemaps-lld", 1, {"frames": 3409, "acoustic_network": "cnn", "batch_size": 8}),
        ("table4/iemocap/cnn-fasttext", 1, {"weights": (0.7, 0.2, 0.1), "text_dropout": 0.3, "words": "fasttext"}),
        ("table5/iemocap/dense-cnn", 20, {"weights": (1.0, 1.0, 1.0), "batch_size": 8, "text_network": "cnn"}),
        ("table5/iemocap/lstm-lstm", 20, {"acoustic_dropout": 0.1, "text_dropout": 0.4, "fusion_dropout": 0.4}),
        ("table5/iemocap/cnn-dense-highest", 20, {"keep": "highest", "weights": (1.0, 1.0, 1.0)}),
        ("table6/iemocap/two", 20, {"weights": (0.7, 0.2, 0.1), "batch_size": 256, "activation": "linear"}),
        ("table6/iemocap/three", 20, {"weights": (0.9, 0.9, 0.2), "batch_size": 256, "level": "hsf"}),
        ("table6/iemocap/two-chosen-weights", 20, {"choose": "weights", "batch_size": 256}),
        ("table6/iemocap/single-valence", 20, {"weights": (1.0, 0.0, 0.0), "batch_size": 256}),
        ("table6/iemocap/single-dominance", 20, {"weights": (0.0, 0.0, 1.0), "batch_size": 256}),
        ("table3/iemocap/cnn-gemaps-hsf", 1, {"standardisation": "none"}),
        ("table6/iemocap/three", 20, {"standardisation": "none"}),
        ("table3/iemocap/cnn-gemaps-hsf-standardised", 1, {"standardisation": "training", "weights": (0.1, 0.5, 0.4)}),
    ):
        experiment = BY_ID[row]
        assert experiment.repeats == repeats and experiment.config.seed == 0, row
        assert {name: getattr(experiment.config, name) for name in settings} == settings, row
        config = experiment.config
        assert (config.patience, config.width, config.text_length) == (10, 256, 100), row
        assert experiment.protocol.session == "5", row
        assert experiment.protocol.validation == ("session" if "chosen" in row else "tail"), row


def kind(config):
    """The settings that make a network different from others."""
    audio = (config.acoustic, config.level, config.acoustic_network, config.small_acoustic, config.scrambled)
    return (config.modality, *audio * config.uses_audio, *((config.text_network,) if config.uses_words else ()))


DISTINCT = {kind(experiment.config): experiment.config for experiment in PAPER.experiments}


@pytest.mark.parametrize("config", DISTINCT.values(), ids=lambda c: "-".join(str(word) for word in kind(c)))
def test_a_step_changes_every_weight_of_every_distinct_network(config, eager):
    config = reduced(config, acoustic_dropout=0.0, text_dropout=0.0, fusion_dropout=0.0)
    train_part = part(6, acoustic=config.acoustic)
    preprocessor = Preprocessor.fitted(config, train_part)
    words = len(preprocessor.vocabulary) if config.uses_words else 0
    model = build_model(config, preprocessor.acoustic_shape if config.uses_audio else (), words)
    before = [weight.numpy().copy() for weight in model.trainable_weights]
    model.compile(keras.optimizers.SGD(0.5), build_loss(config), jit_compile=False)
    ((inputs, targets),) = Batches(preprocessor, train_part, 6, labels(train_part, config))
    loss = float(model.train_on_batch(inputs, targets))
    unchanged = [
        w.path for w, old in zip(model.trainable_weights, before, strict=True) if np.array_equal(w.numpy(), old)
    ]
    # Functionals are a sequence of one step, for which recurrent weights have no gradient.
    one_step = config.uses_audio and config.level == "hsf" and config.acoustic_network == "lstm"
    assert unchanged == [f"acoustic_lstm_{n}/lstm_cell/recurrent_kernel" for n in (1, 2, 3)] * one_step
    assert math.isfinite(loss)
    assert model.predict_on_batch(inputs).shape == (6, 3)


def test_the_experiments_have_21_distinct_networks():
    # 8 acoustic, 2 of them also scrambled, 2 text (three embeddings each), 8 pairs, the small one.
    assert len(DISTINCT) == 8 + 2 + 2 + 8 + 1


def lstm(inputs, units):
    """Four gates, each with its input, its recurrent weights and a bias."""
    return 4 * units * (inputs + units + 1)


def convolution(inputs, units, kernel):
    return units * (inputs * kernel + 1)


HEADS = 3  # three one-unit layers
WORD_LSTM = lstm(300, 256) + 2 * lstm(256, 256)
LSTM_HSF = 4 * 68 + lstm(68, 256) + 2 * lstm(256, 256)
CNN_HSF = 4 * 1 + convolution(1, 256, 4) + convolution(256, 256, 8) + convolution(256, 256, 12)
MLP_HSF = 4 * 68 + (68 + 1) * 256 + 2 * 257 * 256
WORDS = 3438 * 300


@pytest.mark.parametrize(
    ("row", "shape", "expected"),
    [
        # Batch normalisation has two trained and two counted numbers a feature; all steps are flattened.
        ("table3/iemocap/lstm-paa-hsf", (1, 68), LSTM_HSF + HEADS * 257),
        ("table3/iemocap/lstm-paa-lld", (3411, 34), 4 * 34 + lstm(34, 256) + 2 * lstm(256, 256) + 3 * (3411 * 256 + 1)),
        ("table3/iemocap/cnn-paa-hsf", (68, 1), CNN_HSF + HEADS * (47 * 256 + 1)),  # 68 - 3 - 7 - 11 = 47 steps
        ("table3/iemocap/cnn-gemaps-lld", (3409, 23), 4 * 23 + convolution(23, 256, 4) + CNN_HSF - 4
         - convolution(1, 256, 4) + HEADS * (3388 * 256 + 1)),
        ("table4/iemocap/lstm-we", (), WORDS + WORD_LSTM + 257 * 64 + HEADS * 65),
        ("table4/iemocap/cnn-we", (), WORDS + convolution(300, 256, 4) + convolution(256, 256, 8)
         + convolution(256, 256, 12) + (100 * 256 + 1) * 64 + HEADS * 65),
        ("table5/iemocap/lstm-lstm", (1, 68), LSTM_HSF + WORDS + WORD_LSTM + 257 * 64
         + (256 + 64 + 1) * 64 + 65 * 32 + HEADS * 33),
        ("table5/iemocap/dense-lstm", (1, 68), MLP_HSF + WORDS + WORD_LSTM + 257 * 64
         + (256 + 64 + 1) * 64 + 65 * 32 + HEADS * 33),
        ("table5/iemocap/cnn-dense", (68, 1), CNN_HSF + WORDS + 301 * 256 + 2 * 257 * 256 + (100 * 256 + 1) * 64
         + (47 * 256 + 64 + 1) * 64 + 65 * 32 + HEADS * 33),
        ("table6/iemocap/two-small", (1, 68), 4 * 68 + lstm(68, 47) + lstm(47, 256) + lstm(256, 256) + 257 * 47
         + WORDS + WORD_LSTM + 257 * 64 + (47 + 64 + 1) * 64 + 65 * 32 + HEADS * 33),
    ],
)  # fmt: skip
def test_parameter_counts(row, shape, expected):
    model = build_model(BY_ID[row].config, shape, 3438)
    assert model.count_params() == expected


def test_every_lstm_uses_the_cudnn_kernel(monkeypatch):
    """With a pretended GPU, each LSTM of each network must reach Keras' cuDNN call, without a mask."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("Keras chooses cuDNN kernels by these conditions under TensorFlow")
    import tensorflow as tf

    rnn = importlib.import_module("keras.src.backend.tensorflow.rnn")  # the package has a function of that name
    reached = []

    def pretended(inputs, *rest):
        reached.append(rest[5])  # the mask
        raise tf.errors.NotFoundError(None, None, "no GPU here after all")

    monkeypatch.setattr(rnn, "_is_gpu_available", lambda: True)
    monkeypatch.setattr(rnn, "_cudnn_lstm", pretended)
    for config, shape in (
        (BY_ID["table3/iemocap/lstm-paa-lld"].config, (24, 34)),
        (BY_ID["table4/iemocap/lstm-glove"].config, ()),
        (BY_ID["table5/iemocap/lstm-lstm"].config, (1, 68)),
        (BY_ID["table6/iemocap/two-small"].config, (1, 68)),
    ):
        model = build_model(reduced(config), shape, 9)
        layers = [layer for layer in model.layers if isinstance(layer, keras.layers.LSTM)]
        assert len(layers) in (3, 6)
        inputs = {"acoustic": np.zeros((2, *shape), "float32")} if config.uses_audio else {}
        if config.uses_words:
            inputs["text"] = np.zeros((2, 6), "int32")
        for training in (True, False):
            reached.clear()
            model(inputs, training=training)
            assert reached == [None] * len(layers)
        model.compile(loss=build_loss(config), jit_compile=train.jit_compile())
        assert not model.jit_compile  # cuDNN kernels cannot be compiled by XLA
    reached.clear()
    for changed in ({"recurrent_dropout": 0.1}, {"activation": "relu"}, {"unroll": True}, {"use_bias": False}):
        keras.layers.LSTM(3, **changed)(np.zeros((2, 4, 3), "float32"), training=True)
    assert reached == []  # options that rule out cuDNN, and are not used by the networks


SOME = {
    "acoustic": "table3/iemocap/lstm-paa-hsf",
    "frames": "table3/iemocap/cnn-gemaps-lld",
    "text": "table4/iemocap/lstm-we",
    "both": "table5/iemocap/dense-cnn",
}


@pytest.mark.parametrize("row", SOME.values(), ids=SOME)
def test_a_trained_model_predicts_ratings_and_is_the_same_after_loading(row, tmp_path, eager):
    config = reduced(BY_ID[row].config)
    context = Context(seed=1)
    fitted = fit(config, part(8, acoustic=config.acoustic), part(3, 1, config.acoustic), context)
    assert math.isfinite(context.history["loss"][0]) and math.isfinite(context.history["validation"][0])
    assert "fit" in context.seconds
    test = part(5, 2, config.acoustic)
    columns = fitted.predict(test.without_labels())
    assert list(columns) == [f"predicted_{name}" for name in DIMENSIONS]
    assert all(values.shape == (5,) and np.isfinite(values).all() for values in columns.values())
    fitted.save(tmp_path)
    again = load(tmp_path)
    assert again.config == fitted.config
    for name, values in again.predict(test).items():
        np.testing.assert_allclose(values, columns[name], atol=1e-5)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="not a kept dimensional_mtl model"):
        load(tmp_path)


def test_arousal_is_predicted_from_audio_and_valence_from_words():
    config = dataclasses.replace(
        reduced(DimensionalConfig()), acoustic_network="dense", text_network="dense", width=16, batch_size=20,
        epochs=14, patience=14, learning_rate=1e-2, acoustic_dropout=0.0, text_dropout=0.0, fusion_dropout=0.1,
        weighting="none",
    )  # fmt: skip
    train_part, validation, test = part(80), part(20, 1), part(60, 2)
    found = {}
    for modality in ("acoustic", "text", "both"):
        keras.utils.set_random_seed(2)
        fitted = fit(dataclasses.replace(config, modality=modality), train_part, validation, Context())
        columns = fitted.predict(test.without_labels())
        found[modality] = {name: ccc(test.table[name], columns[f"predicted_{name}"]) for name in DIMENSIONS}
    assert found["acoustic"]["arousal"] > 0.7 > 0.4 > found["acoustic"]["valence"]
    assert found["text"]["valence"] > 0.7 > 0.4 > found["text"]["arousal"]
    assert min(found["both"].values()) > 0.7


def test_the_epoch_with_the_lowest_or_highest_validation_loss_is_kept(eager):
    train_part, validation = part(12), part(7, 1)  # 7 is not a multiple of the batch size
    truth = labels(validation, DimensionalConfig())
    for keep, best in (("lowest", min), ("highest", max)):
        config = reduced(
            BY_ID["table5/iemocap/dense-cnn"].config, epochs=6, batch_size=6, keep=keep, learning_rate=0.01
        )
        keras.utils.set_random_seed(3)
        context = Context(seed=3)
        fitted = fit(config, train_part, validation, context)
        losses = [abs(value) for value in context.history["validation"]]
        assert len(set(losses)) > 1
        kept = sum(1 - ccc(truth[:, k], fitted.outputs(validation)[:, k]) for k in range(3))
        assert kept == pytest.approx(best(losses), abs=1e-4)


def test_weights_or_dropout_are_chosen_on_validation(eager):
    base = reduced(BY_ID["table6/iemocap/two-chosen-weights"].config, acoustic_network="dense", text_network="dense")
    config = dataclasses.replace(base, grid="0.2, 0.7", epochs=2)
    assert config.choices() == [{"alpha": 0.2, "beta": 0.2}, {"alpha": 0.2, "beta": 0.7}, {"alpha": 0.7, "beta": 0.2}]
    seen = []
    context = Context(seed=4, on_epoch=lambda epoch, epochs, logs: seen.append((epoch, epochs)))
    train_part, validation = part(12), part(6, 1)
    fitted = fit(config, train_part, validation, context)
    scores = context.history["choice_validation_ccc"]
    best = int(np.argmax(scores))
    assert {"alpha": fitted.config.alpha, "beta": fitted.config.beta} == config.choices()[best]
    truth, outputs = labels(validation, config), fitted.outputs(validation)
    assert np.mean([ccc(truth[:, k], outputs[:, k]) for k in range(3)]) == pytest.approx(scores[best], abs=1e-4)
    assert seen == [(number, 6) for number in range(1, 7)]
    # Training directly with the chosen settings gives the same network.
    keras.utils.set_random_seed(4)
    direct = fit(dataclasses.replace(fitted.config, choose="none"), train_part, validation, Context(seed=4))
    np.testing.assert_allclose(direct.outputs(validation), outputs, atol=1e-5)

    rates = dataclasses.replace(config, choose="dropout", epochs=1)
    assert len(rates.choices()) == 4 and set(rates.choices()[0]) == {"acoustic_dropout", "text_dropout"}
    assert len(dataclasses.replace(rates, modality="text").choices()) == 2
    with pytest.raises(UserError, match="needs a validation part"):
        fit(rates, train_part, validation.take(()), Context())


def test_weights_are_searched_on_the_papers_grid():
    """Fig. 4: steps of .1; the paper's own choices for words and for audio are among them."""
    for row in ("table3/iemocap/lstm-paa-hsf", "table4/iemocap/lstm-glove", "table6/iemocap/two"):
        config = BY_ID[f"{row}-chosen-weights"].config
        pairs = [(choice["alpha"], choice["beta"]) for choice in config.choices()]
        assert {(0.7, 0.2), (0.1, 0.5), (0.3, 0.7), (0.0, 0.0), (1.0, 0.0)} <= set(pairs) and len(pairs) == 66
        assert min(dataclasses.replace(config, alpha=a, beta=b).weights[2] for a, b in pairs) == 0
    rates = BY_ID["table5/iemocap/lstm-lstm-chosen-dropout"].config.choices()
    assert len(rates) == 9 and {"acoustic_dropout": 0.1, "text_dropout": 0.4} in rates


def test_a_single_task_trains_on_its_dimension_alone(eager):
    loss = build_loss(BY_ID["table6/iemocap/single-arousal"].config)
    truth, guess = (np.random.default_rng(seed).normal(0, 1, (9, 3)).astype("float32") for seed in (0, 1))
    assert float(loss(truth, guess)) == pytest.approx(1 - ccc(truth[:, 1], guess[:, 1]), abs=1e-5)


def test_moving_statistics_follow_raw_features_within_a_scaled_run(eager):
    steps = 154 // PAPER.scaled["batch_size"] * PAPER.scaled["epochs"]  # the training part of the demo corpus
    values = np.random.default_rng(1).normal(50.0, 2.0, (64, 1, 5)).astype(np.float32)
    config = reduced(DimensionalConfig(), modality="acoustic")
    found = {}
    for momentum in (PAPER.scaled["momentum"], config.momentum):
        network = build_model(dataclasses.replace(config, momentum=momentum), (1, 5))
        layer = network.get_layer("acoustic_normalisation")
        for _ in range(steps):
            layer(values, training=True)
        found[momentum] = keras.ops.convert_to_numpy(layer(values))
    # At a twenty-fifth of the mean, 300 steps with Keras' default leave the mean more than a deviation away.
    np.testing.assert_allclose(found[0.9].mean((0, 1)), 0, atol=0.01)
    np.testing.assert_allclose(found[0.9].std((0, 1)), 1, atol=0.01)
    assert found[0.99].mean() > 0.5


def test_impossible_settings_are_rejected_by_name():
    for changes, named in (
        ({"epochs": 0}, "epochs"),
        ({"text_dropout": 1.5}, "text_dropout"),
        ({"alpha": float("nan")}, "alpha"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"momentum": 1.0}, "momentum"),
        ({"lowest": 5.0}, "lowest"),
        ({"level": "lld", "acoustic_network": "cnn", "frames": 21}, "22 frames"),
        ({"choose": "weights", "weighting": "none"}, "nothing to choose"),
        ({"choose": "dropout", "grid": "a b"}, "grid"),
    ):
        with pytest.raises(UserError, match=named):
            DimensionalConfig(**changes)
            pytest.fail(f"{changes} was accepted")


def test_every_field_names_its_source():
    for item in dataclasses.fields(DimensionalConfig):
        assert item.metadata["source"].startswith(("Sec.", "Eq.", "Table", "not given")), item.name


def test_labels_are_clipped_and_scaled_by_their_range():
    train_part = part(4)
    train_part.table["valence"], train_part.table["arousal"], train_part.table["dominance"] = (
        [1, 3, 5, 4],
        [0.5, 5.5, 2, 3],
        3,
    )
    scaled = labels(train_part, DimensionalConfig())  # Eq. 7 and 8 with 1 and 5
    np.testing.assert_allclose(scaled, [[-1, -1, 0], [0, 1, 0], [1, -0.5, 0], [0.5, 0, 0]])
    np.testing.assert_allclose(to_label_scale(scaled, DimensionalConfig())[:, 0], [1, 3, 5, 4])
    train_part.table.loc[1, "dominance"] = float("nan")
    with pytest.raises(UserError, match="1 of 4 utterances lack valence, arousal or dominance"):
        labels(train_part, DimensionalConfig())


def test_a_dropout_rate_of_one_drops_nothing():
    config = reduced(BY_ID["fig6/iemocap/acoustic-1.0"].config)
    model = build_model(config, (1, 68), 9)
    assert model.get_layer("acoustic_dropout").rate == 0 and model.get_layer("text_dropout").rate == 0.3


def test_extractors_have_the_papers_descriptors():
    paa, gemaps = (
        data.features(DimensionalConfig(modality="acoustic", acoustic=name))["acoustic"] for name in ("paa", "gemaps")
    )
    signal = np.random.default_rng(0).uniform(-0.5, 0.5, 16000).astype(np.float32)
    assert paa(signal).shape == (98, 34)  # Sec. III-A: 34 descriptors, 25 ms every 10 ms
    assert type(gemaps) is GemapsLLD and data.LLDS["gemaps"] == len(LLD_COLUMNS) == 23
    assert data.features(DimensionalConfig(modality="text")) == {}
