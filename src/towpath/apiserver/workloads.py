"""What must hold of pods, and of the Deployments and Jobs that make them.

Pure: objects in, problems out.

Source: Kubernetes API reference; the messages are those that users know.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from towpath.apiserver.schema.problem import (
    Problem,
    duplicate,
    forbidden,
    invalid,
    quoted,
    required,
    unsupported,
)
from towpath.spec._wire import JsonObject

__all__ = ["deployment", "job", "pod"]

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_RULE: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', "
    f"regex used for validation is '{_LABEL}')"
)
_PORT_RULE: Final = "must be between 1 and 65535, inclusive"
_NO_LABELS: Final = "map[string]string(nil)"
_FIXED: Final = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only "
    "additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set "
    "to 1 if it was previously negative)"
)
_FREE: Final = frozenset(
    {"activeDeadlineSeconds", "ephemeralContainers", "nodeName", "schedulingGates"}
    | {"terminationGracePeriodSeconds", "tolerations"}
)
"""Fields of a pod that may change, and those that others than its author set."""


def pod(obj: JsonObject, old: JsonObject | None) -> Iterator[Problem]:
    """What is wrong with a Pod."""
    spec = obj.get("spec")
    if spec is None:
        yield required("spec.containers")
        return
    yield from _pod_spec("spec", spec)
    if old is not None and _fixed(spec) != _fixed(old.get("spec") or {}):
        yield forbidden("spec", _FIXED)


def deployment(obj: JsonObject, old: JsonObject | None) -> Iterator[Problem]:
    """What is wrong with a Deployment."""
    spec = obj.get("spec") or {}
    yield from _not_negative("spec", spec, "replicas", "minReadySeconds", "revisionHistoryLimit")
    strategy = spec.get("strategy") or {}
    if strategy.get("type") == "Recreate" and "rollingUpdate" in strategy:
        why = "may not be specified when strategy `type` is 'Recreate'"
        yield forbidden("spec.strategy.rollingUpdate", why)
    template, selector = spec.get("template") or {}, spec.get("selector")
    labels = (template.get("metadata") or {}).get("labels") or {}
    if selector is not None:
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            yield invalid("spec.selector", selector, "empty selector is invalid for deployment")
        elif not _selects(selector, labels):
            why = "`selector` does not match template `labels`"
            told = f"Invalid value: {_go_map(labels)}: {why}"
            yield Problem("spec.template.metadata.labels", "FieldValueInvalid", told)
        if old is not None and selector != (old.get("spec") or {}).get("selector"):
            told = f"Invalid value: {_go_selector(selector)}: field is immutable"
            yield Problem("spec.selector", "FieldValueInvalid", told)
    policy = (template.get("spec") or {}).get("restartPolicy", "Always")
    if policy != "Always":
        yield unsupported("spec.template.spec.restartPolicy", policy, ["Always"])
    yield from _template(template)


def job(obj: JsonObject, old: JsonObject | None) -> Iterator[Problem]:
    """What is wrong with a Job."""
    spec = obj.get("spec")
    if spec is None:
        yield required("spec.template.spec.containers")
        return
    numbers = ("parallelism", "completions", "backoffLimit", "ttlSecondsAfterFinished")
    yield from _not_negative("spec", spec, *numbers, "activeDeadlineSeconds")
    template = spec.get("template") or {}
    if (template.get("spec") or {}).get("restartPolicy") not in (None, "Never", "OnFailure"):
        at = "spec.template.spec.restartPolicy"
        yield required(at, 'valid values: "OnFailure", "Never"')
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        yield required("spec.completions", "when completion mode is Indexed")
    yield from _template(template)
    if old is not None:
        before = old.get("spec") or {}
        for field in ("completionMode", "selector", "template"):
            if spec.get(field) != before.get(field) and not _suspended(field, before):
                yield invalid(f"spec.{field}", spec.get(field), "field is immutable")
        if spec.get("completionMode") != "Indexed" and spec.get("completions") != before.get(
            "completions"
        ):
            yield invalid("spec.completions", spec.get("completions"), "field is immutable")


def _go_map(texts: Mapping[str, str]) -> str:
    pairs = (f"{quoted(key)}:{quoted(texts[key])}" for key in sorted(texts))
    return f"map[string]string{{{', '.join(pairs)}}}"


def _go_selector(selector: JsonObject) -> str:
    kind = "v1.LabelSelectorRequirement"
    rules = ", ".join(
        f"{kind}{{Key:{quoted(rule['key'])}, Operator:{quoted(rule['operator'])}, Values:"
        f"[]string{{{', '.join(map(quoted, rule.get('values') or ()))}}}}}"
        for rule in selector.get("matchExpressions") or ()
    )
    expressions = f"[]{kind}{{{rules}}}" if rules else f"[]{kind}(nil)"
    labels = _go_map(selector["matchLabels"]) if "matchLabels" in selector else _NO_LABELS
    return f"v1.LabelSelector{{MatchLabels:{labels}, MatchExpressions:{expressions}}}"


def _suspended(field: str, before: JsonObject) -> bool:
    """Whether a field may change because the job waits."""
    return field == "template" and before.get("suspend") is True


def _not_negative(at: str, spec: JsonObject, *fields: str) -> Iterator[Problem]:
    for field in fields:
        value = spec.get(field)
        if value is not None and value < 0:
            yield invalid(f"{at}.{field}", value, "must be greater than or equal to 0")


def _selects(selector: JsonObject, labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches."""
    for rule in selector.get("matchExpressions") or ():
        inside = labels.get(rule["key"]) in (rule.get("values") or ())
        there = rule["key"] in labels
        found = {
            "In": there and inside,
            "NotIn": not (there and inside),
            "Exists": there,
            "DoesNotExist": not there,
        }
        if not found.get(rule["operator"], False):
            return False
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items())


def _template(template: JsonObject) -> Iterator[Problem]:
    at, spec = "spec.template.spec", template.get("spec")
    if spec is None:
        yield required(f"{at}.containers")
    else:
        yield from _pod_spec(at, spec)


def _pod_spec(at: str, spec: JsonObject) -> Iterator[Problem]:
    if "containers" in spec and not spec["containers"]:
        yield required(f"{at}.containers")
    volumes: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        yield from _name(f"{at}.volumes[{index}].name", volume.get("name", ""), volumes)
        if len(volume) > 2:
            source = list(volume)[-1]
            why = "may not specify more than 1 volume type"
            yield forbidden(f"{at}.volumes[{index}].{source}", why)
    names: set[str] = set()
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(kind) or ()):
            here = f"{at}.{kind}[{index}]"
            yield from _name(f"{here}.name", container.get("name", ""), names)
            yield from _container(here, container, volumes)


def _name(field: str, name: str, known: set[str]) -> Iterator[Problem]:
    if name in known:
        yield duplicate(field, name)
    elif name and len(name) > 63:
        yield invalid(field, name[:300], "must be no more than 63 characters")
    elif name and not re.fullmatch(_LABEL, name):
        yield invalid(field, name, _LABEL_RULE)
    known.add(name)


def _container(at: str, container: JsonObject, volumes: set[str]) -> Iterator[Problem]:
    if not container.get("image"):
        yield required(f"{at}.image")
    for index, port in enumerate(container.get("ports") or ()):
        for field in ("containerPort", "hostPort"):
            number = port.get(field, 0)
            if (number or field == "containerPort") and not 1 <= number <= 65535:
                yield invalid(f"{at}.ports[{index}].{field}", number, _PORT_RULE)
    for index, variable in enumerate(container.get("env") or ()):
        if variable.get("name") == "":
            yield required(f"{at}.env[{index}].name")
        if variable.get("value") and "valueFrom" in variable:
            why = "may not be specified when `value` is not empty"
            yield invalid(f"{at}.env[{index}].valueFrom", "", why)
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        name = mount.get("name", "")
        if name not in volumes:
            problem = f'Not found: "{name}"'
            yield Problem(f"{at}.volumeMounts[{index}].name", "FieldValueNotFound", problem)


def _fixed(spec: JsonObject) -> JsonObject:
    """What of a pod cannot change."""
    fixed = {field: value for field, value in spec.items() if field not in _FREE}
    for kind in ("containers", "initContainers"):
        fixed[kind] = [
            {k: v for k, v in container.items() if k != "image"}
            for container in spec.get(kind) or ()
        ]
    return fixed
