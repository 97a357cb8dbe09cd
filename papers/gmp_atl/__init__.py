"""Pan et al. 2024: HuBERT retrained on gender-augmented multi-scale pseudo-labels, then fine-tuned by AM-softmax."""
