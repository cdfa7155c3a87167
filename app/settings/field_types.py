"""The types of settings: how each kind of text is parsed and validated."""

import ipaddress
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Annotated, TypeAlias, TypeVar
from urllib.parse import SplitResult, urlsplit

from limits import parse_many
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretBytes,
    SecretStr,
    ValidationInfo,
)
from pydantic_settings import NoDecode

from app.domain.access import PresentedApiKey
from app.domain.outcome import InvalidApiKey
from app.domain.throttle import ThrottleRule

T = TypeVar("T")

_JWT_SECRET_MIN_BYTES = 32


def _seconds(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    try:
        return timedelta(seconds=float(str(value)))
    except (ValueError, OverflowError) as error:
        raise ValueError("must be a number of seconds, for example 2.5") from error


def _positive(value: timedelta) -> timedelta:
    if not timedelta(0) < value <= timedelta(days=3650):
        raise ValueError("must be more than 0 seconds and at most ten years")
    return value


def _up_to_an_hour(value: timedelta) -> timedelta:
    if not timedelta(0) <= value <= timedelta(hours=1):
        raise ValueError("must be from 0 seconds to one hour")
    return value


def at_least(other: str) -> AfterValidator:
    """Require a duration of at least that of another setting, which is declared before it."""

    def validate(value: timedelta, info: ValidationInfo) -> timedelta:
        # An invalid setting is missing here: it has an error of its own.
        if value < info.data.get(other, timedelta.min):
            raise ValueError(f"must be at least {other.upper()}")
        return value

    return AfterValidator(validate)


def less_than(other: str) -> AfterValidator:
    """Require a duration of less than that of another setting, which is declared before it."""

    def validate(value: timedelta, info: ValidationInfo) -> timedelta:
        if value >= info.data.get(other, timedelta.max):
            raise ValueError(f"must be less than {other.upper()}")
        return value

    return AfterValidator(validate)


def _rate(value: object) -> object:
    if value is None or isinstance(value, ThrottleRule):
        return value
    try:
        (item,) = parse_many(str(value))
        rule = ThrottleRule(limit=item.amount, window=timedelta(seconds=item.get_expiry()))
    except (ValueError, OverflowError) as error:
        raise ValueError(
            "must be a limit such as 300/minute or 10/5 minutes, or empty for none"
        ) from error
    if not (rule.limit > 0 and rule.window > timedelta(0)):
        raise ValueError("must allow at least one request in a period of more than 0 seconds")
    return rule


def _comma_separated(parse: Callable[[str], T]) -> BeforeValidator:
    def split(value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(parse(item.strip()) for item in value.split(",") if item.strip())

    return BeforeValidator(split)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(
            "must be addresses or networks separated by commas, for example"
            " 10.0.0.7,10.1.0.0/16,fd00::/8"
        ) from error


def _origin(text: str) -> str:
    expected = "must be origins separated by commas, for example https://shop.example"
    url = _split_url(("http", "https"), expected, text.lower())
    if url.path or re.search(r"[?#@*]", text) or not text.isascii():
        raise ValueError(f"{expected}: scheme, host and port, no path, no wildcard")
    # Browsers omit the default port of the scheme (RFC 6454, section 6.2).
    default = {"http": 80, "https": 443}[url.scheme]
    port = "" if url.port in {None, default} else f":{url.port}"
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    return f"{url.scheme}://{host}{port}"


def _jwt_key(text: str) -> tuple[str, SecretBytes]:
    kid, colon, secret = text.partition(":")
    if not colon or re.fullmatch(r"[A-Za-z0-9._-]{1,64}", kid) is None:
        raise ValueError(
            "must be kid:secret pairs separated by commas; a kid has 1 to 64 letters, digits,"
            " dots, underscores or hyphens"
        )
    if len(secret.encode()) < _JWT_SECRET_MIN_BYTES:
        raise ValueError(
            f"each secret must have at least {_JWT_SECRET_MIN_BYTES} bytes (RFC 7518, section"
            " 3.2); `openssl rand -hex 32` generates one"
        )
    return kid, SecretBytes(secret.encode())


def _split_url(schemes: Sequence[str], expected: str, text: str) -> SplitResult:
    """
    Split a URL.

    :raises ValueError: if it has another scheme, no host or an invalid port
    """
    try:
        url = urlsplit(text)
        valid = url.scheme in schemes and bool(url.hostname) and url.port != 0
    except ValueError as error:
        raise ValueError(expected) from error
    if not valid or re.search(r"[\s\x00-\x1f\x7f]", text):
        raise ValueError(expected)
    return url


def _database_url(secret: SecretStr) -> SecretStr:
    expected = "must be postgresql://user:password@host:port/database"
    try:
        url = urlsplit(secret.get_secret_value())
        # libpq accepts several hosts separated by commas.
        valid = "," in url.netloc or url.port != 0
    except ValueError as error:
        raise ValueError(expected) from error
    # The query names the host of a Unix socket: postgresql://user@/database?host=/run/postgresql
    has_host = bool(url.hostname) or "host=" in url.query
    if not (
        valid and has_host and url.scheme in {"postgresql", "postgres"} and url.path.strip("/")
    ):
        raise ValueError(expected)
    return secret


def _redis_url(secret: SecretStr) -> SecretStr:
    expected = "must be redis://host:port/number, or rediss:// for TLS"
    _split_url(("redis", "rediss"), expected, secret.get_secret_value())
    return secret


def _http_url(text: str) -> str:
    expected = "must be an http:// or https:// URL without credentials, query or fragment"
    url = _split_url(("http", "https"), expected, text)
    if "@" in url.netloc or url.query or url.fragment:
        raise ValueError(expected)
    return text.rstrip("/")


def _api_key(secret: SecretStr) -> SecretStr:
    try:
        PresentedApiKey.parse(secret.get_secret_value())
    except InvalidApiKey as error:
        raise ValueError("must be aiq_<id>_<64 hexadecimal digits>") from error
    return secret


Duration: TypeAlias = Annotated[timedelta, BeforeValidator(_seconds), AfterValidator(_positive)]
Delay: TypeAlias = Annotated[timedelta, BeforeValidator(_seconds), AfterValidator(_up_to_an_hour)]
Rate: TypeAlias = Annotated[ThrottleRule | None, NoDecode, BeforeValidator(_rate)]
Port: TypeAlias = Annotated[int, Field(ge=1, le=65535)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=1_000_000)]
Ratio: TypeAlias = Annotated[float, Field(gt=0, le=1)]
Claim: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]
HttpUrl: TypeAlias = Annotated[str, AfterValidator(_http_url)]
DatabaseUrl: TypeAlias = Annotated[SecretStr, AfterValidator(_database_url)]
RedisUrl: TypeAlias = Annotated[SecretStr, AfterValidator(_redis_url)]
ApiKey: TypeAlias = Annotated[SecretStr, AfterValidator(_api_key)]
JwtKeys: TypeAlias = Annotated[
    tuple[tuple[str, SecretBytes], ...], NoDecode, _comma_separated(_jwt_key)
]
Origins: TypeAlias = Annotated[tuple[str, ...], NoDecode, _comma_separated(_origin)]
Networks: TypeAlias = Annotated[
    tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...],
    NoDecode,
    _comma_separated(_network),
]
