"""Events: what a controller tells people about an object, for ``kubectl describe``.

The same words about the same object are one Event that counts, also across restarts: its name is
made of them. Telling must never stop the work that it is about, so a failure is only logged, and
an object that has much to tell is heard in part.

Source: Kubernetes API, core/v1 ``Event``; the limits are those of client-go's recorder.
"""

import hashlib
import logging
import socket
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, cast

from towpath.errors import ConflictError, NotFoundError, TowpathError
from towpath.kube.client import Writer
from towpath.spec.kube import EVENT, Object
from towpath.telemetry import fields

__all__ = ["NORMAL", "WARNING", "Recorder"]

log = logging.getLogger(__name__)

Severity = Literal["Normal", "Warning"]
NORMAL: Final = "Normal"
WARNING: Final = "Warning"

BURST: Final = 25
"""Events that an object may have at once."""
REFILL_SECONDS: Final = 300.0
"""After which it may have one more."""
OBJECTS: Final = 4096
"""Objects whose share is remembered; that of the one longest silent is forgotten first."""
MESSAGE: Final = 1024
"""Characters of a message: the limit of the API."""
NAME: Final = 230
"""Characters of the object's name in the Event's: with the rest it stays a legal name."""


@dataclass
class _Share:
    left: float
    at: float


def _utc() -> datetime:
    return datetime.now(UTC)


@dataclass
class Recorder:
    """Writes Events.

    Args:
        client: The API that has the objects.
        component: Who tells.
        now: The clock.
    """

    client: Writer
    component: str
    now: Callable[[], datetime] = field(default=_utc, repr=False)
    _shares: "OrderedDict[str, _Share]" = field(default_factory=OrderedDict, repr=False)

    async def record(self, obj: Object, type: Severity, reason: str, message: str) -> None:
        """Tell something about an object.

        Args:
            obj: As read from the API.
            type: ``Normal`` or ``Warning``.
            reason: One CamelCase word.
            message: A sentence for people.
        """
        event = self._event(obj, type, reason, message[:MESSAGE])
        if not self._may(obj["metadata"].get("uid", "")):
            return
        try:
            await self._write(event)
        except TowpathError as exc:
            about = fields(object=obj["metadata"]["name"], reason=reason, error=exc)
            log.warning("failed to record event", extra=about)

    async def _write(self, event: Object) -> None:
        """Create the Event, or count it once more."""
        metadata = event["metadata"]
        address = (metadata["name"], metadata["namespace"])
        try:
            known = cast(dict[str, Any], await self.client.get(EVENT, *address))
            again = {"count": int(known.get("count") or 1) + 1, "lastTimestamp": self._stamp()}
            await self.client.merge(EVENT, *address, cast(Object, again))
        except NotFoundError:
            try:
                await self.client.create(EVENT, event)
            except ConflictError:  # another process told the same at the same time
                log.debug("event was recorded by somebody else", extra=fields(event=address[0]))

    def _event(self, obj: Object, type: Severity, reason: str, message: str) -> Object:
        metadata = obj["metadata"]
        told = "\0".join((metadata.get("uid", ""), self.component, type, reason, message))
        namespace = metadata.get("namespace", "")
        involved = {
            "apiVersion": obj.get("apiVersion"),
            "kind": obj.get("kind"),
            "name": metadata["name"],
            "namespace": namespace,
            "uid": metadata.get("uid"),
            "resourceVersion": metadata.get("resourceVersion"),
        }
        host, now = socket.gethostname(), self._stamp()
        ours = hashlib.sha256(told.encode()).hexdigest()[:16]
        event = {
            "metadata": {
                "name": f"{metadata['name'][:NAME]}.{ours}",
                "namespace": namespace or "default",
            },
            "involvedObject": {name: value for name, value in involved.items() if value},
            "type": type,
            "reason": reason,
            "message": message,
            "source": {"component": self.component, "host": host},
            "reportingComponent": self.component,
            "reportingInstance": host,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        return cast(Object, event)

    def _may(self, about: str) -> bool:
        """Whether the object has a share left; takes one."""
        now = self.now().timestamp()
        share = self._shares.pop(about, None) or _Share(BURST, now)
        share.left = min(BURST, share.left + (now - share.at) / REFILL_SECONDS)
        share.at = now
        self._shares[about] = share
        if len(self._shares) > OBJECTS:
            self._shares.popitem(last=False)
        if share.left < 1:
            return False
        share.left -= 1
        return True

    def _stamp(self) -> str:
        return self.now().strftime("%Y-%m-%dT%H:%M:%SZ")
