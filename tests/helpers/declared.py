"""Counts of large networks' parameters, without the memory and time that the numbers themselves would take."""

import keras


def parameters(make, prefix: str = "") -> int:
    """Parameters of the layers, of the model that is made, whose names begin so."""
    try:
        with keras.StatelessScope(initialize_variables=False):  # variables get a shape and no value
            return sum(layer.count_params() for layer in make().layers if layer.name.startswith(prefix))
    finally:
        keras.utils.clear_session()  # forgets the variables that wait for their values
