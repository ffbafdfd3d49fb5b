"""What the server itself decides about an object: identity, generation, what an update may touch.

Pure: the time and the uid are arguments.

Source: Kubernetes API conventions, "Metadata" and "Spec and Status".
"""

import base64
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from towpath.apiserver import failures
from towpath.apiserver.kinds import Resource
from towpath.spec._wire import Json, JsonObject

__all__ = ["Birth", "created", "generated_name", "leaving", "marked", "same", "updated"]

_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_KEY: Final = re.compile(
    r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_ANNOTATIONS: Final = 256 * 1024
_SERVER_SET: Final = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "generateName",
)
_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"


class Birth(NamedTuple):
    """What a new object is given.

    Attributes:
        namespace: Where it is created; empty for a kind without.
        uid: Its uid.
        now: RFC 3339 time.
    """

    namespace: str
    uid: str
    now: str


def generated_name(prefix: str, entropy: bytes) -> str:
    """A name from ``generateName``: the prefix and five characters that make no words."""
    return prefix[:58] + "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in entropy[:5])


def created(resource: Resource, obj: JsonObject, birth: Birth) -> JsonObject:
    """A new object as it will be stored.

    Raises:
        InvalidError: its name, labels or annotations are not legal.
    """
    metadata: JsonObject = dict(obj["metadata"])
    for field in ("deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink"):
        metadata.pop(field, None)
    metadata["uid"] = birth.uid
    metadata["creationTimestamp"] = birth.now
    if birth.namespace:
        metadata["namespace"] = birth.namespace
    else:
        metadata.pop("namespace", None)
    if resource.generation:
        metadata["generation"] = 1
    new = {**obj, "metadata": metadata}
    if resource.status:
        new.pop("status", None)
    _check_name(resource, str(metadata.get("name", "")))
    _check_metadata(resource, metadata)
    return _completed(resource, new)


def _completed(resource: Resource, obj: JsonObject) -> JsonObject:
    """What built-in kinds are given when they come without."""
    key, metadata = resource.key, obj["metadata"]
    if key == "namespaces":
        labels = {"kubernetes.io/metadata.name": metadata["name"]}
        metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
        obj["spec"] = {"finalizers": ["kubernetes"], **(obj.get("spec") or {})}
        obj["status"] = obj.get("status") or {"phase": "Active"}
    elif key == "secrets":
        obj.setdefault("type", "Opaque")
        plain = obj.pop("stringData", None)
        if isinstance(plain, Mapping):
            encoded = {
                k: base64.b64encode(str(v or "").encode()).decode() for k, v in plain.items()
            }
            obj["data"] = {**(obj.get("data") or {}), **encoded}
    elif key == "services":
        spec = dict(obj.get("spec") or {})
        spec.setdefault("type", "ClusterIP")
        obj["spec"] = spec
    elif key in ("pods", "persistentvolumeclaims"):
        obj.setdefault("status", {"phase": "Pending"})
    return obj


def updated(
    resource: Resource, old: JsonObject, new: JsonObject, subresource: str = ""
) -> JsonObject:
    """A changed object as it will be stored: what a caller may not touch is as it was.

    Args:
        resource: Its kind.
        old: As it was.
        new: As the caller wants it.
        subresource: ``status``: only status is taken; empty: status is not, where it is one.

    Raises:
        ConflictError: the caller read an older revision, or another object of this name.
        InvalidError: labels or annotations are not legal, or a finalizer comes too late.
    """
    before, metadata = old["metadata"], dict(new.get("metadata") or {})
    name = before["name"]
    uid, revision = metadata.get("uid"), metadata.get("resourceVersion")
    if uid and uid != before["uid"]:
        raise failures.precondition(resource, name, "UID", str(uid), before["uid"])
    if revision and revision != before["resourceVersion"]:
        raise failures.modified(resource, name)
    if subresource == "status":
        kept = {**before, "managedFields": metadata.get("managedFields")}
        result = {**old, "metadata": kept}
        result.pop("status", None)
        return {**result, "status": new["status"]} if "status" in new else result
    for field in (*_SERVER_SET, "resourceVersion"):
        metadata.pop(field, None)
        if field in before:
            metadata[field] = before[field]
    metadata.pop("selfLink", None)
    _check_metadata(resource, metadata)
    late = set(metadata.get("finalizers") or ()) - set(before.get("finalizers") or ())
    if late and "deletionTimestamp" in before:
        problem = (
            "Forbidden: no new finalizers can be added if the object is being deleted, "
            f"found new finalizers {sorted(late)}"
        )
        raise failures.invalid(
            resource, name, "metadata.finalizers", problem, "FieldValueForbidden"
        )
    result = {**new, "apiVersion": old["apiVersion"], "kind": old["kind"], "metadata": metadata}
    if resource.status:
        result.pop("status", None)
        if "status" in old:
            result["status"] = old["status"]
    result = _completed(resource, result)
    if resource.generation and _wanted(resource, result) != _wanted(resource, old):
        metadata["generation"] = before.get("generation", 0) + 1
    return result


def _wanted(resource: Resource, obj: JsonObject) -> JsonObject:
    ignored = {"metadata", "apiVersion", *(("status",) if resource.status else ())}
    return {k: v for k, v in obj.items() if k not in ignored}


def same(old: JsonObject, new: JsonObject) -> bool:
    """Whether nothing changed but times of managedFields."""
    return _timeless(old) == _timeless(new)


def _timeless(obj: JsonObject) -> JsonObject:
    metadata = dict(obj["metadata"])
    metadata["managedFields"] = [
        {k: v for k, v in entry.items() if k != "time"}
        for entry in metadata.get("managedFields") or ()
    ]
    return {**obj, "metadata": metadata}


def marked(obj: JsonObject, now: str) -> JsonObject:
    """The object as being deleted."""
    metadata = obj["metadata"]
    if "deletionTimestamp" in metadata:
        return obj
    gone = {"deletionTimestamp": now, "deletionGracePeriodSeconds": 0}
    if "generation" in metadata:
        gone["generation"] = metadata["generation"] + 1
    return {**obj, "metadata": {**metadata, **gone}}


def leaving(obj: JsonObject) -> bool:
    """Whether an object is to go and nothing holds it any longer."""
    metadata = obj["metadata"]
    return "deletionTimestamp" in metadata and not metadata.get("finalizers")


def _check_name(resource: Resource, name: str) -> None:
    key = resource.key
    short = key in ("namespaces", "services")
    if not name:
        problem = "Required value: name or generateName is required"
        raise failures.invalid(resource, name, "metadata.name", problem, "FieldValueRequired")
    rule, longest = (_LABEL, 63) if short else (_SUBDOMAIN, 253)
    if len(name) > longest:
        problem = f"Invalid value: {name[:300]!r}: must be no more than {longest} characters"
    elif not rule.fullmatch(name):
        what = "a lowercase RFC 1123 " + ("label" if short else "subdomain")
        problem = (
            f'Invalid value: "{name}": {what} must consist of lower case alphanumeric characters'
            f"{'' if short else ', or'} '-'{'' if short else ' or .'}, and must start and end "
            "with an alphanumeric character"
        )
    else:
        return
    raise failures.invalid(resource, name[:300], "metadata.name", problem)


def _check_metadata(resource: Resource, metadata: JsonObject) -> None:
    name = str(metadata.get("name", ""))

    def refuse(field: str, problem: str) -> None:
        raise failures.invalid(resource, name, f"metadata.{field}", problem)

    for field in ("labels", "annotations"):
        values: Json = metadata.get(field) or {}
        texts = isinstance(values, dict) and all(isinstance(v, str) for v in values.values())
        if not texts:
            raise failures.bad_request(
                f'{resource.kind.kind} "{name}": metadata.{field} must be a map of strings'
            )
        for key, value in values.items():
            if not _KEY.fullmatch(key if field == "labels" else key.lower()):
                refuse(field, f'Invalid value: "{key[:300]}": not a qualified name')
            if field == "labels" and not _VALUE.fullmatch(value):
                refuse(field, f'Invalid value: "{value[:300]}": not a label value')
    size = sum(len(k) + len(v) for k, v in (metadata.get("annotations") or {}).items())
    if size > _ANNOTATIONS:
        refuse("annotations", f"Too long: may not be more than {_ANNOTATIONS} bytes")
    for field in ("finalizers", "ownerReferences"):
        entries: Json = metadata.get(field) or []
        wanted = str if field == "finalizers" else dict
        if not isinstance(entries, list) or not all(isinstance(e, wanted) for e in entries):
            raise failures.bad_request(
                f'{resource.kind.kind} "{name}": metadata.{field} is of the wrong type'
            )
    for reference in metadata.get("ownerReferences") or ():
        for required in ("apiVersion", "kind", "name", "uid"):
            if not isinstance(reference.get(required), str) or not reference[required]:
                refuse("ownerReferences", f"Invalid value: {required} must not be empty")
