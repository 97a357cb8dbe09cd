"""The cores, memory and GPUs of this machine, and how many workers they are enough for."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

from common.errors import UserError
from common.machine import cores, machine_bytes

EXPECTED_BYTES = 2 * 2**30
"""Expected memory of a trial before one was measured: TensorFlow, the features of a corpus, and a scaled network."""

MEMORY_SHARE = 0.8
"""Share of the machine's memory that all workers may use together."""


@dataclass(frozen=True)
class Request:
    """The resources that the user asks for.

    Attributes:
        workers: maximum number of workers; None: as many as fit.
        gpus: GPUs per trial, also a fraction; None: one if there is any.
        cpus: cores per trial; None: the cores are divided among the workers (on a cluster: one).
        deterministic: workers use one thread, so that sums do not depend on the number of cores.
    """

    workers: int | None = None
    gpus: float | None = None
    cpus: int | None = None
    deterministic: bool = False


@dataclass(frozen=True)
class Plan:
    """How the machine is divided among workers.

    Attributes:
        workers: number of workers.
        threads: threads per worker.
        devices: the GPUs that each worker sees; empty: all workers use the cores only.
    """

    workers: int
    threads: int
    devices: tuple[tuple[str, ...], ...]

    def environment(self, worker: int) -> dict[str, str]:
        """Environment variables of a worker's process; libraries read them when they are loaded."""
        variables = threads_environment(self.threads)
        if self.devices:
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(self.devices[worker])
            # By default, a process takes all memory of a GPU, which leaves none for other processes.
            variables["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
            variables["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        return variables


def threads_environment(threads: int) -> dict[str, str]:
    """Environment variables that limit the threads of TensorFlow, JAX, PyTorch, BLAS and OpenMP."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "NPROC")
    return {**dict.fromkeys(names, str(threads)), "TF_NUM_INTEROP_THREADS": str(max(1, threads // 2))}


def plan(request: Request, trials: int) -> Plan:
    """Decides how many workers to start on this machine, and what each of them gets.

    Args:
        request: what the user asks for.
        trials: how many trials are to be done.

    Raises:
        UserError: A trial needs more GPUs than there are.
    """
    available, gpus = cores(), gpu_names()
    gpus_per_worker = 1.0 if request.gpus is None and gpus else request.gpus or 0.0
    if gpus_per_worker > len(gpus):
        raise UserError(
            f"--gpus-per-trial asks for {gpus_per_worker:g} GPUs per trial, but this machine has {len(gpus)}."
        )
    if gpus_per_worker:
        fitting = most = _workers_on(len(gpus), gpus_per_worker)
    else:
        fitting, most = max(1, available // (request.cpus or 1)), trials
    fitting = min(fitting, max(1, int(MEMORY_SHARE * machine_bytes() / EXPECTED_BYTES)))
    # The user may ask for more workers than fit in cores and memory, but not for more than the GPUs allow.
    workers = max(1, min(request.workers or fitting, most, trials))
    threads = 1 if request.deterministic else request.cpus or max(1, available // workers)
    return Plan(workers, threads, _devices(gpus, gpus_per_worker, workers) if gpus_per_worker else ())


def _workers_on(gpus: int, gpus_per_worker: float) -> int:
    """How many workers fit on the GPUs; several workers may share one, or one worker may use several."""
    return gpus * int(1 / gpus_per_worker) if gpus_per_worker <= 1 else int(gpus // gpus_per_worker)


def _devices(gpus: tuple[str, ...], gpus_per_worker: float, workers: int) -> tuple[tuple[str, ...], ...]:
    if gpus_per_worker <= 1:
        return tuple((gpus[worker % len(gpus)],) for worker in range(workers))
    count = int(gpus_per_worker)
    return tuple(tuple(gpus[worker * count : (worker + 1) * count]) for worker in range(workers))


def gpu_names() -> tuple[str, ...]:
    """The GPUs that this process may use, as in CUDA_VISIBLE_DEVICES; found without loading a backend."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(name for name in visible.split(",") if name.strip() not in ("", "-1"))
    try:
        command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(found.stdout.split()) if found.returncode == 0 else ()
