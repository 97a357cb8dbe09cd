import inspect
import re

import pytest
from keras.src.applications import densenet, resnet

from data_prep.fetching.sources import SOURCES


@pytest.mark.parametrize(("name", "module"), [("densenet169", densenet), ("resnet50", resnet)])
def test_imagenet_files_and_checksums_are_those_of_keras(name, module):
    (file,) = SOURCES[f"{name}-imagenet"].files
    folder, base = file.address.rsplit("/", 1)
    assert f"{folder}/" == module.BASE_WEIGHTS_PATH and base == file.name
    algorithm, checksum = file.checksum.split(":")
    assert algorithm == "md5"
    source = inspect.getsource(module)
    if name == "resnet50":
        assert module.WEIGHTS_HASHES["resnet50"][1] == checksum  # (with top, without top)
        assert "_weights_tf_dim_ordering_tf_kernels_notop.h5" in source
    else:
        assert file.name in module.DENSENET169_WEIGHT_PATH_NO_TOP
        assert re.search(rf'DENSENET169_WEIGHT_PATH_NO_TOP,[^)]*file_hash="{checksum}"', source)
