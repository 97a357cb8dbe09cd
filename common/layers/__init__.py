"""Keras building blocks, each with a test against something independent."""
