"""`ser corpora check`: exit codes, messages and JSON, with copies of the embedded corpus."""

import json
import shutil

import pytest

import data_prep
from ser import cli


@pytest.fixture
def root(tmp_path):
    return shutil.copytree(data_prep.corpus("demo").shipped, tmp_path / "demo")


def ser(*arguments, code=0):
    try:
        result = cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse
        result = stop.code
    assert result == code, arguments


def test_a_complete_corpus(root, capsys):
    ser("corpora", "check", "demo", root)
    captured = capsys.readouterr()
    assert "240 utterances, 10 speakers, 5 sessions" in captured.out
    assert "16000 Hz in 240 files; 1 channel in 240 files" in captured.out
    assert captured.out.splitlines()[-1] == "Everything is as expected." and captured.err == ""


def test_differences_name_the_files_and_what_to_do(root, capsys):
    wav = root / "Session1" / "sentences" / "wav"
    for file in sorted(wav.glob("*/*.flac"))[:7]:
        file.write_bytes(b"")
    (root / "Session1" / "whole.wav").write_bytes(b"")
    ser("corpora", "check", "demo", root, code=1)
    out = capsys.readouterr().out
    assert "Audio that cannot be used: 7" in out and "and 2 more (--json lists all)" in out
    assert out.count(": not readable as audio") == 5 and "--skip-bad-audio" in out
    assert "Audio files that no utterance uses: 1\n  Session1/whole.wav" in out
    assert "Not as expected: 7 audio files that cannot be used." in out and "--partial" not in out


def test_a_missing_session(root, capsys):
    shutil.rmtree(root / "Session2")
    ser("corpora", "check", "demo", root, "--quick", code=1)
    out = capsys.readouterr().out
    assert "8 of 10 speakers, 4 of 5 sessions" in out and "only headers" in out and "--partial" in out


def test_a_folder_that_the_reader_refuses(root, capsys):
    next(root.glob("Session1/sentences/wav/*/*.flac")).unlink()
    ser("corpora", "check", "demo", root, code=1)
    assert (
        "The folder cannot be read as this corpus: demo: 1 labelled utterances have no audio file"
        in capsys.readouterr().out
    )
    ser("corpora", "check", "demo", root, "--json", code=1)
    record = json.loads(capsys.readouterr().out)
    assert record["differences"] == [record["refusal"]] and record["utterances"] is None


@pytest.mark.parametrize(
    "order", ["demo ROOT --json", "--json demo ROOT", "demo --json ROOT", "--quick demo --json ROOT"]
)
def test_json_is_the_only_output_for_any_order_of_arguments(root, order, capsys):
    ser("corpora", "check", *order.replace("ROOT", str(root)).split())
    record = json.loads(capsys.readouterr().out)
    assert (record["corpus"], record["root"], record["differences"]) == ("demo", str(root), [])
    assert record["subsets"]["4class"]["classes"]["angry"] == {"found": 45, "expected": 45}
    assert record["quick"] == ("--quick" in order)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["emobd", "."], ["There is no corpus 'emobd'", "emodb"]),
        (["emodb", "nowhere"], ["nowhere", "does not exist"]),
        (["emodb", "."], ["is not EMODB"]),
        (["emodb"], ["the following arguments are required: root"]),
        ([], ["the following arguments are required: name, root"]),
    ],
)
def test_mistakes_give_exit_code_2(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ser("corpora", "check", *arguments, code=2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert all(word in captured.err for word in words) and "Traceback" not in captured.err


def test_the_help_describes_the_command(capsys):
    ser("--help")
    assert "corpora check" in capsys.readouterr().out
    ser("corpora", "check", "--help")
    assert "usage: ser corpora check [-h] [--quick] [--json] name root" in capsys.readouterr().out
