"""Downloading public corpora and pretrained networks.

`sources` lists what can be fetched; `download.fetch` fetches one source, with `transfer` (one file over HTTP), `unpack`
(archives) and `records` (what was fetched before).
"""
