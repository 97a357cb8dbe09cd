import json
import os
import subprocess
import sys

from tests.helpers import ROOT

PROGRAM = """
import json, sys
import numpy as np
first = sys.argv[1]
if first == "tensorflow":
    import tensorflow
from common.features.gemaps import GemapsFunctionals
signal = np.random.default_rng(0).normal(0, 0.1, 16000).astype("float32")
values = [[GemapsFunctionals()(signal) for _ in range(20)][-1].tolist()]
if first == "opensmile":
    import tensorflow
    values.append(GemapsFunctionals()(signal).tolist())
print("values:" + json.dumps(values))
"""


def test_functionals_do_not_depend_on_which_library_is_loaded_first():
    def values(first):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, first], capture_output=True, text=True, env=environment, timeout=180
        )
        assert done.returncode == 0, done.stderr[-500:]
        return json.loads(done.stdout.split("values:")[1])

    alone, after_opensmile = values("opensmile")
    (after_tensorflow,) = values("tensorflow")
    assert alone == after_opensmile == after_tensorflow
