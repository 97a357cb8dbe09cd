"""Where trials run: the driver, its workers, and pools of workers (this process, this machine, a Ray cluster)."""
