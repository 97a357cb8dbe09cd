"""Damaged folders are read as before or refused with one sentence, and no utterance is lost silently."""

import importlib
import os
import random
import re
import shutil
from dataclasses import replace
from functools import partial

import pytest

import data_prep
from common.corpus import COLUMNS, Subset
from common.errors import UserError
from data_prep import check
from tests.helpers import ROOT, corpora

EACH = 30
"""Damages per corpus; twice as many if it has text files, which can be damaged in more ways."""


def audio_files(root):
    return sorted(path for path in root.rglob("*") if path.suffix in (".wav", ".flac") and path.name[0] != ".")


def text_files(root):
    """Labels, transcripts and lists that readers read."""
    return sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() == ".txt" and path.name[0] != "." and path.parent.parent.name != "EmoEvaluation"
    )


# Damages to a text: each takes its bytes and a generator of random numbers, and returns the damaged bytes.


def flip_byte(data, chance):
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]


def other_digit(data, chance):
    places = [match.start() for match in re.finditer(rb"\d", data)]
    place = chance.choice(places) if places else 0
    return data[:place] + str(chance.randrange(10)).encode() + data[place + 1 :]


def insert(data, chance, what):
    place = chance.randrange(len(data))
    return data[:place] + what + data[place:]


def delete_bytes(data, chance):
    place = chance.randrange(len(data))
    return data[:place] + data[place + chance.randrange(1, 12) :]


def on_lines(data, chance, change):
    lines = data.split(b"\n")
    place = chance.randrange(len(lines))
    change(lines, place)
    return b"\n".join(lines)


TEXT_DAMAGES = {
    "flipped byte": flip_byte,
    "flipped byte again": flip_byte,
    "another digit": other_digit,
    "deleted bytes": delete_bytes,
    "deleted line": lambda data, chance: on_lines(data, chance, lambda lines, place: lines.pop(place)),
    "doubled line": lambda data, chance: on_lines(data, chance, lambda lines, place: lines.insert(0, lines[place])),
    "joined lines": lambda data, chance: on_lines(data, chance, lambda lines, place: lines.append(lines.pop() + b" ")),
    "cut": lambda data, chance: data[: chance.randrange(len(data))],
    "latin-1": lambda data, chance: insert(data, chance, "ä".encode("latin-1")),
    "NUL": lambda data, chance: insert(data, chance, b"\x00\x00"),
    "escape": lambda data, chance: insert(data, chance, b"\x1b[2J"),
    "lone carriage return": lambda data, chance: insert(data, chance, b"\r"),
    "UTF-16": lambda data, chance: data.decode().encode("utf-16"),
    "no byte": lambda data, chance: b"",
    "byte order mark": lambda data, chance: b"\xef\xbb\xbf" + data,
    "lines as on Windows": lambda data, chance: data.replace(b"\n", b"\r\n"),
}
AUDIO_DAMAGES = {
    "emptied": lambda data, chance: b"",
    "cut": lambda data, chance: data[: chance.randrange(1, len(data))],
    "flipped byte": flip_byte,
    "NUL": lambda data, chance: bytes(len(data)),
    "other format": lambda data, chance: corpora.tone(".aiff", 44100, 0.02, 2),
}
HARMLESS = {"text: byte order mark", "text: lines as on Windows", "beside: Mac metadata", "beside: other files"}


def change(files, damage, root, chance):
    """Damages the content of one of the files."""
    path = chance.choice(files(root))
    path.write_bytes(damage(path.read_bytes(), chance))
    return {path}


# Damages to the folder tree: each returns the paths that it changed.


def rename(root, chance, new_name, files=audio_files):
    path = chance.choice(files(root))
    new = path.with_name(new_name(path, chance))
    path.rename(new)
    return {path, new}


def mangled(path, chance):
    place = chance.randrange(len(path.stem))
    sign = chance.choice([sign for sign in "aAfFW019_-x" if sign != path.stem[place]])
    return path.stem[:place] + sign + path.stem[place + 1 :] + path.suffix


def remove(root, chance, files):
    path = chance.choice(files(root))
    path.unlink()
    return {path}


def folder_in_place(root, chance, files):
    path = chance.choice(files(root))
    path.unlink()
    path.mkdir()
    return {path}


def link_to_nowhere(root, chance):
    path = chance.choice(audio_files(root))
    path.unlink()
    path.symlink_to("nowhere")
    return {path}


def swap(root, chance):
    one, two = chance.sample(audio_files(root), 2)
    data = one.read_bytes()
    one.write_bytes(two.read_bytes() + b"\x00")
    two.write_bytes(data)
    return {one, two}


def copy(root, chance, new_name):
    path = chance.choice(audio_files(root))
    new = path.with_name(new_name(path, chance))
    shutil.copy(path, new)
    return {path, new}


def copy_elsewhere(root, chance):
    path = chance.choice(audio_files(root))
    new = chance.choice(audio_files(root)).parent.parent / path.name
    shutil.copy(path, new)
    return {path, new}


def folders(root):
    return sorted(path for path in root.rglob("*") if path.is_dir())


def remove_folder(root, chance):
    path = chance.choice(folders(root))
    gone = set(path.rglob("*"))
    shutil.rmtree(path)
    return {path, *gone}


def rename_folder(root, chance):
    path = chance.choice(folders(root))
    gone = set(path.rglob("*"))
    new = path.with_name(path.name.swapcase() if path.name.swapcase() != path.name else path.name + " copy")
    path.rename(new)
    return {path, *gone, *new.rglob("*")}


def metadata(root, chance):
    for path in [*audio_files(root), *text_files(root), *folders(root)]:
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07[\xff\n")
    return set()


def other_files(root, chance):
    for folder in folders(root):
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", "notes.md"):
            (folder / name).write_bytes(b"\xff\x00")
        (folder / "empty").mkdir()
    return set()


def not_utf_8(path, chance):
    return os.fsdecode(os.fsencode(path.stem) + b"\xfc" + os.fsencode(path.suffix))


TREE_DAMAGES = {
    "audio: renamed": partial(rename, new_name=mangled),
    "audio: renamed again": partial(rename, new_name=mangled),
    "audio: other case": partial(rename, new_name=lambda path, chance: path.stem.swapcase() + path.suffix),
    "audio: suffix in capitals": partial(rename, new_name=lambda path, chance: path.stem + path.suffix.upper()),
    "audio: another suffix": partial(rename, new_name=lambda path, chance: path.stem + ".mp3"),
    "audio: name not UTF-8": partial(rename, new_name=not_utf_8),
    "audio: deleted": partial(remove, files=audio_files),
    "audio: a folder": partial(folder_in_place, files=audio_files),
    "audio: a link to nowhere": link_to_nowhere,
    "audio: two swapped": swap,
    "audio: copied": partial(copy, new_name=lambda path, chance: f"{path.stem} (1){path.suffix}"),
    "audio: copied under a name": partial(copy, new_name=mangled),
    "audio: copied elsewhere": copy_elsewhere,
    "folder: deleted": remove_folder,
    "folder: renamed": rename_folder,
    "beside: Mac metadata": metadata,
    "beside: other files": other_files,
}
DAMAGE = {
    **{f"text: {name}": partial(change, text_files, damage) for name, damage in TEXT_DAMAGES.items()},
    "text: deleted": partial(remove, files=text_files),
    "text: a folder": partial(folder_in_place, files=text_files),
    "text: renamed": partial(rename, new_name=mangled, files=text_files),
    "text: other case": partial(
        rename, new_name=lambda path, chance: path.stem.swapcase() + path.suffix, files=text_files
    ),
    **{f"audio: {name}": partial(change, audio_files, damage) for name, damage in AUDIO_DAMAGES.items()},
    **TREE_DAMAGES,
}


def damages(root):
    """Number and kind of every damage that is tried on a folder: all kinds in turn."""
    with_text = bool(text_files(root))
    kinds = [kind for kind in DAMAGE if with_text or not kind.startswith("text")]
    return [(number, kinds[number % len(kinds)]) for number in range((2 if with_text else 1) * EACH)]


def expect_counts_of(name, table, monkeypatch):
    """Makes the counts of a small folder the expected ones."""
    counts = table["emotion"].value_counts().to_dict()
    subset = Subset("whole", counts, total=len(table))
    module = importlib.import_module(f"data_prep.readers.{name}")
    sessions = table["session"].nunique()
    spec = replace(
        module.CORPUS, subsets=(subset,), utterances=len(table), speakers=table["speaker"].nunique(), sessions=sessions
    )
    monkeypatch.setattr(module, "CORPUS", spec)
    monkeypatch.setattr(check, "SHORTEST_S", 0.001)


def relative(table, root):
    table = table.assign(path=[os.path.relpath(path, root) for path in table["path"]])
    return table.sort_values("utterance").set_index("utterance", drop=False)


def assert_one_error(message, name, root):
    unquoted = re.sub(r"'[^']*'", "", message)
    assert len(re.findall(r"[.?!](?=\s+[A-Z`]|$)", unquoted)) <= 3, message
    assert message.isprintable() and len(message) < 1500, message
    title = data_prep.corpus(name).title.split()[0].lower()
    assert str(root) in message or name in message or title in message.lower(), message


@pytest.mark.parametrize("name", corpora.WRITERS)
def test_a_damaged_folder_is_read_as_before_or_refused(name, tmp_path, monkeypatch):
    template = corpora.WRITERS[name](tmp_path / "template")
    before = data_prep.read(name, template)
    expect_counts_of(name, before, monkeypatch)
    tried = set()
    for number, kind in damages(template):
        tried.add(kind)
        check_damage(name, number, kind, template, before, tmp_path / str(number))
    assert len(tried) >= 30 or not text_files(template)


def check_damage(name, number, kind, template, before, root):
    root = shutil.copytree(template, root)
    chance = random.Random(f"{name} {number}")
    touched = {os.path.relpath(path, root) for path in DAMAGE[kind](root, chance)}
    damage = f"{name}, damage {number}, {kind}: {sorted(touched)}"
    refusal = None
    try:
        after = data_prep.load(name, "whole", root).table
    except UserError as error:
        refusal = str(error)
        assert_one_error(refusal, name, root)
    try:
        checked = check.check(name, root)
    except UserError as error:
        assert refusal is not None and str(error) == refusal, damage
        return
    if refusal is not None:
        assert checked.differences, f"{damage}: {refusal}"
        assert kind not in HARMLESS, f"{damage}: {refusal}"
        return
    before, after = relative(before, template), relative(after, root)
    assert len(after) == len(before), damage
    if kind in HARMLESS:
        assert after.equals(before), damage
        assert checked.differences == [], damage
    # What was not touched is as it was; a damaged text may say other labels, but of the same utterances.
    columns = list(COLUMNS)
    if kind.startswith("text"):
        columns = ["utterance", "path", "speaker", "session", "dialogue", "duration"]
    elif kind.startswith("folder"):  # of transcripts: texts are missing, and the check says so
        columns.remove("text")
        assert checked.texts == after["text"].notna().sum()
    one, two = (table[~table["path"].isin(touched)][columns] for table in (before, after))
    assert two.equals(one), damage
    if kind in ("audio: emptied", "audio: NUL", "audio: a folder", "audio: a link to nowhere"):
        assert {bad.path for bad in checked.bad_audio} == touched, damage
    for column in ("valence", "arousal", "dominance"):
        assert after[column].dropna().between(0.5, 5.5).all(), damage


def test_every_corpus_is_tested():
    for name in data_prep.NAMES:
        if data_prep.corpus(name).shipped is None:
            assert name in corpora.WRITERS, f"write small_{name}(root) in tests/helpers/corpora.py"
            test = ROOT / "tests" / "data_prep" / "readers" / f"test_{name}.py"
            assert test.exists(), f"write the tests of the reader, {test}"
