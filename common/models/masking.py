"""Masked spans of frames, for HuBERT's masked prediction and for SpecAugment in fine-tuning."""

from __future__ import annotations

import numpy as np

LEAST_SPANS = 2
"""Spans that an utterance gets at least, if they fit and the probability is not 0."""


def span_mask(frames: int, probability: float, span: int, seed: int) -> np.ndarray:
    """Draws the frames of an utterance to mask, as fairseq and Hugging Face do.

    There are ``probability * frames / span`` spans (rounded up or down at random, so that the mean is right), at least
    `LEAST_SPANS` and at most as many as fit without overlap. They start at different random frames and may overlap, so
    the masked share is lower than `probability`: with 0.8 and spans of 10, as in pretraining, it is about 55 %.

    Args:
        frames: number of frames.
        probability: total length of the spans per frame; 0.8 in HuBERT's pretraining, 0.05 in fine-tuning.
        span: frames per span; 10 in both.
        seed: any int >= 0; the same seed gives the same mask.

    Returns:
        bool, shape (frames,); no frame is masked if the utterance is shorter than a span.

    Raises:
        ValueError: The probability is outside 0 to 1, or the span is below 1.
    """
    if not 0 <= probability <= 1 or span < 1:
        raise ValueError(f"probability {probability} must be within 0 and 1, span {span} at least 1.")
    mask = np.zeros(frames, bool)
    generator = np.random.default_rng(seed)
    spans = min(max(int(probability * frames / span + generator.random()), LEAST_SPANS), frames // span)
    if probability > 0 and spans > 0:
        first = generator.choice(frames - span + 1, spans, replace=False)
        mask[(first[:, None] + np.arange(span)).ravel()] = True
    return mask
