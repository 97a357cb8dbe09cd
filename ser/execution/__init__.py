"""Pools of workers: this process, processes of this machine, actors of a Ray cluster (see `common.executor.Pool`)."""
