"""Readers: one module per corpus, each with a `CORPUS` and a `read(root)`. `data_prep.NAMES` lists them."""
