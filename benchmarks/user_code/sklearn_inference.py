"""The `code/inference.py` that someone writes for a scikit-learn model; both servers run it unchanged."""

import os

import joblib
import numpy as np


def model_fn(model_dir):
    return joblib.load(os.path.join(model_dir, "model.joblib"))


def predict_fn(data, model):
    return model.predict_proba(np.atleast_2d(data))[:, 1]
