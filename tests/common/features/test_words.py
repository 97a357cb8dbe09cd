import gzip
import os
import pickle
import string
import tracemalloc

import numpy as np
import pytest

from common.errors import UserError
from common.features.word_vectors import convert, word_vectors
from common.features.words import FILTERS, Vocabulary, tokenise
from tests.helpers import REAL_CORPORA


def keras_words(text):
    """`text_to_word_sequence` of Keras 2.3 with its defaults, transcribed literally."""
    filters = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
    text = text.lower()
    translate_dict = {c: " " for c in filters}
    translate_map = str.maketrans(translate_dict)
    text = text.translate(translate_map)
    seq = text.split(" ")
    return [i for i in seq if i]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("That's out of control.", ["that's", "out", "of", "control"]),
        ("  Well--you know, I... [LAUGHTER] don't\tknow\n", ["well", "you", "know", "i", "laughter", "don't", "know"]),
        ("ÜBER Straße", ["über", "straße"]),
        ("a\rb c\u00a0d\u2019s", ["a\rb", "c\u00a0d\u2019s"]),  # only the listed characters separate
        ("", []),
        (" .,!? \n", []),
    ],
)
def test_tokenise_by_hand(text, words):
    assert tokenise(text) == words == keras_words(text)


def test_tokenise_like_keras():
    assert set(FILTERS) == set(string.punctuation) - {"'"} | {"\t", "\n"}
    generator = np.random.default_rng(0)
    signs = [*string.printable, "ä", "ß", "İ", "\u2028", "’"]
    for _ in range(300):
        text = "".join(generator.choice(signs, 40))
        assert tokenise(text) == keras_words(text)


TEXTS = ["no no yes", "Yes? No!", "maybe perhaps"]


def test_vocabulary_by_hand():
    vocabulary = Vocabulary.fit(TEXTS)
    # By frequency, then in order of appearance; 0 is padding and 1 an unknown word.
    assert vocabulary.words == ("no", "yes", "maybe", "perhaps")
    assert vocabulary.counts == (3, 2, 1, 1)
    assert len(vocabulary) == 6
    assert vocabulary.ids("Perhaps, no: never!") == [5, 2, 1]


def test_sequences_by_hand():
    found = Vocabulary.fit(TEXTS).sequences(["yes", "", "no yes maybe perhaps", "never [...] ever no", "?!"], 3)
    assert found.tolist() == [[0, 0, 3], [0, 0, 0], [3, 4, 5], [1, 1, 2], [0, 0, 0]]
    assert found.dtype == np.int32


def test_sequences_like_keras():
    from keras.utils import pad_sequences

    vocabulary = Vocabulary.fit(TEXTS)
    texts = [*TEXTS, "", "no no no no yes yes", "so what"]
    expected = pad_sequences([vocabulary.ids(text) for text in texts], maxlen=4)
    np.testing.assert_array_equal(vocabulary.sequences(texts, 4), expected)


def test_an_empty_vocabulary():
    vocabulary = Vocabulary.fit([])
    assert len(vocabulary) == 2
    assert vocabulary.sequences([], 5).shape == (0, 5)
    assert vocabulary.sequences(["x"], 2).tolist() == [[0, 1]]
    with pytest.raises(ValueError, match="at least 1"):
        vocabulary.sequences([], 0)


def test_save_and_load(tmp_path):
    vocabulary = Vocabulary.fit([*TEXTS, "’t straße"])
    vocabulary.save(tmp_path / "vocabulary.json")
    assert Vocabulary.load(tmp_path / "vocabulary.json") == vocabulary


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"words": ["a"], "counts": []}', '{"words": ["a", "a"], "counts": [1, 1]}', "\xff",
     '{"words": [1], "counts": [1]}', '{"words": ["a"], "counts": ["1"]}', '{"words": 3, "counts": 3}', "[" * 100000],
)  # fmt: skip
def test_a_damaged_vocabulary_is_refused(tmp_path, content):
    path = tmp_path / "vocabulary.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"vocabulary\.json is not a vocabulary"):
        Vocabulary.load(path)
    with pytest.raises(UserError, match=r"missing\.json cannot be read"):
        Vocabulary.load(tmp_path / "missing.json")


WORDS = ["the", "no", "Maybe", "über", "yes", "that's", "11", "."]
VECTORS = np.random.default_rng(0).normal(0, 1, (len(WORDS), 5)).astype(np.float32)
VOCABULARY = Vocabulary.fit(["no no no yes that's über maybe"])


def lines(words=WORDS, vectors=VECTORS):
    return [f"{word} {' '.join(map(str, vector))}" for word, vector in zip(words, vectors, strict=True)]


def text(*, header="8 5", ending="\n", rows=None):
    return "".join(row + ending for row in ([header] if header else []) + (rows or lines())).encode()


def keyed():
    from gensim.models import KeyedVectors

    vectors = KeyedVectors(5)
    vectors.add_vectors(WORDS, VECTORS)
    return vectors


def gensim_text(path):
    keyed().save_word2vec_format(path)


def gensim_binary(path):
    keyed().save_word2vec_format(path, binary=True)


def c_tool_binary(path):
    """As the word2vec tool writes it, with a line break after each vector."""
    rows = (word.encode() + b" " + row.tobytes() + b"\n" for word, row in zip(WORDS, VECTORS, strict=True))
    path.write_bytes(b"8 5\n" + b"".join(rows))


FORMATS = {
    "word2vec text": gensim_text,
    "word2vec binary": gensim_binary,
    "the word2vec tool, binary": c_tool_binary,
    "the word2vec tool, text": lambda path: path.write_bytes(text(ending=" \n")),
    "line ends of Windows": lambda path: path.write_bytes(text(ending="\r\n")),
    "GloVe": lambda path: path.write_bytes(text(header=None)),
    "no line break at the end": lambda path: path.write_bytes(text().rstrip()),
    "empty lines at the end": lambda path: path.write_bytes(text() + b"\n\n"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_all_formats_give_the_same_vectors(tmp_path, name, packed):
    path = tmp_path / "vectors"  # the format is recognised by the content
    FORMATS[name](path)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    expected = np.zeros((7, 5), np.float32)
    for row, word in enumerate(["no", "yes", "that's", "über"], start=2):
        expected[row] = VECTORS[WORDS.index(word)]
    found = word_vectors(path, VOCABULARY, 5)
    np.testing.assert_array_equal(found.matrix, expected)
    # The file has "Maybe" but not "maybe": one of the seven words of the text has no vector.
    assert (found.missing_tokens, found.notes) == (1 / 7, ())
    converted = word_vectors(convert(path, tmp_path / "folder", 5), VOCABULARY, 5)
    np.testing.assert_array_equal(converted.matrix, expected)
    assert converted.missing_tokens == 1 / 7


def test_a_converted_folder_is_complete_and_memory_mapped(tmp_path):
    gensim_binary(tmp_path / "vectors.bin")
    folder = convert(tmp_path / "vectors.bin", tmp_path / "folder", 5)
    mapped = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, VECTORS)
    assert (folder / "words.txt").read_text(encoding="utf-8").split("\n") == [*WORDS, ""]
    with pytest.raises(UserError, match="already exists"):
        convert(tmp_path / "vectors.bin", folder, 5)
    (tmp_path / "bad").write_bytes(text(header="9 5"))
    with pytest.raises(UserError, match="announces 9 vectors"):
        convert(tmp_path / "bad", tmp_path / "other", 5)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["bad", "folder", "vectors.bin"]


def test_conversion_in_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("common.features.word_vectors.BATCH", 3)
    (tmp_path / "vectors").write_bytes(text())
    np.testing.assert_array_equal(np.load(convert(tmp_path / "vectors", tmp_path / "f", 5) / "vectors.npy"), VECTORS)


@pytest.mark.parametrize("damage", ["word", "half a word", "vectors", "pickle", "nan", "missing", "float64", "vector"])
def test_a_damaged_folder_is_refused(tmp_path, damage):
    gensim_text(tmp_path / "vectors.txt")
    folder = convert(tmp_path / "vectors.txt", tmp_path / "folder", 5)
    content = (folder / "words.txt").read_bytes()
    if damage == "word":
        (folder / "words.txt").write_bytes(content + b"more\n")
    elif damage == "half a word":
        (folder / "words.txt").write_bytes(content[:-1])
    elif damage == "vectors":
        os.truncate(folder / "vectors.npy", 150)
    elif damage == "missing":
        (folder / "vectors.npy").unlink()
    else:
        made = {"pickle": np.array([[print]] * 8), "nan": VECTORS * np.nan, "float64": VECTORS.astype(float)}
        np.save(folder / "vectors.npy", made.get(damage, VECTORS[0]), allow_pickle=True)
    with pytest.raises(UserError, match=r"folder is (damaged|not a folder of converted)"):
        word_vectors(folder, VOCABULARY, 5)


def test_a_folder_of_another_dimension_is_refused(tmp_path):
    gensim_text(tmp_path / "vectors.txt")
    with pytest.raises(UserError, match="folder contains vectors of 5 numbers; expected 300"):
        word_vectors(convert(tmp_path / "vectors.txt", tmp_path / "folder", 5), VOCABULARY)


BAD = {
    "empty": (b"", "is empty"),
    "blank": (b"\n \n", "is empty"),
    "prose": (b"It was a bright cold day in April.\nThe clocks were.", "line 1 is neither a header nor a word"),
    "a JPEG": (b"\xff\xd8\xff\xe0" + bytes(range(256)), "line 1 is neither a header|the header must be"),
    "header in words": (text(header="eight five"), "line 1: the header must be the number.*'eight five'"),
    "header without vectors": (text(header="0 5"), "line 1: the header must be"),
    "header says more": (text(header="9 5"), r"announces 9 vectors, but the file contains 8"),
    "header says fewer": (text(header="7 5"), r"announces 7 vectors, but the file contains 8"),
    "header of another dimension": (text(header="8 6"), r"contains vectors of 6 numbers \(line 1\); expected 5"),
    "header of a wrong dimension": (
        text(rows=[row + " 1" for row in lines()]),
        "line 2: expected a word and 5 numbers",
    ),
    "GloVe of another dimension": (text(header=None, rows=[row + " 1" for row in lines()]), "of 6 numbers"),
    "a number is missing": (text(rows=[*lines()[:3], "x 1 2 3 4", *lines()[4:]]), "line 5: .* found 5 entries"),
    "a number too many": (text(rows=[*lines()[:3], "x 1 2 3 4 5 6", *lines()[4:]]), "line 5: .* found 7 entries"),
    "an empty line": (text(rows=[*lines()[:3], "", *lines()[3:]]), "line 5: "),
    "a word for a number": (text(header=None, rows=[*lines(), "yes 1 2 x 4 5"][::-1]), "neither a header"),
    "not a number": (text(rows=["the 1 2 3 4 5", *lines()[1:4], "yes 1 2 3,5 4 5", *lines()[5:]]), "line 6: '3,5' is"),
    "NaN": (text(rows=[*lines()[:4], "yes 1 2 nan 4 5", *lines()[5:]]), "line 6: the vector of 'yes' .* not finite"),
    "infinite": (text(rows=["no 1 2 3 4 1e99", *lines()[1:]]), "line 2: the vector of 'no' .* not finite"),
    "cut GZIP": (gzip.compress(text())[:-20], "damaged"),
    "false GZIP": (b"\x1f\x8b" + text(), "damaged"),
    "a pickle": (pickle.dumps({"no": 1}), "is a Python pickle"),
    "ZIP": (b"PK\x03\x04 and so on", "is a ZIP archive; unpack it"),
    "NumPy": (b"\x93NUMPY\x01\x00", "give the folder"),
    "fastText's model": (b"\xba\x16\x4f\x2f\x0c\x00", "a fastText model"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_with_a_reason(tmp_path, name):
    content, message = BAD[name]
    path = tmp_path / "vectors.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        word_vectors(path, VOCABULARY, 5)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [(lambda content: content[:-1], "vector 8: the file ends or is damaged here"),
     (lambda content: content[:100], "vector [34]: the file ends"),
     (lambda content: content.replace(b"8 5", b"7 5"), "continues after the 7 vectors"),
     (lambda content: content.replace(b"8 5", b"9 5"), "vector 9: the file ends"),
     (lambda content: content + b"x", "continues after the 8 vectors"),
     (lambda content: b"8 5\n" + b"\x00" * 99999, "vector 1: the file ends or is damaged"),
     (lambda content: content.replace(VECTORS[1].tobytes(), np.full(5, np.nan, np.float32).tobytes()),
      "vector 2: the vector of 'no'")],
)  # fmt: skip
def test_bad_binary_files_are_refused_with_a_reason(tmp_path, change, message):
    path = tmp_path / "vectors.bin"
    gensim_binary(path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=message):
        word_vectors(path, VOCABULARY, 5)


@pytest.mark.parametrize("name", ["word2vec text", "word2vec binary", "GloVe"])
def test_random_damage_gives_finite_vectors_or_one_error(tmp_path, name):
    path = tmp_path / "vectors"
    FORMATS[name](path)
    whole = path.read_bytes()
    generator = np.random.default_rng(3)
    refused = 0
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(generator.integers(1, 4)):
            place = int(generator.integers(len(content)))
            kind = generator.integers(4)
            if kind == 0:
                content[place] = int(generator.integers(256))
            elif kind == 1:
                del content[place : place + int(generator.integers(1, 30))]
            elif kind == 2:
                content[place:place] = generator.bytes(3)
            else:
                content[place:place] = generator.choice([b" ", b"\n", b"nan", b"-", b"1_0", b"\x00", b"\xe2"])
            content = content or bytearray(b"x")
        path.write_bytes(bytes(content))
        try:
            assert np.isfinite(word_vectors(path, VOCABULARY, 5).matrix).all()
        except UserError as error:
            assert "vectors" in str(error)
            refused += 1
    assert refused > 50


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"glove\.txt cannot be read \(No such file"):
        word_vectors(tmp_path / "glove.txt", VOCABULARY, 5)


class Trap:
    opened = False

    def __reduce__(self):
        return setattr, (Trap, "opened", True)


def test_pickles_are_never_opened(tmp_path):
    path = tmp_path / "vectors"
    keyed().save(str(path))
    with pytest.raises(UserError, match=r"gensim's own format.*save_word2vec_format"):
        word_vectors(path, VOCABULARY, 5)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps(Trap(), protocol))
        with pytest.raises(UserError):
            word_vectors(path, VOCABULARY, 5)
    assert not Trap.opened
    pickle.loads(path.read_bytes())
    assert Trap.opened  # the trap works


def test_invalid_words_are_skipped(tmp_path):
    path = tmp_path / "glove.txt"
    # GloVe 840B has words with spaces (". . .", "at name@domain.com"); word2vec cut some words inside a character.
    rows = [row.encode() for row in lines()]
    rows += [b". . . 1 2 3 4 5", b"at name@domain.com 1 2 3 4 5", b"\xc3 1 2 3 4 5", b"no 9 9 9 9 9"]
    path.write_bytes(b"".join(row + b"\n" for row in rows))
    found = word_vectors(path, VOCABULARY, 5)
    assert found.notes == (
        "glove.txt: skipped words with spaces: 2.",
        "glove.txt: skipped words that are not UTF-8: 1.",
    )
    np.testing.assert_array_equal(found.matrix[2], VECTORS[1])  # the first of two vectors of a word is used
    assert len(np.load(convert(path, tmp_path / "folder", 5) / "vectors.npy")) == 8


def test_no_word_of_the_vocabulary_is_in_the_file(tmp_path):
    gensim_text(tmp_path / "vectors.txt")
    for path in (tmp_path / "vectors.txt", convert(tmp_path / "vectors.txt", tmp_path / "folder", 5)):
        found = word_vectors(path, Vocabulary.fit(["nothing here"]), 5)
        assert not found.matrix.any() and found.matrix.shape == (4, 5)
        assert found.missing_tokens == 1
        empty = word_vectors(path, Vocabulary.fit([]), 5)
        assert (empty.matrix.shape, empty.missing_tokens) == ((2, 5), 0)


def test_memory_grows_with_the_vocabulary_not_with_the_file(tmp_path):
    path = tmp_path / "many.txt"
    row = " ".join(["0.12345"] * 50)
    with open(path, "w") as file:
        file.write("40002 50\n")
        file.writelines(f"word{number} {row}\n" for number in range(40000))
        file.writelines(f"{word} {row}\n" for word in ("no", "yes"))
    word_vectors(path, VOCABULARY, 50)  # imports
    tracemalloc.start()
    found = word_vectors(path, VOCABULARY, 50)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.matrix.any(axis=1).sum() == 2  # "no" and "yes"
    # All vectors would be 8 MB in float32 and 18 MB as text; the read buffer has 1 MB.
    assert peak < 3e6


REAL = REAL_CORPORA.parent / "embeddings" / "word2vec_8000x300.txt.gz"


@pytest.mark.corpus
@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} is not on this machine")
def test_real_word2vec_vectors():
    from gensim.models import KeyedVectors

    vocabulary = Vocabulary.fit(["The house is on fire, and that's out of control zzzz"])
    expected = KeyedVectors.load_word2vec_format(REAL)
    found = word_vectors(REAL, vocabulary)
    for row, word in enumerate(vocabulary.words, start=2):
        np.testing.assert_array_equal(found.matrix[row], expected[word] if word in expected else np.zeros(300))
    known = sum(word in expected for word in vocabulary.words)
    assert 5 < known < len(vocabulary.words)
    assert found.matrix.any(axis=1).sum() == known
