"""What of sagemaker-inference must not stay as it is.

Its decoder reads `.npy` bodies with pickles allowed (T3): an `input_fn` that calls `decoder.decode`, as AWS's
documentation shows, would run whatever a caller sends.
"""

import io
from typing import Any

import numpy as np
from sagemaker_inference import content_types, decoder

from serving.errors import BadInput


def refuse_pickles() -> None:
    """From now on, in this process and those forked from it."""
    decoder._decoder_map[content_types.NPY] = _array


def _array(body: Any) -> np.ndarray:
    """Raises BadInput."""
    try:
        array: np.ndarray = np.load(io.BytesIO(body), allow_pickle=False)
    except (EOFError, OSError, ValueError) as error:
        raise BadInput("The body is no .npy array of numbers or texts: objects would have to be unpickled.") from error
    return array
