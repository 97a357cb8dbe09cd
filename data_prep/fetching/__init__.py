"""Downloading public corpora and pretrained networks: sources, transfer, verification, unpacking."""
