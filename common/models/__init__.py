"""Networks, and loading of their published checkpoints."""
