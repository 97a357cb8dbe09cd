"""Wen et al. 2023: multimodal and multitask learning with additive angular penalty focal loss."""
