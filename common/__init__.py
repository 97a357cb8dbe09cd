"""Building blocks that anyone may reuse, whether one paper uses them or five, and the contract with the application.

Building blocks: feature extractors and their cache (`common.features`), Keras layers and networks (`common.layers`,
`common.models`), losses, training, metrics and intervals, utterance tables, protocols that cut folds, audio, artefacts
and safe files. The contract is what a paper and the application exchange: `common.contract` (`Paper`, `Experiment`,
`Part`, `Context`, `setting`) and `common.results` (reported numbers and measurements, as figures receive them).

Nothing here knows a paper, a corpus or the command line.
"""
