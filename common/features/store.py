"""The feature cache: content-addressed, parallel, resumable, atomic, and never trusted blindly.

An entry's key is a hash of the audio file's bytes, the span of the utterance, the extractor's name, its version and its
settings; so a renamed file is found again, and a changed file, setting or version never is. For an extractor that reads
transcripts the text takes the place of the audio. A setting that only says where something lies (a dataclass field with
``compare=False``) is not part of the key; a digest of what lies there is. An entry is a plain `.npy`
file followed by a 16-byte checksum of everything before it: `numpy.load(path, mmap_mode="r")` opens it, and an entry
whose checksum does not fit is made anew. Kill the extraction at any moment: entries that exist are whole.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from common import audio
from common.errors import AudioError, UserError
from common.files import write_atomic
from common.machine import cores

if TYPE_CHECKING:
    import pandas as pd

DIGEST_SIZE = 16

BATCH = 32
"""Utterances that an extractor in this process gets at once; what a killed extraction loses at most."""


class Extractor(Protocol):
    """What the store asks of an extractor: a frozen dataclass whose fields are its settings.

    Two more class attributes are optional. ``reads = "text"``: it is called with the transcript instead of samples,
    and has no sample rate. ``in_process = True``: it runs a Keras model, so it is called here and not in worker
    processes, with ``batch(list of inputs) -> list of arrays``.

    Attributes:
        name: short name; the cache folder starts with it.
        version: raised whenever the same settings would give other numbers.
        sample_rate: rate of the audio that it is given, in Hz.
    """

    name: str
    version: int
    sample_rate: int

    def __call__(self, signal: np.ndarray) -> np.ndarray:
        """Features of one utterance from its samples, float32 in [-1, 1], shape (samples,)."""


@dataclasses.dataclass(frozen=True)
class Features(Mapping):
    """Features of utterances, read from the cache when asked for.

    Attributes:
        paths: cache entry of each utterance.
        skipped: utterances that were left out, with the reason.
    """

    paths: dict[str, Path]
    skipped: dict[str, str]

    def __getitem__(self, utterance: str) -> np.ndarray:
        """The utterance's features, as the extractor returned them."""
        array = _read_entry(self.paths[utterance])
        if array is None:
            raise UserError(f"The cache entry {self.paths[utterance]} was damaged after the run began; start it again.")
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)


class FeatureStore:
    """A folder of cached features.

    Args:
        root: the cache folder.
        jobs: worker processes for extraction; None: one a core.
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
    ) -> Features:
        """Features of every utterance of a table, extracted where the cache does not hold them.

        A corpus without any transcript has the empty one for all utterances; where some have one, all must.

        Args:
            table: utterance table.
            extractor: what to compute.
            skip_bad_audio: leave out utterances whose audio cannot be used instead of stopping.
            progress: called with (done, all) utterances; only while there is extraction to do.

        Raises:
            UserError: audio that cannot be used, or missing transcripts; names the first and how many there are.
        """
        settings = _settings(extractor)
        folder = self.root / f"{extractor.name}-v{extractor.version}-{settings[:8]}"
        if getattr(extractor, "reads", "audio") == "text":
            rows = list(zip(table["utterance"], transcripts(table), strict=True))
            states = [_text_state(folder, settings, text) for _, text in rows]
        else:
            rows = list(table[["utterance", "path", "start", "end"]].itertuples(index=False, name=None))
            with ThreadPoolExecutor(self.jobs) as pool:
                states = list(pool.map(lambda row: _state(folder, settings, row[1], row[2], row[3]), rows))
        paths: dict[str, Path] = {}
        skipped: dict[str, str] = {}
        missing = []
        for row, state in zip(rows, states, strict=True):
            if isinstance(state, str):
                skipped[row[0]] = state
            elif state[1]:
                paths[row[0]] = state[0]
            else:
                missing.append((row, state[0]))
        if missing:
            extract = self._extract_here if getattr(extractor, "in_process", False) else self._extract
            extract(missing, extractor, paths, skipped, progress)
        if skipped and not skip_bad_audio:
            raise UserError(_bad_audio_message(skipped))
        order = {row[0]: paths[row[0]] for row in rows if row[0] in paths}
        return Features(order, skipped)

    def _extract(self, missing, extractor, paths, skipped, progress) -> None:
        from joblib import Parallel, delayed

        jobs = min(self.jobs, max(1, len(missing) // 8))
        tasks = (delayed(_extract_one)(row, entry, extractor) for row, entry in missing)
        parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=4 if jobs > 1 else 1)
        for done, (utterance, entry, reason) in enumerate(parallel(tasks), start=1):
            if reason is None:
                paths[utterance] = entry
            else:
                skipped[utterance] = reason
            if progress is not None:
                progress(done, len(missing))

    def _extract_here(self, missing, extractor, paths, skipped, progress) -> None:
        """Extraction in this process, batch by batch; what several utterances share (a sentence) is extracted once."""
        by_entry: dict[Path, list[tuple]] = {}
        for row, entry in missing:
            by_entry.setdefault(entry, []).append(row)
        entries = list(by_entry)
        done = 0
        with ThreadPoolExecutor(self.jobs) as pool:
            for first in range(0, len(entries), BATCH):
                chunk = [(by_entry[entry][0], entry) for entry in entries[first : first + BATCH]]
                for (_, entry), reason in zip(chunk, _extract_batch(pool, chunk, extractor), strict=True):
                    for row in by_entry[entry]:
                        if reason is None:
                            paths[row[0]] = entry
                        else:
                            skipped[row[0]] = reason
                        done += 1
                        if progress is not None:
                            progress(done, len(missing))


def transcripts(table: pd.DataFrame) -> list[str]:
    """The transcript of every utterance; the empty one for all of them if the corpus has none.

    Raises:
        UserError: some utterances have one and others have not.
    """
    texts = [text.strip() if isinstance(text, str) else "" for text in table["text"]]
    without = [name for name, text in zip(table["utterance"], texts, strict=True) if not text]
    if without and len(without) < len(texts):
        raise UserError(
            f"{len(without)} of {len(texts)} utterances have no transcript, the first is {without[0]}. "
            "Complete the corpus' transcripts, or run without text."
        )
    return texts


def _settings(extractor: Extractor) -> str:
    """Hash of what an extractor is, besides the audio or text."""
    settings = {item.name: getattr(extractor, item.name) for item in dataclasses.fields(extractor) if item.compare}
    described = {"name": extractor.name, "version": extractor.version, **settings}
    return hashlib.blake2b(json.dumps(described, sort_keys=True).encode(), digest_size=16).hexdigest()


def _state(folder: Path, settings: str, path: str, start: float, end: float) -> tuple[Path, bool] | str:
    """Where an utterance's entry is and whether it is whole; or why its audio file cannot be read at all."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        return f"{path}: {'the audio file does not exist' if isinstance(error, FileNotFoundError) else error}."
    digest = hashlib.blake2b(content, digest_size=DIGEST_SIZE)
    digest.update(f"{settings}|{start!r}|{end!r}".encode())
    return _entry(folder, digest.hexdigest())


def _text_state(folder: Path, settings: str, text: str) -> tuple[Path, bool]:
    """Where a transcript's entry is and whether it is whole."""
    return _entry(folder, hashlib.blake2b(f"{settings}|{text}".encode(), digest_size=DIGEST_SIZE).hexdigest())


def _entry(folder: Path, key: str) -> tuple[Path, bool]:
    entry = folder / key[:2] / f"{key}.npy"
    return entry, _is_whole(entry)


def _is_whole(entry: Path) -> bool:
    try:
        content = entry.read_bytes()
    except OSError:
        return False
    return _checksum_fits(content)


def _checksum_fits(content: bytes) -> bool:
    body = memoryview(content)[:-DIGEST_SIZE]
    return (
        len(content) > DIGEST_SIZE and hashlib.blake2b(body, digest_size=DIGEST_SIZE).digest() == content[-DIGEST_SIZE:]
    )


def _read_entry(entry: Path) -> np.ndarray | None:
    try:
        content = entry.read_bytes()
    except OSError:
        return None
    return np.load(io.BytesIO(content), allow_pickle=False) if _checksum_fits(content) else None


def _extract_one(row: tuple, entry: Path, extractor: Extractor) -> tuple[str, Path, str | None]:
    utterance, path, start, end = row
    try:
        signal = audio.read(path, extractor.sample_rate, start, end)
    except AudioError as error:
        return utterance, entry, str(error)
    try:
        features = np.asarray(extractor(signal))
    except AudioError as error:  # an extractor knows no file
        return utterance, entry, f"{path}: {error}"
    return utterance, entry, _write(row, entry, extractor, features)


def _extract_batch(pool: ThreadPoolExecutor, chunk: list[tuple[tuple, Path]], extractor) -> list[str | None]:
    """Extracts and writes some utterances; returns for each why it could not be, or None."""
    inputs = list(pool.map(lambda one: _input(one[0], extractor), chunk))
    good = [number for number, one in enumerate(inputs) if not isinstance(one, AudioError)]
    arrays = _batch(extractor, [inputs[number] for number in good], [chunk[number][0] for number in good])
    reasons = {
        number: found if isinstance(found, str) else _write(*chunk[number], extractor, found)
        for number, found in zip(good, arrays, strict=True)
    }
    return [reasons[number] if number in reasons else str(one) for number, one in enumerate(inputs)]


def _input(row: tuple, extractor: Extractor) -> str | np.ndarray | AudioError:
    """What an extractor reads of an utterance: its transcript, its samples, or why there are none."""
    if len(row) == 2:
        return row[1]
    try:
        return audio.read(row[1], extractor.sample_rate, row[2], row[3])
    except AudioError as error:
        return error


def _batch(extractor: Extractor, inputs: list, rows: list[tuple]) -> list[np.ndarray | str]:
    """Features of several inputs, or why audio cannot be used; any other error names the utterance."""
    if not inputs:
        return []
    try:
        return [np.asarray(array) for array in extractor.batch(inputs)]
    except UserError:  # one of them is at fault: one by one tells which
        return [_alone(extractor, one, row) for row, one in zip(rows, inputs, strict=True)]


def _alone(extractor: Extractor, one, row: tuple) -> np.ndarray | str:
    try:
        return np.asarray(extractor.batch([one])[0])
    except AudioError as error:
        return f"{row[1]}: {error}"
    except UserError as error:
        raise UserError(f"{row[0]}: {error}") from error


def _write(row: tuple, entry: Path, extractor: Extractor, features: np.ndarray) -> str | None:
    """Writes an entry; returns why it could not be."""
    if not np.isfinite(features).all():
        return f"{row[1] if len(row) > 2 else row[0]}: {extractor.name} gives values that are not finite numbers."
    buffer = io.BytesIO()
    np.save(buffer, features, allow_pickle=False)
    body = buffer.getvalue()
    write_atomic(entry, lambda file: file.write(body + hashlib.blake2b(body, digest_size=DIGEST_SIZE).digest()))
    return None


def _bad_audio_message(skipped: dict[str, str]) -> str:
    reasons = list(skipped.values())
    first = " ".join(reasons[:3])
    if len(reasons) > 3:
        first += f" ... and {len(reasons) - 3} more files."
    return f"{first} Replace the audio, or go on without it with --skip-bad-audio (every result will then say so)."
