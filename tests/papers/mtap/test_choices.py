"""Settings for what the paper leaves open: learning rate, spectrogram, channels, margin, tuned layers, gamma and m."""

import dataclasses
import math

import keras
import numpy as np
import pytest

from common import losses
from common.contract import Context, override
from common.costs import Speech
from common.errors import UserError
from common.models.backbones import backbone
from common.normalisation import Normalisation
from papers.mtap import data, train
from papers.mtap.config import MtapConfig
from papers.mtap.cost import work
from papers.mtap.experiments import PAPER
from papers.mtap.model import build_loss, build_model, build_optimiser
from papers.mtap.train import fit
from tests.helpers.eagerly import eagerly
from tests.helpers.mtap_data import part, reduced
from tests.helpers.resolved import resolve

eager = pytest.fixture(eagerly)


# --- learning rate and limits ----------------------------------------------------------------------------------------


def rate(config):
    return float(np.array(build_optimiser(config).learning_rate))


def test_the_learning_rate_follows_the_weights_that_are_used():
    declared = PAPER.experiment("mtap/table1/emodb/apfl").config
    assert rate(declared) == pytest.approx(1e-4)
    # Without the checkpoint, --allow-random-weights changes `weights`, and the rate with it.
    fallen_back = resolve(PAPER, declared).config
    assert fallen_back.weights == "random" and rate(fallen_back) == pytest.approx(1e-3)
    assert rate(resolve(PAPER, declared, scaled=True).config) == pytest.approx(1e-3)
    assert rate(override(declared, {"tune": "head"})) == pytest.approx(1e-3), "only the random head is trained"
    assert rate(MtapConfig(image=False, text=True)) == pytest.approx(1e-3)
    assert rate(override(fallen_back, {"learning_rate": "0.02", "optimiser": "sgd"})) == pytest.approx(0.02)


def test_a_margin_of_pi_is_allowed_and_a_larger_one_is_a_sentence():
    config = MtapConfig(loss="apfl", gamma=1.0, margin=math.pi)
    assert build_loss(config).angular_margin == math.pi
    with pytest.raises(UserError, match=r"needs a margin in \[0, pi\]; it is 3.1416"):
        dataclasses.replace(config, margin=3.1416)


def test_more_bins_than_the_dft_has_are_a_sentence():
    assert MtapConfig(dft_length=800, bins=401).bins == 401
    with pytest.raises(UserError, match="dft_length=800 has 401 bins, but bins is 402"):
        MtapConfig(dft_length=800, bins=402)
    with pytest.raises(UserError, match=r"frame_ms must be from 0.0625 .* to 25 .*; it is 40"):
        MtapConfig(dft_length=400, bins=100)
    assert MtapConfig(image=False, text=True, bins=4000), "not used without spectrograms"


# --- spectrogram -----------------------------------------------------------------------------------------------------


def test_the_spectrum_is_a_logarithm_with_a_floor_or_the_magnitudes():
    signal = np.random.default_rng(0).normal(0, 0.1, 3200).astype(np.float32)
    extract = {
        name: data.features(MtapConfig(**changes))["spectrogram"]
        for name, changes in {
            "default": {}, "low": {"floor_db": -60.0}, "magnitude": {"spectrum": "magnitude"},
        }.items()
    }  # fmt: skip
    magnitudes = extract["magnitude"](signal)
    np.testing.assert_allclose(extract["default"](signal), np.log(magnitudes + 1e-5), rtol=1e-5)
    np.testing.assert_allclose(extract["low"](signal), np.log(magnitudes + 1e-3), rtol=1e-5)
    quiet = np.zeros(3200, np.float32)
    for extractor in extract.values():
        np.testing.assert_allclose(extractor(quiet), extractor.silence, rtol=1e-6)


def images(frames, **changes):
    """The images of one utterance whose single bin holds these numbers, without normalisation."""
    spectrogram = np.array(frames, np.float32)[:, None]
    config = MtapConfig(frames=5, bins=1, **changes)
    return data.normalised_images([spectrogram], Normalisation.identity(1), config)[0, :, 0]


def test_long_utterances_are_cut_where_the_setting_says():
    long = range(1, 9)
    assert images(long)[:, 0].tolist() == [2, 3, 4, 5, 6]
    assert images(long, trimming="tail")[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert images(long, trimming="head")[:, 0].tolist() == [4, 5, 6, 7, 8]


def test_short_utterances_are_padded_with_zero_or_with_silence():
    np.testing.assert_allclose(images([1, 2])[:, 0], [1, 2, 0, 0, 0])
    floor = math.log(1e-3)
    np.testing.assert_allclose(
        images([1, 2], padding="silence", floor_db=-60.0)[:, 0], [1, 2, floor, floor, floor], rtol=1e-6
    )
    np.testing.assert_allclose(images([1, 2], padding="silence", spectrum="magnitude")[:, 0], [1, 2, 0, 0, 0])
    config = MtapConfig(frames=3, bins=1, padding="silence", spectrum="magnitude")
    normalisation = Normalisation(np.array([4], np.float32), np.array([2], np.float32))
    padded = data.normalised_images([np.array([[6]], np.float32)], normalisation, config)
    np.testing.assert_allclose(padded.ravel(), [1, -2, -2])


def test_deltas_are_slopes_of_lines_through_five_frames():
    frames = np.random.default_rng(1).normal(size=5)
    found = images(frames, channels="deltas")
    assert found.shape == (5, 3)
    np.testing.assert_allclose(found[:, 0], frames, rtol=1e-6)
    repeated = np.concatenate([[frames[0]] * 2, frames, [frames[-1]] * 2])
    expected = [np.polyfit(range(5), repeated[k : k + 5], 1)[0] for k in range(5)]
    np.testing.assert_allclose(found[:, 1], expected, atol=1e-6)
    padded = images([1, 2, 3], channels="deltas", padding="silence")
    np.testing.assert_array_equal(padded[3:, 1:], 0)


def test_a_network_with_deltas_is_trained(eager):
    config = reduced(override(PAPER.experiment("mtap/table1/emodb/apfl").config, PAPER.scaled), channels="deltas")
    fitted = fit(config, part(6), part(0), Context())
    assert fitted.model.input_shape == (None, 32, 24, 3) and len(fitted.predict(part(3))) == 3
    assert backbone("resnet50", 32, 32, channels=3).input_shape == (None, 32, 32, 3)


# --- margin ----------------------------------------------------------------------------------------------------------


def test_apfl_without_margin_is_focal_loss_of_scaled_cosines():
    """Sec. 3.2.2: with m = 0, APFL is the focal loss with normalised features and weights."""
    config = reduced(MtapConfig(backbone="small_cnn", loss="apfl", gamma=2.0, margin=0.0))
    cosines = np.array([[0.9, -0.2, 0.1], [0.3, 0.4, -1.0]], np.float32)
    expected = losses.focal(2.0)(np.array([0, 2]), 10 * cosines)
    assert float(build_loss(config)(np.array([0, 2]), cosines)) == pytest.approx(float(expected), rel=1e-6)
    for scale in (10.0, 1.0):
        network = build_model(dataclasses.replace(config, scale=scale), 3)
        assert network.layers[-1].name == "cosines"
    assert "safeguard" in config.without_effect


def test_beyond_pi_minus_m_the_safeguard_decides():
    config = MtapConfig(loss="arcface", margin=0.5)
    theta = np.array([2.0, 2.7, 3.1])  # pi - m is 2.64
    outputs = np.stack([np.cos(theta), np.zeros(3)], axis=1).astype(np.float32)

    def expected(target):
        return np.log(1 + np.exp(-10 * target))  # cross-entropy of (10 * target, 0)

    literal = build_loss(dataclasses.replace(config, safeguard=False))
    np.testing.assert_allclose(literal.call(np.zeros(3), outputs), expected(np.cos(theta + 0.5)), rtol=1e-4)
    guarded = np.where(theta < math.pi - 0.5, np.cos(theta + 0.5), np.cos(theta) - 0.5 * math.sin(0.5))
    np.testing.assert_allclose(build_loss(config).call(np.zeros(3), outputs), expected(guarded), rtol=1e-4)
    assert not losses.MarginFocalLoss.from_config(literal.get_config()).safeguard


# --- tuned layers ----------------------------------------------------------------------------------------------------


def test_only_the_chosen_layers_are_tuned(tmp_path, monkeypatch, eager):
    random = backbone("resnet50", 32, 32)
    next(layer for layer in random.layers if isinstance(layer, keras.Model)).save_weights(tmp_path / "w.weights.h5")
    monkeypatch.setattr("papers.mtap.model.imagenet_file", lambda name: tmp_path / "w.weights.h5")
    images, labels = np.random.default_rng(0).normal(size=(4, 32, 32, 1)), np.array([0, 1, 2, 0])
    for tune, stages in (("last", {"conv5"}), ("head", set())):
        model = build_model(MtapConfig(backbone="resnet50", frames=32, bins=32, tune=tune), 3)
        before = [weight.numpy().copy() for weight in model.weights]
        model.compile(keras.optimizers.SGD(0.1), losses.softmax())
        model.train_on_batch(images, labels)
        changed = {
            weight.path.rsplit("/", 2)[-2].split("_")[0]
            for weight, old in zip(model.weights, before, strict=True)
            if not np.array_equal(weight.numpy(), old)
        }
        assert changed == stages | {"logits"}, tune


def test_densenet_has_a_last_stage():
    inner = next(layer for layer in backbone("densenet169", 32, 32, tune="last").layers if hasattr(layer, "layers"))
    tuned = {layer.name.split("_")[0] for layer in inner.layers if layer.trainable_weights}
    assert tuned == {"conv5", "bn"}


# --- gamma and m chosen on validation --------------------------------------------------------------------------------


def test_choices_are_the_papers_grid():
    def chosen(loss):
        return PAPER.experiment(f"mtap/table1-chosen/emodb/{loss}").config

    gammas, margins = [0.1, 0.2, 0.5, 1, 2, 5], [0.2, 0.3, 0.4, 0.5]
    assert chosen("focal").choices == tuple({"gamma": gamma} for gamma in gammas)
    assert chosen("arcface").choices == tuple({"margin": margin} for margin in margins)
    both = tuple({"gamma": gamma, "margin": margin} for gamma in gammas for margin in margins)
    assert chosen("apfl").choices == both
    assert MtapConfig(choose=True).choices == () and "choose" in MtapConfig().without_effect
    assert {"gamma", "margin"} <= chosen("apfl").without_effect and "safeguard" not in chosen("apfl").without_effect
    (once,), (often,) = (work(config, Speech(100, math.nan)) for config in (MtapConfig(), chosen("apfl")))
    assert often.most == 24 * once.most


def test_every_printed_gamma_and_margin_is_in_the_grid_of_its_twin():
    twins = [one for one in PAPER.experiments if one.table.endswith("-chosen")]
    assert len(twins) == 15
    for twin in twins:
        row = PAPER.experiment(twin.id.replace("-chosen", ""))
        assert dataclasses.replace(twin.config, choose=False) == row.config
        assert (twin.corpus, twin.subset, twin.protocol, twin.repeats) == (
            row.corpus, row.subset, row.protocol, row.repeats,
        )  # fmt: skip
        names = twin.config.choices[0]
        assert {name: getattr(row.config, name) for name in names} in twin.config.choices, twin.id


def test_the_choice_with_the_best_validation_ua_is_kept(monkeypatch):
    """Each pair gets a known UA; the first of the best two is kept with its network."""
    config = reduced(
        override(PAPER.experiment("mtap/table3-chosen/iemocap/apfl").config, PAPER.scaled),
        image=False, text=True, gamma_grid="0.5,2", margin_grid="0.1,0.4",
    )  # fmt: skip
    uas = {(0.5, 0.1): 0.4, (0.5, 0.4): 0.7, (2.0, 0.1): 0.7, (2.0, 0.4): 0.6}
    starts, tried = [], []

    class Known(train.BestEpoch):
        def __init__(self, score, patience, context):
            super().__init__(lambda: uas[tried[-1]], patience, context)

        def on_train_begin(self, logs=None):
            loss = self.model.loss
            tried.append((loss.gamma, loss.angular_margin))
            starts.append(self.model.get_weights())

    monkeypatch.setattr(train, "BestEpoch", Known)
    context = Context(seed=3)
    fitted = fit(config, part(12), part(6, seed=1), context)
    assert tried == list(uas)
    for weights in starts[1:]:
        np.testing.assert_array_equal(weights[0], starts[0][0])
    assert (fitted.config.gamma, fitted.config.margin) == (0.5, 0.4)
    assert context.history["gamma"] == [0.5] and context.history["margin"] == [0.4]
    assert context.history["choice_gamma"] == [0.5, 0.5, 2, 2]
    assert context.history["choice_validation_ua"] == list(uas.values())
    fixed = dataclasses.replace(config, choose=False, gamma=0.5, margin=0.4)
    alone = fit(fixed, part(12), part(6, seed=1), Context(seed=3))
    for name, column in alone.predict(part(5)).items():
        np.testing.assert_allclose(fitted.predict(part(5))[name], column, rtol=1e-4, atol=1e-6)
    with pytest.raises(UserError, match="choose=true needs a validation part"):
        fit(config, part(12), part(0), Context())
