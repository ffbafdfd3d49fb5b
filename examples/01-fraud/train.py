"""Trains the example model, from nothing: transactions that this script makes up.

    pip install 'towpath[example]'
    python train.py [FOLDER]

writes ``model.onnx`` and ``golden.json`` to FOLDER (default: beside this script) and prints the
metrics that MODEL_CARD.md tells. Same libraries, same bytes: the generator is seeded, the fit is a
convex problem solved to its end, and what it found is rounded, so that neither the number of
threads nor the processor's arithmetic shows.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, precision_score, recall_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

FEATURES = (
    "distance_from_home",
    "distance_from_last_transaction",
    "ratio_to_median_purchase_price",
    "repeat_retailer",
    "used_chip",
    "used_pin_number",
    "online_order",
)
SEED = 20240607
ROWS = 40_000

# One ordinary purchase, one that looks stolen: far from home, dear, online, no PIN.
GOLDEN_ROWS = ((3.2, 0.4, 0.9, 1, 1, 0, 0), (92.5, 8.1, 4.6, 0, 0, 0, 1))


def transactions(rows: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Made-up card transactions and whether each was fraud.

    The rule behind the label: a stolen card is used far away or for dear things, mostly online;
    a PIN or a chip makes it unlikely, and a dear purchase weighs more when it is made online.
    """
    random = np.random.default_rng(seed)
    home = random.gamma(1.2, 20.0, rows)
    last = random.gamma(0.8, 6.0, rows)
    ratio = random.gamma(2.0, 0.9, rows)
    repeat = random.random(rows) < 0.88 / (1 + home / 400)
    online = random.random(rows) < 0.65
    chip = ~online & (random.random(rows) < 0.8)
    pin = random.random(rows) < np.where(online, 0.05, 0.2)
    score = (
        -7.0
        + 0.030 * home
        + 0.025 * last
        + 0.75 * ratio
        + 0.55 * ratio * online
        + 1.2 * online
        - 0.9 * chip
        - 4.0 * pin
        - 0.5 * repeat
    )
    fraud = random.random(rows) < 1 / (1 + np.exp(-score))
    table = np.column_stack([home, last, ratio, repeat, chip, pin, online])
    return table.round(4).astype(np.float32), fraud.astype(np.int64)


def _round(pipeline: Pipeline) -> None:
    """Six decimals of every fitted number: what lies below differs between processors."""
    scaler, regression = pipeline["standardscaler"], pipeline["logisticregression"]
    scaler.mean_, scaler.scale_ = scaler.mean_.round(6), scaler.scale_.round(6)
    regression.coef_ = regression.coef_.round(6)
    regression.intercept_ = regression.intercept_.round(6)


def main(folder: Path) -> None:
    """Train, measure what was exported, and write it."""
    rows, labels = transactions(ROWS, SEED)
    train_rows, test_rows, train_labels, test_labels = train_test_split(
        rows, labels, test_size=0.25, random_state=SEED, stratify=labels
    )
    pipeline = make_pipeline(
        StandardScaler(),
        PolynomialFeatures(degree=2, interaction_only=True, include_bias=False),
        LogisticRegression(solver="newton-cholesky", tol=1e-10, max_iter=200),
    )
    pipeline.fit(train_rows.astype(np.float64), train_labels)
    _round(pipeline)
    model = convert_sklearn(
        pipeline,
        name="fraud",
        initial_types=[("transactions", FloatTensorType([None, len(FEATURES)]))],
        final_types=[
            ("label", Int64TensorType([None])),
            ("probabilities", FloatTensorType([None, 2])),
        ],
        options={"zipmap": False},
        target_opset={"": 17, "ai.onnx.ml": 3},
    )
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    answered, probabilities = session.run(None, {"transactions": test_rows})
    scores = probabilities[:, 1]
    exact = pipeline.predict_proba(test_rows.astype(np.float64))[:, 1]
    print(f"transactions       {ROWS} ({labels.mean():.1%} fraud), {len(test_rows)} kept for test")
    print(f"ROC AUC            {roc_auc_score(test_labels, scores):.4f}")
    print(f"average precision  {average_precision_score(test_labels, scores):.4f}")
    print(f"precision at 0.5   {precision_score(test_labels, answered):.4f}")
    print(f"recall at 0.5      {recall_score(test_labels, answered):.4f}")
    print(f"ONNX against scikit-learn: largest difference {np.abs(exact - scores).max():.0e}")
    print(f"model.onnx         {len(content)} bytes")

    label, probability = session.run(None, {"transactions": np.array(GOLDEN_ROWS, np.float32)})
    golden = {
        "cases": [
            {
                "name": "an ordinary purchase and one that looks stolen",
                "request": {
                    "inputs": [
                        {
                            "name": "transactions",
                            "datatype": "FP32",
                            "shape": [len(GOLDEN_ROWS), len(FEATURES)],
                            "data": [value for row in GOLDEN_ROWS for value in row],
                        }
                    ]
                },
                "expected": {
                    "outputs": [
                        {
                            "name": "label",
                            "datatype": "INT64",
                            "shape": list(label.shape),
                            "data": label.tolist(),
                        },
                        {
                            "name": "probabilities",
                            "datatype": "FP32",
                            "shape": list(probability.shape),
                            "data": [round(float(one), 6) for one in probability.reshape(-1)],
                        },
                    ]
                },
                "rtol": 1e-4,
                "atol": 1e-5,
            }
        ]
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(content)
    (folder / "golden.json").write_text(json.dumps(golden, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
