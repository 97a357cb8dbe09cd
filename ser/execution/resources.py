"""What this machine has, and how many workers that makes."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

from common.errors import UserError
from common.machine import cores, machine_bytes

EXPECTED_BYTES = 2 * 2**30
"""Memory a trial is taken to need before one was measured: TensorFlow, a corpus' features and a scaled network."""

MEMORY_SHARE = 0.8
"""Of the machine's memory, what workers may fill together."""


@dataclass(frozen=True)
class Request:
    """What a person asks for.

    Attributes:
        workers: how many at most; None: as many as fit.
        gpus: GPUs a trial, also a fraction; None: one if there is any.
        cpus: cores a trial; None: the cores shared out among the workers (on a cluster, one).
        deterministic: a worker computes on one thread, so that sums do not depend on how many cores there are.
    """

    workers: int | None = None
    gpus: float | None = None
    cpus: int | None = None
    deterministic: bool = False


@dataclass(frozen=True)
class Plan:
    """How a machine is shared out.

    Attributes:
        workers: how many.
        threads: that each computes on.
        devices: for each worker, the GPUs it sees; empty: it computes on cores.
    """

    workers: int
    threads: int
    devices: tuple[tuple[str, ...], ...]

    def environment(self, worker: int) -> dict[str, str]:
        """What the process of a worker must find in its environment before any library is loaded."""
        variables = threads_environment(self.threads)
        if self.devices:
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(self.devices[worker])
            # A process that takes all memory of a GPU leaves nothing for others on it.
            variables["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
            variables["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        return variables


def threads_environment(threads: int) -> dict[str, str]:
    """Variables that hold TensorFlow, JAX, PyTorch, BLAS and OpenMP to a number of threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "NPROC")
    return {**dict.fromkeys(names, str(threads)), "TF_NUM_INTEROP_THREADS": str(max(1, threads // 2))}


def plan(request: Request, trials: int, expected_bytes: int = EXPECTED_BYTES) -> Plan:
    """How many workers this machine takes, and what each gets.

    Args:
        request: what a person asks for.
        trials: how many there are to do.
        expected_bytes: memory of a trial.

    Raises:
        UserError: more GPUs a trial than there are.
    """
    available, gpus = cores(), gpu_names()
    share = 1.0 if request.gpus is None and gpus else request.gpus or 0.0
    if share > len(gpus):
        raise UserError(f"{share:g} GPUs a trial were asked for; this machine has {len(gpus)}.")
    fit = _slots(len(gpus), share) if share else max(1, available // (request.cpus or 1))
    fit = min(fit, max(1, int(MEMORY_SHARE * machine_bytes() / expected_bytes)))
    # What a person asks for goes beyond cores and memory, but not beyond GPUs.
    most = _slots(len(gpus), share) if share else request.workers or fit
    workers = max(1, min(request.workers or fit, most, trials))
    threads = 1 if request.deterministic else request.cpus or max(1, available // workers)
    return Plan(workers, threads, _devices(gpus, share, workers) if share else ())


def _slots(gpus: int, share: float) -> int:
    """Workers that fit on the GPUs: several on one, or one on several."""
    return gpus * int(1 / share) if share <= 1 else int(gpus // share)


def _devices(gpus: tuple[str, ...], share: float, workers: int) -> tuple[tuple[str, ...], ...]:
    if share <= 1:
        return tuple((gpus[worker % len(gpus)],) for worker in range(workers))
    each = int(share)
    return tuple(tuple(gpus[worker * each : (worker + 1) * each]) for worker in range(workers))


def gpu_names() -> tuple[str, ...]:
    """GPUs this process may use, as CUDA_VISIBLE_DEVICES names them; found without loading a backend."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(name for name in visible.split(",") if name.strip() not in ("", "-1"))
    try:
        command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(found.stdout.split()) if found.returncode == 0 else ()
