"""What the metrics of runs were over time: a point for each value that was reported.

A point is an entity of its own, which no other list shows. Its name need not be its own, so two
points of one metric and one millisecond are two points.
"""

import re
from typing import Final

from sqlalchemy import Connection

from towpath.registry import store
from towpath.registry.events import Stamp
from towpath.registry.filters import Expression
from towpath.registry.filters.grammar import And, Comparison
from towpath.registry.kinds import METRIC_POINT
from towpath.registry.records import Record, bad_request
from towpath.spec._wire import JsonObject

__all__ = ["append", "narrowed"]

STEPS: Final = 1000
"""Steps that one request may name: databases limit what a statement may bind."""

_KEPT: Final = ("description", "step", "timestamp", "state", "customProperties")
_STEP = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)


def append(tx: Connection, run: Record, metric: Record, reported: JsonObject, stamp: Stamp) -> None:
    """Store what was reported of a metric as a point of its history.

    Args:
        tx: The transaction.
        run: The run it was reported under.
        metric: The metric as it is now.
        reported: Accepted fields of the report.
        stamp: Who, and when.
    """
    fields: JsonObject = {
        "name": metric.name,
        **{field: metric.body[field] for field in ("value", "state") if field in metric.body},
        **{field: reported[field] for field in _KEPT if field in reported},
        "experimentId": str(run.parent),
        "experimentRunId": str(run.id),
    }
    store.create(tx, METRIC_POINT, fields, stamp, under=run.id)


def narrowed(expression: Expression | None, steps: str) -> Expression | None:
    """A filter that also asks for certain steps.

    Args:
        expression: The caller's filter.
        steps: ``stepIds`` of the query: integers, separated by commas; empty for all.

    Raises:
        InvalidError: one is no integer, or they are too many.
    """
    if not steps.strip():
        return expression
    texts = [step.strip() for step in steps.split(",")]
    if not all(_STEP.fullmatch(step) for step in texts):
        raise bad_request("stepIds are not integers separated by commas")
    if len(texts) > STEPS:
        raise bad_request(f"stepIds are more than {STEPS}")
    asked = Comparison("step", "IN", tuple(int(step) for step in texts))
    return And((asked, expression)) if expression else asked
