"""``x-kubernetes-validations``: rules in CEL about an object, and about what a change may be.

A rule that fails to run is a problem of the object, never an error of the server. How long all
rules of an object may take is bounded: what they may cost is reckoned before they run.

Source: CustomResourceDefinition documentation, "Validation rules", "Transition rules".
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from towpath.apiserver.schema import expressions, library, problem
from towpath.apiserver.schema.engine import Program, cel
from towpath.apiserver.schema.expressions import Expression
from towpath.apiserver.schema.problem import Problem, below
from towpath.apiserver.schema.structural import ABSENT, Node
from towpath.apiserver.schema.values import entries, identity
from towpath.spec._wire import Json, JsonObject

__all__ = [
    "BLOCKING",
    "SKIPPED",
    "Rule",
    "RuleError",
    "broken",
    "failed",
    "field_path",
    "visible",
]

_STEPS: Final = 1_000_000
"""What one rule may cost; about a third of a second."""
_BUDGET: Final = 2_000_000
"""What all rules may cost that look at one object."""
_MESSAGE: Final = 5 * 1024
"""Characters of a message that an expression makes."""
_TYPES: Final = frozenset(
    {
        "bool",
        "bytes",
        "double",
        "duration",
        "dyn",
        "int",
        "list",
        "map",
        "null_type",
        "string",
        "timestamp",
        "type",
        "uint",
    }
)
_VARIABLES: Final = frozenset({"self", "oldSelf"})
_EXHAUSTED: Final = (
    "validation failed due to running out of cost budget, no further validation rules will be run"
)
BLOCKING: Final = frozenset(
    {
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    }
)
"""Reasons of problems that rules need not be asked about before they are solved."""
SKIPPED: Final = Problem(
    "<nil>",
    "FieldValueInvalid",
    'Invalid value: "null": some validation rules were not checked because the object was invalid; '
    "correct the existing errors to complete validation",
)


class RuleError(Exception):
    """A rule could not be compiled or run; says why."""


class Rule:
    """One rule, compiled.

    Args:
        raw: As the schema has it.

    Raises:
        RuleError: it is no expression, or uses what is not known here.

    Attributes:
        changes: Whether it is about what was there before.
        optional: Whether it is also asked where nothing was there before.
        paths: Fields of ``self`` and ``oldSelf`` it looks at, each with its place.
    """

    def __init__(self, raw: JsonObject) -> None:
        self._raw = raw
        self._rule = _compiled(str(raw.get("rule") or ""))
        self._telling: _Compiled | None = None
        if text := str(raw.get("messageExpression") or "").strip():
            self._telling = _compiled(text)
        self.changes = "oldSelf" in self._rule.expression.names
        self.optional = raw.get("optionalOldSelf") is True
        self.paths = self._rule.expression.paths

    def cost(self, total: int, longest: int, text: int) -> float:
        """Steps it may take, at most."""
        steps = self._rule.expression.cost.of(total, longest, text)
        if self._telling is not None:
            steps += self._telling.expression.cost.of(total, longest, text)
        return steps

    def holds(self, variables: Mapping[str, Json], plain: bool) -> bool:
        """Whether it holds. Raises RuleError."""
        found = self._rule.run(variables, plain)
        if not isinstance(found, bool):
            raise RuleError("cel expression must evaluate to a bool")
        return found

    def told(self, variables: Mapping[str, Json], plain: bool) -> str:
        """What is said where it does not hold."""
        if self._telling is not None:
            try:
                text = self._telling.run(variables, plain)
            except RuleError:
                text = None
            if isinstance(text, str) and 0 < len(text.strip()) <= _MESSAGE and "\n" not in text:
                return text.strip()
        message = str(self._raw.get("message") or "").strip()
        return message or f"failed rule: {self.name}"

    @property
    def name(self) -> str:
        """What a message calls it."""
        return str(self._raw.get("message") or "").strip() or str(self._raw["rule"]).strip()

    def problem(self, path: str, kind: str, told: str) -> Problem:
        """The problem of a value for which it does not hold."""
        if where := field_path(str(self._raw.get("fieldPath") or "")):
            path = f"{path}{where}" if path else where.removeprefix(".")
        path = path or "<nil>"
        reason = self._raw.get("reason")
        if reason == "FieldValueForbidden":
            return problem.forbidden(path, told)
        if reason == "FieldValueRequired":
            return problem.required(path, told)
        if reason == "FieldValueDuplicate":
            return problem.duplicate(path, kind)
        return problem.invalid(path, kind, told)


class _Compiled:
    """An expression and its programs: for values in ASCII, and for others once one is met."""

    def __init__(self, expression: Expression, program: Program) -> None:
        self.expression = expression
        self._program = program
        self._counting: Program | None = None

    def run(self, variables: Mapping[str, Json], plain: bool) -> Json:
        if not plain and self._counting is None:
            self._counting = cel().compile(self.expression.counted)
        program = self._program if plain or self._counting is None else self._counting
        try:
            context = cel().Context(variables=variables, functions=library.functions())
            return program.execute(context)
        except Exception as exc:  # whatever it is, the rule does not hold
            raise RuleError(_why(exc)) from exc


def _why(error: Exception) -> str:
    """An error of the engine in the words of Kubernetes."""
    text = str(error)
    if isinstance(error, KeyError):
        return f"no such key: {error.args[0] if error.args else ''}"
    if isinstance(error, ZeroDivisionError):
        return "division by zero"
    if isinstance(error, OverflowError):
        return "integer overflow"
    if "overload" in text or isinstance(error, TypeError):
        return "no such overload"
    if found := re.search(r"Python function call failed: (?:\w+: )?(.*?)\. Check function", text):
        return found[1]
    return text.partition(". Check ")[0][:300]


def _compiled(text: str) -> _Compiled:
    try:
        expression = expressions.read(text, library.SPACES)
    except ValueError as exc:
        raise RuleError(f"compilation failed: {exc}") from exc
    known = library.functions().keys() | library.NATIVE
    for names, allowed in (
        (expression.calls, {name for name in known if not name.startswith("__")}),
        (expression.names, _VARIABLES | _TYPES),
    ):
        for name, at in names.items():
            if name not in allowed:
                why = f"undeclared reference to '{name}' (in container '')"
                raise RuleError(_failed(text, at, why))
    try:
        program = cel().compile(expression.source)
    except Exception as exc:  # the engine's errors have no class in common
        why = str(exc)
        try:
            cel().compile(text)
        except Exception as plain:  # the same, with places in the text as given
            why = str(plain)
        raise RuleError(f"compilation failed: {_place(why)}") from exc
    return _Compiled(expression, program)


def _place(why: str) -> str:
    """Where the engine stopped reading, and why."""
    return why[max(why.find("ERROR:"), 0) :].replace("\n| ", "\n | ")[:600]


def _failed(text: str, at: int, why: str) -> str:
    """What a compiler says about a place."""
    line = text.count("\n", 0, at) + 1
    start = text.rfind("\n", 0, at) + 1
    shown = text[start:].partition("\n")[0]
    column = at - start
    return (
        f"compilation failed: ERROR: <input>:{line}:{column + 1}: {why}\n"
        f" | {shown}\n | {'.' * column}^"
    )


def failed(text: str, at: int, why: str) -> RuleError:
    """The error of a rule that is wrong at a place."""
    return RuleError(_failed(text, at, why))


def field_path(text: str) -> str:
    """A ``fieldPath`` as problems write it: ``.a['b.c']`` as ``.a[b.c]``."""
    return re.sub(r"\['((?:\\.|[^'\\])*)'\]", lambda found: f"[{found[1]}]", text.strip())


def broken(value: Json, node: Node, old: Json = ABSENT) -> list[Problem]:
    """What the rules of a schema say against an object that is otherwise legal.

    Args:
        value: The object.
        node: Its schema.
        old: What it replaces; ``ABSENT`` where it is new.
    """
    court = _Court()
    found: list[Problem] = []
    for wrong in court.visit(node, value, old, ""):
        found.append(wrong)
        if court.exhausted:
            break
    return found


class _Court:
    """Asks the rules, as long as they cost little enough."""

    def __init__(self) -> None:
        self._left = float(_BUDGET)
        self.exhausted = False

    def visit(self, node: Node, value: Json, old: Json, path: str) -> Iterator[Problem]:
        node.settle()
        if value is None or not node.ruling or self.exhausted:
            return
        if node.rules:
            yield from self._ask(node, value, old, path)
        if isinstance(value, dict):
            before = old if isinstance(old, dict) and not node.atomic else {}
            for name, child in value.items():
                if (inner := node.properties.get(name)) is not None:
                    yield from self.visit(inner, child, before.get(name, ABSENT), below(path, name))
                elif node.additional is not None:
                    was = before.get(name, ABSENT)
                    yield from self.visit(node.additional, child, was, f"{path}[{name}]")
        elif isinstance(value, list) and node.items is not None:
            found = entries(node.keys, old) if node.keys is not None else {}
            for index, item in enumerate(value):
                keys = node.keys or ()
                own = isinstance(item, dict) and identity([item.get(key) for key in keys])
                was = found.get(own, ABSENT) if own and found else ABSENT
                yield from self.visit(node.items, item, was, f"{path}[{index}]")

    def _ask(self, node: Node, value: Json, old: Json, path: str) -> Iterator[Problem]:
        self_ = visible(value, node)
        before = ABSENT if old is ABSENT or old is None else visible(old, node)
        size = _Size()
        size.add(self_)
        size.add(before)
        kind = node.kind.partition(",")[0]
        for rule in _rules(node):
            if isinstance(rule, RuleError):
                yield problem.invalid(path or "<nil>", kind, f"rule compile error: {rule}")
                continue
            if rule.changes and before is ABSENT and not rule.optional:
                continue
            cost = rule.cost(size.total, size.longest, size.text)
            self._left -= cost
            if cost > _STEPS or self._left < 0:
                self.exhausted = True
                yield problem.invalid(path or "<nil>", kind, _EXHAUSTED)
                return
            variables = {"self": self_}
            if rule.changes:
                variables["oldSelf"] = _optional(before) if rule.optional else before
            try:
                if rule.holds(variables, size.plain):
                    continue
                wrong = rule.problem(path, kind, rule.told(variables, size.plain))
            except RuleError as exc:
                wrong = problem.invalid(path or "<nil>", kind, _ran(str(exc), rule.name))
            else:
                if not rule.changes and old is not ABSENT and identity(old) == identity(value):
                    continue
            yield wrong


def _ran(why: str, name: str) -> str:
    if why.startswith("no such overload"):
        call = "call arguments did not match a supported operator, function or macro signature"
        return f"'{why}': {call} for rule: {name}"
    return f"{why} evaluating rule: {name}"


def _optional(value: Json) -> Json:
    kind = cel().OptionalValue
    return kind.none() if value is ABSENT else kind.of(value)


def _rules(node: Node) -> tuple[Rule | RuleError, ...]:
    if not isinstance(node.made, tuple):
        node.made = tuple(map(_rule, node.rules))
    return node.made


def _rule(raw: JsonObject) -> Rule | RuleError:
    try:
        return Rule(raw)
    except RuleError as exc:
        return exc


class _Size:
    """How large values are."""

    def __init__(self) -> None:
        self.total = self.longest = self.text = 0
        self.plain = True

    def add(self, value: Json) -> None:
        if isinstance(value, str):
            self.total += 1 + len(value) // 16
            self.text = max(self.text, len(value))
            self.plain = self.plain and value.isascii()
        elif isinstance(value, dict | list):
            self.total += 1 + len(value)
            self.longest = max(self.longest, len(value))
            if isinstance(value, dict):
                self.text = max(self.text, *map(len, value), 0)
            for inner in value.values() if isinstance(value, dict) else value:
                self.add(inner)
        else:
            self.total += 1


def visible(value: Json, node: Node) -> Json:
    """A value as rules see it: names they can write, and nothing that the schema does not know."""
    node.settle()
    if isinstance(value, dict):
        if node.additional is not None and not node.properties:
            inner = node.additional
            return {name: visible(child, inner) for name, child in value.items()}
        seen: JsonObject = {}
        if node.embedded:
            seen = {name: value[name] for name in ("apiVersion", "kind") if name in value}
            metadata = value.get("metadata") or {}
            names = ("name", "generateName")
            seen["metadata"] = {name: metadata[name] for name in names if name in metadata}
        for name, inner in node.properties.items():
            if name in value and name not in seen and (key := expressions.escaped(name)):
                seen[key] = visible(value[name], inner)
        return seen
    if isinstance(value, list):
        return [visible(item, node.items) for item in value] if node.items else value
    if isinstance(value, int) and node.kind == "number" and not isinstance(value, bool):
        return float(value)
    if isinstance(value, float) and node.kind == "integer":
        return int(value)
    if isinstance(value, str) and node.format_name:
        return _formatted(value, node.format_name)
    return value


def _formatted(text: str, name: str) -> Json:
    try:
        if name in ("date", "date-time", "datetime"):
            found = datetime.fromisoformat(text)
            return found if found.tzinfo else datetime.fromisoformat(f"{text}T00:00:00+00:00")
        if name == "duration":
            return cel().compile("duration(text)").execute({"text": text})
    except (ValueError, RuntimeError):
        pass
    return text
