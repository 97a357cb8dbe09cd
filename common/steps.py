"""Training steps of several losses and optimisers, written once in Keras and run by TensorFlow or JAX.

`keras.Model.fit` knows one loss and one optimiser. A step that updates parts of a network in turn needs gradients in
the middle of it, and these are the only thing that Keras leaves to its backends: `Steps.pullback` is that, and
`Steps.compile` makes one function of the step (a `tf.function`, or `jax.jit` over the values of all variables).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from common.errors import UserError

BACKENDS = ("tensorflow", "jax")


class Steps:
    """Gradients and compilation for code that reads and updates some Keras variables.

    Args:
        variables: every variable that a step reads or changes, each once: weights, statistics, states of optimisers
            and of random numbers.

    Raises:
        UserError: the backend is neither TensorFlow nor JAX.
    """

    def __init__(self, variables: Sequence[keras.Variable]):
        if keras.backend.backend() not in BACKENDS:
            raise UserError(
                f"This paper trains on {' or '.join(BACKENDS)}; set KERAS_BACKEND to one of them "
                f"instead of {keras.backend.backend()}."
            )
        self.variables = list(variables)
        if len({id(variable) for variable in self.variables}) != len(self.variables):
            raise ValueError("A variable was given twice.")

    def pullback(self, function: Callable, variables: Sequence[keras.Variable], tensors: Sequence = ()) -> tuple:
        """Evaluates a function and gives what turns its output's gradient into those of what went in.

        Args:
            function: called with `tensors`; returns (output, anything else). May change variables.
            variables: what to differentiate by, besides `tensors`.
            tensors: arguments of the function.

        Returns:
            output, anything else, and ``pull(gradient) -> (of the variables, of the tensors)``, two lists; `gradient`
            has the output's shape, None means 1 for a scalar. To be called once.
        """
        if keras.backend.backend() == "jax":
            return self._pullback_jax(function, variables, tensors)
        import tensorflow as tf

        # Only what is asked for is recorded: a frozen part costs no memory for its own gradients.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            sources = [variable.value for variable in variables] + [tf.convert_to_tensor(one) for one in tensors]
            tape.watch(sources)
            output, other = function(*sources[len(variables) :])

        def pull(gradient=None):
            found = tape.gradient(output, sources, output_gradients=gradient)
            return found[: len(variables)], found[len(variables) :]

        return output, other, pull

    def _pullback_jax(self, function, variables, tensors):
        import jax

        chosen = {id(variable) for variable in variables}
        others = [variable for variable in self.variables if id(variable) not in chosen]
        # An inner scope does not see an outer one's values: all of them are handed in, and what changed is taken out.
        held = [(variable, variable.value) for variable in others]

        def pure(values, arguments):
            with keras.StatelessScope(state_mapping=[*held, *zip(variables, values, strict=True)]) as scope:
                output, other = function(*arguments)
            return output, (other, [scope.get_current_value(variable) for variable in others])

        values = [variable.value for variable in variables]
        output, back, (other, changed) = jax.vjp(pure, values, list(tensors), has_aux=True)
        for variable, value in zip(others, changed, strict=True):
            variable.assign(value)
        return output, other, lambda gradient=None: back(jax.numpy.ones_like(output) if gradient is None else gradient)

    def gradients(self, loss: Callable, variables: Sequence[keras.Variable]) -> tuple[Any, Any, list]:
        """Value of a loss and its gradients.

        Args:
            loss: takes nothing; returns (scalar, anything else).
            variables: what to differentiate by.

        Returns:
            the scalar, anything else, and one gradient a variable.
        """
        value, other, pull = self.pullback(loss, variables)
        return value, other, pull()[0]

    def compile(self, step: Callable[[dict], dict]) -> Callable[[dict], dict]:
        """A step as one compiled function.

        Args:
            step: takes a batch (arrays by name, always of the same shapes), updates variables, returns scalars by name.
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
