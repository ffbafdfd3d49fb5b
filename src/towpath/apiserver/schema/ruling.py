"""What is wrong with the rules of a schema: what does not compile, or names what is not there.

Source: CustomResourceDefinition documentation, "Validation rules"; ``apiextensions-apiserver``.
"""

from collections.abc import Iterator
from typing import Final

from towpath.apiserver.schema import expressions, problem
from towpath.apiserver.schema.problem import Problem
from towpath.apiserver.schema.rules import Rule, RuleError, failed
from towpath.apiserver.schema.structural import Node
from towpath.spec._wire import JsonObject

__all__ = ["rule_flaws"]

_REASONS: Final = (
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueRequired",
)
_LONGEST: Final = 2048
"""Characters of a message."""


def rule_flaws(raw: JsonObject, node: Node, path: str, *, whole: bool) -> Iterator[Problem]:
    """What is wrong with ``x-kubernetes-validations``.

    Args:
        raw: The schema.
        node: The same, compiled.
        path: Where it stands.
        whole: Whether it is that of a whole object, which has metadata whatever it says.
    """
    rules = raw["x-kubernetes-validations"]
    if not isinstance(rules, list):
        yield problem.invalid(f"{path}.x-kubernetes-validations", rules, "must be a list of rules")
        return
    for index, rule in enumerate(rules):
        where = f"{path}.x-kubernetes-validations[{index}]"
        if not isinstance(rule, dict):
            yield problem.invalid(where, rule, "must be a rule")
            continue
        yield from _words(rule, where)
        text = str(rule.get("rule") or "").strip()
        if not text:
            yield problem.required(f"{where}.rule", "rule is not specified")
            continue
        try:
            compiled = Rule(rule)
            _fields(text, compiled, node, whole)
        except RuleError as exc:
            yield problem.invalid(f"{where}.rule", text, str(exc))
            continue
        if compiled.optional and not compiled.changes:
            why = "may not be set if oldSelf is not used in rule"
            yield problem.invalid(f"{where}.optionalOldSelf", True, why)
        if field := str(rule.get("fieldPath") or "").strip():
            why = expressions.unreachable(field, raw)
            if why:
                why = f"fieldPath must be a valid path: {why}"
                yield problem.invalid(f"{where}.fieldPath", field, why)


def _words(rule: JsonObject, where: str) -> Iterator[Problem]:
    text, message = str(rule.get("rule") or "").strip(), rule.get("message")
    said = str(message or "").strip()
    if message and not said:
        why = "message must be non-empty if specified"
        yield problem.invalid(f"{where}.message", message, why)
    elif "\n" in said:
        yield problem.invalid(f"{where}.message", message, "message must not contain line breaks")
    elif "\n" in text and not said:
        why = "message must be specified if rule contains line breaks"
        yield problem.required(f"{where}.message", why)
    elif len(said) > _LONGEST:
        why = f"message must have a maximum length of {_LONGEST} characters"
        yield problem.invalid(f"{where}.message", message, why)
    telling = rule.get("messageExpression")
    if telling and not str(telling).strip():
        why = "messageExpression must be non-empty if specified"
        yield problem.required(f"{where}.messageExpression", why)
    reason = rule.get("reason")
    if reason is not None and reason not in _REASONS:
        yield problem.unsupported(f"{where}.reason", reason, _REASONS)
    field = rule.get("fieldPath")
    if field and not str(field).strip():
        why = "fieldPath must be non-empty if specified"
        yield problem.invalid(f"{where}.fieldPath", field, why)
    if "\n" in str(field or ""):
        why = "fieldPath must not contain line breaks"
        yield problem.invalid(f"{where}.fieldPath", field, why)


def _fields(text: str, rule: Rule, node: Node, whole: bool) -> None:
    """Refuse a rule that looks at a field which the schema does not know. Raises RuleError."""
    for path, at in rule.paths:
        here: Node | None = node
        for depth, name in enumerate(path):
            if here is None or here.additional is not None or here.kind != "object":
                break
            known = {expressions.escaped(field): child for field, child in here.properties.items()}
            root = here.embedded or (whole and not depth)
            if name not in known:
                if root and name in ("apiVersion", "kind", "metadata"):
                    break
                raise failed(text.strip(), at, f"undefined field '{name}'")
            here = known[name]
