"""What can be fetched, from where, under which licence, and with which checksum.

All addresses are those of the owners. A checksum is stated only if it is published beside the file (OpenSLR's
md5sum.txt, Zenodo's md5, Hugging Face's sha256 of a pinned revision). If none is published, it is None; the first
download is then trusted and its checksum recorded (see `data_prep.fetching.download`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError, unknown
from data_prep import registry

MB = 10**6


@dataclass(frozen=True)
class File:
    """One file to download.

    Attributes:
        name: name of the file; ".zip", ".tar", ".tar.gz" and ".tgz" are unpacked.
        address: its URL.
        checksum: "md5:..." or "sha256:..." as published; None: not published.
    """

    name: str
    address: str
    checksum: str | None = None


@dataclass(frozen=True)
class Source:
    """A corpus, a part of one, alignments, word vectors or a pretrained network that anybody may download.

    Attributes:
        name: name on the command line; for a part of a corpus "CORPUS/PART".
        title: what it is.
        licence: licence, in a few words.
        size: bytes to download; approximate if not published.
        unpacked: approximate bytes on disk; an archive with more than three times as many is refused.
        files: what to download; empty if a server lists the files of `dataset`.
        holds: a file or folder that it must contain, directly or one folder deeper in the archive.
        page: web page of the source.
        corpus: True for a corpus, False for anything else.
        part: the folder inside `folder` that is this source, if several sources share `folder`; empty: all of it.
        dataset: "SERVER DOI" of a Dataverse dataset, whose server is asked for the list of files (with md5).
        members: maximum number of members of an archive.
    """

    name: str
    title: str
    licence: str
    size: int
    unpacked: int
    files: tuple[File, ...]
    holds: str
    page: str
    corpus: bool = True
    part: str = ""
    dataset: str = ""
    members: int = 20_000

    @property
    def folder(self) -> str:
        """Name of the folder below the folder of all corpora (or models); a corpus and its parts share one."""
        return self.name.split("/")[0]


LIBRISPEECH = {
    "dev-clean": ("42e2234ba48799c1f50f24a7926300a1", 338 * MB),
    "dev-other": ("c8d0bcc9cca99d4f8b62fcc847357931", 314 * MB),
    "test-clean": ("32fa31d27d2e1cad72775fee3f4849a9", 347 * MB),
    "test-other": ("fb5a50374b501bb3bac4815ee91d3135", 329 * MB),
    "train-clean-100": ("2a93770f6d5c6c964bc36631d331a522", 6_390 * MB),
    "train-clean-360": ("c0e676e450a7ff2f54aeade5171606fa", 23_100 * MB),
    "train-other-500": ("d1a0fd59409feb2c614ce4d30c387708", 30_600 * MB),
}
"""Md5 by OpenSLR (https://www.openslr.org/resources/12/md5sum.txt) and size of each part."""

_HUGGING_FACE = "https://huggingface.co"
_BERT = f"{_HUGGING_FACE}/google-bert/bert-base-uncased/resolve/86b5e0934494bd15c9632b12f734a8a67f723594"
_HUBERT = f"{_HUGGING_FACE}/facebook/hubert-base-ls960/resolve/dba3bb02fda4248b6e082697eee756de8fe8aa8a"
# The main branch has only pickled weights; the safetensors are on the branch of Hugging Face's conversion service.
_HUBERT_SAFE = f"{_HUGGING_FACE}/facebook/hubert-base-ls960/resolve/refs%2Fpr%2F2"


def _librispeech(part: str) -> Source:
    md5, size = LIBRISPEECH[part]
    archive = f"{part}.tar.gz"
    return Source(
        name=f"librispeech/{part}",
        title=f"LibriSpeech, {part}",
        licence="CC BY 4.0",
        size=size,
        unpacked=size,
        files=(File(archive, f"https://www.openslr.org/resources/12/{archive}", f"md5:{md5}"),),
        holds=f"LibriSpeech/{part}",
        page="https://www.openslr.org/12",
        part=f"LibriSpeech/{part}",
        members=400_000,
    )


_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"


def _imagenet(backbone: str, title: str, size: int, folder: str, md5: str) -> Source:
    """ImageNet weights without the classification head, with the checksum that `keras.applications` states."""
    file = f"{backbone}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    return Source(
        name=f"{backbone}-imagenet",
        title=f"{title}, ImageNet weights of keras.applications",
        licence="see the page",
        size=size,
        unpacked=size,
        files=(File(file, f"{_KERAS}/{folder}/{file}", f"md5:{md5}"),),
        holds=file,
        page="https://keras.io/api/applications/",
        corpus=False,
    )


def _speech_network(name: str, owner: str, title: str, licence: str, size: int) -> Source:
    """A checkpoint of HuBERT or a similar network; its size is approximate, and its checksums are not known here.

    Its main branch has the weights as PyTorch's file, which needs PyTorch to be read. If the user puts the same weights
    beside it as model.safetensors, those are read instead.
    """
    page = f"{_HUGGING_FACE}/{owner}/{name}"
    files = ("config.json", "preprocessor_config.json", "pytorch_model.bin")
    return Source(
        name=name,
        title=f"{title}, Hugging Face format, for PyTorch",
        licence=licence,
        size=size,
        unpacked=size,
        files=tuple(File(file, f"{page}/resolve/main/{file}") for file in files),
        holds="pytorch_model.bin",
        page=page,
        corpus=False,
    )


def _fasttext(name: str, title: str, archive: str, size: int, unpacked: int) -> Source:
    return Source(
        name=name,
        title=f"{title}, 2 million words of Common Crawl, 300-d",
        licence="CC BY-SA 3.0",
        size=size,
        unpacked=unpacked,
        files=(File(archive, f"https://dl.fbaipublicfiles.com/fasttext/vectors-english/{archive}"),),
        holds=f"{archive.split('.')[0]}.vec",
        page="https://fasttext.cc/docs/en/english-vectors.html",
        corpus=False,
    )


_ALL = (
    Source(
        name="emodb",
        title="EMODB",
        licence="CC0 1.0",
        size=41 * MB,
        unpacked=60 * MB,
        # The corpus's own page is served without encryption; this is the copy that its first author's toolkit uses.
        files=(File("emodb.zip", "https://zenodo.org/records/7447302/files/emodb.zip"),),
        holds="wav",
        page="http://emodb.bilderbar.info",
    ),
    Source(
        name="ravdess",
        title="RAVDESS, speech, audio alone",
        licence="CC BY-NC-SA 4.0",
        size=208_468_073,
        unpacked=600 * MB,
        files=(
            File(
                "Audio_Speech_Actors_01-24.zip",
                "https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip",
                "md5:bc696df654c87fed845eb13823edef8a",
            ),
        ),
        holds="Actor_01",
        page="https://zenodo.org/records/1188976",
    ),
    Source(
        name="tess",
        title="TESS",
        licence="CC BY-NC-ND 4.0",
        size=281 * MB,
        unpacked=290 * MB,
        files=(),
        holds="",
        page="https://doi.org/10.5683/SP2/E8H2MF",
        dataset="https://borealisdata.ca doi:10.5683/SP2/E8H2MF",
    ),
    *(_librispeech(part) for part in LIBRISPEECH),
    Source(
        name="librispeech-alignments",
        title="LibriSpeech, times of words and phones (Montreal Forced Aligner, Lugosch et al. 2019)",
        licence="CC BY 4.0",
        size=623_023_332,
        unpacked=3_000 * MB,  # not published; a TextGrid per utterance
        files=(
            File(
                "librispeech_alignments.zip",
                "https://zenodo.org/records/2619474/files/librispeech_alignments.zip",
                "md5:2bab567d0ace651a4ba254e813629f46",
            ),
        ),
        holds="train-clean-100",
        page="https://zenodo.org/records/2619474",
        corpus=False,
        members=700_000,
    ),
    Source(
        name="glove-840b",
        title="GloVe word vectors, 840B tokens of Common Crawl, 300-d",
        licence="PDDL 1.0",
        size=2_176 * MB,
        unpacked=5_650 * MB,
        files=(File("glove.840B.300d.zip", "https://nlp.stanford.edu/data/glove.840B.300d.zip"),),
        holds="glove.840B.300d.txt",
        page="https://nlp.stanford.edu/projects/glove/",
        corpus=False,
    ),
    _fasttext("fasttext-crawl", "fastText word vectors", "crawl-300d-2M.vec.zip", 1_523 * MB, 4_520 * MB),
    _fasttext(
        "fasttext-crawl-subword",
        "fastText word vectors trained with subwords",
        "crawl-300d-2M-subword.zip",
        5_830 * MB,
        11_800 * MB,
    ),
    Source(
        name="vggish",
        title="VGGish, SavedModel",
        licence="Apache-2.0",
        size=270 * MB,
        unpacked=300 * MB,
        files=(File("vggish-1.tar.gz", "https://storage.googleapis.com/tfhub-modules/google/vggish/1.tar.gz"),),
        holds="saved_model.pb",
        page="https://tfhub.dev/google/vggish/1",
        corpus=False,
    ),
    _imagenet("densenet169", "DenseNet169", 51_877_672, "densenet", "b8c4d4c20dd625c148057b9ff1c1176b"),
    _imagenet("resnet50", "ResNet50", 94_765_736, "resnet", "4d473c1dd8becc155b73f8504c6f6626"),
    Source(
        name="bert-base-uncased",
        title="BERT base, uncased, Hugging Face format",
        licence="Apache-2.0",
        size=441 * MB,
        unpacked=441 * MB,
        files=(
            File("config.json", f"{_BERT}/config.json"),
            File("tokenizer_config.json", f"{_BERT}/tokenizer_config.json"),
            File(
                "vocab.txt",
                f"{_BERT}/vocab.txt",
                "sha256:07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            ),
            File(
                "model.safetensors",
                f"{_BERT}/model.safetensors",
                "sha256:68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3",
            ),
        ),
        holds="model.safetensors",
        page=f"{_HUGGING_FACE}/google-bert/bert-base-uncased",
        corpus=False,
    ),
    Source(
        name="hubert-base-ls960",
        title="HuBERT base, pretrained on LibriSpeech, Hugging Face format",
        licence="Apache-2.0",
        size=378 * MB,
        unpacked=378 * MB,
        files=(
            File("config.json", f"{_HUBERT}/config.json"),
            File("preprocessor_config.json", f"{_HUBERT}/preprocessor_config.json"),
            File("model.safetensors", f"{_HUBERT_SAFE}/model.safetensors"),
        ),
        holds="model.safetensors",
        page=f"{_HUGGING_FACE}/facebook/hubert-base-ls960",
        corpus=False,
    ),
    _speech_network("hubert-large-ll60k", "facebook", "HuBERT large, Libri-Light", "Apache-2.0", 1_262 * MB),
    _speech_network("wav2vec2-base", "facebook", "wav2vec 2.0 base, LibriSpeech", "Apache-2.0", 380 * MB),
    _speech_network("wav2vec2-large-lv60", "facebook", "wav2vec 2.0 large, Libri-Light", "Apache-2.0", 1_270 * MB),
    _speech_network("wavlm-base-plus", "microsoft", "WavLM base+", "see the page", 378 * MB),
    _speech_network("wavlm-large", "microsoft", "WavLM large", "see the page", 1_262 * MB),
    _speech_network("data2vec-audio-base", "facebook", "data2vec audio base, LibriSpeech", "Apache-2.0", 373 * MB),
    _speech_network("data2vec-audio-large", "facebook", "data2vec audio large", "Apache-2.0", 1_253 * MB),
)

SOURCES = {one.name: one for one in _ALL}
"""Everything that can be fetched, by name."""


def on_request() -> list[str]:
    """Names of the corpora that are available from their owners on request only, because they have no source here."""
    public = {one.folder for one in SOURCES.values()}
    return [name for name in registry.NAMES if name not in public and registry.corpus(name).shipped is None]


def base_folder(one: Source, to: Path | None = None) -> Path:
    """The folder that holds a source's folder: the one given, else $SER_CORPORA or corpora, $SER_MODELS or models."""
    if to is not None:
        return Path(to).expanduser()
    variable, default = ("SER_CORPORA", "corpora") if one.corpus else ("SER_MODELS", "models")
    return Path(os.environ.get(variable, default)).expanduser()


def source_folder(one: Source, to: Path | None = None) -> Path:
    """The folder of a source once it is fetched; parts go beside those that lie directly in the corpus's folder."""
    folder = base_folder(one, to) / one.folder
    siblings = [Path(other.part).name for other in SOURCES.values() if other.part and other.folder == one.folder]
    if one.part and any((folder / name).is_dir() for name in siblings):
        return folder / Path(one.part).name
    return folder / one.part


def source(name: str, to: Path | None = None) -> Source:
    """The source of that name.

    Args:
        name: the name.
        to: folder that is to hold the source's folder, for the error message; None: see `base_folder`.

    Raises:
        UserError: There is no such source (offers the nearest names); or it is a corpus that is shipped, comes in parts
            or is available on request only (says how to get it, and where to put it).
    """
    if name in SOURCES:
        return SOURCES[name]
    if parts := [one for one in SOURCES if one.startswith(f"{name}/")]:
        raise UserError(f"{name} comes in parts; choose from {', '.join(parts)}.")
    if name not in registry.NAMES:
        raise unknown("corpus or model to fetch", name, [*SOURCES, *on_request()])
    spec = registry.corpus(name)
    if spec.shipped is not None:
        raise UserError(f"The {spec.title} is shipped with the suite; nothing needs to be fetched.")
    base = Path(to or os.environ.get("SER_CORPORA", "corpora")).expanduser()
    raise UserError(
        f"{spec.title} cannot be fetched ({spec.licence}): {spec.access} "
        f"Then put it in {base / name}, with this layout: {spec.layout}."
    )
