"""Estimators, fitted and not."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def samples() -> dict[str, Any]:
    x = np.random.default_rng(0).normal(size=(40, 3))
    y = (x[:, 0] > 0).astype(int)
    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), [0]), (StandardScaler(), [1, 2]))
    return {
        "unfitted": LinearRegression(),
        "linear": LinearRegression().fit(x, y),
        "forest": RandomForestClassifier(5, random_state=0).fit(x, y),
        "boosted": HistGradientBoostingRegressor(max_iter=5, random_state=0).fit(x, y),
        "neighbours": KNeighborsClassifier().fit(x, y),
        "pipeline": make_pipeline(encoder, LinearRegression()).fit(np.round(x), y),
        "in a dict": {"model": LinearRegression().fit(x, y), "score": 0.5},
    }
