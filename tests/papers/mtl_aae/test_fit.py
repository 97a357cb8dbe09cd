"""Training of the adversarial autoencoder: choices on the development fold, missing data, saving and loading."""

import dataclasses
import math

import keras
import numpy as np
import pytest

from common.contract import Context, override
from common.costs import Speech
from common.errors import UserError
from papers.mtl_aae import train
from papers.mtl_aae.config import FALLBACK_ALPHA, SCALED, AaeConfig
from papers.mtl_aae.cost import work
from papers.mtl_aae.experiments import PAPER
from papers.mtl_aae.targets import Person
from papers.mtl_aae.train import fit, held_out_accuracies, load, prepare_training_data
from tests.helpers import aae
from tests.helpers.eagerly import eagerly

eager = pytest.fixture(eagerly)


def predictions(fitted, part):
    return np.stack(list(fitted.predict(part.without_labels()).values()), axis=1).argmax(axis=1)


def test_training_finds_the_classes_and_a_saved_model_predicts_the_same(tmp_path):
    keras.utils.set_random_seed(3)
    progress = []
    context = Context(seed=3, on_epoch=lambda epoch, epochs, logs: progress.append((epoch, epochs)))
    context.auxiliary = aae.auxiliary(12)
    fitted = fit(aae.small(epochs=10, learning_rate=6e-3), aae.part(36), aae.part(9, seed=1), context)
    test = aae.part(18, seed=2)
    assert (predictions(fitted, test) == test.labels).mean() > 0.8
    assert progress == [(epoch, 10) for epoch in range(1, 11)]
    assert {"reconstruction", "discriminator", "generator", "emotion", "gender", "speaker"} <= context.history.keys()
    assert context.history["reconstruction"][-1] < context.history["reconstruction"][0]
    shares = [context.history[f"gradient_share_{p}"] for p in ("reconstruction", "generator", "classification")]
    np.testing.assert_allclose(np.sum(shares, axis=0), np.ones(10), atol=1e-6)
    for name in ("discriminator_accuracy", "prior_distance"):
        assert len(context.history[name]) == 10 and 0 < min(context.history[name]) <= max(context.history[name]) <= 1
    assert context.history["auxiliary_speakers"] == [3] and context.history["alpha"] == [0.5]
    assert 0 <= context.history["speaker_development_ua"][0] <= 1
    assert 0 <= context.history["gender_auxiliary_accuracy"][0] <= 1
    assert context.flags == [] and context.seconds["fit"] > 0
    columns = fitted.predict(test.without_labels())
    assert list(columns) == [f"p_{emotion}" for emotion in aae.CLASSES]
    np.testing.assert_allclose(sum(columns.values()), 1.0, atol=1e-6)

    fitted.save(tmp_path)
    again = load(tmp_path)
    for name, expected in columns.items():
        np.testing.assert_allclose(again.predict(test)[name], expected, atol=1e-6)
    images, rebuilt = again.reconstructions(test)
    assert images.shape == rebuilt.shape == (18, 16, 32)
    # Spectrograms are as the extractor gave them, except that they are cut or padded.
    whole = test.features["spectrogram"][test.table["utterance"][0]]
    inside = images[0][:, : min(32, len(whole))]
    first = max(0, (len(whole) - 32) // 2)
    np.testing.assert_allclose(inside, whole[first : first + inside.shape[1]].T, atol=1e-4)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="not a kept mtl_aae model"):
        load(tmp_path)


def test_alpha_is_chosen_on_the_development_fold():
    context = Context(seed=0)
    progress = []
    context.on_epoch = lambda epoch, epochs, logs: progress.append((epoch, epochs))
    config = aae.small(alpha=None, alpha_grid="0.1,0.5,1.0", model="ae", tasks="emotion", epochs=6, learning_rate=3e-3)
    fitted = fit(config, aae.part(24), aae.part(9, seed=1), context)
    scores = context.history["alpha_validation"]
    assert context.history["alpha_grid"] == [0.1, 0.5, 1.0] and len(scores) == 3
    chosen = context.history["alpha"][0]
    assert chosen == fitted.config.alpha == (0.1, 0.5, 1.0)[int(np.argmax(scores))]
    assert max(context.history["validation"]) == max(scores)
    # At alpha = 1 Eq. 1 leaves nothing of the emotion loss.
    assert scores[2] < max(scores)
    assert progress == [(epoch, 18) for epoch in range(1, 19)]
    validation = aae.part(9, seed=1)
    correct = predictions(fitted, validation) == validation.labels
    ua = np.mean([correct[validation.labels == k].mean() for k in range(3)])
    assert ua == pytest.approx(max(scores))


def test_without_a_development_fold_alpha_is_the_best_one_of_the_paper(eager):
    context = Context()
    fitted = fit(aae.small(alpha=None, model="ae"), aae.part(8), aae.part(0), context)
    assert fitted.config.alpha == FALLBACK_ALPHA == 0.4
    assert context.flags == ["alpha 0.4: no development fold to choose it on"]
    assert "validation" not in context.history
    context = Context()
    fit(aae.small(alpha=None, model="cnn"), aae.part(8), aae.part(0), context)
    assert context.flags == [] and "alpha" not in context.history  # a supervised network has no trade-off


def test_the_cnn_can_have_as_many_tries_as_the_others(monkeypatch):
    """Each try has its own weights and batches, and the best on the development fold is kept."""
    trained = []

    def train_network(config, training_data, context):
        first_weight = float(keras.random.normal(()))  # from the global seed
        trained.append((context.seed, first_weight))
        context.history["validation"] = [0.2, (0.5, 0.7, 0.6)[len(trained) % 3 - 1]]
        return f"network {len(trained)}"

    monkeypatch.setattr(train, "train_network", train_network)
    config = aae.small(model="cnn", tasks="emotion", cnn_tries=3)
    context = Context(seed=5)
    fitted = train.fit(config, aae.part(8), aae.part(4, seed=1), context)
    assert fitted.model == "network 2" and context.history["validation"] == [0.2, 0.7]
    assert context.history["try_validation"] == [0.5, 0.7, 0.6] and "alpha" not in context.history
    assert [seed for seed, _ in trained] == [5, 1_000_005, 2_000_005] and len(set(trained)) == 3
    once = Context(seed=5)
    train.fit(dataclasses.replace(config, cnn_tries=1), aae.part(8), aae.part(4, seed=1), once)
    assert trained[3] == trained[0] and "try_validation" not in once.history
    train.fit(config, aae.part(8), aae.part(0), Context(seed=5))  # nothing to choose on
    assert len(trained) == 5
    # All alphas start from the same weights.
    train.fit(aae.small(alpha=None, alpha_grid="0.1,0.5"), aae.part(8), aae.part(4, seed=1), Context(seed=5))
    assert trained[5] == trained[6] and trained[5][0] == 5
    assert "cnn_tries" in aae.small(model="ae").without_effect
    for settings, count in (
        ({}, 3),
        ({"model": "ae"}, 1),
        ({"model": "ae", "alpha": None, "alpha_grid": "0.1,0.5"}, 2),
    ):
        (one,) = work(dataclasses.replace(config, **settings), Speech(8, 8.0))
        units = 2 * 4 * (1 if one.step.startswith("model=cnn") else 2)  # two batches of 4, or of 4 and 4
        assert one.most == count * units, settings


def test_all_classes_are_predicted_if_one_is_missing_in_training(eager):
    train, test = aae.part(8, classes=("angry", "sad")), aae.part(6, seed=1)
    fitted = fit(aae.small(tasks="emotion"), train, aae.part(4, seed=2, classes=("sad",)), Context())
    columns = fitted.predict(test.without_labels())
    assert list(columns) == ["p_angry", "p_neutral", "p_sad"]
    assert all(np.isfinite(values).all() for values in columns.values())


def prepared(config, train=None, validation=None, auxiliary=None):
    """Training data and flags."""
    context = Context(auxiliary=auxiliary)
    return prepare_training_data(config, train or aae.part(8), validation or aae.part(0), context), context.flags


def test_tasks_with_a_single_class_are_left_out_and_flagged():
    found, flags = prepared(aae.small(), aae.part(8, speakers="A"))
    assert list(found.classes) == ["emotion"]
    assert flags == [
        "without the gender task: the training data have 1 gender",
        "without the speaker task: the training data have 1 speaker",
    ]
    # With auxiliary speakers there are two genders.
    found, flags = prepared(aae.small(), aae.part(8, speakers="A"), auxiliary=aae.auxiliary())
    assert list(found.classes) == ["emotion", "gender", "speaker"] and flags == []
    unknown = aae.part(8)
    unknown = dataclasses.replace(unknown, table=unknown.table.assign(gender=None))
    found, flags = prepared(aae.small(), unknown)
    assert list(found.classes) == ["emotion", "speaker"]
    assert flags == ["without the gender task: the training data have no gender"]


def test_speakers_of_two_corpora_with_one_name_are_two_classes():
    found, _ = prepared(aae.small(), auxiliary=aae.auxiliary(speakers="AEF"))
    assert found.classes["speaker"] == ("A", "B", "C", "D", "auxiliary A", "auxiliary E", "auxiliary F")
    assert set(found.labels["speaker"]) == {0, 1, 2, 3} and set(found.auxiliary_labels["speaker"]) == {4, 5, 6}
    assert set(found.auxiliary_labels["emotion"]) == {-1}
    assert len(found.auxiliary) == 9 and len(found.held_out) == 1 and found.held_out_labels["speaker"][0] in (4, 5, 6)


def test_a_validation_speaker_of_no_training_utterance_has_no_class():
    found, _ = prepared(aae.small(), aae.part(8, speakers="ABC"), aae.part(4, seed=1, speakers="D"))
    assert set(found.validation_labels["speaker"]) == {-1} and set(found.validation_labels["gender"]) == {1}
    assert found.validation.shape == (4, 16, 32, 1)


def test_the_development_fold_is_normalised_with_the_training_part():
    louder = aae.part(6, seed=1)
    for one in louder.features["spectrogram"].values():
        one += 10
    found, _ = prepared(aae.small(), validation=louder)
    plain, _ = prepared(aae.small(), validation=aae.part(6, seed=1))
    images = found.validation[..., 0]
    speech = plain.validation[..., 0] != 0  # without the padding
    shift = 10 / plain.labelled.normalisation.deviation[:, None]
    np.testing.assert_allclose(images[speech], (plain.validation[..., 0] + shift)[speech], rtol=1e-4, atol=1e-3)


def test_the_best_epoch_is_that_of_the_primary_task():
    """Labels of gender and speaker say nothing about the images, so the mean of the tasks would be another number."""
    context = Context(seed=1)
    validation = aae.part(12, seed=1)
    fitted = fit(aae.small(epochs=6, learning_rate=6e-3), aae.part(24), validation, context)
    correct = predictions(fitted, validation) == validation.labels
    primary = np.mean([correct[validation.labels == k].mean() for k in range(3)])
    assert max(context.history["validation"]) == pytest.approx(primary)
    assert context.history["emotion_development_ua"] == [pytest.approx(primary)]
    others = [context.history[f"{task}_development_ua"][0] for task in ("gender", "speaker")]
    assert abs(np.mean([primary, *others]) - primary) > 0.05


def with_target(part, target):
    return dataclasses.replace(part, classes=target.classes, labeller=target.labeller(part.table, target.classes))


def test_auxiliary_utterances_have_the_label_of_gender_or_speaker_if_it_is_the_target(eager):
    gender, speaker = Person("gender", ("female", "male")), Person("speaker", tuple("ABCD"))
    found, _ = prepared(aae.small(tasks="gender"), with_target(aae.part(8), gender), auxiliary=aae.auxiliary())
    others = found.auxiliary.utterances
    expected = aae.auxiliary().table.set_index("utterance")["gender"][list(others)] == "male"
    assert found.auxiliary_labels["emotion"].tolist() == expected.astype(int).tolist()
    assert found.classes == {"emotion": ("female", "male")} and len(found.held_out) == 1

    train, context = with_target(aae.part(8), speaker), Context(auxiliary=aae.auxiliary())
    found, _ = prepared(aae.small(tasks="speaker"), train, auxiliary=aae.auxiliary())
    assert found.classes["emotion"] == ("A", "B", "C", "D", "auxiliary A", "auxiliary E", "auxiliary F")
    assert found.labels["emotion"].tolist() == [0, 1, 2, 3] * 2 and min(found.auxiliary_labels["emotion"]) >= 4
    fitted = fit(aae.small(tasks="speaker"), train, with_target(aae.part(4, seed=1), speaker), context)
    columns = fitted.predict(aae.part(3).without_labels())
    assert list(columns) == ["p_A", "p_B", "p_C", "p_D"]
    np.testing.assert_allclose(sum(columns.values()), 1.0, atol=1e-6)
    assert "speaker_auxiliary_accuracy" in context.history


class SaysTheLoudest:
    """Stands for a trained network: predicts class 0 or 1 of each task by the mean of the image."""

    def predict_on_batch(self, images):
        number = (images.mean(axis=(1, 2, 3)) > 0).astype(int)
        return {"emotion": np.eye(3)[number], "gender": np.eye(2)[number], "speaker": np.eye(7)[number]}


def test_secondary_tasks_are_measured_on_held_out_auxiliary_utterances():
    found, _ = prepared(aae.small(auxiliary_held_out=0.5), auxiliary=aae.auxiliary(20))
    images = found.held_out.take(range(len(found.held_out)))
    number = (images.mean(axis=(1, 2, 3)) > 0).astype(int)
    genders = np.where(np.arange(len(number)) % 4 == 0, 1 - number, number)  # a quarter is wrong
    found = dataclasses.replace(
        found, held_out_labels={**found.held_out_labels, "gender": genders, "speaker": np.full(len(number), -1)}
    )
    assert held_out_accuracies(SaysTheLoudest(), found) == {"gender": pytest.approx((genders == number).mean())}
    without, _ = prepared(aae.small(tasks="emotion"), auxiliary=aae.auxiliary(20))
    assert without.held_out is None and held_out_accuracies(SaysTheLoudest(), without) == {}
    assert len(without.auxiliary) == 20  # a single-task network has nothing to measure on them


def test_which_networks_are_trained_on_auxiliary_utterances():
    for config, expected in (
        (aae.small(), True),
        (aae.small(model="cnn"), True),  # gender and speaker
        (aae.small(model="cnn", tasks="emotion"), False),
        (aae.small(model="ae", tasks="emotion"), True),  # reconstruction
        (aae.small(auxiliary_share=0.0), False),
    ):
        assert (prepared(config, auxiliary=aae.auxiliary())[0].auxiliary is not None) == expected


def test_auxiliary_utterances_are_normalised_by_their_own_or_the_shared_statistics():
    louder = aae.auxiliary()
    for one in louder.features["spectrogram"].values():
        one += 10
    own, _ = prepared(aae.small(), auxiliary=louder)
    shared, _ = prepared(aae.small(auxiliary_normalisation="shared"), auxiliary=louder)
    assert abs(own.auxiliary.take(range(9)).mean()) < 0.2
    assert own.held_out.normalisation is own.auxiliary.normalisation
    assert shared.auxiliary.take(range(9)).mean() > 2
    np.testing.assert_array_equal(own.labelled.normalisation.mean, shared.labelled.normalisation.mean)


def test_the_supervised_network_has_no_reconstructions(eager):
    fitted = fit(aae.small(model="cnn", tasks="emotion"), aae.part(8), aae.part(0), Context())
    with pytest.raises(UserError, match="model=ae"):
        fitted.reconstructions(aae.part(2))


def test_every_experiment_has_the_papers_latent_code_and_keeps_its_network_when_scaled():
    for experiment in PAPER.experiments:
        declared, scaled = experiment.config, override(experiment.config, PAPER.scaled)
        assert declared.latent_shape == (16, 16, 32), experiment.id
        assert declared.alpha is None and len(declared.alphas) == 10, experiment.id
        assert math.prod(scaled.latent_shape) == 8 * 8 * 16, experiment.id
        for name in (
            "model",
            "tasks",
            "beta",
            "prior",
            "reconstruction_weight",
            "auxiliary_speakers",
            "auxiliary_share",
        ):
            assert getattr(scaled, name) == getattr(declared, name), (experiment.id, name)
        assert {name: getattr(scaled, name) for name in SCALED} == SCALED, experiment.id


def test_impossible_settings_are_rejected():
    for changes in (
        {"epochs": 0}, {"alpha": 1.5}, {"alpha_grid": "0.1,two"}, {"alpha_grid": "0.1,-0.2"}, {"pools": "2x4,2x2"},
        {"pools": "2x4,2x2,2"}, {"pools": "2x4,2x2,3x2"}, {"frames": 250}, {"widths": "32,32,a"}, {"prior": "normal"},
        {"latent_relu": False}, {"auxiliary_held_out": 1.0}, {"reconstruction_weight": 0.0},
        {"reconstruction_weight": math.inf},
        {"auxiliary_share": 1.0}, {"dropout": 1.0}, {"beta": 1.1}, {"learning_rate": 0.0}, {"trim_db": -1.0},
        {"precision": "mixed_float16"},
    ):  # fmt: skip
        with pytest.raises(UserError):
            AaeConfig(**changes)
            pytest.fail(f"{changes} was accepted")


def test_every_field_names_its_source():
    for item in dataclasses.fields(AaeConfig):
        source = item.metadata["source"]
        assert source.startswith(("Sec.", "Eq.", "Table", "not given")), item.name
