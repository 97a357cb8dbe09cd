import os
import subprocess
import sys

import pytest

import data_prep
from common.corpus import EMOTIONS
from common.errors import CorpusAbsent, UserError
from tests.helpers import corpora


@pytest.mark.parametrize("name", data_prep.NAMES)
def test_every_corpus_is_described_consistently(name):
    corpus = data_prep.corpus(name)
    assert corpus.name == name
    assert corpus.subset(corpus.default_subset).name == corpus.default_subset
    assert len({subset.name for subset in corpus.subsets}) == len(corpus.subsets)
    for subset in corpus.subsets:
        assert 0 < subset.expected <= corpus.utterances
        assert set(subset.classes) | set(subset.merge) <= set(EMOTIONS)
        assert subset.source
    assert corpus.synthetic == (corpus.shipped is not None)
    assert corpus.access.endswith(".")


def test_every_reader_refuses_the_folders_of_all_other_corpora(tmp_path):
    folders = {name: write(tmp_path / name) for name, write in corpora.WRITERS.items()}
    for written, folder in folders.items():
        for read in corpora.WRITERS:
            if written == read:
                assert len(data_prep.read(read, folder)) > 0
                continue
            with pytest.raises(UserError, match=f"^{folder} is not "):
                data_prep.read(read, folder)


def test_classes_are_numbered_in_the_order_of_the_papers():
    assert data_prep.corpus("emodb").subset("7class").classes == (
        "angry", "bored", "disgusted", "fearful", "happy", "neutral", "sad",
    )  # fmt: skip
    assert data_prep.corpus("iemocap").subset("4class").classes == ("angry", "happy", "neutral", "sad")


def test_describing_corpora_imports_nothing_heavy():
    code = (
        "import sys, data_prep\n"
        "for name in data_prep.NAMES: data_prep.corpus(name)\n"
        "print([m for m in ('pandas', 'numpy', 'soundfile', 'tensorflow', 'keras') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_loading_a_complete_subset_gives_no_flags(tmp_path):
    loaded = data_prep.load("emodb", "7class", corpora.emodb(tmp_path))
    assert (loaded.corpus.name, loaded.subset.name, len(loaded.table), loaded.flags) == ("emodb", "7class", 535, ())
    assert list(loaded.table.index) == list(range(535))


def test_missing_utterances_are_an_error_that_names_the_classes(tmp_path):
    names = [name for name in corpora.emodb_names() if name not in ("03a01Wa", "08a01Wa", "03a01Ta")]
    corpora.emodb(tmp_path, names)
    with pytest.raises(UserError) as caught:
        data_prep.load("emodb", "7class", tmp_path)
    message = str(caught.value)
    assert "emodb/7class should have 535 utterances but the folder gives 532" in message
    assert "angry 125 instead of 127, sad 61 instead of 62." in message
    assert "option `partial`" in message


def test_additional_utterances_are_an_error(tmp_path):
    corpora.savee(tmp_path, "flat")
    data_prep.load("savee", "7class", tmp_path)
    corpora.emodb(tmp_path / "emodb", [*corpora.emodb_names(), "16b10Wf"])
    with pytest.raises(UserError, match="angry 128 instead of 127"):
        data_prep.load("emodb", "7class", tmp_path / "emodb")


def test_partial_continues_and_gives_a_flag(tmp_path):
    corpora.emodb(tmp_path, ["03a01Wa", "03a01Fa", "08a01La"])
    loaded = data_prep.load("emodb", "7class", tmp_path, partial=True)
    assert loaded.flags == ("partial: 3 of 535 utterances",)
    assert sorted(loaded.table["emotion"]) == ["angry", "bored", "happy"]


def test_partial_does_not_continue_without_any_utterance(tmp_path):
    corpora.emodb(tmp_path, ["08a01La"])
    with pytest.raises(UserError, match="no utterance of emodb/4class"):
        data_prep.load("emodb", "4class", tmp_path, partial=True)


def test_a_missing_folder_is_an_error_that_says_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(CorpusAbsent, match="nowhere for emodb does not exist"):
        data_prep.load("emodb", "7class", tmp_path / "nowhere")
    monkeypatch.setenv("SER_CORPORA", str(tmp_path))
    with pytest.raises(CorpusAbsent, match=r"SAVEE .* is not here: no folder .*savee\. Give --root FOLDER or set SER_"):
        data_prep.load("savee", "7class")


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path):
    path = corpora.write_audio(tmp_path / "03a01Fa.wav")
    with pytest.raises(CorpusAbsent, match="not a folder"):
        data_prep.load("emodb", "7class", path)


def test_the_root_is_found_by_the_environment(tmp_path, monkeypatch):
    corpora.savee(tmp_path / "savee", "folders")
    monkeypatch.setenv("SER_CORPORA", str(tmp_path))
    assert len(data_prep.load("savee", "7class").table) == 480


def test_the_root_is_found_in_the_working_folder(tmp_path, monkeypatch):
    corpora.emodb(tmp_path / "corpora" / "emodb", ["03a01Fa"])
    monkeypatch.delenv("SER_CORPORA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert data_prep.read("emodb")["path"][0] == str(tmp_path / "corpora" / "emodb" / "wav" / "03a01Fa.wav")


def test_mistyped_names_offer_the_nearest(tmp_path):
    with pytest.raises(UserError, match=r"There is no corpus 'iemocp'. Did you mean iemocap"):
        data_prep.load("iemocp", "4class", tmp_path)
    with pytest.raises(UserError, match=r"There is no subset of iemocap '4clas'. Did you mean 4class"):
        data_prep.load("iemocap", "4clas", tmp_path)


def test_unreadable_audio_is_kept_without_duration(tmp_path):
    corpora.emodb(tmp_path, ["03a01Fa"])
    (tmp_path / "wav" / "03a01Wa.wav").write_bytes(b"")
    (tmp_path / "wav" / "03a01Na.wav").write_bytes(corpora.tone(".aiff", 48000, 0.25))
    duration = data_prep.read("emodb", tmp_path).set_index("utterance")["duration"]
    assert duration["03a01Fa"] == pytest.approx(0.01)
    assert duration["03a01Na"] == pytest.approx(0.25)
    assert duration.isna()["03a01Wa"]


def test_a_name_that_is_not_utf_8_is_an_error(tmp_path):
    corpora.emodb(tmp_path / os.fsdecode(b"Aufnahmen f\xfcr EMODB"), ["03a01Fa"])
    with pytest.raises(
        UserError, match=r"file name .*/Aufnahmen f\\udcfcr EMODB/wav/03a01Fa\.wav is not UTF-8; rename"
    ):
        data_prep.read("emodb", tmp_path / os.fsdecode(b"Aufnahmen f\xfcr EMODB"))


def test_a_folder_in_place_of_a_label_file_is_an_error(tmp_path):
    path = corpora.iemocap_dialogue(tmp_path, "Ses01F_impro01", [("F000", "neu", 3, 3, 3, None)])
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=r"^iemocap: .*Ses01F_impro01\.txt cannot be read \(Is a directory\)\.$"):
        data_prep.read("iemocap", tmp_path)


@pytest.mark.parametrize("subset", [subset.name for subset in data_prep.corpus("demo").subsets])
def test_every_subset_of_the_demo_corpus_is_complete(subset):
    loaded = data_prep.load("demo", subset)
    assert loaded.flags == ("synthetic corpus: embedded demo corpus (synthetic, espeak-ng)",)
    assert loaded.table["path"].str.endswith(".flac").all()
    assert loaded.table["duration"].notna().all()
    assert loaded.table["text"].notna().all()


def test_the_demo_corpus_has_the_subsets_of_iemocap():
    demo, iemocap = data_prep.corpus("demo"), data_prep.corpus("iemocap")
    assert {part.name: part.classes for part in demo.subsets} == {part.name: part.classes for part in iemocap.subsets}
    table = data_prep.read("demo")
    assert len(table) == demo.utterances
    assert table["speaker"].nunique() == demo.speakers
    assert sorted(table["session"].unique()) == ["1", "2", "3", "4", "5"]
