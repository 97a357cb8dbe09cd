"""MTAP's fusion: the features F, the gender head and its loss, cached features, and Figures 4 and 5."""

import dataclasses
import math

import keras
import numpy as np
import pandas as pd
import pytest
import soundfile

from common.contract import Context, Part, override
from common.corpus import gender_numbers
from common.errors import UserError
from common.features import bert, vggish
from common.features.store import FeatureStore
from common.results import RunResults
from papers.mtap import data, figures
from papers.mtap.config import MtapConfig
from papers.mtap.experiments import PAPER
from papers.mtap.model import build_model, compile_model, fused_features
from papers.mtap.train import fit
from ser import cli
from tests.helpers import GOLDEN
from tests.helpers.mtap_data import CLASSES, FUSED, frozen, part, reduced
from tests.helpers.resolved import resolve

TINY = GOLDEN / "bert_tiny"


# --- network and loss ------------------------------------------------------------------------------------------------


def test_f_is_the_concatenation_of_image_text_and_audio():
    config = reduced(FUSED)
    model = build_model(config, 3, frozen(config))
    preparation, arrays = data.InputPreparation.fitted(config, part(6))
    features = fused_features(model).predict(arrays, verbose=0)
    np.testing.assert_allclose(features[:, -5:], arrays["audio"], atol=1e-6)
    np.testing.assert_allclose(features[:, -11:-5], arrays["text"], atol=1e-6)
    image = keras.Model(model.get_layer("spectrogram").output, model.get_layer("features").output)
    np.testing.assert_allclose(features[:, :-11], image.predict(arrays["spectrogram"], verbose=0), atol=1e-5)
    assert preparation.widths == {"text": 6, "audio": 5}


@pytest.mark.parametrize(("head", "reads"), [("a", ()), ("b", ("audio",)), ("c", ("text", "audio"))])
def test_the_gender_head_reads_what_figure_2_shows(head, reads):
    config = reduced(FUSED, gender_head=head)
    model = build_model(config, 3, frozen(config))
    _, arrays = data.InputPreparation.fitted(config, part(4))
    before = model.predict(arrays, verbose=0)
    for name in ("text", "audio"):
        changed = {**arrays, name: arrays[name] + 1}
        after = model.predict(changed, verbose=0)
        assert (np.abs(after[1] - before[1]).max() > 1e-3) == (name in reads), name
        assert np.abs(after[0] - before[0]).max() > 1e-3
    after = model.predict({**arrays, "spectrogram": arrays["spectrogram"] + 1}, verbose=0)
    assert np.abs(after[1] - before[1]).max() > 1e-4


@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_the_loss_is_apfl_plus_lambda_times_cross_entropy(weight):
    config = reduced(FUSED, loss="apfl", gamma=2.0, margin=0.3, gender_weight=weight)
    model = build_model(config, 3, frozen(config))
    compile_model(model, config)
    train = part(4)
    _, arrays = data.InputPreparation.fitted(config, train)
    loss = model.test_on_batch(arrays, [train.labels, gender_numbers(train.table, "")], return_dict=True)["loss"]
    cosines, gender = model.predict(arrays, verbose=0)
    expected = 0.0
    for k, (label, who) in enumerate(zip(train.labels, gender_numbers(train.table, ""), strict=True)):
        row, spoken = cosines[k].astype(float), gender[k].astype(float)
        logits = 10 * row
        logits[label] = 10 * math.cos(math.acos(row[label]) + 0.3)  # Eq. 2
        p = np.exp(logits)[label] / np.exp(logits).sum()
        cross_entropy = -math.log(np.exp(spoken)[who] / np.exp(spoken).sum())
        expected += (-((1 - p) ** 2.0) * math.log(p) + weight * cross_entropy) / 4  # Eq. 1 and Sec. 4.1
    assert float(loss) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("modalities", "projection"), [(("text",), 0), (("audio",), 0), (("text", "audio"), 8), (("image", "text"), 0)]
)
def test_any_subset_of_modalities_can_be_trained(modalities, projection):
    chosen = {name: name in modalities for name in ("image", "text", "audio")}
    config = reduced(
        FUSED, **chosen, gender_head="none", gender_weight=0.0, epochs=12, learning_rate=0.02, projection=projection
    )
    train = part(24)
    keras.utils.set_random_seed(1)
    fitted = fit(config, train, part(0), Context())
    answers = np.stack(list(fitted.predict(train.without_labels()).values()), axis=1).argmax(axis=1)
    # The text features show the class, the audio features only the gender.
    assert (answers == train.labels).mean() > (0.9 if "text" in modalities else 0.3)


def test_gender_is_learnt_together_with_emotion():
    keras.utils.set_random_seed(1)
    config = reduced(FUSED, epochs=16, learning_rate=0.01)
    train = part(24)
    context = Context()
    fitted = fit(config, train, part(9, seed=1), context)
    gender = fitted.model.predict(fitted.preparation(part(12, seed=2)), verbose=0)[1].argmax(axis=1)
    assert (gender == gender_numbers(part(12, seed=2).table, "")).mean() > 0.7  # chance is 0.5
    assert context.history["gender_loss"][-1] < context.history["gender_loss"][0]


def with_gender(one, gender):
    return dataclasses.replace(one, table=one.table.assign(gender=gender))


def test_a_single_gender_is_an_error_in_a_corpus_and_a_flag_in_a_fold():
    config = reduced(FUSED)
    men = with_gender(part(6), "male")
    with pytest.raises(UserError, match=r"all speakers here are male\. Use gender_head=none"):
        fit(config, men, with_gender(part(3), "male"), Context())
    with pytest.raises(UserError, match="all speakers here are male"):
        fit(config, men, part(0), Context())
    context = Context()
    fitted = fit(config, men, with_gender(part(3, seed=1), "female"), context)
    assert context.flags == ["gender head: all training speakers of a fold are male"]
    assert set(fitted.predict(with_gender(part(4), "female").without_labels())) == {f"p_{name}" for name in CLASSES}
    unknown = part(6)
    unknown.table.loc[2, "gender"] = None
    with pytest.raises(UserError, match=r"the first u2, .* Use gender_head=none"):
        fit(config, unknown, part(0), Context())


def test_a_corpus_without_transcripts_sets_a_flag():
    train = part(6)
    train.table["text"] = None
    context = Context()
    fit(reduced(FUSED), train, part(0), context)
    assert context.flags == ["no transcripts: the text features are those of an empty text"]


# --- scaling ---------------------------------------------------------------------------------------------------------


def fused_inputs(scaling):
    """Scaled text features of a training part with known vectors, and of another part."""
    vectors = {"u0": [1, 5, 0.3], "u1": [3, 5, 0.3], "v0": [5, 6, 0.3], "v1": [0, 0, 0]}
    source = {"text": {name: np.array(vector, np.float32) for name, vector in vectors.items()}}
    parts = [Part(pd.DataFrame({"utterance": names}), source, CLASSES) for names in (["u0", "u1"], ["v0", "v1"])]
    preparation, train = data.InputPreparation.fitted(
        MtapConfig(text=True, image=False, frozen_scaling=scaling), parts[0]
    )
    return train["text"], preparation(parts[1])["text"]


def test_frozen_features_are_scaled_with_training_statistics():
    train, other = fused_inputs("standard")
    np.testing.assert_allclose(train, [[-1, 0, 0], [1, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(other[0], [3, 1, 0], atol=1e-6)
    train, other = fused_inputs("unit")
    np.testing.assert_allclose(np.linalg.norm(train, axis=1), 1, rtol=1e-6)
    assert np.isfinite(other).all()
    np.testing.assert_array_equal(fused_inputs("none")[0], np.array([[1, 5, 0.3], [3, 5, 0.3]], np.float32))


# --- checkpoints and the cache ---------------------------------------------------------------------------------------


def test_available_checkpoints_are_used_and_missing_ones_flagged(tmp_path, monkeypatch):
    monkeypatch.setenv("SER_MODELS", str(tmp_path))
    config = MtapConfig(text=True, audio=True, image=False)
    resolved = resolve(PAPER, config)
    assert (resolved.config.bert, resolved.config.vggish) == ("random", "random")
    assert [flag.split("not here: ")[1] for flag in resolved.flags] == [
        "BERT (model.safetensors, 441 MB; `ser fetch bert-base-uncased`)",
        "VGGish (saved_model.pb, 270 MB; `ser fetch vggish`)",
    ]
    (tmp_path / "bert-base-uncased").symlink_to(TINY)
    (tmp_path / "vggish").mkdir()
    found = resolve(PAPER, config, allow=False)
    assert (found.config, found.flags) == (config, ()) and [one["name"] for one in found.pretrained] == [
        "bert-base-uncased", "vggish",
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"vggish is not a SavedModel: it holds no saved_model.pb"):
        data.features(config)
    extractors = data.features(dataclasses.replace(config, audio=False))
    assert extractors["text"].checkpoint == str(tmp_path / "bert-base-uncased")
    assert extractors["text"]("I am happy").shape == (32,)
    with pytest.raises(UserError, match="is not a BERT checkpoint"):
        data.features(MtapConfig(text=True, bert=str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match=r"vggish_pca: the file .* does not exist"):
        data.features(MtapConfig(audio=True, vggish="random-tiny", vggish_pca="/nowhere.npz"))


def test_checkpoints_of_unused_networks_are_not_changed():
    resolved = resolve(PAPER, PAPER.experiment("mtap/table3/iemocap/softmax").config, scaled=True).config
    assert (resolved.bert, resolved.vggish) == (MtapConfig().bert, MtapConfig().vggish)


def test_networks_without_fusion_have_one_input_and_one_output():
    """Fusion leaves the networks of Tables 1 to 3 as they are, with the number of weights counted here by hand."""
    model = build_model(override(PAPER.experiment("mtap/table1/emodb/softmax").config, PAPER.scaled), 7)
    assert isinstance(model.input, keras.KerasTensor) and isinstance(model.output, keras.KerasTensor)
    kernels = 9 * (1 * 16 + 16 * 32 + 32 * 64 + 64 * 96)
    norms = 4 * (16 + 32 + 64 + 96)
    assert model.count_params() == kernels + norms + 2 * 96 * 7 + 7


def test_frozen_features_are_never_computed_twice(tmp_path, monkeypatch):
    """All experiments with fusion resolve twice: every clip and every sentence goes through its network once."""
    seen = {"clips": 0, "texts": 0}

    def counting(kind, original):
        def batch(self, inputs):
            seen[kind] += len(inputs)
            return original(self, inputs)

        return batch

    monkeypatch.setattr(vggish.Vggish, "batch", counting("clips", vggish.Vggish.batch))
    monkeypatch.setattr(bert.Bert, "batch", counting("texts", bert.Bert.batch))
    rows = []
    for number, code in enumerate(("03a01Wa", "08a01Ta", "09a02Wb", "10b10Na")):
        tone = 0.2 * np.sin(np.arange(8000) * (0.1 + 0.05 * number))
        soundfile.write(tmp_path / f"{code}.wav", tone, 16000, subtype="PCM_16")
        rows.append(code)
    from data_prep.readers import emodb

    table = emodb.read(tmp_path)
    for _ in range(2):
        for experiment in PAPER.experiments:
            if experiment.config.text and experiment.config.audio:
                config = resolve(PAPER, experiment.config, scaled=True).config
                for name, extractor in data.features(config).items():
                    if name != "spectrogram":
                        assert len(FeatureStore(tmp_path / "cache", 1).get(table, extractor)) == 4
    assert seen == {"clips": 4, "texts": 3}


# --- pictures --------------------------------------------------------------------------------------------------------


def measured(tmp_path, names, classes=CLASSES, count=24, kept=True):
    """Runs as read from disk: two folds in the wrong order, and features with a clear direction for each class."""
    runs = {}
    for offset, name in enumerate(names):
        folders, trials, tables = [], [], []
        for fold in ("two", "one"):
            generator = np.random.default_rng(offset)
            labels = np.array([classes[k % len(classes)] for k in range(count)])
            features = generator.normal(0, 0.3, (count, 8)).astype(np.float32)
            for k, label in enumerate(labels):
                features[k, classes.index(label)] += 4 if fold == "one" else 0
            folder = tmp_path / name.replace("/", "-") / fold
            folder.mkdir(parents=True)
            if kept:
                np.savez(folder / "activations.npz", features=features)
            folders.append(folder)
            trials.append({"fold": fold, "repeat": 1})
            tables.append(pd.DataFrame({"label": labels}))
        run = {"folds": ["one", "two"], "classes": list(classes), "corpus": "demo", "subset": "3class"}
        runs[name] = RunResults(run, trials, tables, folders)
    return runs


def test_the_figure_shows_the_first_fold_with_one_row_per_loss(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "embed", lambda features, metric: features[:, :2])
    names = [e.id for e in PAPER.experiments if e.table == "fig4"]
    runs = measured(tmp_path, names)
    features, labels = figures.first_fold(runs[names[0]])
    assert len(features) == len(labels) == 24
    assert features[labels == CLASSES[0], 0].mean() > 3  # only in fold "one" are the classes apart
    drawn = figures.draw_losses(runs, [])
    assert [axis.get_title() for axis in drawn.axes][:3] == [
        "Softmax, Euclidean space", "Softmax, angular space", "Focal, Euclidean space",
    ]  # fmt: skip
    assert len(drawn.axes) == 8
    assert len(figures.draw_losses({names[3]: runs[names[3]]}, []).axes) == 2
    assert figures.draw_modalities(runs, []) is None and figures.draw_losses({}, []) is None


def test_runs_without_kept_features_draw_nothing(tmp_path):
    name = "mtap/fig5/iemocap/image+text"
    assert figures.draw_modalities(measured(tmp_path, [name], kept=False), []) is None


@pytest.mark.parametrize("metric", figures.SPACES)
def test_tsne_keeps_neighbours_together(metric):
    generator = np.random.default_rng(0)
    labels = np.arange(45) % 3
    features = generator.normal(0, 0.1, (45, 6)) + 3 * np.eye(6)[labels]
    features *= generator.uniform(0.2, 5, (45, 1)) if metric == "cosine" else 1.0  # lengths do not change angles
    points = figures.embed(features, metric)
    np.testing.assert_array_equal(points, figures.embed(features, metric))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(45)
    assert (labels[distances.argmin(axis=1)] == labels).mean() > 0.95
    assert figures.embed(features[:5], metric).shape == (5, 2)


def test_a_run_on_the_demo_corpus_ends_in_a_figure(tmp_path, monkeypatch):
    """With all three modalities: features, one short trial, kept F, and its figure in the report."""
    monkeypatch.chdir(tmp_path)
    arguments = ["run", "mtap/fig5/iemocap/image+text+audio", "--corpus", "demo", "--scaled", "--folds", "1"]
    arguments += ["--set", "epochs=1", "--set", "frames=40", "--no-yardstick", "--results", str(tmp_path / "results")]
    assert cli.main([*arguments, "--cache", str(tmp_path / "cache")]) == 0
    (kept,) = (tmp_path / "results").rglob("activations.npz")
    with np.load(kept) as stored:
        assert stored["features"].shape[1] == 2 * 96 + 32 + 128
    assert cli.main(["report", "--results", str(tmp_path / "results")]) == 0
    page = (tmp_path / "results" / "report.html").read_text()
    assert "Test features by modality" in page and "random weights: BERT" in page.lower().replace("bert", "BERT")
