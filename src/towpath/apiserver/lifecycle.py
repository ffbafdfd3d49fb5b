"""What the server itself decides about an object: identity, generation, what an update may touch.

Pure: the time and the uid are arguments.

Source: Kubernetes API conventions, "Metadata" and "Spec and Status".
"""

import base64
from collections.abc import Mapping
from typing import Final, NamedTuple

import orjson

from towpath.apiserver import deletion, failures
from towpath.apiserver.kinds import Resource
from towpath.spec._wire import JsonObject

__all__ = ["Birth", "created", "generated_name", "leaving", "same", "tidied", "updated"]

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
_LONGEST: Final = 20
"""Most digits of a revision."""


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
    """A new object as it will be stored."""
    metadata = tidied(obj["metadata"])
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
    return _completed(resource, new)


def _completed(resource: Resource, obj: JsonObject) -> JsonObject:
    """What built-in kinds are given when they come without."""
    key, metadata = resource.key, obj["metadata"]
    if key == "namespaces":
        if name := metadata.get("name"):
            labels = {"kubernetes.io/metadata.name": name}
            metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
        obj["spec"] = {**(obj.get("spec") or {}), "finalizers": _holders(obj)}
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


def _holders(namespace: JsonObject) -> list[str]:
    """``spec.finalizers`` of a namespace: the server's own is always among them."""
    found = (namespace.get("spec") or {}).get("finalizers") or []
    return found if deletion.KUBERNETES in found else [*found, deletion.KUBERNETES]


def updated(
    resource: Resource, old: JsonObject, new: JsonObject, subresource: str = ""
) -> JsonObject:
    """A changed object as it will be stored: what a caller may not touch is as it was.

    Args:
        resource: Its kind.
        old: As it was.
        new: As the caller wants it.
        subresource: ``status``: only status is taken; ``finalize``: only what holds a namespace;
            else status is not, where it is a subresource.

    Raises:
        ConflictError: the caller read an older revision, or another object of this name.
        InvalidError: a finalizer comes too late, or the revision is no number.
    """
    before, metadata = old["metadata"], dict(new.get("metadata") or {})
    name = before["name"]
    uid, revision = metadata.get("uid"), metadata.get("resourceVersion")
    if uid and uid != before["uid"]:
        raise failures.other_uid(resource, name, str(uid), before["uid"])
    if revision and _number(resource, name, revision) not in (0, int(before["resourceVersion"])):
        raise failures.modified(resource, name)
    if subresource == "status":
        kept = {**before, "managedFields": metadata.get("managedFields")}
        result = {**old, "metadata": kept}
        result.pop("status", None)
        return {**result, "status": new["status"]} if "status" in new else result
    if subresource == "finalize":
        holders = (new.get("spec") or {}).get("finalizers") or []
        kept = {**before, "managedFields": metadata.get("managedFields")}
        spec = {**(old.get("spec") or {}), "finalizers": holders}
        return {**old, "metadata": kept, "spec": spec}
    account = metadata.get("managedFields")
    metadata = tidied(metadata)
    if account is not None:
        metadata["managedFields"] = account
    for field in (*_SERVER_SET, "resourceVersion"):
        metadata.pop(field, None)
        if field in before:
            metadata[field] = before[field]
    metadata.pop("selfLink", None)
    late = set(metadata.get("finalizers") or ()) - set(before.get("finalizers") or ())
    if late and "deletionTimestamp" in before:
        names = ", ".join(f'"{name}"' for name in sorted(late))
        problem = (
            "Forbidden: no new finalizers can be added if the object is being deleted, "
            f"found new finalizers []string{{{names}}}"
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
    if resource.key == "namespaces" and "spec" in old:
        result["spec"] = old["spec"]
    if resource.generation and _wanted(resource, result) != _wanted(resource, old):
        metadata["generation"] = before.get("generation", 0) + 1
    return result


def _number(resource: Resource, name: str, revision: str) -> int:
    """The revision that a caller has read; 0 is any."""
    digits = revision.isascii() and revision.isdigit()
    if digits and len(revision) <= _LONGEST:
        return int(revision)
    why = "value out of range" if digits else "invalid syntax"
    told = orjson.dumps(revision).decode()
    problem = f"Invalid value: {told}: strconv.ParseUint: parsing {told}: {why}"
    raise failures.invalid(resource, name, "metadata.resourceVersion", problem)


def _wanted(resource: Resource, obj: JsonObject) -> JsonObject:
    ignored = {"metadata", "apiVersion", *(("status",) if resource.status else ())}
    return {k: v for k, v in obj.items() if k not in ignored}


def same(old: JsonObject, new: JsonObject) -> bool:
    """Whether nothing changed but times of managedFields."""
    return _timeless(old) == _timeless(new)


def _timeless(obj: JsonObject) -> JsonObject:
    metadata = dict(obj["metadata"])
    account = [
        {k: v for k, v in entry.items() if k != "time"}
        for entry in metadata.get("managedFields") or ()
    ]
    account.sort(key=lambda entry: (entry.get("manager") or "", entry.get("operation") or ""))
    metadata["managedFields"] = account
    return {**obj, "metadata": metadata}


def tidied(metadata: JsonObject) -> JsonObject:
    """Metadata without what says nothing."""
    return {k: v for k, v in metadata.items() if v is not None and v not in ("", [], {})}


def leaving(resource: Resource, obj: JsonObject) -> bool:
    """Whether an object is to go and nothing holds it any longer."""
    return "deletionTimestamp" in obj["metadata"] and not deletion.held(resource, obj)
