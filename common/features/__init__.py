"""Feature extractors, one a file, and the cache that keeps what they made."""
