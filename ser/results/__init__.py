"""Trials on disk, reported numbers, yardsticks, and the reports that compare them."""
