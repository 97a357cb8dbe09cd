"""Quaternion layers: channels in groups of four, and weights that multiply by the Hamilton product.

A tensor with C real channels holds C/4 quaternions: its last axis consists of four contiguous blocks r|i|j|k, one per
component. A weight is a quaternion that multiplies from the left, so a layer has a quarter of the weights of a real
layer (Guizzo et al. 2023, Sec. 1 and 2; Parcollet et al. 2019). A kernel is one variable of shape (..., inputs / 4,
outputs) with the blocks r|i|j|k on its last axis. `hamilton_kernel` makes the equivalent real kernel of it.
"""

from __future__ import annotations

import random

import keras
import numpy as np
from keras import ops

from common.errors import UserError

HAMILTON_PRODUCT = (
    ((1, 0), (1, 1), (1, 2), (1, 3)),
    ((-1, 1), (1, 0), (1, 3), (-1, 2)),
    ((-1, 2), (-1, 3), (1, 0), (1, 1)),
    ((-1, 3), (1, 2), (-1, 1), (1, 0)),
)
"""`HAMILTON_PRODUCT[p][s]` is (sign, weight component) of the factor by which component p of the input contributes to
component s of the output."""

SIGNED_SUMS_FROM = 64
"""`QuaternionConv2D` uses signed sums if input channels times kernel area, per output position, is at least this."""


def hamilton_kernel(kernel):
    """Assembles the real kernel with which a real layer computes the Hamilton product.

    Args:
        kernel: quaternion kernel, shape (..., inputs / 4, outputs), with the blocks r|i|j|k on the last axis.

    Returns:
        Shape (..., inputs, outputs).
    """
    parts = {1: ops.split(kernel, 4, axis=-1), -1: ops.split(-kernel, 4, axis=-1)}
    rows = [ops.concatenate([parts[sign][which] for sign, which in row], axis=-1) for row in HAMILTON_PRODUCT[1:]]
    return ops.concatenate([kernel, *rows], axis=-2)  # the first row is the kernel itself


def _hamilton_signs() -> np.ndarray:
    """The Hamilton product as signs, shape (input component, weight component, output component)."""
    signs = np.zeros((4, 4, 4), np.float32)
    for component, row in enumerate(HAMILTON_PRODUCT):
        for output, (sign, which) in enumerate(row):
            signs[component, which, output] = sign
    return signs


def _quaternions(channels: int, what: str) -> int:
    """Number of quaternions in some channels; an error if it is not a whole number."""
    if channels is None or channels % 4 or channels < 4:
        raise UserError(f"{what} are {channels} channels; quaternions need a multiple of four. Change the width.")
    return channels // 4


@keras.saving.register_keras_serializable(package="ser")
class QuaternionInitializer(keras.initializers.Initializer):
    """Random quaternions whose modulus is chi-distributed with four degrees of freedom.

    W = m (cos t, u sin t), with a modulus m of scale s, t uniform on (-pi, pi), and a unit vector u from three uniform
    numbers; so E |W|^2 = 4 s^2 (Parcollet et al. 2019 after Trabelsi et al. 2018). NumPy draws the numbers, so that
    they are equal on every backend.

    Args:
        criterion: "glorot": s = 1 / sqrt(2 (inputs + outputs)); "he": s = 1 / sqrt(2 inputs). Inputs and outputs are
            numbers of quaternions times the kernel's area.
        seed: seed of the random numbers; None: taken from Python's generator, which `keras.utils.set_random_seed`
            seeds.
    """

    def __init__(self, criterion: str = "glorot", seed: int | None = None):
        if criterion not in ("glorot", "he"):
            raise UserError(f"There is no quaternion initialisation '{criterion}'; it is 'glorot' or 'he'.")
        self.criterion = criterion
        self.seed = seed
        self._seed = random.randrange(2**31) if seed is None else seed

    def scale(self, shape) -> float:
        """The scale s for a kernel of shape (..., inputs / 4, outputs)."""
        area = int(np.prod(shape[:-2], dtype=int))
        inputs, outputs = area * shape[-2], area * shape[-1] // 4
        return 1 / np.sqrt(2 * (inputs + outputs if self.criterion == "glorot" else inputs))

    def __call__(self, shape, dtype=None):
        """A kernel of shape (..., inputs / 4, outputs) with the blocks r|i|j|k on the last axis."""
        generator = np.random.default_rng(self._seed)
        quarter = (*shape[:-1], shape[-1] // 4)
        modulus = self.scale(shape) * np.sqrt(generator.chisquare(4, quarter))
        phase = generator.uniform(-np.pi, np.pi, quarter)
        axis = generator.uniform(-1, 1, (3, *quarter))
        axis /= np.sqrt((axis**2).sum(axis=0) + 1e-4)  # 1e-4 as in the public code; it makes |W| slightly smaller
        parts = [modulus * np.cos(phase), *(modulus * np.sin(phase) * axis)]
        return ops.convert_to_tensor(np.concatenate(parts, axis=-1), dtype=dtype or keras.config.floatx())

    def get_config(self):
        """Arguments of the constructor, for saving."""
        return {"criterion": self.criterion, "seed": self.seed}


def _initializer(value):
    return QuaternionInitializer(value) if value in ("glorot", "he") else keras.initializers.get(value)


class _QuaternionLayer(keras.layers.Layer):
    """Base of convolution, transposed convolution and dense layer: a quaternion kernel, a real bias, an activation."""

    def __init__(
        self,
        outputs: int,
        activation=None,
        use_bias: bool = True,
        kernel_initializer="glorot",
        bias_initializer="zeros",
        kernel_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        _quaternions(outputs, f"The outputs of {self.name}")
        self.outputs = outputs
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = _initializer(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def _add_weights(self, shape):
        self.kernel = self.add_weight(
            shape=shape, initializer=self.kernel_initializer, regularizer=self.kernel_regularizer, name="kernel"
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(shape=(self.outputs,), initializer=self.bias_initializer, name="bias")

    def _add_bias_and_activate(self, outputs):
        if self.bias is not None:
            outputs = ops.add(outputs, self.bias)
        return self.activation(outputs)

    def get_config(self):
        """Arguments of the constructor, for saving."""
        return {
            **super().get_config(),
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }


class _QuaternionConvolution(_QuaternionLayer):
    """Base of convolution and transposed convolution."""

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = 1,
        padding: str = "valid",
        **kwargs,
    ):
        super().__init__(filters, **kwargs)
        if padding not in ("valid", "same"):
            raise UserError(f"There is no padding '{padding}' in {self.name}; it is 'valid' or 'same'.")
        self.kernel_size = (kernel_size,) * 2 if isinstance(kernel_size, int) else tuple(kernel_size)
        self.strides = (strides,) * 2 if isinstance(strides, int) else tuple(strides)
        self.padding = padding

    @property
    def filters(self) -> int:
        """Output channels, four per quaternion."""
        return self.outputs

    def get_config(self):
        """Arguments of the constructor, for saving."""
        config = {"kernel_size": self.kernel_size, "strides": self.strides, "padding": self.padding}
        return {**super().get_config(), "filters": self.outputs, **config}


@keras.saving.register_keras_serializable(package="ser")
class QuaternionConv2D(_QuaternionConvolution):
    """Quaternion convolution, channels last; it has outputs * inputs * area / 4 + outputs parameters.

    There are two ways to compute it, with equal results up to rounding. For large feature maps it is one real
    convolution with the kernel of `hamilton_kernel`. For small ones, assembling that kernel would take most of the
    time, so the four components of the input are convolved with the stored kernel and then added with signs.

    Args:
        filters: output channels, four per quaternion.
        kernel_size: height and width.
        strides: along height and width.
        padding: "valid" or "same".
        **kwargs: `activation` (applied to each real component), `use_bias` (one real number per channel),
            `kernel_initializer` ("glorot", "he", or an initialiser for the shape (height, width, inputs / 4, filters)),
            `bias_initializer` and `kernel_regularizer` as in `keras.layers.Conv2D`, and those of `keras.layers.Layer`.

    Call:
        inputs: shape (batch, height, width, channels). Returns shape (batch, height', width', filters).
    """

    def build(self, input_shape):
        """Creates the kernel, shape (height, width, channels / 4, filters)."""
        quaternions = _quaternions(input_shape[-1], f"The inputs of {self.name}")
        self._add_weights((*self.kernel_size, quaternions, self.outputs))

    def call(self, inputs):
        """The convolution."""
        if self._uses_signed_sums(inputs.shape):
            return self._add_bias_and_activate(self._signed_sums(inputs))
        return self._add_bias_and_activate(self._convolve(inputs, hamilton_kernel(self.kernel)))

    def _convolve(self, inputs, kernel):
        return ops.conv(inputs, kernel, strides=self.strides, padding=self.padding, data_format="channels_last")

    def _uses_signed_sums(self, input_shape) -> bool:
        """True if the output has so few positions that `_signed_sums` is faster than assembling the real kernel.

        Assembling moves inputs * area numbers per output channel, signed sums a few per position and example. With 512
        channels and a batch of 20, sums are faster for 4 x 4 positions, equally fast for 8 x 8, and slower for more.
        """
        height, width = self.compute_output_shape(input_shape)[1:3]
        if height is None or width is None:
            return False
        return SIGNED_SUMS_FROM * height * width <= input_shape[-1] * self.kernel_size[0] * self.kernel_size[1]

    def _signed_sums(self, inputs):
        """The convolution with the stored kernel, which takes the components of the input as four batches."""
        components = ops.concatenate(ops.split(inputs, 4, axis=-1), axis=0)
        products = ops.split(self._convolve(components, self.kernel), 4, axis=0)
        blocks = [ops.split(product, 4, axis=-1) for product in products]
        outputs = blocks[0]  # the real component of the input contributes to all outputs with a positive sign
        for row, own in zip(HAMILTON_PRODUCT[1:], blocks[1:], strict=True):
            outputs = [
                total + own[which] if sign > 0 else total - own[which]
                for total, (sign, which) in zip(outputs, row, strict=True)
            ]
        return ops.concatenate(outputs, axis=-1)

    def compute_output_shape(self, input_shape):
        """(batch, height', width', filters)."""
        sizes = zip(input_shape[1:3], self.kernel_size, self.strides, strict=True)
        lost = self.padding == "valid"
        spatial = [None if n is None else (n - lost * (k - 1) + s - 1) // s for n, k, s in sizes]
        return (input_shape[0], *spatial, self.outputs)


@keras.saving.register_keras_serializable(package="ser")
class QuaternionConv2DTranspose(_QuaternionConvolution):
    """Transposed quaternion convolution, the adjoint of `QuaternionConv2D`.

    The transpose of the multiplication by w is the multiplication by its conjugate, so this layer applies conj(w), as
    the transposed convolution of Guizzo et al. (2023) does. For the initialisation "he", this layer's outputs are
    counted as inputs, since they are the inputs of the convolution of which it is the adjoint (as in their code).

    Args:
        filters: output channels, four per quaternion.
        kernel_size: height and width.
        strides: along height and width.
        padding: "valid": n positions become (n - 1) stride + kernel; "same": n stride, cropped as Keras does it.
        kernel_initializer: "glorot", "he", or an initialiser for the shape (height, width, filters / 4, channels).
        **kwargs: as in `QuaternionConv2D`.

    Call:
        inputs: shape (batch, height, width, channels). Returns shape (batch, height', width', filters).
    """

    def __init__(self, filters, kernel_size, strides=1, padding="valid", *, kernel_initializer="he", **kwargs):
        super().__init__(filters, kernel_size, strides, padding, kernel_initializer=kernel_initializer, **kwargs)

    def build(self, input_shape):
        """Creates the kernel, shape (height, width, filters / 4, channels)."""
        _quaternions(input_shape[-1], f"The inputs of {self.name}")
        self._add_weights((*self.kernel_size, self.outputs // 4, input_shape[-1]))

    def call(self, inputs):
        """The transposed convolution."""
        kernel = hamilton_kernel(self.kernel)
        return self._add_bias_and_activate(
            ops.conv_transpose(inputs, kernel, strides=self.strides, padding=self.padding, data_format="channels_last")
        )

    def compute_output_shape(self, input_shape):
        """(batch, height', width', filters)."""
        sizes = zip(input_shape[1:3], self.kernel_size, self.strides, strict=True)
        grown = self.padding == "valid"
        spatial = [None if n is None else n * s + grown * max(k - s, 0) for n, k, s in sizes]
        return (input_shape[0], *spatial, self.outputs)


@keras.saving.register_keras_serializable(package="ser")
class QuaternionDense(_QuaternionLayer):
    """Quaternion dense layer; it has units * inputs / 4 + units parameters.

    The four components of the input are multiplied by the stored kernel and then added with signs. No real kernel is
    assembled, because reading four times as many weights would take most of the time for small batches.

    Args:
        units: output channels, four per quaternion.
        activation: applied to each real component.
        use_bias: adds one real number per channel.
        kernel_initializer: "he", "glorot", or an initialiser for the shape (inputs / 4, units).
        **kwargs: `bias_initializer` and `kernel_regularizer` as in `keras.layers.Dense`, and those of
            `keras.layers.Layer`.

    Call:
        inputs: shape (..., channels). Returns shape (..., units).
    """

    def __init__(self, units: int, activation=None, use_bias: bool = True, kernel_initializer="he", **kwargs):
        super().__init__(units, activation, use_bias, kernel_initializer, **kwargs)

    @property
    def units(self) -> int:
        """Output channels, four per quaternion."""
        return self.outputs

    def build(self, input_shape):
        """Creates the kernel, shape (channels / 4, units)."""
        quaternions = _quaternions(input_shape[-1], f"The inputs of {self.name}")
        self._add_weights((quaternions, self.outputs))

    def call(self, inputs):
        """The product."""
        leading = tuple(ops.shape(inputs)[:-1])
        components = ops.reshape(inputs, (-1, inputs.shape[-1] // 4))  # one row per component of an example
        products = ops.reshape(ops.matmul(components, self.kernel), (-1, 16, self.outputs // 4))
        signs = ops.cast(_hamilton_signs().reshape(16, 4).T, products.dtype)
        outputs = ops.matmul(signs, products)
        return self._add_bias_and_activate(ops.reshape(outputs, (*leading, self.outputs)))

    def compute_output_shape(self, input_shape):
        """(..., units)."""
        return (*input_shape[:-1], self.outputs)

    def get_config(self):
        """Arguments of the constructor, for saving."""
        return {**super().get_config(), "units": self.outputs}


@keras.saving.register_keras_serializable(package="ser")
class QuaternionBatchNormalization(keras.layers.Layer):
    """Batch normalisation with one mean per component (r, i, j, k) and one variance for all four.

    Means are over batch, positions and quaternions; the variance is the mean, over the same, of the summed squared
    deviations of the four components. There is one gamma per quaternion and one beta per channel, as in the public
    code of RH-Emo (Guizzo et al. 2023). As in `keras.layers.BatchNormalization`, a layer that is not trainable uses
    its running statistics. It is computed in float32.

    Args:
        momentum: share of the running statistics that is kept at each step (0.9 corresponds to PyTorch's 0.1).
        epsilon: added to the variance.
        **kwargs: as in `keras.layers.Layer`.

    Call:
        inputs: shape (batch, ..., channels). Returns the same shape.
    """

    def __init__(self, momentum: float = 0.9, epsilon: float = 1e-5, **kwargs):
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon
        self.supports_masking = True

    def build(self, input_shape):
        """Creates gamma (channels / 4), beta (channels), and the running mean (4) and variance (1)."""
        quaternions = _quaternions(input_shape[-1], f"The inputs of {self.name}")
        single = {"dtype": "float32", "autocast": False}
        self.gamma = self.add_weight(shape=(quaternions,), initializer="ones", name="gamma", **single)
        self.beta = self.add_weight(shape=(4 * quaternions,), initializer="zeros", name="beta", **single)
        fixed = {**single, "trainable": False}
        self.moving_mean = self.add_weight(shape=(4,), initializer="zeros", name="moving_mean", **fixed)
        self.moving_variance = self.add_weight(shape=(1,), initializer="ones", name="moving_variance", **fixed)

    def call(self, inputs, training=False):
        """Normalises; in training by the statistics of the batch."""
        quaternions = inputs.shape[-1] // 4
        shape = ops.shape(inputs)
        values = ops.cast(ops.reshape(inputs, (-1, 4, quaternions)), "float32")
        if training and self.trainable:
            mean = ops.mean(values, axis=(0, 2))
            square = ops.square(values - ops.reshape(mean, (1, 4, 1)))
            variance = ops.reshape(4 * ops.mean(square), (1,))  # the sum over components, averaged over the rest
            for running, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
                running.assign(self.momentum * running + (1 - self.momentum) * ops.stop_gradient(now))
        else:
            mean, variance = ops.convert_to_tensor(self.moving_mean), ops.convert_to_tensor(self.moving_variance)
        scale = ops.reshape(self.gamma, (1, 1, quaternions)) / ops.sqrt(variance + self.epsilon)
        outputs = scale * (values - ops.reshape(mean, (1, 4, 1))) + ops.reshape(self.beta, (1, 4, quaternions))
        return ops.cast(ops.reshape(outputs, shape), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """The inputs' shape."""
        return input_shape

    def get_config(self):
        """Arguments of the constructor, for saving."""
        return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}
