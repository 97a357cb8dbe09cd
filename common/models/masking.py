"""Masked spans of frames, for HuBERT's pretraining and for SpecAugment in fine-tuning."""

from __future__ import annotations

import numpy as np


def mask_indices(
    lengths: np.ndarray, probability: float, span: int, seed: int, *, minimum: int = 2, overlap: bool = True
) -> np.ndarray:
    """Frames to mask, as fairseq and Hugging Face draw them.

    An utterance of T frames gets ``probability * T / span`` spans (rounded up or down at random, so that the mean is
    right), at least `minimum` and never more than fit; they start anywhere, each at another frame, and may overlap. So
    `probability` bounds the masked share: pretraining's 0.8 with spans of 10 masks ``1 - (1 - 0.08)^10``, 57 %, less at
    the ends: about 55 %.

    Args:
        lengths: frames of each utterance, shape (utterances,).
        probability: spans times their length over frames; 0.8 in HuBERT's pretraining, 0.05 in fine-tuning.
        span: frames of a span; 10 in both.
        seed: any int >= 0; the same seed gives the same masks.
        minimum: spans of an utterance at least, where there are any frames and `probability` is not 0.
        overlap: False: spans keep apart, and `probability` is the masked share.

    Returns:
        bool, shape (utterances, longest). Never True behind an utterance's end. An utterance shorter than a span is not masked.

    Raises:
        ValueError: a probability outside 0 to 1 or a span below 1.
    """
    if not 0 <= probability <= 1 or span < 1:
        raise ValueError(f"probability {probability} must be within 0 and 1, span {span} at least 1.")
    lengths = np.asarray(lengths, np.int64)
    masks = np.zeros((len(lengths), int(lengths.max(initial=0))), bool)
    if probability == 0:
        return masks
    generator = np.random.default_rng(seed)
    for mask, length in zip(masks, lengths, strict=True):
        starts = length - span + 1
        most = min(starts, length // span)
        spans = min(max(int(probability * length / span + generator.random()), minimum), most)
        if spans < 1:
            continue
        if overlap:
            first = generator.choice(starts, spans, replace=False)
        else:
            # Frames that no span needs are dealt out as gaps: every placement is equally likely.
            free = length - spans * span
            first = np.sort(generator.choice(free + spans, spans, replace=False)) + np.arange(spans) * (span - 1)
        mask[(first[:, None] + np.arange(span)).ravel()] = True
    return masks
