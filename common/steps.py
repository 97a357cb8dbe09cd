"""Training steps with several losses and optimisers, which run on TensorFlow and on JAX.

`keras.Model.fit` knows one loss and one optimiser. A step that updates parts of a network one after the other needs
gradients in its middle, for which Keras has no function of its own. `Steps.gradients` and `Steps.pullback` compute
them, and `Steps.compile` compiles a whole step (by `tf.function`, or by `jax.jit` with the values of all variables as
arguments).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from common.errors import UserError

SUPPORTED_BACKENDS = ("tensorflow", "jax")


class Steps:
    """Gradients and compilation for steps that read and update Keras variables.

    Args:
        variables: every variable that a step reads or changes, each once: weights, statistics, states of optimisers
            and of random number generators.

    Raises:
        UserError: The backend is neither TensorFlow nor JAX.
        ValueError: A variable was given twice.
    """

    def __init__(self, variables: Sequence[keras.Variable]):
        if keras.backend.backend() not in SUPPORTED_BACKENDS:
            raise UserError(
                f"This training needs the backend {' or '.join(SUPPORTED_BACKENDS)}; set KERAS_BACKEND to one of them "
                f"instead of {keras.backend.backend()}."
            )
        self.variables = list(variables)
        if len({id(variable) for variable in self.variables}) != len(self.variables):
            raise ValueError("A variable was given twice.")

    def pullback(self, function: Callable, variables: Sequence[keras.Variable], tensors: Sequence = ()) -> tuple:
        """Evaluates a function now, so that its gradients can be computed later ("vector-Jacobian product").

        Use it where the gradient of a loss by a function's output is known from elsewhere, for example from another
        network. The name is that of the mathematical operation: it pulls a gradient back from output to inputs.

        Args:
            function: takes `tensors`; returns (output, anything else). It may change variables.
            variables: variables to differentiate by.
            tensors: arguments of the function, also to differentiate by.

        Returns:
            The output, anything else, and the function ``pull(gradient)``, which may be called once. It takes the
            gradient of a loss by the output (None: 1, for a scalar output) and returns two lists: the gradients by the
            variables and by the tensors.
        """
        if keras.backend.backend() == "jax":
            return self._pullback_jax(function, variables, tensors)
        import tensorflow as tf

        # Only the requested variables are watched, so that frozen parts need no memory for gradients.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            sources = [variable.value for variable in variables] + [tf.convert_to_tensor(one) for one in tensors]
            tape.watch(sources)
            output, other = function(*sources[len(variables) :])

        def pull(gradient=None):
            gradients = tape.gradient(output, sources, output_gradients=gradient)
            return gradients[: len(variables)], gradients[len(variables) :]

        return output, other, pull

    def _pullback_jax(self, function, variables, tensors):
        import jax

        chosen = {id(variable) for variable in variables}
        others = [variable for variable in self.variables if id(variable) not in chosen]
        # A StatelessScope does not see the values of an outer one: all are passed in, and changed values are read back.
        current = [(variable, variable.value) for variable in others]

        def pure(values, arguments):
            with keras.StatelessScope(state_mapping=[*current, *zip(variables, values, strict=True)]) as scope:
                output, other = function(*arguments)
            return output, (other, [scope.get_current_value(variable) for variable in others])

        values = [variable.value for variable in variables]
        output, back, (other, changed) = jax.vjp(pure, values, list(tensors), has_aux=True)
        for variable, value in zip(others, changed, strict=True):
            variable.assign(value)
        return output, other, lambda gradient=None: back(jax.numpy.ones_like(output) if gradient is None else gradient)

    def gradients(self, loss: Callable, variables: Sequence[keras.Variable]) -> tuple[Any, Any, list]:
        """Computes a loss and its gradients.

        Args:
            loss: function without arguments; returns (scalar, anything else).
            variables: variables to differentiate by.

        Returns:
            The scalar, anything else, and the gradient by each variable.
        """
        value, other, pull = self.pullback(loss, variables)
        return value, other, pull()[0]

    def compile(self, step: Callable[[dict], dict]) -> Callable[[dict], dict]:
        """Compiles a step.

        Args:
            step: takes a batch (arrays by name, always of the same shapes), updates variables and returns scalars by
                name.

        Returns:
            A function with the same arguments, effects and results.
        """
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            return tf.function(step, autograph=False)
        import jax

        def pure(values, batch):
            with keras.StatelessScope(state_mapping=list(zip(self.variables, values, strict=True))) as scope:
                logs = step(batch)
            return logs, [scope.get_current_value(variable) for variable in self.variables]

        compiled = jax.jit(pure, donate_argnums=0)

        def run(batch: dict) -> dict:
            logs, values = compiled([variable.value for variable in self.variables], batch)
            for variable, value in zip(self.variables, values, strict=True):
                variable.assign(value)
            return logs

        return run
