"""Quaternion layers: four real components a quaternion, weights that act by the Hamilton product.

A tensor of C real channels holds C/4 quaternions as four contiguous blocks r|i|j|k of its last axis. A weight
w = r + i*x + j*y + k*z multiplies from the left, so a layer has a quarter of a real layer's weights (Guizzo et al.
2023, Sec. 1 and 2; Parcollet et al. 2019). Kernels are stored as one variable of shape (..., inputs / 4, outputs) with
the blocks r|i|j|k on its last axis, which is also the first block row of the real kernel they stand for.
"""

from __future__ import annotations

import random

import keras
import numpy as np
from keras import ops

from common.errors import UserError

PRODUCT = (
    ((1, 0), (1, 1), (1, 2), (1, 3)),
    ((-1, 1), (1, 0), (1, 3), (-1, 2)),
    ((-1, 2), (-1, 3), (1, 0), (1, 1)),
    ((-1, 3), (1, 2), (-1, 1), (1, 0)),
)
"""The Hamilton product: `PRODUCT[p][s]` is the sign and the component of the weight that carries component p of the
input into component s of the output."""

PLACES = 64
"""Inputs times the kernel's area that a place of the map must have for `QuaternionConv2D` to assemble no kernel."""


def hamilton_kernel(kernel):
    """The real kernel of a quaternion kernel.

    Args:
        kernel: shape (..., inputs / 4, outputs), blocks r|i|j|k on the last axis.

    Returns:
        Tensor of shape (..., inputs, outputs): a real layer with it computes the Hamilton product.
    """
    parts = {1: ops.split(kernel, 4, axis=-1), -1: ops.split(-kernel, 4, axis=-1)}
    rows = [ops.concatenate([parts[sign][which] for sign, which in row], axis=-1) for row in PRODUCT[1:]]
    return ops.concatenate([kernel, *rows], axis=-2)  # the first row is the kernel itself


def _product_tensor() -> np.ndarray:
    """The product as signs, shape (input component, weight component, output component)."""
    signs = np.zeros((4, 4, 4), np.float32)
    for component, row in enumerate(PRODUCT):
        for output, (sign, which) in enumerate(row):
            signs[component, which, output] = sign
    return signs


def _quarter(channels: int, what: str) -> int:
    if channels is None or channels % 4 or channels < 4:
        raise UserError(f"{what} are {channels} channels; quaternions need a multiple of four. Change the width.")
    return channels // 4


@keras.saving.register_keras_serializable(package="ser")
class QuaternionInitializer(keras.initializers.Initializer):
    """Weights of random direction whose modulus is chi-distributed with four degrees of freedom.

    W = m (cos t, u sin t) with m of scale s, t uniform on (-pi, pi) and u a unit vector from three uniform draws; so
    E |W|^2 = 4 s^2 (Parcollet et al. 2019 after Trabelsi et al. 2018). Drawn by NumPy: equal on every backend.

    Args:
        criterion: "glorot": s = 1 / sqrt(2 (inputs + outputs)); "he": s = 1 / sqrt(2 inputs). Both are counted in
            quaternion channels times the kernel's area.
        seed: of the draw; None: from Python's generator, which `keras.utils.set_random_seed` seeds.
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
        """A kernel of shape (..., inputs / 4, outputs), blocks r|i|j|k on the last axis."""
        generator = np.random.default_rng(self._seed)
        quarter = (*shape[:-1], shape[-1] // 4)
        modulus = self.scale(shape) * np.sqrt(generator.chisquare(4, quarter))
        phase = generator.uniform(-np.pi, np.pi, quarter)
        axis = generator.uniform(-1, 1, (3, *quarter))
        axis /= np.sqrt((axis**2).sum(axis=0) + 1e-4)  # the public code's guard; |W| falls short of m by it
        parts = [modulus * np.cos(phase), *(modulus * np.sin(phase) * axis)]
        return ops.convert_to_tensor(np.concatenate(parts, axis=-1), dtype=dtype or keras.config.floatx())

    def clone(self):
        """Another draw, unless the seed is fixed."""
        return type(self)(self.criterion, self.seed)

    def get_config(self):
        """The arguments, for saving."""
        return {"criterion": self.criterion, "seed": self.seed}


def _initializer(value):
    return QuaternionInitializer(value) if value in ("glorot", "he") else keras.initializers.get(value)


class _Weighted(keras.layers.Layer):
    """What convolution, transposed convolution and dense share: a quaternion kernel, a real bias, an activation."""

    def __init__(
        self, outputs, activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, **kwargs
    ):
        super().__init__(**kwargs)
        _quarter(outputs, f"The outputs of {self.name}")
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

    def _finish(self, outputs):
        if self.bias is not None:
            outputs = ops.add(outputs, self.bias)
        return self.activation(outputs)

    def get_config(self):
        """The arguments, for saving."""
        return {
            **super().get_config(),
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }


class _Convolution(_Weighted):
    """What convolution and transposed convolution share."""

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = 1,
        padding: str = "valid",
        activation=None,
        use_bias: bool = True,
        kernel_initializer="glorot",
        bias_initializer="zeros",
        kernel_regularizer=None,
        **kwargs,
    ):
        super().__init__(
            filters, activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, **kwargs
        )
        if padding not in ("valid", "same"):
            raise UserError(f"There is no padding '{padding}' in {self.name}; it is 'valid' or 'same'.")
        self.kernel_size = (kernel_size,) * 2 if isinstance(kernel_size, int) else tuple(kernel_size)
        self.strides = (strides,) * 2 if isinstance(strides, int) else tuple(strides)
        self.padding = padding

    @property
    def filters(self) -> int:
        """Output channels, four a quaternion."""
        return self.outputs

    def get_config(self):
        """The arguments, for saving."""
        config = {"kernel_size": self.kernel_size, "strides": self.strides, "padding": self.padding}
        return {**super().get_config(), "filters": self.outputs, **config}


@keras.saving.register_keras_serializable(package="ser")
class QuaternionConv2D(_Convolution):
    """Quaternion convolution: one real convolution with the kernel that the Hamilton product assembles.

    On maps of few places no kernel is assembled: its four components are convolved with the stored kernel as a batch of
    four, and signed sums follow (see `QuaternionDense`), which gives the same but for rounding.

    outputs * inputs * area / 4 + outputs parameters. Arguments as in `keras.layers.Conv2D`, channels last.

    Args:
        filters: output channels, four a quaternion.
        kernel_size: height and width.
        strides: along height and width.
        padding: "valid" or "same".
        activation: on each real component.
        use_bias: one real number a channel.
        kernel_initializer: "glorot", "he" or an initialiser of shape (height, width, inputs / 4, filters).
        bias_initializer: as in Keras.
        kernel_regularizer: as in Keras.
        **kwargs: as in `keras.layers.Layer`.

    Call:
        inputs: shape (batch, height, width, channels). Returns shape (batch, height', width', filters).
    """

    def build(self, input_shape):
        """Creates the kernel, shape (height, width, channels / 4, filters)."""
        quarter = _quarter(input_shape[-1], f"The inputs of {self.name}")
        self._add_weights((*self.kernel_size, quarter, self.outputs))

    def call(self, inputs):
        """The convolution."""
        if self._is_small(inputs.shape):
            return self._finish(self._signed_sums(inputs))
        return self._finish(self._convolved(inputs, hamilton_kernel(self.kernel)))

    def _convolved(self, inputs, kernel):
        return ops.conv(inputs, kernel, strides=self.strides, padding=self.padding, data_format="channels_last")

    def _is_small(self, input_shape) -> bool:
        """True if the map has so few places that assembling the real kernel would take longer than `_signed_sums`.

        Assembling moves inputs * area numbers an output channel, the sums some a place and datapoint. With 512 channels
        and a batch of 20, sums are faster at 4 x 4 places, as fast at 8 x 8, and slower at more.
        """
        height, width = self.compute_output_shape(input_shape)[1:3]
        if height is None or width is None:
            return False
        return PLACES * height * width <= input_shape[-1] * self.kernel_size[0] * self.kernel_size[1]

    def _signed_sums(self, inputs):
        """The convolution without a real kernel: the components meet the stored one as four batches, then are added."""
        components = ops.concatenate(ops.split(inputs, 4, axis=-1), axis=0)
        products = ops.split(self._convolved(components, self.kernel), 4, axis=0)
        blocks = [ops.split(product, 4, axis=-1) for product in products]
        outputs = blocks[0]  # the real component of the input meets all four with a plus
        for row, own in zip(PRODUCT[1:], blocks[1:], strict=True):
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
class QuaternionConv2DTranspose(_Convolution):
    """The adjoint of `QuaternionConv2D`: the same kernel, transposed in space, channels and the quaternion algebra.

    The transpose of multiplication by w is multiplication by its conjugate, so this layer applies conj(w), as the
    authors' transposed convolution does. Arguments as in `QuaternionConv2D`; initialised by "he", where the inputs
    counted are those of the convolution it is the adjoint of, that is this layer's outputs (as in the authors' code).

    Args:
        filters: output channels, four a quaternion.
        kernel_size: height and width.
        strides: along height and width.
        padding: "valid": (n - 1) stride + kernel; "same": n stride, cut where Keras cuts it.
        activation: on each real component.
        use_bias: one real number a channel.
        kernel_initializer: "glorot", "he" or an initialiser of shape (height, width, filters / 4, channels).
        **kwargs: as in `QuaternionConv2D`.

    Call:
        inputs: shape (batch, height, width, channels). Returns shape (batch, height', width', filters).
    """

    def __init__(self, filters, kernel_size, strides=1, padding="valid", *, kernel_initializer="he", **kwargs):
        super().__init__(filters, kernel_size, strides, padding, kernel_initializer=kernel_initializer, **kwargs)

    def build(self, input_shape):
        """Creates the kernel, shape (height, width, filters / 4, channels)."""
        _quarter(input_shape[-1], f"The inputs of {self.name}")
        self._add_weights((*self.kernel_size, self.outputs // 4, input_shape[-1]))

    def call(self, inputs):
        """The transposed convolution."""
        kernel = hamilton_kernel(self.kernel)
        return self._finish(
            ops.conv_transpose(inputs, kernel, strides=self.strides, padding=self.padding, data_format="channels_last")
        )

    def compute_output_shape(self, input_shape):
        """(batch, height', width', filters)."""
        sizes = zip(input_shape[1:3], self.kernel_size, self.strides, strict=True)
        grown = self.padding == "valid"
        spatial = [None if n is None else n * s + grown * max(k - s, 0) for n, k, s in sizes]
        return (input_shape[0], *spatial, self.outputs)


@keras.saving.register_keras_serializable(package="ser")
class QuaternionDense(_Weighted):
    """A dense layer whose weights multiply by the Hamilton product; units * inputs / 4 + units parameters.

    No real kernel is assembled: the four components of the input meet the stored kernel in one product, and signed
    sums follow. That reads a quarter of the weights, which for small batches is what a dense layer's time goes into.

    Args:
        units: output channels, four a quaternion.
        activation: on each real component.
        use_bias: one real number a channel.
        kernel_initializer: "he" (the authors' default here), "glorot" or an initialiser of shape (inputs / 4, units).
        bias_initializer: as in Keras.
        kernel_regularizer: as in Keras.
        **kwargs: as in `keras.layers.Layer`.

    Call:
        inputs: shape (..., channels). Returns shape (..., units).
    """

    def __init__(
        self,
        units: int,
        activation=None,
        use_bias: bool = True,
        kernel_initializer="he",
        bias_initializer="zeros",
        kernel_regularizer=None,
        **kwargs,
    ):
        super().__init__(
            units, activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, **kwargs
        )

    @property
    def units(self) -> int:
        """Output channels, four a quaternion."""
        return self.outputs

    def build(self, input_shape):
        """Creates the kernel, shape (channels / 4, units)."""
        quarter = _quarter(input_shape[-1], f"The inputs of {self.name}")
        self._add_weights((quarter, self.outputs))

    def call(self, inputs):
        """The product."""
        leading = tuple(ops.shape(inputs)[:-1])
        components = ops.reshape(inputs, (-1, inputs.shape[-1] // 4))  # a row a component of a datapoint
        products = ops.reshape(ops.matmul(components, self.kernel), (-1, 16, self.outputs // 4))
        signs = ops.cast(_product_tensor().reshape(16, 4).T, products.dtype)
        outputs = ops.matmul(signs, products)
        return self._finish(ops.reshape(outputs, (*leading, self.outputs)))

    def compute_output_shape(self, input_shape):
        """(..., units)."""
        return (*input_shape[:-1], self.outputs)

    def get_config(self):
        """The arguments, for saving."""
        return {**super().get_config(), "units": self.outputs}


@keras.saving.register_keras_serializable(package="ser")
class QuaternionBatchNormalization(keras.layers.Layer):
    """Batch normalisation with one mean a component and one variance shared by the four.

    The means (r, i, j, k) run over batch, space and quaternion channels; the variance is the mean over the same of
    the summed squared deviations of the four components. gamma is one number a quaternion, beta one a channel
    (as the public code of RH-Emo has it; neither paper states it). As in `keras.layers.BatchNormalization`, a layer
    that is not trainable uses its running statistics. Computed in float32.

    Args:
        momentum: share of the running statistics that stays at each step (0.9 is PyTorch's 0.1).
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
        """Creates gamma (channels / 4), beta (channels) and the running mean (4) and variance (1)."""
        quarter = _quarter(input_shape[-1], f"The inputs of {self.name}")
        single = {"dtype": "float32", "autocast": False}
        self.gamma = self.add_weight(shape=(quarter,), initializer="ones", name="gamma", **single)
        self.beta = self.add_weight(shape=(4 * quarter,), initializer="zeros", name="beta", **single)
        fixed = {**single, "trainable": False}
        self.moving_mean = self.add_weight(shape=(4,), initializer="zeros", name="moving_mean", **fixed)
        self.moving_variance = self.add_weight(shape=(1,), initializer="ones", name="moving_variance", **fixed)

    def call(self, inputs, training=False):
        """Normalises, by the batch's own statistics in training."""
        quarter = inputs.shape[-1] // 4
        shape = ops.shape(inputs)
        values = ops.cast(ops.reshape(inputs, (-1, 4, quarter)), "float32")
        if training and self.trainable:
            mean = ops.mean(values, axis=(0, 2))
            square = ops.square(values - ops.reshape(mean, (1, 4, 1)))
            variance = ops.reshape(4 * ops.mean(square), (1,))  # the sum over components, averaged over the rest
            for running, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
                running.assign(self.momentum * running + (1 - self.momentum) * ops.stop_gradient(now))
        else:
            mean, variance = ops.convert_to_tensor(self.moving_mean), ops.convert_to_tensor(self.moving_variance)
        scale = ops.reshape(self.gamma, (1, 1, quarter)) / ops.sqrt(variance + self.epsilon)
        outputs = scale * (values - ops.reshape(mean, (1, 4, 1))) + ops.reshape(self.beta, (1, 4, quarter))
        return ops.cast(ops.reshape(outputs, shape), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """The inputs' shape."""
        return input_shape

    def get_config(self):
        """The arguments, for saving."""
        return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}
