"""A model's own code, as AWS's scikit-learn image would run it: which of three growers a wine is from, and how sure.

The numbers of the default answer become words: {"grower": "second", "probability": 0.97} for each row.
"""

import json
import os

import joblib

GROWERS = ("first", "second", "third")


def model_fn(model_dir):
    return joblib.load(os.path.join(model_dir, "model.joblib"))


def predict_fn(data, model):
    return model.predict_proba(data)


def output_fn(prediction, accept):
    rows = [{"grower": GROWERS[row.argmax()], "probability": round(float(row.max()), 4)} for row in prediction]
    return json.dumps(rows), "application/json"
