"""Reads who calls. Writes nothing: tokens, those who know them, and the guard before a surface.

A surface passes its own rule in; this module knows no resources. Static tokens are kept as SHA-256
digests, so that the file of tokens is not a file of secrets in memory dumps, and are compared in
constant time. Tokens of an outside issuer: :mod:`towpath.auth.oidc`.
"""

from towpath.auth.guard import Admission, Guard, Rule, Several, refusal
from towpath.auth.identity import ANONYMOUS, Authenticator, Identity, token_of
from towpath.auth.outside import listed, outside
from towpath.auth.tokenfile import tokens_in
from towpath.auth.tokens import Tokens, new_token

__all__ = [
    "ANONYMOUS",
    "Admission",
    "Authenticator",
    "Guard",
    "Identity",
    "Rule",
    "Several",
    "Tokens",
    "listed",
    "new_token",
    "outside",
    "refusal",
    "token_of",
    "tokens_in",
]
