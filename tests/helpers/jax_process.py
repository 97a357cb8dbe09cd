"""Calls functions under JAX, for tests that compare its numbers with TensorFlow's.

A backend is chosen when Keras is imported, so JAX needs another process than the tests, and importing Keras, JAX and
pandas there takes seconds. So one process imports them once; each call is performed in a fork of it. Therefore calls
share nothing: neither settings of Keras and JAX, nor what other calls have imported. TensorFlow cannot be imported in
this process.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable

from tests.helpers import ROOT

TIMEOUT_S = 600


class JaxProcess:
    """A process that has imported Keras with the backend JAX."""

    def __init__(self):
        # Networks of tests are compiled for one or two steps: most optimisations take longer than they save.
        flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
        environment = {
            **os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __call__(self, function: Callable, *arguments, **environment: str):
        """Calls a function under JAX.

        Args:
            function: of a module that can be imported without TensorFlow.
            arguments: what it is called with; must be representable in JSON, and so must its result.
            environment: variables to set before JAX starts its devices. XLA_FLAGS is added to those of the process.

        Raises:
            AssertionError: The call failed; the message contains the traceback.
        """
        call = [function.__module__, function.__qualname__, arguments, environment]
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"error": "The process has ended."}')
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=TIMEOUT_S)
        self._process.stdout.close()


def _perform(module: str, name: str, arguments: list, environment: dict[str, str]) -> dict:
    if "XLA_FLAGS" in environment:
        environment["XLA_FLAGS"] = f"{os.environ['XLA_FLAGS']} {environment['XLA_FLAGS']}"
    os.environ.update(environment)
    try:
        return {"result": getattr(importlib.import_module(module), name)(*arguments)}
    except BaseException:
        return {"error": traceback.format_exc()}


class _NotInstalled:
    """Hides TensorFlow, as on a machine without it: Keras would import it for a seed, which takes seconds per call."""

    def find_spec(self, name, path=None, target=None):
        if name == "tensorflow":
            raise ModuleNotFoundError("TensorFlow must not be needed under JAX.")


def _serve() -> None:
    sys.meta_path.insert(0, _NotInstalled())
    answers = os.dup(1)
    os.dup2(2, 1)  # what functions print is not an answer
    import keras  # noqa: F401
    import pandas  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if not child:
            signal.alarm(TIMEOUT_S)
            with open(answers, "w") as file:
                file.write(json.dumps(_perform(*json.loads(line))) + "\n")
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status:
            with open(answers, "w", closefd=False) as file:
                file.write(json.dumps({"error": f"The call ended with status {status}."}) + "\n")


if __name__ == "__main__":
    _serve()
