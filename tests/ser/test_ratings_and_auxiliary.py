"""Ratings, classes made of ratings, auxiliary data and pretraining, from the corpus to the report."""

import re

import numpy as np
import pandas as pd
import pytest
import soundfile

from common.errors import CorpusAbsent, UserError
from common.metrics import ccc, ccc_batches
from ser import cli, models, predicting, registry, session
from ser.options import Options
from ser.pretrained import MissingWeights
from ser.progress import Progress
from ser.results.reading import read_run
from ser.results.report import build, html, markdown
from ser.results.reported import COLUMNS
from tests.helpers import rated
from tests.helpers.rated import PAPER

RATINGS, HALVES = (experiment.id for experiment in PAPER.experiments)


@pytest.fixture(autouse=True)
def _no_models(monkeypatch):
    """These papers make no Keras models; looking for some after each trial takes a second in a process that is full."""
    monkeypatch.setattr("common.training.clear_models", lambda: None)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SER_CORPORA", str(tmp_path / "corpora"))
    lines = [
        ",".join(COLUMNS),
        f"t1/v,1,Row,V,ccc_batch32/valence/file-order,0.3,,{RATINGS},",
        f"t1/a,1,Row,A,ccc_batch32/arousal/file-order,0.5,,{RATINGS},",
        f"t2/ua,2,Halves,UA,ua/2class/folds,61.5,,{HALVES},",
    ]
    (tmp_path / "reported.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(type(PAPER), "reported", property(lambda self: tmp_path / "reported.csv"))
    rated.LAST.clear()


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory):
    """A feature cache for the tests that evaluate yardsticks: extracting eGeMAPS takes ten seconds."""
    return tmp_path_factory.mktemp("shared") / "cache"


def perform(name, tmp_path, **options):
    options = {"cache": tmp_path / "cache", "yardstick": False, **options}
    options = Options(results=tmp_path / "results", jobs=1, **options)
    with Progress() as observer:
        folders, _ = session.Session(options, observer).run_all([(PAPER, [PAPER.experiment(name)])])
    return read_run(folders[name])


def pretrain(tmp_path, **options):
    options = Options(results=tmp_path / "results", cache=tmp_path / "cache", jobs=1, partial=True, **options)
    with Progress() as observer:
        return session.Session(options, observer).pretrain(PAPER, PAPER.pretraining("mean"))


def small_emodb(root):
    (root / "wav").mkdir(parents=True)
    for speaker in ("03", "08"):
        for code in ("a01Wa", "a01Ta"):
            tone = 0.2 * np.sin(np.arange(8000) * 0.2 * (1 + int(speaker)))
            soundfile.write(root / "wav" / f"{speaker}{code}.wav", tone, 16000, subtype="PCM_16")


def test_ratings_from_the_corpus_to_the_report(tmp_path, shared_cache):
    run = perform(RATINGS, tmp_path, cache=shared_cache, yardstick=True)
    (table,) = run.predictions
    assert run.run["classes"] == [] and run.run["dimensions"] == ["valence", "arousal", "dominance"]
    assert "label" not in table and len(table) == 48
    train = rated.LAST["train"]
    np.testing.assert_array_equal(train.values, train.table[["valence", "arousal", "dominance"]].to_numpy("float32"))
    # In the embedded corpus, loudness increases with arousal, so the regression is better than chance.
    arousal = ccc(table["arousal"], table["predicted_arousal"])
    assert arousal > 0.1

    report = build.from_results([PAPER], tmp_path / "results")
    (section,) = report.sections
    shown = {one.cell.column: one.measured.value for one in section.comparisons}
    assert list(shown) == ["V", "V, whole", "A", "A, whole"]
    assert shown["A, whole"] == pytest.approx(arousal, abs=1e-9)
    assert shown["A"] == pytest.approx(ccc_batches(table["arousal"], table["predicted_arousal"]), abs=1e-9)
    yardsticks = [one for one in section.yardsticks if one.column == "A, whole"]
    assert len(yardsticks) == 2 and all(one.measured.value > 0.3 for one in yardsticks)
    assert section.conditions[0].startswith("CCC as the paper computed it")
    for text in (markdown.render(report), html.render(report)):
        assert f"{shown['A, whole']:.3f}" in text and f"{100 * shown['A']:.2f}" not in text

    (drawing,) = report.figures
    assert (drawing.file_name, drawing.png[:4]) == ("rated-fig4.png", b"\x89PNG")
    assert run.activations(0)["loudness"].shape == (48, 2)
    cli.write_pages(report, tmp_path / "r.html", tmp_path / "r.md")
    assert (tmp_path / "rated-fig4.png").read_bytes() == drawing.png
    assert "](rated-fig4.png)" in (tmp_path / "r.md").read_text()
    assert "data:image/png;base64" in (tmp_path / "r.html").read_text()


def test_classes_made_of_ratings_are_fitted_on_the_training_part(tmp_path, shared_cache, monkeypatch):
    fitted_on, labeller = [], rated.Halves.labeller

    def recorded(self, train, classes):
        fitted_on.append(set(train["utterance"]))
        return labeller(self, train, classes)

    monkeypatch.setattr(rated.Halves, "labeller", recorded)
    run = perform(HALVES, tmp_path, cache=shared_cache, yardstick=True)
    (table,) = run.predictions
    train = rated.LAST["train"]
    # The medians of all utterances and of the training part are equal, so the labels alone would not show a leak.
    assert set(train.table["utterance"]) in fitted_on
    assert all(one.isdisjoint(table["utterance"]) for one in fitted_on)
    median = train.table["arousal"].median()
    assert set(train.table["speaker"]).isdisjoint(table["speaker"])
    assert (table["label"] == np.where(table["arousal"] > median, "high", "low")).all()
    assert run.run["classes"] == ["low", "high"] and run.activations(0) == {}
    report = build.from_results([PAPER], tmp_path / "results")
    assert report.figures == ()
    right = (table["p_high"] > table["p_low"]) == (table["label"] == "high")
    recalls = [right[table["label"] == name].mean() for name in ("low", "high")]
    assert report.sections[0].comparisons[0].measured.value == pytest.approx(100 * np.mean(recalls))


def test_absent_auxiliary_data_are_stated_and_the_run_continues(tmp_path):
    run = perform(HALVES, tmp_path)
    assert rated.LAST["auxiliary"] is None
    assert run.run["changes"] == ["without auxiliary data: emodb is not here"]
    assert "without auxiliary data: emodb is not here" in run.trials[0]["flags"]
    comparison, *f1 = build.from_results([PAPER], tmp_path / "results").sections[0].comparisons
    assert [one.cell.column for one in f1] == ["macro F1", "weighted F1"]
    assert comparison.verdict == "modified"
    # Leaving them out on purpose gives the same numbers, so it is the same run.
    assert perform(HALVES, tmp_path, auxiliary="none").folders == run.folders


def test_auxiliary_data_come_with_features_and_without_emotions(tmp_path):
    small_emodb(tmp_path / "corpora" / "emodb")
    run = perform(HALVES, tmp_path, partial=True)
    auxiliary = rated.LAST["auxiliary"]
    assert len(auxiliary) == 4 and auxiliary.table["emotion"].isna().all()
    assert set(auxiliary.table["speaker"]) == {"03", "08"}
    assert auxiliary.features["loudness"][auxiliary.table["utterance"][0]].shape == (1,)
    assert (run.run["auxiliary"]["corpus"], run.run["auxiliary"]["subset"]) == ("emodb", "7class")
    assert run.run["changes"] == [] and any(flag.startswith("partial") for flag in run.trials[0]["flags"])
    without = perform(HALVES, tmp_path, auxiliary="none")
    assert without.run["changes"] == ["without auxiliary data"]
    assert without.trials[0]["run"] != run.trials[0]["run"]
    other = perform(HALVES, tmp_path, partial=True, auxiliary="emodb/4class")
    assert other.run["changes"] == ["auxiliary data emodb/4class instead of emodb/7class"]


def test_invalid_auxiliary_data_are_refused(tmp_path):
    with pytest.raises(UserError, match="must come from another corpus than demo"):
        perform(HALVES, tmp_path, auxiliary="demo")
    with pytest.raises(CorpusAbsent, match="emodb"):
        perform(HALVES, tmp_path, auxiliary="emodb")
    with pytest.raises(UserError, match="emodbb"):
        perform(HALVES, tmp_path, auxiliary="emodbb")


def test_a_corpus_without_ratings_is_refused(tmp_path):
    small_emodb(tmp_path / "corpora" / "emodb")
    with pytest.raises(UserError, match="predicts valence, but 4 of 4 utterances of emodb/7class have no such label"):
        perform(RATINGS, tmp_path, corpus="emodb", partial=True)


def test_predict_prints_ratings_of_a_regression(tmp_path, capsys, monkeypatch):
    run = perform(RATINGS, tmp_path, keep_models=True)
    file = tmp_path / "tone.wav"
    soundfile.write(file, 0.3 * np.sin(np.arange(16000) * 0.1), 16000)
    monkeypatch.setattr(registry, "paper", lambda name: PAPER)
    model = models.load_model(run.folders[0] / "model")
    assert predicting.predict(model, [str(file)], form="table", timeline=False, window_s=None) == 0
    out = capsys.readouterr().out
    values = {name: float(value) for name, value in re.findall(r"(\w+) (-?\d+\.\d\d)", out.split("Answer")[1])}
    assert list(values) == ["valence", "arousal", "dominance"]
    assert all(-5 < value < 10 for value in values.values())


def test_a_run_names_the_pretrained_network_it_starts_from(tmp_path):
    with pytest.raises(MissingWeights, match=r"not here: mean loudness \(`ser pretrain rated mean`\).*--allow-random"):
        perform(RATINGS, tmp_path, settings={"start": "newest"})
    missing = perform(RATINGS, tmp_path, settings={"start": "newest"}, allow_random_weights=True)
    (flag,) = [flag for flag in missing.trials[0]["flags"] if "mean loudness" in flag]
    assert flag == "random weights, because this is not here: mean loudness (`ser pretrain rated mean`)"
    assert missing.run["changes"] == ["start = random instead of none"] and not missing.run["pretrained"]
    with pytest.raises(CorpusAbsent):
        pretrain(tmp_path)
    small_emodb(tmp_path / "corpora" / "emodb")
    made = pretrain(tmp_path)
    part = rated.LAST["pretrained_on"]
    assert part.table["path"].notna().all() and part.table["emotion"].notna().all()
    assert made.record["history"] == {"loss": [1.0]}
    rated.LAST.pop("pretrained_on")
    assert pretrain(tmp_path).folder == made.folder and "pretrained_on" not in rated.LAST
    other = pretrain(tmp_path, settings={"shift": "2.0"})  # made with another setting, so not used by the run
    assert "not as declared: shift = 2.0 instead of 0.0" in other.record["flags"]

    run = perform(RATINGS, tmp_path, settings={"start": "newest"})
    assert rated.LAST["config"].start == made.digest
    found = rated.LAST["context"].artefacts.find("rated/mean", made.digest)
    assert (found.folder / "mean.json").exists()
    # The network was pretrained on a part of the corpus, so the run is not as the paper declares it.
    assert run.run["changes"] == [f"start = {made.digest} instead of none", "mean loudness not made as the paper's"]
    (record,) = run.run["pretrained"]
    assert (record["title"], record["name"]) == ("mean loudness", made.digest)
    assert run.trials[0]["pretrained"] == [record] and record["checksum"] == found.checksum
    assert run.run["config"]["start"] == made.digest and run.trials[0]["run"] != missing.trials[0]["run"]
    flags = run.trials[0]["flags"]
    assert any(
        flag.startswith(f"mean loudness {made.digest}, trained on emodb/7class: partial: 4 of") for flag in flags
    )
    with pytest.raises(UserError, match="words"):
        PAPER.pretraining("words")


def test_pretraining_on_another_subset_is_stated(tmp_path):
    made = pretrain(tmp_path, corpus="demo/4class-improvised")
    assert made.made_of["corpus"] == "demo" and made.made_of["subset"] == "4class-improvised"
    assert "not as declared: on demo/4class-improvised instead of emodb/7class" in made.record["flags"]
    with pytest.raises(UserError, match="There is no subset of demo '5class'"):
        pretrain(tmp_path, corpus="demo/5class")


def test_reading_hidden_labels_is_an_error():
    table = pd.DataFrame({"valence": [np.nan], "arousal": [1.0], "dominance": [1.0], "emotion": [None]})
    from common.contract import Part

    with pytest.raises(ValueError, match="no rating"):
        _ = Part(table, {}, (), dimensions=("valence", "arousal", "dominance")).values
    with pytest.raises(ValueError, match="no label"):
        _ = Part(table, {}, ("angry",)).labels


def test_progress_continues_to_count_with_the_next_runs(tmp_path, capsys):
    options = Options(results=tmp_path / "results", cache=tmp_path / "cache", jobs=1, yardstick=False)
    with Progress() as observer:
        performing = session.Session(options, observer)
        for name in (RATINGS, HALVES):
            performing.run_all([(PAPER, [PAPER.experiment(name)])])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("[")]
    assert [line.split("]")[0] for line in lines] == ["[1/1", "[2/2"]
