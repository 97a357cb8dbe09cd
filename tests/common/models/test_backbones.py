import hashlib
import http.server
import inspect
import re
import socket
import threading
import time

import keras
import numpy as np
import pytest
from keras.src.applications import densenet, resnet

from common.errors import UserError
from common.models import backbones
from common.models.backbones import IMAGENET, WEIGHTS_URL, backbone, imagenet_file


@pytest.mark.parametrize(
    ("name", "width", "parameters"),
    # Without top: the published 14,307,880 minus 1664 * 1000 + 1000, and 25,636,712 minus 2048 * 1000 + 1000.
    [("densenet169", 1664, 12_642_880), ("resnet50", 2048, 23_587_712)],
)
def test_networks_of_the_paper_at_its_input(name, width, parameters):
    model = backbone(name, 400, 400)
    assert model.count_params() == parameters
    assert model.input_shape == (None, 400, 400, 1)
    assert model.output_shape == (None, width)


@pytest.fixture(scope="module")
def resnet50():
    """A ResNet50 of random weights for small images, and the `keras.applications` model inside."""
    model = backbone("resnet50", 40, 40)
    return model, next(layer for layer in model.layers if isinstance(layer, keras.Model))


def test_the_channel_is_repeated_three_times(resnet50):
    model, inner = resnet50
    image = np.random.default_rng(0).normal(size=(1, 40, 40, 1)).astype(np.float32)
    expected = inner.predict(np.repeat(image, 3, axis=-1), verbose=0)
    np.testing.assert_allclose(model.predict(image, verbose=0), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("width", "features"), [(1.0, 192), (0.25, 48), (0.01, 8)])
def test_small_cnn(width, features):
    model = backbone("small_cnn", 30, 20, width=width)
    found = model.predict(np.random.default_rng(0).normal(size=(2, 30, 20, 1)), verbose=0)
    assert found.shape == (2, features)
    assert np.isfinite(found).all()
    # Mean and peak of what a ReLU gave.
    average, peak = np.split(found, 2, axis=1)
    assert (peak >= average).all()
    assert (average >= 0).all()


def test_small_cnn_parameter_count():
    # Convolutions 3 * 3 * (1 * 16 + 16 * 32 + 32 * 64 + 64 * 96) = 78,480; four numbers a normalised channel: 4 * 208.
    assert backbone("small_cnn", 400, 400).count_params() == 78_480 + 832


def test_weights_of_a_file_are_used(resnet50, tmp_path):
    model, inner = resnet50
    inner.save_weights(tmp_path / "some.weights.h5")
    again = backbone("resnet50", 60, 50, weights=tmp_path / "some.weights.h5")
    # 53 convolutions with kernel and bias, as many normalisations with four vectors each.
    assert len(again.weights) == 53 * 2 + 53 * 4
    for found, expected in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_an_unknown_backbone():
    with pytest.raises(UserError, match="Did you mean resnet50"):
        backbone("resnet", 40, 40)


# --- ImageNet weights ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "module"), [("densenet169", densenet), ("resnet50", resnet)])
def test_files_and_checksums_are_those_of_keras(name, module):
    remote, checksum = IMAGENET[name]
    folder, file = remote.split("/")
    assert f"{WEIGHTS_URL}{folder}/" == module.BASE_WEIGHTS_PATH
    assert checksum.startswith("md5:")
    source = inspect.getsource(module)
    if name == "resnet50":
        assert module.WEIGHTS_HASHES["resnet50"][1] == checksum[4:]  # (with top, without top)
        assert "_weights_tf_dim_ordering_tf_kernels_notop.h5" in source
        assert file == "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
    else:
        assert file in module.DENSENET169_WEIGHT_PATH_NO_TOP
        assert re.search(rf'DENSENET169_WEIGHT_PATH_NO_TOP,[^)]*file_hash="{checksum[4:]}"', source)


CONTENT = b"weights" * 100


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        known = self.path == "/resnet/tiny_notop.h5"
        self.send_response(200 if known else 404)
        # A connection that breaks: more is announced than comes.
        self.send_header("Content-Length", str(len(CONTENT) + (1000 if self.server.breaks else 0)))
        self.end_headers()
        if known:
            self.wfile.write(CONTENT)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(
        backbones.IMAGENET, "resnet50", ("resnet/tiny_notop.h5", "md5:" + hashlib.md5(CONTENT).hexdigest())
    )
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.breaks = [], False
    server.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_file_is_downloaded_once(server, tmp_path):
    folder = tmp_path / "models"
    file = imagenet_file("resnet50", url=server.url, folder=folder)
    assert file == folder / "tiny_notop.h5"
    assert file.read_bytes() == CONTENT
    assert imagenet_file("resnet50", url=server.url, folder=folder) == file
    assert server.asked == ["/resnet/tiny_notop.h5"]
    assert list(folder.iterdir()) == [file]


def test_keras_own_folder_is_the_default(server, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert imagenet_file("resnet50", url=server.url) == tmp_path / "models" / "tiny_notop.h5"


@pytest.mark.parametrize("fault", ["checksum", "absent", "breaks"])
def test_a_download_that_fails_leaves_nothing(server, tmp_path, monkeypatch, fault):
    remote, checksum = backbones.IMAGENET["resnet50"]
    if fault == "checksum":
        monkeypatch.setitem(backbones.IMAGENET, "resnet50", (remote, "md5:" + 32 * "0"))
    elif fault == "absent":
        monkeypatch.setitem(backbones.IMAGENET, "resnet50", ("resnet/other.h5", checksum))
    else:
        server.breaks = True
    assert imagenet_file("resnet50", url=server.url, folder=tmp_path, timeout_s=2) is None
    assert len(server.asked) >= 1
    assert list(tmp_path.iterdir()) == []


def test_no_server_is_noticed_at_once(server, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        started = time.monotonic()
        assert imagenet_file("resnet50", url=f"http://127.0.0.1:{free.getsockname()[1]}/", folder=tmp_path) is None
        assert time.monotonic() - started < 5
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer_is_not_waited_for(server, tmp_path):
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        started = time.monotonic()
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/"
        assert imagenet_file("resnet50", url=url, folder=tmp_path, timeout_s=0.3) is None
        assert 0.25 < time.monotonic() - started < 5


def test_a_damaged_file_is_an_error_that_names_it(server, tmp_path):
    file = imagenet_file("resnet50", url=server.url, folder=tmp_path)
    file.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match="not the published ImageNet checkpoint of resnet50") as caught:
        imagenet_file("resnet50", url=server.url, folder=tmp_path)
    assert str(file) in str(caught.value)
    assert file.read_bytes() == CONTENT[:-1]  # it is the user's to remove
    assert len(server.asked) == 1


def test_a_backbone_without_published_weights(server, tmp_path):
    assert imagenet_file("small_cnn", url=server.url, folder=tmp_path) is None
    assert server.asked == []
