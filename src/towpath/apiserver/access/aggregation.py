"""ClusterRoles that gather the rules of others by label.

Source: Kubernetes documentation, "Using RBAC Authorization", "Aggregated ClusterRoles".
"""

from collections.abc import Iterable, Mapping
from typing import Final

import orjson

from towpath.spec._wire import Json, JsonObject

__all__ = ["MANAGER", "gathered"]

MANAGER: Final = "clusterrole-aggregation-controller"


def gathered(roles: Mapping[str, JsonObject]) -> dict[str, list[Json]]:
    """The rules that gathering roles should have, where they have others.

    A role may gather one that gathers itself, so it is looked at until nothing changes.

    Args:
        roles: ClusterRoles by name.
    """
    rules = {name: list(role.get("rules") or ()) for name, role in sorted(roles.items())}
    gathering = {name: s for name, role in roles.items() if (s := _selectors(role)) is not None}
    for _ in range(len(gathering) + 1):
        before = dict(rules)
        for name, selectors in gathering.items():
            rules[name] = _union(
                rules[other]
                for other in rules
                if other != name and any(_matches(s, roles[other]) for s in selectors)
            )
        if before == rules:
            break
    return {
        name: rules[name] for name in gathering if rules[name] != (roles[name].get("rules") or [])
    }


def _selectors(role: JsonObject) -> list[JsonObject] | None:
    rule = role.get("aggregationRule")
    return None if rule is None else list(rule.get("clusterRoleSelectors") or ())


def _union(lists: Iterable[list[Json]]) -> list[Json]:
    found = {
        orjson.dumps(rule, option=orjson.OPT_SORT_KEYS): rule for rules in lists for rule in rules
    }
    return list(found.values())


def _matches(selector: JsonObject, role: JsonObject) -> bool:
    labels = role["metadata"].get("labels") or {}
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _meets(labels, requirement) for requirement in selector.get("matchExpressions") or ()
    )


def _meets(labels: Mapping[str, str], requirement: JsonObject) -> bool:
    key, values = requirement.get("key", ""), requirement.get("values") or []
    match requirement.get("operator"):
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return False
