"""``filterQuery`` of the lists: a text becomes an expression, an expression becomes SQL.

Reads the text that a caller sent; writes the statement of a page, every value of it bound.
"""

from towpath.registry.filters.grammar import And, Comparison, Expression, Or, parse
from towpath.registry.filters.plan import planned

__all__ = ["And", "Comparison", "Expression", "Or", "parse", "planned"]
