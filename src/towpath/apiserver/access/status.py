"""The shape of a refusal: who is not known is told no more than that."""

from collections.abc import Mapping
from typing import Any

from towpath.errors import Reason, TowpathError
from towpath.web import kubernetes_status

__all__ = ["status"]


def status(error: TowpathError, code: int) -> Mapping[str, Any]:
    """As :func:`towpath.web.kubernetes_status`, without a word on why a caller is not known."""
    told = kubernetes_status(error, code)
    if error.reason is Reason.UNAUTHENTICATED:
        return {**told, "message": "Unauthorized"}
    return told
