"""The issuer that settings name, made ready: the same settings for every surface."""

from pathlib import Path

from towpath.auth.identity import Authenticator
from towpath.errors import InvalidError
from towpath.settings import Issuer

__all__ = ["listed", "outside"]


def outside(settings: Issuer) -> tuple[Authenticator, ...]:
    """The outside issuer that settings name, if they do.

    Raises:
        InvalidError: it cannot be used.
    """
    if not settings.oidc_issuer:
        return ()
    from towpath.auth.oidc import Claims, Oidc  # with an HTTP client, which nothing else here needs

    claims = Claims(
        user=settings.oidc_user_claim,
        user_prefix=settings.oidc_user_prefix,
        groups=settings.oidc_groups_claim,
        groups_prefix=settings.oidc_groups_prefix,
        required=dict(_pair(each) for each in listed(settings.oidc_required_claims)),
    )
    authorities = Path(settings.oidc_ca_file) if settings.oidc_ca_file else None
    issuer = Oidc(
        settings.oidc_issuer,
        settings.oidc_audience,
        claims=claims,
        authorities=authorities,
        algorithms=frozenset(listed(settings.oidc_algorithms)),
    )
    return (issuer,)


def listed(text: str) -> list[str]:
    """The entries of a setting that is a list, separated by commas."""
    return [each.strip() for each in text.split(",") if each.strip()]


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InvalidError(f"oidc_required_claims: {text!r} is not claim=value")
    return name, value
