"""``filterQuery`` of the lists: a text becomes an expression, an expression becomes SQL.

Reads the text that a caller sent, and a page of the entities; every value in SQL is bound.
"""

from towpath.registry.filters.grammar import And, Comparison, Expression, Or, parse
from towpath.registry.filters.plan import filtered

__all__ = ["And", "Comparison", "Expression", "Or", "filtered", "parse"]
