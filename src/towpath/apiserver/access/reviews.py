"""Answers to those who ask what they, or others, may do; who a token stands for; and for a token.

None of these is stored: the question comes back with its answer in ``status``.

Source: Kubernetes API reference, authorization.k8s.io/v1, authentication.k8s.io/v1.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from towpath.apiserver import failures
from towpath.apiserver.access import questions
from towpath.apiserver.access.accounts import Accounts, Bound, Known
from towpath.apiserver.access.attributes import Attributes, quoted
from towpath.apiserver.access.rbac import Decision
from towpath.apiserver.access.rules import Rule
from towpath.apiserver.record import Address
from towpath.apiserver.schema import Problem
from towpath.apiserver.store import Store
from towpath.apiserver.target import Target
from towpath.auth import Identity
from towpath.errors import ConflictError, InvalidError, NotFoundError
from towpath.spec._wire import JsonObject

__all__ = ["Answer", "Judge", "Reviews"]

Answer = Callable[[Identity, Target, JsonObject], Awaitable[JsonObject]]
"""Answers what is only asked and never stored: who asks, the path and the question in; the question
with its answer out."""

_AUTHORIZATION: Final = "authorization.k8s.io"
_AUTHENTICATION: Final = "authentication.k8s.io"
_SHORTEST: Final = 600
_LONGEST: Final = 1 << 32
_USUAL: Final = 3600
_BINDABLE: Final = {"Pod": "pods", "Secret": "secrets"}


class Judge(Protocol):
    """Who knows what callers may do, and who they are."""

    def decide(self, identity: Identity, asked: Attributes) -> Decision:
        """Whether a caller may do what is asked."""
        ...

    def rules(self, identity: Identity, namespace: str) -> tuple[Sequence[Rule], str]:
        """Every rule that holds for a caller in a namespace, and what could not be found."""
        ...

    async def review(self, token: str, audiences: Collection[str]) -> Known | None:
        """Whom a token stands for where one of these audiences is meant."""
        ...


class Reviews:
    """The answers.

    Args:
        judge: Who decides.
        accounts: Who gives out tokens.
        store: Where accounts and what tokens are bound to are.
        longest: Most seconds that a token lasts.
    """

    def __init__(self, judge: Judge, accounts: Accounts, store: Store, longest: int) -> None:
        self._judge = judge
        self._accounts = accounts
        self._store = store
        self._longest = longest

    def answers(self) -> Mapping[tuple[str, str], Answer]:
        """By ``plural.group`` and subresource."""
        return {
            (f"selfsubjectaccessreviews.{_AUTHORIZATION}", ""): self._self_access,
            (f"subjectaccessreviews.{_AUTHORIZATION}", ""): self._access,
            (f"localsubjectaccessreviews.{_AUTHORIZATION}", ""): self._local_access,
            (f"selfsubjectrulesreviews.{_AUTHORIZATION}", ""): self._rules,
            (f"selfsubjectreviews.{_AUTHENTICATION}", ""): self._self,
            (f"tokenreviews.{_AUTHENTICATION}", ""): self._token,
            ("serviceaccounts", "token"): self._request,
        }

    async def _self_access(self, caller: Identity, _: Target, obj: JsonObject) -> JsonObject:
        spec = questions.checked("SelfSubjectAccessReview", obj)
        return self._decided(caller, spec, obj)

    async def _access(self, _: Identity, __: Target, obj: JsonObject) -> JsonObject:
        spec = questions.checked("SubjectAccessReview", obj)
        return self._decided(questions.identity(spec), spec, obj)

    async def _local_access(self, _: Identity, target: Target, obj: JsonObject) -> JsonObject:
        given = questions.text(questions.mapping(obj, "metadata"), "namespace")
        if given and given != target.namespace:
            raise failures.bad_request(
                f"spec.resourceAttributes.namespace must match namespace: {target.namespace}"
            )
        spec = questions.checked("LocalSubjectAccessReview", obj, target.namespace)
        answer = self._decided(questions.identity(spec), spec, obj)
        answer["metadata"]["namespace"] = target.namespace
        return answer

    def _decided(self, identity: Identity, spec: JsonObject, obj: JsonObject) -> JsonObject:
        decision = self._judge.decide(identity, questions.access(spec))
        status: JsonObject = {"allowed": decision.allowed}
        if decision.reason:
            status["reason"] = decision.reason
        return _answered(obj, status)

    async def _rules(self, caller: Identity, _: Target, obj: JsonObject) -> JsonObject:
        namespace = questions.text(questions.mapping(obj, "spec"), "namespace")
        if not namespace:
            raise failures.bad_request("no namespace on request")
        held, missing = self._judge.rules(caller, namespace)
        objects = [(rule, rule.to_object()) for rule in held]
        status: JsonObject = {
            "resourceRules": [obj for rule, obj in objects if rule.resources],
            "nonResourceRules": [obj for rule, obj in objects if rule.paths],
            "incomplete": False,
        }
        if missing:
            status["evaluationError"] = missing
        return _answered(obj, status)

    async def _self(self, caller: Identity, _: Target, obj: JsonObject) -> JsonObject:
        return _answered(obj, {"userInfo": _user(caller)})

    async def _token(self, _: Identity, __: Target, obj: JsonObject) -> JsonObject:
        spec = questions.mapping(obj, "spec")
        token = questions.text(spec, "token")
        if not token:
            raise failures.bad_request("token is required for TokenReview in authentication")
        wanted = questions.texts(spec, "audiences") or (self._accounts.issuer,)
        known = await self._judge.review(token, wanted)
        if known is None:
            return _answered(obj, {"user": {}, "error": "invalid bearer token"})
        status: JsonObject = {"authenticated": True, "user": _user(known.identity)}
        return _answered(obj, {**status, "audiences": list(known.audiences)})

    async def _request(self, _: Identity, target: Target, obj: JsonObject) -> JsonObject:
        """A token for a ServiceAccount."""
        namespace, name = target.namespace, target.name
        metadata, spec = questions.mapping(obj, "metadata"), questions.mapping(obj, "spec")
        for field, wanted in (("name", name), ("namespace", namespace)):
            given = questions.text(metadata, field)
            if given and given != wanted:
                message = f"must match the service account {field} if specified"
                raise _illegal_request(name, f"metadata.{field}", quoted(given), message)
        account = await self._store.get(Address("serviceaccounts", namespace, name))
        if account is None:
            raise _missing("serviceaccounts", name)
        audiences = questions.texts(spec, "audiences") or (self._accounts.issuer,)
        seconds = _seconds(spec)
        bound = await self._bound(questions.mapping(spec, "boundObjectRef"), namespace, name)
        seconds = min(seconds, self._longest)
        token, ends = self._accounts.give(account, seconds, audiences, bound)
        told = {
            "name": name,
            "namespace": namespace,
            "creationTimestamp": _time(ends - seconds),
        }
        shown = {
            "audiences": list(audiences),
            "expirationSeconds": seconds,
            "boundObjectRef": spec.get("boundObjectRef"),
        }
        status = {"token": token, "expirationTimestamp": _time(ends)}
        return {**obj, "metadata": told, "spec": shown, "status": status}

    async def _bound(self, ref: JsonObject, namespace: str, account: str) -> Bound | None:
        """What a token is to go with."""
        if not ref:
            return None
        kind, name, uid = (questions.text(ref, field) for field in ("kind", "name", "uid"))
        version = questions.text(ref, "apiVersion")
        if version != "v1" or kind not in _BINDABLE:
            group, _, plain = version.rpartition("/")
            raise failures.bad_request(
                f"cannot bind token to object of type {group}/{plain}, Kind={kind}"
            )
        record = await self._store.get(Address(_BINDABLE[kind], namespace, name))
        if record is None:
            raise _missing(_BINDABLE[kind], name)
        found = record.object()
        runs_as = (found.get("spec") or {}).get("serviceAccountName")
        if kind == "Pod" and runs_as != account:
            raise failures.bad_request(
                f"cannot bind token for serviceaccount {quoted(account)} to pod running with "
                "different serviceaccount name."
            )
        own = str(found["metadata"]["uid"])
        if uid and uid != own:
            raise ConflictError(
                f"Operation cannot be fulfilled on {kind} {quoted(name)}: the UID in the bound "
                f"object reference ({uid}) does not match the UID in record. The object might have "
                "been deleted and then recreated"
            )
        return Bound(kind.lower(), name, own)


def _answered(obj: JsonObject, status: JsonObject) -> JsonObject:
    return {**obj, "metadata": {"creationTimestamp": None}, "status": status}


def _user(identity: Identity) -> JsonObject:
    told: JsonObject = {
        "username": identity.user,
        "uid": identity.uid,
        "groups": sorted(identity.groups),
        "extra": {key: list(values) for key, values in identity.extra},
    }
    return {key: value for key, value in told.items() if value}


def _seconds(spec: JsonObject) -> int:
    value = spec.get("expirationSeconds")
    if value is None:
        return _USUAL
    if not isinstance(value, int) or isinstance(value, bool):
        raise failures.bad_request("expirationSeconds: must be a whole number")
    field = "spec.expirationSeconds"
    if value < _SHORTEST:
        message = "may not specify a duration less than 10 minutes"
        raise _illegal_request("", field, str(value), message)
    if value > _LONGEST:
        message = "may not specify a duration larger than 2^32 seconds"
        raise _illegal_request("", field, str(value), message)
    return value


def _illegal_request(name: str, field: str, value: str, message: str) -> InvalidError:
    problem = Problem(field, "FieldValueInvalid", f"Invalid value: {value}: {message}")
    return questions.illegal(_AUTHENTICATION, "TokenRequest", name, [problem])


def _missing(resource: str, name: str) -> NotFoundError:
    error = NotFoundError(f"{resource} {quoted(name)} not found")
    vars(error)["details"] = {"name": name, "kind": resource}
    return error


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
