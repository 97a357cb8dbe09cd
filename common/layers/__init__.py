"""Keras layers, each tested against an independent implementation."""
