"""Atmaja and Akagi 2020: valence, arousal and dominance from acoustic features and words, by multitask learning."""
