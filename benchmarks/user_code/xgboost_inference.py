"""The `code/inference.py` that someone writes for an XGBoost model; both servers run it unchanged.

Decoding and encoding are left to the server, as most do. sagemaker-inference hands predict_fn an array, of one
dimension for one row; AWS's XGBoost image a DMatrix.
"""

import os

import numpy as np
import xgboost


def model_fn(model_dir):
    booster = xgboost.Booster()
    booster.load_model(os.path.join(model_dir, "model.ubj"))
    return booster


def predict_fn(data, model):
    if not isinstance(data, xgboost.DMatrix):
        data = xgboost.DMatrix(np.atleast_2d(data))
    return model.predict(data)
