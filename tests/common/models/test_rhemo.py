"""RH-Emo: numbers of parameters, shapes, alignment of the decoder as in PyTorch, and the component of each head."""

import keras
import numpy as np
import pytest
from keras import ops

from common.errors import UserError
from common.models import rhemo
from tests.helpers.declared import parameters

SMALL = {"frames": 16, "bins": 4, "units": 8}


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def test_counts_and_shapes_at_full_size():
    encoder, decoder = rhemo.encoder(), rhemo.decoder()
    assert (trainable(encoder), trainable(decoder)) == (256, 130)
    assert encoder.output_shape == (None, 64, 64, 4) and decoder.output_shape == (None, 512, 128, 4)
    assert [encoder.get_layer(f"norm{n}").output.shape for n in (1, 2)] == [(None, 256, 64, 2), (None, 128, 64, 4)]
    assert [decoder.get_layer(f"qnorm{n}").output.shape for n in (1, 2)] == [(None, 128, 64, 4), (None, 256, 64, 4)]
    assert parameters(rhemo.heads) == 134_283_272
    assert parameters(rhemo.rhemo) == 134_283_272 + 256 + 130 + 2 * (2 + 4) + 2 * (4 + 1)  # the last: statistics


def test_the_encoder_equals_numpy():
    from scipy.signal import correlate

    keras.utils.set_random_seed(0)
    model = rhemo.encoder(16, 8)
    generator = np.random.default_rng(0)
    for weight in model.weights:  # so that biases, scales and running statistics have an effect
        weight.assign(generator.uniform(0.2, 1.5, weight.shape) * generator.choice([1, 1, 1], weight.shape))
    for number in (1, 2, 3):
        kernel = model.get_layer(f"encode{number}").kernel
        kernel.assign(generator.normal(size=kernel.shape))
    x = generator.uniform(size=(2, 16, 8, 1)).astype(np.float32)
    expected = x.astype(float)
    for number, pool in ((1, (2, 2)), (2, (2, 1)), (3, (2, 1))):
        kernel, bias = model.get_layer(f"encode{number}").get_weights()
        maps = [
            [
                sum(correlate(one[..., i], kernel[..., i, o], "same") for i in range(kernel.shape[2])) + bias[o]
                for o in range(kernel.shape[3])
            ]
            for one in expected
        ]
        expected = np.maximum(np.array(maps), 0).transpose(0, 2, 3, 1)
        b, h, w, c = expected.shape
        expected = expected.reshape(b, h // pool[0], pool[0], w // pool[1], pool[1], c).max(axis=(2, 4))
        if number < 3:
            gamma, beta, mean, variance = model.get_layer(f"norm{number}").get_weights()
            expected = gamma * (expected - mean) / np.sqrt(variance + 1e-5) + beta
    np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-4)
    assert (expected >= 0).all() and expected.shape == (2, 2, 4, 4)


def literal_pytorch(x, kernel, bias, stride):
    """ConvTranspose2d with padding 1 and output padding stride - 1, by its definition: y[i s + d - 1] += w[d]* x[i]."""
    r, i, j, k = np.split(kernel, 4, axis=-1)  # (3, 3, out / 4, in / 4) each
    conjugate = np.block([[r, i, j, k], [-i, r, k, -j], [-j, -k, r, i], [-k, j, -i, r]])  # [out, in]
    height, width = x.shape[1] * stride[0], x.shape[2] * stride[1]
    result = np.zeros((len(x), height, width, conjugate.shape[2]))
    for y0, x0, dy, dx in np.ndindex(*x.shape[1:3], 3, 3):
        row, column = y0 * stride[0] + dy - 1, x0 * stride[1] + dx - 1
        if 0 <= row < height and 0 <= column < width:
            result[:, row, column] += x[:, y0, x0] @ conjugate[dy, dx].T
    return result + bias


def test_the_decoder_is_aligned_as_in_pytorch():
    keras.utils.set_random_seed(0)
    model = rhemo.decoder(16, 4)
    generator = np.random.default_rng(0)
    for number in (1, 2, 3):
        model.get_layer(f"decode{number}").bias.assign(generator.normal(size=4))
    x = generator.normal(size=(2, 2, 2, 4)).astype(np.float32)
    expected = x.astype(float)
    for number, stride in ((1, (2, 1)), (2, (2, 1)), (3, (2, 2))):
        expected = literal_pytorch(expected, *model.get_layer(f"decode{number}").get_weights(), stride)
        if number < 3:  # at its initial running statistics, normalisation divides by sqrt(1 + 1e-5)
            expected = np.maximum(expected, 0) / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(model(x), 1 / (1 + np.exp(-expected)), atol=1e-5)


@pytest.mark.parametrize(("component", "name"), enumerate(rhemo.COMPONENTS))
def test_each_head_depends_on_its_component_only(component, name):
    keras.utils.set_random_seed(0)
    model = rhemo.heads(**SMALL)
    x = np.random.default_rng(0).uniform(size=(2, 2, 2, 4)).astype(np.float32)
    before = model(x)
    x[..., component] += 1
    after = model(x)
    changed = {head for head in before if not np.allclose(before[head], after[head], atol=1e-7)}
    assert changed == {name}
    assert rhemo.COMPONENTS == ("emotion", "valence", "arousal", "dominance")


def test_heads_give_logits_and_probabilities():
    outputs = rhemo.heads(4, **SMALL)(np.random.default_rng(0).uniform(0, 9, (50, 2, 2, 4)).astype(np.float32))
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        "emotion": (50, 4), "valence": (50, 1), "arousal": (50, 1), "dominance": (50, 1)
    }  # fmt: skip
    for name in ("valence", "arousal", "dominance"):
        values = ops.convert_to_numpy(outputs[name])
        assert ((values > 0) & (values < 1)).all()
    assert (ops.convert_to_numpy(outputs["emotion"]) < 0).any()


def test_the_whole_network_equals_its_parts(tmp_path):
    keras.utils.set_random_seed(0)
    model = rhemo.rhemo(4, **SMALL, dropout=0.0)
    x = np.random.default_rng(0).uniform(size=(3, 16, 4, 1)).astype(np.float32)
    outputs = model(x)
    embedding = model.get_layer("rhemo_encoder")(x)
    restored = ops.convert_to_numpy(model.get_layer("rhemo_decoder")(embedding))
    assert tuple(outputs["reconstruction"].shape) == x.shape
    np.testing.assert_allclose(outputs["reconstruction"][..., 0], restored.mean(axis=-1), atol=1e-6)
    for name, value in model.get_layer("rhemo_heads")(embedding).items():
        np.testing.assert_allclose(outputs[name], value, atol=1e-6)
    model.save(tmp_path / "rhemo.keras")
    loaded = keras.saving.load_model(tmp_path / "rhemo.keras", safe_mode=True)
    for name, value in loaded(x).items():
        np.testing.assert_array_equal(value, outputs[name])


def test_training_lowers_the_loss_and_keeps_a_frozen_encoder():
    keras.utils.set_random_seed(0)
    model = rhemo.rhemo(4, **SMALL)
    x = np.random.default_rng(0).uniform(0, 0.2, (8, 16, 4, 1)).astype(np.float32)
    losses = {"reconstruction": "binary_crossentropy"}
    model.compile(keras.optimizers.Adam(0.02), losses, jit_compile=False)
    history = model.fit(x, {"reconstruction": x}, epochs=15, verbose=0).history["loss"]
    assert history[-1] < 0.9 * history[0]
    encoder = model.get_layer("rhemo_encoder")
    encoder.trainable = False
    before = [weight.copy() for weight in encoder.get_weights()]
    seen = ops.convert_to_numpy(encoder(x, training=True))
    np.testing.assert_array_equal(seen, encoder(x))  # inference statistics, though called in training
    for one, two in zip(before, encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_mixed_precision():
    x = np.random.default_rng(0).uniform(size=(3, 16, 4, 1)).astype(np.float32)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        outputs = rhemo.rhemo(4, **SMALL)(x)
    finally:
        keras.config.set_dtype_policy("float32")
    assert all(np.isfinite(ops.convert_to_numpy(ops.cast(value, "float32"))).all() for value in outputs.values())
    assert keras.backend.standardize_dtype(outputs["emotion"].dtype) == "float32"


def test_spectrograms_of_unsuitable_size():
    with pytest.raises(UserError, match="501 x 129"):
        rhemo.encoder(501, 129)
