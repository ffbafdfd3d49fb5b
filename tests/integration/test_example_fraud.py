"""The example model: its golden request holds, and its script makes it again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from towpath import golden, serve

EXAMPLE = Path(__file__).parents[2] / "examples" / "01-fraud"


def answers(folder: Path) -> list[tuple[str, ...]]:
    """What each committed golden case says about the model in a folder."""
    repository = serve.Repository([serve.Source("fraud", folder / "model.onnx")])
    assert repository.load() == {}
    return [
        golden.compare(
            case,
            json.loads(repository.get("fraud").infer(json.dumps(case.request).encode(), None)[0]),
        )
        for case in golden.parse((EXAMPLE / "golden.json").read_bytes())
    ]


def test_the_golden_request_holds() -> None:
    assert answers(EXAMPLE) == [()]


@pytest.mark.long
def test_training_again_makes_the_same_model(tmp_path: Path) -> None:
    pytest.importorskip("skl2onnx", reason="the extra 'example' is not installed")

    ran = subprocess.run(
        [sys.executable, EXAMPLE / "train.py", tmp_path], capture_output=True, text=True, check=True
    )

    # Another version of the libraries may write other bytes; the answers have to be the same.
    if (tmp_path / "model.onnx").read_bytes() != (EXAMPLE / "model.onnx").read_bytes():
        assert answers(tmp_path) == [()]
    card = (EXAMPLE / "MODEL_CARD.md").read_text()
    metrics = [line.split()[-1] for line in ran.stdout.splitlines()[1:5]]
    assert all(metric in card for metric in metrics), metrics
