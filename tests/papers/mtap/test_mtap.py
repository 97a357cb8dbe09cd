"""MTAP: every config resolves, every distinct network is built and stepped, cells are the paper's."""

import dataclasses
import math
import statistics
from collections import Counter

import keras
import numpy as np
import pandas as pd
import pytest

import data_prep
from common.contract import Context, Part, override
from common.corpus import gender_numbers
from common.errors import UserError
from common.normalisation import Normalisation
from papers.mtap import data, model
from papers.mtap.config import MtapConfig
from papers.mtap.experiments import PAPER, resolve
from papers.mtap.model import build_loss, build_model, compile_model
from papers.mtap.train import fit, load
from ser.results.reported import read_cells
from tests.helpers.eagerly import eagerly
from tests.helpers.mtap_data import CLASSES, FUSED, frozen, part, reduced

CELLS = read_cells(PAPER.reported)


def test_every_own_row_of_every_table():
    rows = Counter((e.table, e.corpus) for e in PAPER.experiments)
    assert rows == {
        ("1", "emodb"): 4, ("1", "savee"): 4, ("2", "emodb"): 4, ("2", "savee"): 4, ("3", "iemocap"): 4,
        # Of Table 4's eight rows one is Table 3's; of Table 5's, two are Table 4's; of Table 6's, two are Table 3's,
        # two Table 4's fused ones, and the first, a slip, is Table 4's ResNet50. Table 7's two are Table 6's.
        ("4", "iemocap"): 7, ("5", "iemocap"): 6, ("6", "iemocap"): 3, ("fig4", "iemocap"): 4, ("fig5", "iemocap"): 4,
    }  # fmt: skip
    assert {cell.row for cell in CELLS if not cell.experiment} == {
        "CNN-BLSTM", "CNN-BLSTM with a two-step predictor", "Parallel CNN", "CNN-GRU-SeqCaps",
        "Variable-length CNN-GRU", "CNN-TF-GAP", "End-to-end ASR and SER", "CNN-MHSA",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("experiment", "gamma", "margin", "frames", "trials"),
    [
        ("mtap/table1/emodb/softmax", 0.0, 0.0, 400, 50),
        ("mtap/table1/emodb/apfl", 0.10, 0.50, 400, 50),
        ("mtap/table1/savee/apfl", 5.0, 0.50, 500, 20),
        ("mtap/table2/emodb/apfl", 5.0, 0.50, 400, 50),
        ("mtap/table2/savee/apfl", 0.50, 0.50, 500, 25),
        ("mtap/table2/savee/focal", 0.10, 0.0, 500, 25),
        ("mtap/table3/iemocap/arcface", 0.0, 0.30, 600, 25),
        ("mtap/table6/iemocap/resnet50-apfl", 2.0, 0.30, 600, 25),
    ],
)
def test_rows_have_the_tables_gamma_and_margin(experiment, gamma, margin, frames, trials):
    row = PAPER.experiment(experiment)
    assert (row.config.gamma, row.config.margin, row.config.frames) == (gamma, margin, frames)
    assert row.protocol.count(data_prep.corpus(row.corpus)) * row.repeats == trials
    assert row.config.scale == 10 and row.config.weights == "imagenet"


@pytest.mark.parametrize(
    ("row", "text", "audio", "head", "weight", "loss", "gamma", "margin"),
    [
        ("table4/iemocap/resnet50+bert", True, False, "none", 0.0, "softmax", 0.0, 0.0),
        ("table4/iemocap/densenet169+vggish", False, True, "none", 0.0, "softmax", 0.0, 0.0),
        ("table4/iemocap/densenet169+bert+vggish", True, True, "none", 0.0, "softmax", 0.0, 0.0),
        ("table5/iemocap/resnet50+mtl-a", True, True, "a", 0.25, "softmax", 0.0, 0.0),
        ("table5/iemocap/resnet50+mtl-c", True, True, "c", 0.25, "softmax", 0.0, 0.0),
        ("table5/iemocap/densenet169+mtl-a", True, True, "a", 1.0, "softmax", 0.0, 0.0),
        ("table5/iemocap/densenet169+mtl-b", True, True, "b", 0.5, "softmax", 0.0, 0.0),
        ("table5/iemocap/densenet169+mtl-c", True, True, "c", 1.0, "softmax", 0.0, 0.0),
        ("table6/iemocap/resnet50+bert+vggish-apfl", True, True, "none", 0.0, "apfl", 2.0, 0.3),
        ("table6/iemocap/densenet169+bert+vggish-apfl", True, True, "none", 0.0, "apfl", 0.1, 0.3),
    ],
)
def test_fused_rows_are_the_tables(row, text, audio, head, weight, loss, gamma, margin):
    experiment = PAPER.experiment(f"mtap/{row}")
    config = experiment.config
    assert (config.image, config.text, config.audio, config.gender_head, config.gender_weight) == (
        True, text, audio, head, weight,
    )  # fmt: skip
    assert (config.loss, config.gamma, config.margin, config.frames) == (loss, gamma, margin, 600)
    assert config.backbone == row.split("/")[2].split("+")[0]
    assert (experiment.subset, experiment.repeats, config.bert) == ("4class-improvised", 5, "bert-base-uncased")
    assert data_prep.corpus("iemocap").subset(experiment.subset).expected == 2280


def test_the_backbone_starts_from_the_imagenet_file(tmp_path, monkeypatch):
    monkeypatch.setenv("SER_MODELS", str(tmp_path))
    config = MtapConfig(backbone="resnet50", frames=40, bins=40)
    with pytest.raises(UserError, match="`ser fetch resnet50-imagenet`"):
        build_model(config, 4)
    random = build_model(override(config, {"weights": "random"}), 4)
    inner = next(layer for layer in random.layers if isinstance(layer, keras.Model))
    file = data.fetched("resnet50") / "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
    file.parent.mkdir()
    inner.save_weights(tmp_path / "random.weights.h5")
    (tmp_path / "random.weights.h5").rename(file.with_name("w.weights.h5"))
    monkeypatch.setattr(model, "imagenet_file", lambda backbone: file.with_name("w.weights.h5"))
    started = build_model(config, 4)
    for found, expected in zip(started.get_weights()[:-2], random.get_weights()[:-2], strict=True):
        np.testing.assert_array_equal(found, expected)
    file.touch()
    monkeypatch.undo()
    monkeypatch.setenv("SER_MODELS", str(tmp_path))
    assert data.imagenet_file("resnet50") == file and resolve(config) == (config, [])
    assert data.imagenet_file("small_cnn") is None


@pytest.mark.parametrize("experiment", PAPER.experiments, ids=lambda e: e.id)
def test_every_experiment_resolves_as_declared_and_scaled(experiment):
    corpus = data_prep.corpus(experiment.corpus)
    assert experiment.subset in [subset.name for subset in corpus.subsets]
    config, flags = resolve(experiment.config)  # no network in tests: ImageNet weights cannot be had
    assert config.weights == "random"
    assert any("ImageNet weights are not here (`ser fetch" in flag for flag in flags)
    scaled, flags = resolve(override(experiment.config, PAPER.scaled))
    frozen = [name for used, name in ((config.text, "BERT"), (config.audio, "VGGish")) if used]
    assert (scaled.backbone, flags) == ("small_cnn", ["random weights", *(f"random weights: {one}" for one in frozen)])
    assert scaled.modalities == config.modalities and scaled.gender_weight == config.gender_weight
    assert (scaled.loss, scaled.gamma, scaled.margin) == (config.loss, config.gamma, config.margin)
    assert build_loss(config).get_config()["gamma"] == experiment.config.gamma


def shape(config):
    return config.modalities, config.gender_head, build_loss(config).needs_cosines


DEEP = {(e.config.backbone, shape(e.config)): e.config for e in PAPER.experiments if e.config.modalities == ("image",)}
DEEP |= {(e.config.backbone, shape(e.config)): e.config for e in PAPER.experiments if e.config.gender_head == "c"}
HEADS = {shape(e.config): dataclasses.replace(e.config, backbone="small_cnn") for e in PAPER.experiments}
SCALED = {
    e.config.loss: override(e.config, PAPER.scaled) for e in PAPER.experiments if e.config.modalities == ("image",)
}


eager = pytest.fixture(eagerly)


def moved_by_a_step(config):
    """Weights that one step leaves as they are, and the step's loss."""
    model = build_model(config, 3, frozen(config))
    before = [weight.numpy().copy() for weight in model.trainable_weights]
    compile_model(model, dataclasses.replace(config, optimiser="sgd", learning_rate=0.1))
    learnt = part(4, bins=config.bins)
    targets = [learnt.labels, gender_numbers(learnt.table, "")] if config.gender_head != "none" else learnt.labels
    loss = model.train_on_batch(data.Inputs.fitted(config, learnt)[1], targets, return_dict=True)["loss"]
    still = [w.path for w, old in zip(model.trainable_weights, before, strict=True) if np.array_equal(w.numpy(), old)]
    return still, float(loss)


@pytest.mark.parametrize("config", DEEP.values(), ids=lambda c: f"{c.backbone}-{c.loss}-{c.gender_head}")
def test_a_step_moves_every_weight_of_every_deep_network(config, eager):
    still, loss = moved_by_a_step(reduced(config))
    assert still == [] and math.isfinite(loss)


@pytest.mark.parametrize("config", HEADS.values(), ids=lambda c: f"{'+'.join(c.modalities)}-{c.gender_head}-{c.loss}")
def test_a_step_moves_every_weight_of_every_fusion_and_head(config, eager):
    still, loss = moved_by_a_step(reduced(config))
    assert still == [] and math.isfinite(loss)


@pytest.mark.parametrize("config", SCALED.values(), ids=lambda c: c.loss)
def test_every_loss_is_fitted_and_predicts_probabilities(config):
    learnt = part(8)
    context = Context()
    fitted = fit(reduced(config), learnt, part(3, seed=1), context)
    assert math.isfinite(context.history["loss"][0]) and 0 <= context.history["validation"][0] <= 1
    assert {"fit"} <= context.seconds.keys()
    columns = fitted.predict(learnt.without_labels())
    assert list(columns) == [f"p_{emotion}" for emotion in CLASSES]
    np.testing.assert_allclose(sum(columns.values()), 1.0, atol=1e-6)


@pytest.mark.parametrize("loss", ["softmax", "apfl"])
def test_it_learns_what_can_be_learnt(loss):
    config = reduced(SCALED[loss], epochs=12, learning_rate=3e-3)
    keras.utils.set_random_seed(3)
    fitted = fit(config, part(36), part(9, seed=1), Context())
    test = part(18, seed=2)
    answers = np.stack(list(fitted.predict(test.without_labels()).values()), axis=1).argmax(axis=1)
    assert (answers == test.labels).mean() > 0.8


@pytest.mark.parametrize("config", [SCALED["apfl"], FUSED], ids=["apfl", "fused"])
def test_a_kept_model_predicts_the_same(tmp_path, config):
    fitted = fit(reduced(config), part(8), part(0), Context())
    fitted.save(tmp_path)
    again = load(tmp_path)
    expected, found = fitted.predict(part(5)), again.predict(part(5))
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="not a kept mtap model"):
        load(tmp_path)


def test_images_are_normalised_before_they_are_padded():
    spectrograms = [np.full((4, 2), 1.0, np.float32), np.full((2, 2), 4.0, np.float32)]
    normalisation = Normalisation(np.array([2, 1], np.float32), np.array([math.sqrt(2), 1], np.float32))
    images = data.images(spectrograms, normalisation, 5)
    assert images.shape == (2, 5, 2, 1)
    np.testing.assert_allclose(images[1, :, 0, 0], [math.sqrt(2), math.sqrt(2), 0, 0, 0])


@pytest.mark.parametrize(("kind", "mean"), [("bin", [2, 7]), ("corpus", [4.5, 4.5]), ("none", [0, 0])])
def test_the_setting_says_what_a_mean_is_of(kind, mean):
    frames = {"u0": np.tile([1.0, 7.0], (4, 1)), "u1": np.tile([4.0, 7.0], (2, 1))}
    part = Part(pd.DataFrame({"utterance": list(frames)}), {"spectrogram": frames}, ())
    inputs, _ = data.Inputs.fitted(MtapConfig(normalisation=kind, frames=5), part)
    np.testing.assert_allclose(inputs.normalisations["image"].mean, mean)


def test_spectrogram_is_the_papers_size():
    (extractor,) = data.features(MtapConfig()).values()
    features = extractor(np.zeros(16000 * 4 + 640 - 160, np.float32))
    assert features.shape == (400, 400)  # Sec. 5.2.1: 400 x 400 for EMODB: 4 s at a hop of 10 ms


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "apfl", "margin": 0.0, "gamma": 1.0},
        {"loss": "focal", "gamma": 0.0},
        {"loss": "softmax", "epochs": 0},
        {"loss": "softmax", "learning_rate": -1.0},
        {"loss": "softmax", "dropout": 1.0},
        {"image": False},
        {"gender_head": "b", "gender_weight": 1.0},
        {"gender_head": "c", "gender_weight": 1.0, "audio": True},
        {"gender_head": "a", "gender_weight": 0.0},
        {"gender_head": "none", "gender_weight": 0.5},
    ],
)
def test_impossible_settings_are_named(changes):
    with pytest.raises(UserError):
        MtapConfig(**changes)


def test_every_field_names_its_source():
    for item in dataclasses.fields(MtapConfig):
        source = item.metadata["source"]
        assert source.startswith(("Sec.", "Eq.", "Table", "not given")), item.name


def test_reported_cells_are_whole():
    assert Counter(cell.table for cell in CELLS) == {
        "1": 16, "2": 16, "3": 8, "4": 16, "5": 16, "6": 16, "7": 20, "fig4": 8, "fig5": 8,
    }  # fmt: skip
    known = {experiment.id for experiment in PAPER.experiments}
    assert {cell.experiment for cell in CELLS if cell.experiment} == known
    for cell in CELLS:
        assert math.isnan(cell.value) if cell.table.startswith("fig") else 0 < cell.value < 100
        assert cell.column.lower() == cell.function
        assert cell.metric.split("/")[1] == ("7class" if cell.row.startswith(("EMODB", "SAVEE")) else "4class")


@pytest.mark.parametrize(
    ("table", "column", "mean"),
    # Column means added up from the printed tables: a digit that was typed wrong moves them.
    [("1", "WA", 64.46625), ("1", "UA", 60.10125), ("2", "WA", 73.28375), ("2", "UA", 70.33125), ("3", "WA", 72.19),
     ("4", "WA", 71.6), ("4", "UA", 61.42125), ("5", "WA", 72.31875), ("5", "UA", 62.8375), ("6", "WA", 72.57625),
     ("6", "UA", 63.00375), ("7", "WA", 71.308), ("7", "UA", 62.283)],
)  # fmt: skip
def test_column_means(table, column, mean):
    values = [cell.value for cell in CELLS if cell.table == table and cell.column == column]
    assert statistics.mean(values) == pytest.approx(mean, abs=1e-3)


def test_apfl_is_the_best_row_of_tables_1_to_3():
    for table in "123":
        for corpus in ("EMODB", "SAVEE", "IEMOCAP"):
            for column in ("WA", "UA"):
                rows = {
                    cell.row.split()[-1]: cell.value
                    for cell in CELLS
                    if (cell.table, cell.column) == (table, column) and cell.row.startswith(corpus)
                }
                if rows:
                    assert max(rows, key=rows.get) == "APFL"


def test_repeated_numbers_agree_between_tables():
    """Tables 4 to 7 repeat each other; the one slip is the first line of Table 6, and is noted."""
    value = {cell.cell: (cell.value, cell.std) for cell in CELLS}
    for column in ("wa", "ua"):
        same = [
            (f"table3/iemocap/softmax/{column}", f"table4/iemocap/densenet169/{column}"),
            (f"table4/iemocap/densenet169/{column}", f"table6/iemocap/densenet169-cel/{column}"),
            (f"table3/iemocap/apfl/{column}", f"table6/iemocap/densenet169-apfl/{column}"),
            (f"table4/iemocap/resnet50+bert+vggish/{column}", f"table5/iemocap/resnet50/{column}"),
            (f"table4/iemocap/densenet169+bert+vggish/{column}", f"table5/iemocap/densenet169/{column}"),
            (f"table4/iemocap/resnet50+bert+vggish/{column}", f"table6/iemocap/resnet50+bert+vggish-cel/{column}"),
        ]
        for one, other in same:
            assert value[one] == value[other]
        assert value[f"table4/iemocap/resnet50/{column}"] != value[f"table6/iemocap/resnet50-cel/{column}"]
    assert {cell.cell for cell in CELLS if cell.note.startswith("slip")} == {
        "table6/iemocap/resnet50-cel/wa",
        "table6/iemocap/resnet50-cel/ua",
    }
