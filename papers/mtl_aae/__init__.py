"""Rana et al. 2019: multi-task semi-supervised adversarial autoencoding."""
