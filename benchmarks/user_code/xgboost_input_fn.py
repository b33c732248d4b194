"""The `code/inference.py` of someone who cares for speed: its own input_fn, with the fastest parser that NumPy has.

This is today's way at its best, since sagemaker-inference decodes text/csv with the slow `genfromtxt`.
"""

import io
import os

import numpy as np
import xgboost


def model_fn(model_dir):
    booster = xgboost.Booster()
    booster.load_model(os.path.join(model_dir, "model.ubj"))
    return booster


def input_fn(body, content_type):
    return xgboost.DMatrix(np.loadtxt(io.StringIO(body), delimiter=",", ndmin=2))


def predict_fn(data, model):
    return model.predict(data)
