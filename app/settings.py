"""
The environment, typed, frozen and checked.

`load_settings()` reads the environment and `.env` in the working directory; the environment wins.
An empty value is an unset one; where a setting can be switched off, empty is off. All durations
are seconds. `.env.example` says the same for people who run the service.
"""

import io
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar, get_args
from urllib.parse import SplitResult, unquote, urlsplit

from dotenv.parser import parse_stream
from limits import parse_many
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretBytes,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.domain.access import PresentedApiKey
from app.domain.outcome import InvalidApiKey
from app.domain.throttle import ThrottleRule

ENV_FILE = Path(".env")

# Known to everybody, and therefore worth nothing: production refuses them.
DEVELOPMENT_JWT_SECRET = "development-only-known-to-everybody-0123456789"  # noqa: S105 - no secret
DEVELOPMENT_API_KEY = (
    "aiq_development_de7e10b3e27de7e10b3e27de7e10b3e27de7e10b3e27de7e10b3e27de7e10b3e"
)
DEVELOPMENT_DATABASE_PASSWORD = "favorites-development-only"  # noqa: S105 - no secret

JWT_SECRET_MIN_BYTES = 32

T = TypeVar("T")


class SettingsError(Exception):
    """The settings cannot be used; the text names every fault, and never a secret."""


class Environment(StrEnum):
    """What the process runs for."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class LogFormat(StrEnum):
    """Who reads the log: people or machines."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The least severe log lines that are written."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


def _seconds(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    try:
        return timedelta(seconds=float(str(value)))
    except (ValueError, OverflowError) as error:
        raise ValueError("has to be a number of seconds, for example 2.5") from error


def _positive(value: timedelta) -> timedelta:
    if not timedelta(0) < value <= timedelta(days=3650):
        raise ValueError("has to be more than 0 seconds and at most ten years")
    return value


def _not_negative(value: timedelta) -> timedelta:
    if not timedelta(0) <= value <= timedelta(hours=1):
        raise ValueError("has to be from 0 seconds to one hour")
    return value


def _rate(value: object) -> object:
    if value is None or isinstance(value, ThrottleRule):
        return value
    try:
        (item,) = parse_many(str(value))
        rule = ThrottleRule(limit=item.amount, window=timedelta(seconds=item.get_expiry()))
    except (ValueError, OverflowError) as error:
        raise ValueError(
            "has to be a limit such as 300/minute or 10/5 minutes, or empty for none"
        ) from error
    if not (rule.limit > 0 and rule.window > timedelta(0)):
        raise ValueError("has to allow at least one request in a period longer than none")
    return rule


def _split(parse: Callable[[str], T], value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(parse(item.strip()) for item in value.split(",") if item.strip())


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(
            "has to be addresses or networks separated by commas, for example"
            " 10.0.0.7,10.1.0.0/16,fd00::/8"
        ) from error


def _origin(text: str) -> str:
    expected = "has to be origins separated by commas, for example https://shop.example"
    url = _url(("http", "https"), expected, text.lower())
    if url.path or re.search(r"[?#@*]", text) or not text.isascii():
        raise ValueError(f"{expected}: scheme, host and port, no path, no wildcard")
    # As browsers write it (RFC 6454, section 6.2): without the port that the scheme implies.
    default = {"http": 80, "https": 443}[url.scheme]
    port = "" if url.port in {None, default} else f":{url.port}"
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    return f"{url.scheme}://{host}{port}"


def _jwt_key(text: str) -> tuple[str, SecretBytes]:
    kid, colon, secret = text.partition(":")
    if not colon or re.fullmatch(r"[A-Za-z0-9._-]{1,64}", kid) is None:
        raise ValueError(
            "has to be kid:secret pairs separated by commas; a kid has 1 to 64 letters, digits,"
            " dots, underscores or hyphens"
        )
    if len(secret.encode()) < JWT_SECRET_MIN_BYTES:
        raise ValueError(
            f"each secret has to have at least {JWT_SECRET_MIN_BYTES} bytes (RFC 7518, section"
            " 3.2); `openssl rand -hex 32` makes one"
        )
    return kid, SecretBytes(secret.encode())


def _url(schemes: Sequence[str], expected: str, text: str) -> SplitResult:
    """
    Take a URL apart.

    :raises ValueError: if it is not one of these schemes with a host and a sane port
    """
    try:
        url = urlsplit(text)
        sane = url.scheme in schemes and bool(url.hostname) and url.port != 0
    except ValueError as error:
        raise ValueError(expected) from error
    if not sane or re.search(r"[\s\x00-\x1f\x7f]", text):
        raise ValueError(expected)
    return url


def _database_url(secret: SecretStr) -> SecretStr:
    expected = "has to be postgresql://user:password@host:port/database"
    text = secret.get_secret_value()
    try:
        url = urlsplit(text)
        # Several hosts separated by commas are libpq's way to name replicas.
        sane = "," in url.netloc or url.port != 0
    except ValueError as error:
        raise ValueError(expected) from error
    # A server on a socket is named in the query: postgresql://user@/database?host=/run/postgresql
    named = bool(url.hostname) or "host=" in url.query
    if not (sane and named and url.scheme in {"postgresql", "postgres"} and url.path.strip("/")):
        raise ValueError(expected)
    return secret


def _redis_url(secret: SecretStr) -> SecretStr:
    _url(
        ("redis", "rediss"),
        "has to be redis://host:port/number, or rediss:// for TLS",
        secret.get_secret_value(),
    )
    return secret


def _http_url(text: str) -> str:
    expected = "has to be an http:// or https:// URL without credentials, query or fragment"
    url = _url(("http", "https"), expected, text)
    if "@" in url.netloc or url.query or url.fragment:
        raise ValueError(expected)
    return text.rstrip("/")


def _api_key(secret: SecretStr) -> SecretStr:
    try:
        PresentedApiKey.parse(secret.get_secret_value())
    except InvalidApiKey as error:
        raise ValueError("has to be aiq_<id>_<64 hexadecimal digits>") from error
    return secret


Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Duration: TypeAlias = Annotated[timedelta, BeforeValidator(_seconds), AfterValidator(_positive)]
Rate: TypeAlias = Annotated[ThrottleRule | None, NoDecode, BeforeValidator(_rate)]
HttpUrl: TypeAlias = Annotated[str, AfterValidator(_http_url)]
DatabaseUrl: TypeAlias = Annotated[SecretStr, AfterValidator(_database_url)]
Port: TypeAlias = Annotated[int, Field(ge=1, le=65535)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=1_000_000)]
JwtKeys: TypeAlias = Annotated[
    tuple[tuple[str, SecretBytes], ...], NoDecode, BeforeValidator(partial(_split, _jwt_key))
]


def _is_production(values: dict[str, Any]) -> bool:
    return values.get("environment") is Environment.PRODUCTION


class Settings(BaseSettings):
    """Everything the environment decides."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        validate_default=True,
        hide_input_in_errors=True,
    )

    # Running

    environment: Environment = Environment.DEVELOPMENT
    """`production` refuses everything that is only good for development."""
    host: str = "127.0.0.1"
    """The address to listen on; 0.0.0.0 for all."""
    port: Port = 8080
    """The port of the API."""
    metrics_port: Port | None = None
    """The port of `/metrics` (Prometheus), apart from the API's; empty: none."""
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that serve the API."""
    shutdown_grace: Duration = timedelta(seconds=25)
    """How long requests and work under way may take after SIGTERM."""
    drain_delay: Annotated[timedelta, BeforeValidator(_seconds), AfterValidator(_not_negative)] = (
        timedelta(0)
    )
    """How long, after SIGTERM, newcomers are still served, while `/health/ready` is 503."""
    docs_enabled: bool = True
    """Whether `/docs`, `/redoc` and `/openapi.json` are served."""
    max_body_bytes: Annotated[int, Field(ge=1024, le=16 * 1024**2)] = 64 * 1024
    """The largest request body, in bytes."""
    head_timeout: Duration = timedelta(seconds=10)
    """How long the head of a request may take, counted from its first byte or the connection."""
    body_timeout: Duration = timedelta(seconds=30)
    """How long the body of a request may take after its head."""
    read_timeout: Duration = timedelta(seconds=10)
    """How long an answer may lie unread, without a byte of it being taken."""
    keep_alive: Duration = timedelta(seconds=5)
    """How long a connection is kept without a request."""
    max_connections: Annotated[int, Field(ge=1, le=100_000)] = 2000
    """Connections of each process; beyond them the idle make room, or newcomers get 503."""

    # Database

    database_url: DatabaseUrl | None = None
    """PostgreSQL 15 or newer; empty in development: `development/start` brings its own."""
    database_read_url: DatabaseUrl | None = None
    """A read replica for lists; empty: the same as DATABASE_URL."""
    database_read_max_lag: Duration = timedelta(seconds=30)
    """How far the replica may be behind; beyond that DATABASE_URL is asked."""
    database_pool_size: Annotated[int, Field(ge=1, le=500)] = 10
    """Connections of each process at the most; it has three in any case."""
    database_pool_timeout: Duration = timedelta(seconds=2)
    """How long a request waits for a connection, or for an answer, before it is answered 503."""
    database_transaction_pooler: bool = False
    """Whether the URLs lead to a pooler in transaction mode, such as PgBouncer."""
    redis_url: Annotated[SecretStr, AfterValidator(_redis_url)] | None = None
    """Redis, for rate limits and copies of products that all processes share; empty: none."""

    # The catalog and its cache

    fakestore_url: HttpUrl = "https://fakestoreapi.com"
    """The Fake Store API; empty: the public one, with `development/start` a local one."""
    fakestore_connect_timeout: Duration = timedelta(seconds=1)
    """How long connecting to it may take."""
    fakestore_timeout: Duration = timedelta(seconds=3)
    """How long a whole call may take, tries and pauses included."""
    fakestore_tries: Annotated[int, Field(ge=1, le=10)] = 3
    """Requests of one call at the most."""
    fakestore_backoff: Duration = timedelta(seconds=0.1)
    """The longest pause before the second try; doubles with each, drawn with full jitter."""
    fakestore_backoff_max: Duration = timedelta(seconds=1)
    """The longest pause before any try."""
    fakestore_retry_budget: Annotated[float, Field(gt=0, le=1)] = 0.1
    """How many retries each call earns; when the earnings are spent, calls are tried once."""
    fakestore_retry_reserve: Annotated[float, Field(ge=1, le=1000)] = 10
    """How many earned retries are kept at the most, and how many there are at the start."""
    fakestore_breaker_window: Duration = timedelta(seconds=30)
    """Over which time the circuit breaker looks at the calls."""
    fakestore_breaker_calls: Count = 10
    """Fewer calls than this within the window never open it."""
    fakestore_breaker_rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    """The share of them that has to fail to open it."""
    fakestore_breaker_pause: Duration = timedelta(seconds=5)
    """How long it stays open before it lets one call through."""
    fakestore_concurrency: Annotated[int, Field(ge=1, le=1000)] = 16
    """Calls under way at once in each process, at the most."""
    fakestore_queue: Annotated[int, Field(ge=0, le=10_000)] = 64
    """Calls that may wait for one of those places."""
    fakestore_queue_timeout: Duration = timedelta(seconds=1)
    """How long they wait; less than FAKESTORE_TIMEOUT."""
    fakestore_max_bytes: Annotated[int, Field(ge=1024, le=64 * 1024**2)] = 1024**2
    """The largest answer that is believed, in bytes after decompression."""
    fakestore_retry_after_max: Duration = timedelta(seconds=60)
    """Up to which time its `Retry-After` is believed."""
    soft_ttl: Duration = timedelta(minutes=5)
    """How long a copy of a product is fresh."""
    hard_ttl: Duration = timedelta(hours=24)
    """How long a copy is served while it is revalidated; older ones only in an outage."""
    hot_ttl: Duration | None = timedelta(seconds=30)
    """How long a fresh copy is served out of Redis, if that is set; empty: not at all."""
    negative_ttl: Duration = timedelta(minutes=1)
    """How long "there is no such product" is remembered."""
    refresh_lease: Duration = timedelta(seconds=5)
    """How long the right to refresh lasts; at least FAKESTORE_TIMEOUT, and the time to keep it."""
    refresh_backoff: Duration = timedelta(seconds=5)
    """How long nobody asks for a product again after asking has failed."""

    # Favorites

    favorites_max: Count = 10_000
    """Favorites of a customer at the most."""
    pending_max: Count = 50
    """Favorites of a customer, at the most, that wait for the catalog to be asked."""
    favorite_patience: Duration = timedelta(seconds=1)
    """How long favoriting waits for the catalog before it is accepted unchecked (202)."""
    popular_min_count: Count = 3
    """How many customers have to favor a product before it is listed as popular."""
    undo_window: Duration = timedelta(minutes=10)
    """How long a removed favorite can be restored."""
    removals_kept: Duration = timedelta(days=30)
    """How long clients that come back are told which favorites were removed."""

    # Accounts, tokens and keys

    jwt_keys: JwtKeys = (("development", SecretBytes(DEVELOPMENT_JWT_SECRET.encode())),)
    """Secrets of access tokens: `kid:secret` pairs separated by commas. The first signs."""
    jwt_issuer: Annotated[str, Field(min_length=1, max_length=200)] = "favorites"
    """The claim `iss` of access tokens."""
    jwt_audience: Annotated[str, Field(min_length=1, max_length=200)] = "favorites"
    """The claim `aud` of access tokens."""
    access_token_ttl: Duration = timedelta(minutes=15)
    """How long an access token gives access."""
    refresh_token_ttl: Duration = timedelta(days=14)
    """How long a session lasts without being used."""
    session_ttl: Duration = timedelta(days=90)
    """How long a session lasts at the most."""
    refresh_grace: Duration = timedelta(seconds=10)
    """How long a used refresh token still yields the same successor."""
    cookie_secure: bool = False
    """Whether browsers send the cookies over HTTPS only; in production true unless set."""
    allowed_origins: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(partial(_split, _origin))
    ] = ()
    """Other sites whose pages may call the API, exactly; empty: none."""
    trusted_proxies: Annotated[
        tuple[Network, ...], NoDecode, BeforeValidator(partial(_split, _network))
    ] = ()
    """Addresses or networks whose `X-Forwarded-For` is believed; empty: none."""
    api_key_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] = "x-aiqfome-api-key"
    """The header in which internal systems send their API key."""
    development_api_key: Annotated[SecretStr, AfterValidator(_api_key)] | None = SecretStr(
        DEVELOPMENT_API_KEY
    )
    """A key with all scopes for local use, known to everybody; empty, as in production: none."""
    password_memory_kib: Annotated[int, Field(ge=8 * 1024, le=1024**2)] = 19 * 1024
    """Argon2id: memory of one hash, in KiB."""
    password_passes: Annotated[int, Field(ge=1, le=100)] = 2
    """Argon2id: passes over that memory."""
    password_lanes: Annotated[int, Field(ge=1, le=16)] = 1
    """Argon2id: lanes."""
    password_threads: Annotated[int, Field(ge=1, le=64)] | None = None
    """Passwords hashed at once for each process, at the most; empty: its share of the cores."""
    password_queue: Annotated[int, Field(ge=0, le=10_000)] = 64
    """Passwords that may wait for that; one more is answered 503."""

    # Jobs

    worker_concurrency: Annotated[int, Field(ge=1, le=1000)] = 8
    """Jobs that a worker runs at once."""
    worker_lease: Duration = timedelta(seconds=15)
    """A worker that has not been heard of for so long is dead, and its jobs run again."""
    dead_letters_kept: Duration = timedelta(days=30)
    """How long jobs that failed for good can be looked at and run again."""
    sessions_kept: Duration = timedelta(days=30)
    """How long sessions are kept after they have ended."""

    # Limits

    rate_limit: Rate = ThrottleRule(limit=300, window=timedelta(minutes=1))
    """Requests of one customer, API key or address; empty: no limit."""
    sign_in_limit_email: Rate = ThrottleRule(limit=10, window=timedelta(minutes=5))
    """Failed sign-ins for one e-mail address; empty: no limit."""
    sign_in_limit_ip: Rate = ThrottleRule(limit=30, window=timedelta(minutes=5))
    """Failed sign-ins from one address; empty: no limit."""
    sign_up_limit_ip: Rate = ThrottleRule(limit=20, window=timedelta(hours=1))
    """Sign-ups from one address; empty: no limit."""

    # Observing

    log_level: LogLevel = LogLevel.INFO
    """The least severe log lines that are written."""
    log_format: LogFormat = LogFormat.CONSOLE
    """`console` for people, `json` (a line each) for machines; in production json unless set."""
    otel_exporter_otlp_endpoint: HttpUrl | None = None
    """Where traces are sent (OpenTelemetry, OTLP over HTTP); empty: nowhere."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: dict[str, Any]) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for name, value in values.items():
            text = value.strip() if isinstance(value, str) else value
            if text != "":
                given[name] = text
            elif type(None) in get_args(cls.model_fields[name].annotation):
                given[name] = None
        # Not by default factories: those are not called once a field is wrong, and its fault
        # would hide theirs.
        production = given.get("environment") == Environment.PRODUCTION
        return {**(_PRODUCTION_DEFAULTS if production else {}), **given}

    @field_validator("log_level", mode="before")
    @classmethod
    def _ignore_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("database_url", "database_read_url")
    @classmethod
    def _refuse_the_well_known_password(
        cls, url: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        if not _is_production(info.data):
            return url
        if url is None:
            if info.field_name == "database_url":
                raise ValueError("has to be set in production")
            return None
        password = urlsplit(url.get_secret_value()).password or ""
        if unquote(password) == DEVELOPMENT_DATABASE_PASSWORD:
            raise ValueError("has the password of development, which production refuses")
        return url

    @field_validator("hard_ttl")
    @classmethod
    def _order_the_ttls(cls, hard: timedelta, info: ValidationInfo) -> timedelta:
        return _at_least(hard, info, "soft_ttl")

    @field_validator("fakestore_queue_timeout")
    @classmethod
    def _end_before_the_call(cls, wait: timedelta, info: ValidationInfo) -> timedelta:
        if wait >= info.data.get("fakestore_timeout", timedelta.max):
            raise ValueError("has to be less than FAKESTORE_TIMEOUT")
        return wait

    @field_validator("session_ttl")
    @classmethod
    def _order_the_expiries(cls, absolute: timedelta, info: ValidationInfo) -> timedelta:
        return _at_least(absolute, info, "refresh_token_ttl")

    @field_validator("refresh_lease")
    @classmethod
    def _outlast_a_call(cls, lease: timedelta, info: ValidationInfo) -> timedelta:
        _at_least(lease, info, "fakestore_timeout")
        # If it ended before the answer is kept, another process would ask as well.
        both = (info.data.get(name) for name in ("fakestore_timeout", "database_pool_timeout"))
        return max(lease, sum((each for each in both if each is not None), timedelta(0)))

    @field_validator("jwt_keys")
    @classmethod
    def _check_the_keys(
        cls, keys: tuple[tuple[str, SecretBytes], ...], info: ValidationInfo
    ) -> tuple[tuple[str, SecretBytes], ...]:
        if not keys:
            raise ValueError("has to be set in production: kid:secret pairs separated by commas")
        if len({kid for kid, _ in keys}) < len(keys):
            raise ValueError("names a kid twice")
        known = DEVELOPMENT_JWT_SECRET.encode()
        if _is_production(info.data) and any(key.get_secret_value() == known for _, key in keys):
            raise ValueError("has the key of development, which production refuses")
        return keys

    @field_validator("development_api_key")
    @classmethod
    def _refuse_the_well_known_key(
        cls, key: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        if key is not None and _is_production(info.data):
            raise ValueError("has to be empty in production")
        return key


_PRODUCTION_DEFAULTS: Mapping[str, object] = {
    "cookie_secure": True,
    "development_api_key": None,
    "jwt_keys": (),
    "log_format": LogFormat.JSON,
}


def load_settings() -> Settings:
    """
    Read the environment and `.env` in the working directory.

    :raises SettingsError: if anything is wrong; the text names every fault
    """
    faults = _faults_of_env_file()
    try:
        settings = Settings(_env_file=ENV_FILE, _env_file_encoding="utf-8-sig")
    except ValidationError as error:
        faults += [_describe(fault) for fault in error.errors(include_input=False)]
    if faults:
        raise SettingsError("\n".join(faults))
    return settings


def _faults_of_env_file() -> list[str]:
    try:
        text = ENV_FILE.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise SettingsError(".env: has to be a text file in UTF-8") from error
    except OSError as error:
        raise SettingsError(f".env: cannot be read ({error.strerror})") from error
    faults = []
    # The file may hold what others read: Compose, the tests. Only near misses are ours.
    names = [name.upper() for name in Settings.model_fields]
    for binding in parse_stream(io.StringIO(text)):
        line = binding.original.line
        if binding.error:
            faults.append(f".env, line {line}: has to be NAME=value")
        elif binding.key is not None and binding.key.upper() not in names:
            meant = get_close_matches(binding.key.upper(), names, n=1, cutoff=0.9)
            if meant:
                faults.append(f".env, line {line}: {binding.key} is no setting; {meant[0]} is")
    return faults


def _describe(fault: ErrorDetails) -> str:
    name = str(fault["loc"][0]).upper() if fault["loc"] else "settings"
    context = fault.get("ctx", {})
    match fault["type"]:
        case "value_error":
            sentence = str(context["error"])
        case "int_parsing" | "int_type" | "int_from_float":
            sentence = "has to be a whole number"
        case "float_parsing" | "finite_number":
            sentence = "has to be a number"
        case "bool_parsing":
            sentence = "has to be true or false"
        case _:
            sentence = (
                fault["msg"].replace("Input should", "has to").replace("String should", "has to")
            )
    return f"{name}: {sentence}"


def _at_least(value: timedelta, info: ValidationInfo, *others: str) -> timedelta:
    # What is missing is a fault of its own.
    if value < sum((info.data.get(other, timedelta(0)) for other in others), timedelta(0)):
        raise ValueError(f"has to be at least {' + '.join(others).upper()}")
    return value
