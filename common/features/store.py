"""The feature cache: one file per utterance, found by content; extraction is parallel, resumable and atomic.

An entry's key is a hash of the audio file's checksum, the utterance's span, and the extractor's name, version and
settings. So a renamed file is found again, and a changed file, setting or version is extracted again. The features are
computed from the bytes that have this checksum: a file that changed in between is an error. If an extractor reads
transcripts, the text replaces the audio. Settings that only say where something is on disk (dataclass fields with
``compare=False``) are not part of the key; a digest of their content is.

Features of extractors with ``sharded = True`` are in shards instead (see `common.features.shards`).

An entry is a plain `.npy` file followed by a 16-byte checksum of everything before it, so that
`numpy.load(path, mmap_mode="r")` opens it. Entries with a wrong checksum are extracted again. Extraction can be killed
at any moment: the entries that exist are complete.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from common import audio
from common.corpus import with_checksums
from common.errors import AudioError, UserError
from common.features.shards import ShardedFeatures, read_shards, shard_size, write_shard
from common.files import checksum_of, write_atomic
from common.machine import cores

if TYPE_CHECKING:
    import pandas as pd

DIGEST_SIZE = 16

BATCH = 32
"""How many utterances an extractor in this process gets at once, and how many a killed extraction loses at most."""


class Extractor(Protocol):
    """An extractor of features: a frozen dataclass whose fields are its settings.

    Three more class attributes are optional. ``reads = "text"``: it is called with the transcript instead of samples
    and has no sample rate. ``in_process = True``: it runs a Keras model, so it is called in this process and not in
    worker processes, with ``batch(list of inputs) -> list of arrays``. ``sharded = True``: the features of many
    utterances are in one file, and only what is used of them is read (see `common.features.shards`).

    Attributes:
        name: short name; the cache folder starts with it.
        version: increased whenever the same settings give different numbers.
        sample_rate: of the audio that it expects, in Hz.
    """

    name: str
    version: int
    sample_rate: int

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """Computes the features of one utterance from its samples, float32 in [-1, 1], shape (samples,)."""


@dataclasses.dataclass(frozen=True)
class Features(Mapping):
    """Features by utterance, read from the cache when they are used.

    Attributes:
        paths: cache entry of each utterance.
        skipped: for each utterance that was left out, the reason.
    """

    paths: dict[str, Path]
    skipped: dict[str, str]

    def __getitem__(self, utterance: str) -> np.ndarray:
        """Reads the features of an utterance, as the extractor returned them."""
        content = _read_intact(self.paths[utterance])
        if content is None:
            raise UserError(
                f"The cache entry {self.paths[utterance]} was damaged after the command started; start it again."
            )
        return np.load(io.BytesIO(content), allow_pickle=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)


@dataclasses.dataclass(frozen=True)
class _AudioInput:
    """The audio of an utterance, as an extractor's input."""

    utterance: str
    path: str
    start: float
    end: float
    checksum: str

    @property
    def name(self) -> str:
        return self.path

    def key(self, settings: str) -> str:
        described = f"{self.checksum}|{settings}|{self.start!r}|{self.end!r}"
        return hashlib.blake2b(described.encode(), digest_size=DIGEST_SIZE).hexdigest()

    def read(self, extractor: Extractor) -> np.ndarray:
        try:
            content = Path(self.path).read_bytes()
        except OSError:
            content = None  # `audio.read` says why
        if content is not None and checksum_of(content) != self.checksum:
            raise UserError(f"{self.path} changed while the command was running. Start the command again.")
        return audio.read(self.path, extractor.sample_rate, self.start, self.end, content=content)


@dataclasses.dataclass(frozen=True)
class _TextInput:
    """The transcript of an utterance, as an extractor's input."""

    utterance: str
    text: str

    @property
    def name(self) -> str:
        return self.utterance

    def key(self, settings: str) -> str:
        return hashlib.blake2b(f"{settings}|{self.text}".encode(), digest_size=DIGEST_SIZE).hexdigest()

    def read(self, extractor: Extractor) -> str:
        return self.text


_Input = _AudioInput | _TextInput


class FeatureStore:
    """A folder of cached features.

    Args:
        root: the cache folder.
        jobs: worker processes for extraction; None: one per core.
    """

    def __init__(self, root: Path, jobs: int | None = None):
        self.root = Path(root)
        self.jobs = jobs or cores()

    def get(
        self,
        table: pd.DataFrame,
        extractor: Extractor,
        *,
        skip_bad_audio: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Features | ShardedFeatures:
        """Returns features of every utterance in a table; extracts those that are not in the cache.

        Args:
            table: utterance table.
            extractor: computes the features.
            skip_bad_audio: leave out utterances whose audio cannot be used, instead of stopping.
            progress: called with (done, all) utterances during extraction.

        Raises:
            UserError: Some audio cannot be used, or some transcripts are missing. The message names the first ones and
                says how many there are.
        """
        settings = settings_hash(extractor)
        folder = self.root / f"{extractor.name}-v{extractor.version}-{settings[:8]}"
        inputs: list[_Input]
        if getattr(extractor, "reads", "audio") == "text":
            inputs = [_TextInput(*row) for row in zip(table["utterance"], transcripts(table), strict=True)]
        else:
            rows = with_checksums(table)[["utterance", "path", "start", "end", "audio"]]
            inputs = [_AudioInput(*row) for row in rows.itertuples(index=False, name=None)]
        if getattr(extractor, "sharded", False):
            features = self._sharded(folder, settings, inputs, extractor, progress)
            if features.skipped and not skip_bad_audio:
                raise UserError(_bad_audio_message(list(features.skipped.values())))
            return features
        with ThreadPoolExecutor(self.jobs) as pool:
            found = list(pool.map(lambda one: _find_entry(folder, settings, one), inputs))
        paths: dict[str, Path] = {}
        skipped: dict[str, str] = {}
        missing: list[tuple[_Input, Path]] = []
        for one, (entry, intact, problem) in zip(inputs, found, strict=True):
            if problem:
                skipped[one.utterance] = problem
            elif intact:
                paths[one.utterance] = entry
            else:
                missing.append((one, entry))
        extract = self._extract_in_process if getattr(extractor, "in_process", False) else self._extract_in_workers
        for done, (utterance, entry, problem) in enumerate(extract(missing, extractor), start=1):
            if problem:
                skipped[utterance] = problem
            else:
                paths[utterance] = entry
            if progress is not None:
                progress(done, len(missing))
        if skipped and not skip_bad_audio:
            raise UserError(_bad_audio_message(list(skipped.values())))
        return Features({one.utterance: paths[one.utterance] for one in inputs if one.utterance in paths}, skipped)

    def _sharded(self, folder: Path, settings: str, inputs: Sequence[_AudioInput], extractor, progress):
        """`get` for an extractor with ``sharded = True``; utterances with the same key are extracted once."""
        from joblib import Parallel, delayed

        problems = {one.utterance: _unreadable(one) for one in inputs if not one.checksum}
        keys = {one.utterance: one.key(settings) for one in inputs if one.checksum}
        found = read_shards(folder, set(keys.values()), self.jobs)
        missing = {keys[one.utterance]: one for one in inputs if one.checksum and keys[one.utterance] not in found}
        if missing:
            waiting = list(missing.items())
            size = shard_size(len(waiting), self.jobs)
            chunks = [waiting[first : first + size] for first in range(0, len(waiting), size)]
            parallel = Parallel(n_jobs=min(self.jobs, len(chunks)), return_as="generator_unordered", batch_size=1)
            done, bad = 0, {}
            for extracted, own in parallel(delayed(_extract_shard)(one, folder, extractor) for one in chunks):
                bad |= own
                done += extracted
                if progress is not None:
                    progress(done, len(waiting))
            problems |= {utterance: bad[key] for utterance, key in keys.items() if key in bad}
            found |= read_shards(folder, missing.keys() - bad.keys(), self.jobs)
        return ShardedFeatures({name: found[key] for name, key in keys.items() if key in found}, problems)

    def _extract_in_workers(self, missing: list, extractor: Extractor) -> Iterator[tuple[str, Path, str]]:
        """Yields utterance, entry and problem ("" if there is none), in the order in which they are finished."""
        from joblib import Parallel, delayed

        if missing:
            jobs = min(self.jobs, max(1, len(missing) // 8))
            parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=4 if jobs > 1 else 1)
            yield from parallel(delayed(_extract_one)(one, entry, extractor) for one, entry in missing)

    def _extract_in_process(self, missing: list, extractor: Extractor) -> Iterator[tuple[str, Path, str]]:
        """The same in this process, batch by batch; utterances that share an entry (a sentence) are extracted once."""
        by_entry: dict[Path, list[_Input]] = {}
        for one, entry in missing:
            by_entry.setdefault(entry, []).append(one)
        entries = list(by_entry)
        with ThreadPoolExecutor(self.jobs) as pool:
            for first in range(0, len(entries), BATCH):
                batch = [(by_entry[entry][0], entry) for entry in entries[first : first + BATCH]]
                for (_, entry), problem in zip(batch, _extract_batch(pool, batch, extractor), strict=True):
                    for one in by_entry[entry]:
                        yield one.utterance, entry, problem


def transcripts(table: pd.DataFrame) -> list[str]:
    """The transcript of every utterance; empty texts if the corpus has no transcripts at all.

    Raises:
        UserError: Only some of the utterances have a transcript.
    """
    texts = [text.strip() if isinstance(text, str) else "" for text in table["text"]]
    without = [name for name, text in zip(table["utterance"], texts, strict=True) if not text]
    if without and len(without) < len(texts):
        raise UserError(
            f"{len(without)} of {len(texts)} utterances have no transcript; the first is {without[0]}. "
            "Complete the corpus's transcripts, or run without text."
        )
    return texts


def settings_hash(extractor: Extractor) -> str:
    """Hash of an extractor's name, version and settings; 32 hexadecimal digits."""
    settings = {item.name: getattr(extractor, item.name) for item in dataclasses.fields(extractor) if item.compare}
    described = {"name": extractor.name, "version": extractor.version, **settings}
    return hashlib.blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=16).hexdigest()


def _find_entry(folder: Path, settings: str, one: _Input) -> tuple[Path, bool, str]:
    """An utterance's cache entry, whether it is intact, and the problem if the audio file cannot be read at all."""
    if isinstance(one, _AudioInput) and not one.checksum:
        return folder, False, _unreadable(one)
    key = one.key(settings)
    entry = folder / key[:2] / f"{key}.npy"
    return entry, _read_intact(entry) is not None, ""


def _unreadable(one: _AudioInput) -> str:
    reason = "the audio file cannot be read" if Path(one.path).exists() else "the audio file does not exist"
    return f"{one.name}: {reason}."


def _read_intact(entry: Path) -> bytes | None:
    """The content of an entry; None if it does not exist or its checksum is wrong."""
    try:
        content = entry.read_bytes()
    except OSError:
        return None
    body, checksum = memoryview(content)[:-DIGEST_SIZE], content[-DIGEST_SIZE:]
    return content if len(body) and hashlib.blake2b(body, digest_size=DIGEST_SIZE).digest() == checksum else None


def _extract_one(one: _Input, entry: Path, extractor: Extractor) -> tuple[str, Path, str]:
    features, problem = _extracted(one, extractor)
    if not problem:
        problem = _write_entry(one, entry, extractor, features)
    return one.utterance, entry, problem


def _extracted(one: _Input, extractor: Extractor) -> tuple[np.ndarray, str]:
    """The features of an utterance, and the problem if its audio cannot be used, otherwise ""."""
    try:
        content = one.read(extractor)
    except AudioError as error:
        return np.zeros(0), str(error)
    try:
        return np.asarray(extractor(content)), ""
    except AudioError as error:  # an extractor does not know the file's name
        return np.zeros(0), f"{one.name}: {error}"


def _extract_shard(chunk: list[tuple[str, _Input]], folder: Path, extractor: Extractor) -> tuple[int, dict[str, str]]:
    """Writes a shard; returns how many utterances were extracted, and the problem of each bad one by its key."""
    arrays, problems = {}, {}
    for key, one in chunk:
        features, problem = _extracted(one, extractor)
        if problem := problem or _not_finite(one, extractor, features):
            problems[key] = problem
        else:
            arrays[key] = features
    if arrays:
        write_shard(folder, list(arrays), list(arrays.values()))
    return len(chunk), problems


def _extract_batch(pool: ThreadPoolExecutor, batch: list[tuple[_Input, Path]], extractor) -> list[str]:
    """Extracts and writes some utterances; returns the problem of each, "" if there is none."""

    def read(pair):
        try:
            return pair[0].read(extractor)
        except AudioError as error:
            return error

    contents = list(pool.map(read, batch))
    problems = [str(content) if isinstance(content, AudioError) else "" for content in contents]
    readable = [number for number, problem in enumerate(problems) if not problem]
    results = _run_batch(extractor, [batch[number][0] for number in readable], [contents[n] for n in readable])
    for number, result in zip(readable, results, strict=True):
        problems[number] = result if isinstance(result, str) else _write_entry(*batch[number], extractor, result)
    return problems


def _run_batch(extractor: Extractor, inputs: list[_Input], contents: list) -> list[np.ndarray | str]:
    """Features of several utterances, or the problem of those whose audio cannot be used.

    Raises:
        UserError: An utterance cannot be used for another reason; the message names it.
    """
    if not contents:
        return []
    try:
        return [np.asarray(array) for array in extractor.batch(contents)]
    except UserError:  # one utterance is the cause; running them one by one shows which
        return [_run_alone(extractor, one, content) for one, content in zip(inputs, contents, strict=True)]


def _run_alone(extractor: Extractor, one: _Input, content) -> np.ndarray | str:
    try:
        return np.asarray(extractor.batch([content])[0])
    except AudioError as error:
        return f"{one.name}: {error}"
    except UserError as error:
        raise UserError(f"{one.utterance}: {error}") from error


def _write_entry(one: _Input, entry: Path, extractor: Extractor, features: np.ndarray) -> str:
    """Writes an entry; returns the problem if the features cannot be used, otherwise ""."""
    if problem := _not_finite(one, extractor, features):
        return problem
    buffer = io.BytesIO()
    np.save(buffer, features, allow_pickle=False)
    body = buffer.getvalue()
    write_atomic(entry, lambda file: file.write(body + hashlib.blake2b(body, digest_size=DIGEST_SIZE).digest()))
    return ""


def _not_finite(one: _Input, extractor: Extractor, features: np.ndarray) -> str:
    if np.isfinite(features).all():
        return ""
    return f"{one.name}: {extractor.name} gives values that are not finite numbers."


def _bad_audio_message(problems: list[str]) -> str:
    first = " ".join(problems[:3])
    if len(problems) > 3:
        first += f" ... and {len(problems) - 3} more files."
    return f"{first} Replace the audio, or continue without it: --skip-bad-audio (every result will then say so)."
