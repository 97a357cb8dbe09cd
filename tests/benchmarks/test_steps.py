"""Operations against hand counts; what a measurement writes into `steps.csv`."""

import keras
import numpy as np
import pytest

from benchmarks import steps
from benchmarks._flops import counted
from common.layers.quaternion import QuaternionConv2D
from common.layers.transformer import TransformerLayer


def layer_count(layer, *shape):
    layer.build((1, *shape))
    return counted(lambda: layer(np.zeros((1, *shape), np.float32)))


@pytest.mark.parametrize(
    ("layer", "shape", "flop", "serial"),
    [
        (lambda: keras.layers.Dense(7), (5,), 2 * 5 * 7, 1),
        (lambda: keras.layers.Dense(7), (11, 5), 2 * 11 * 5 * 7, 1),
        # 10 x 6 places, 3 x 3 cells of 2 channels into 4; then every second place of each side.
        (lambda: keras.layers.Conv2D(4, 3, padding="same"), (10, 6, 2), 2 * 60 * 9 * 2 * 4, 1),
        (lambda: keras.layers.Conv2D(4, 3, strides=2, padding="same"), (10, 6, 2), 2 * 15 * 9 * 2 * 4, 1),
        (lambda: keras.layers.Conv2D(4, 3, groups=2, padding="same"), (10, 6, 2), 2 * 60 * 9 * 1 * 4, 1),
        # Each of 5 x 3 inputs of 2 channels is spread over 3 x 3 cells of 4.
        (lambda: keras.layers.Conv2DTranspose(4, 3, strides=2, padding="same"), (5, 3, 2), 2 * 15 * 2 * 9 * 4, 1),
        # Four gates of 8 units, from 3 inputs and 8 states, at each of 20 steps.
        (lambda: keras.layers.LSTM(8, return_sequences=True), (20, 3), 2 * 20 * 4 * 8 * (3 + 8), 20),
        (lambda: keras.layers.LSTM(8), (20, 3), 2 * 20 * 4 * 8 * (3 + 8), 20),
        # As many as the real convolution of its shape.
        (lambda: QuaternionConv2D(8, 3, padding="same"), (6, 6, 4), 2 * 36 * 9 * 4 * 8, 1),
        # Four projections of 16 x 16, scores and mixture over 10 frames, 16 to 32 and back.
        (lambda: TransformerLayer(2, 32), (10, 16), 2 * (4 * 10 * 256 + 2 * 100 * 16 + 2 * 10 * 16 * 32), 8),
    ],
)  # fmt: skip
def test_products_are_counted_as_by_hand(layer, shape, flop, serial):
    found = layer_count(layer(), *shape)
    assert (found.flop, found.serial) == (flop, serial)


def test_a_whole_network_by_hand():
    """VGG16 at an eighth of its width: thirteen convolutions, three dense layers behind 7 x 7 cells."""
    from common.models.vgg16 import vgg16

    model = vgg16((64, 64, 1), 4, pooling="adaptive", width=0.125)
    widths = [8] * 2 + [16] * 2 + [32] * 3 + [64] * 6
    sides = [64] * 2 + [32] * 2 + [16] * 3 + [8] * 3 + [4] * 3
    into = [1, *widths[:-1]]
    convolutions = sum(2 * side**2 * 9 * a * b for side, a, b in zip(sides, into, widths, strict=True))
    dense = 2 * (49 * 64 * 512 + 512 * 512 + 512 * 4)
    found = counted(lambda: model(np.zeros((1, 64, 64, 1), np.float32)))
    assert found.flop == pytest.approx(convolutions + dense, rel=1e-9)


def test_what_was_watched_is_as_before():
    before = keras.ops.matmul, keras.layers.LSTM.call
    with pytest.raises(RuntimeError):
        counted(lambda: (_ for _ in ()).throw(RuntimeError))
    assert (keras.ops.matmul, keras.layers.LSTM.call) == before


def test_an_estimate_by_hand():
    """300 GFLOP an example in batches of 10 at 30 TFLOP/s: 10 ms; 100 products, three passes: 3 ms; Keras: 3 ms."""
    assert steps.estimated_seconds(300e9, 100, 10) == pytest.approx(0.010 + (0.003 + 0.003) / 10)


def row(device, how, seconds=1.0):
    return {"paper": "mtap", "network": "resnet50", "device": device, "batch": 2, "gflop_per_example": 1.0,
            "seconds_per_example": seconds, "how": how}  # fmt: skip


def test_measurements_take_the_place_of_estimates_and_never_the_other_way(tmp_path):
    known = steps.merged([], [row("gpu", "estimated: x"), row("cpu", "measured: x", 1.23456)])
    assert [one["device"] for one in known] == ["cpu", "gpu"] and known[0]["seconds_per_example"] == "1.235"
    measured = steps.merged(known, [row("gpu", "measured: y", 0.5)])
    assert measured[1]["how"] == "measured: y" and measured[0] == known[0]
    assert steps.merged(measured, [row("gpu", "estimated: z", 9.0)]) == measured
    assert steps.merged(measured, [row("gpu", "measured: z", 9.0)])[1]["seconds_per_example"] == "9"
    steps.write(measured, tmp_path / "steps.csv")
    assert steps.read(tmp_path / "steps.csv") == measured and steps.read(tmp_path / "none.csv") == []


def test_every_network_of_the_smallest_paper_can_be_stepped_and_counted():
    """The others are built the same way by `python -m benchmarks steps`; here only those of seconds."""
    from benchmarks._networks import build
    from ser.cli import paper
    from ser.costs import networks

    for name in ("dimensional_mtl", "mtl_aae"):
        for network, config in networks(paper(name)).items():
            if ("24 wide" in network and "text" in network) or "cnn, one task, 64" in network:
                built = build(name, network, config)
                assert counted(built.forward).flop > 0
                built.step(2)()
