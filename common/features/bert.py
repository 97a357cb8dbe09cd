"""Features of transcripts from a frozen BERT (Devlin et al. 2019): one vector per utterance."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from common.errors import UserError


@dataclass(frozen=True)
class Bert:
    """Extractor of BERT's representation of a transcript, shape (width,), float32; 768 for BERT base.

    Attributes:
        checkpoint: a Hugging Face folder, a keras-hub preset, or "random" or "random-tiny" for random weights from a
            fixed seed.
        digest: of the checkpoint (see `common.models.bert.digest`); it represents the folder in the cache's keys.
        pooling: "pooled" is BERT's own output for the sentence (a dense layer with tanh on the first token), "cls" the
            first token, and "mean" the mean over all tokens, including [CLS] and [SEP].
    """

    name: ClassVar[str] = "bert"
    version: ClassVar[int] = 1
    reads: ClassVar[str] = "text"
    in_process: ClassVar[bool] = True

    checkpoint: str = field(default="random-tiny", compare=False)
    digest: str = "random-tiny"
    pooling: Literal["pooled", "cls", "mean"] = "pooled"

    def __call__(self, text: str) -> np.ndarray:
        """Computes the features of one transcript.

        Raises:
            UserError: The transcript has more tokens than the network can read (512 for BERT base).
        """
        return self.batch([text])[0]

    def batch(self, texts: list[str]) -> list[np.ndarray]:
        """Computes the features of several transcripts, with the same errors."""
        tokenizer, network = _loaded(self.checkpoint, self.digest)
        rows = [token_ids(tokenizer, text, network.max_sequence_length) for text in texts]
        # Padding to multiples of 16 keeps the number of shapes small; it is masked and does not change the result.
        width = min(math.ceil(max(map(len, rows)) / 16) * 16, network.max_sequence_length)
        ids = np.zeros((len(rows), width), np.int32)
        mask = np.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
            mask[number, : len(row)] = 1
        outputs = network({"token_ids": ids, "padding_mask": mask, "segment_ids": np.zeros_like(ids)}, training=False)
        if self.pooling == "pooled":
            vectors = np.asarray(outputs["pooled_output"])
        else:
            sequence = np.asarray(outputs["sequence_output"])
            marked = mask[..., None]
            vectors = sequence[:, 0] if self.pooling == "cls" else (sequence * marked).sum(axis=1) / marked.sum(axis=1)
        return [vector.astype(np.float32) for vector in vectors]


def token_ids(tokenizer, text: str, longest: int) -> list[int]:
    """Token ids of a text's word pieces, between [CLS] and [SEP].

    Args:
        tokenizer: keras-hub's tokeniser.
        text: the transcript.
        longest: how many tokens the network can read.

    Raises:
        UserError: The text has more than `longest` tokens.
    """
    ids = [tokenizer.cls_token_id, *map(int, np.asarray(tokenizer(text))), tokenizer.sep_token_id]
    if len(ids) > longest:
        raise UserError(
            f"The transcript '{text[:40]}...' has {len(ids)} tokens; BERT reads at most {longest}. Split the utterance."
        )
    return ids


@functools.lru_cache(maxsize=1)
def _loaded(checkpoint: str, digest: str):
    """The tokeniser and the network; `digest` is an argument so that a changed checkpoint is loaded again."""
    from common.backend import start_backend

    start_backend()
    from common.models.bert import load_bert

    return load_bert(checkpoint)
