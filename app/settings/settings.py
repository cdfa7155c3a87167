"""
All settings, with their defaults.

An empty value means the default; for a setting that can be switched off, it means off. Durations
are seconds. `.env.example` repeats the defaults and the texts below for operators.
"""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, get_args
from urllib.parse import unquote, urlsplit

from pydantic import (
    Field,
    SecretBytes,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.domain.throttle import ThrottleRule
from app.settings.field_types import (
    ApiKey,
    Claim,
    Count,
    DatabaseUrl,
    Delay,
    Duration,
    HttpUrl,
    JwtKeys,
    Networks,
    Origins,
    Port,
    Rate,
    Ratio,
    RedisUrl,
    at_least,
    less_than,
)

# These values are public, so production rejects them.
DEVELOPMENT_JWT_SECRET = "development-only-known-to-everybody-0123456789"  # noqa: S105 - no secret
DEVELOPMENT_API_KEY = (
    "aiq_development_de7e10b3e27de7e10b3e27de7e10b3e27de7e10b3e27de7e10b3e27de7e10b3e"
)
DEVELOPMENT_DATABASE_PASSWORD = "favorites-development-only"  # noqa: S105 - no secret


class Environment(StrEnum):
    """The purpose of a deployment."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class LogFormat(StrEnum):
    """The format of log lines: for people or for machines."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The minimum severity of log lines."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


def _is_production(values: dict[str, Any]) -> bool:
    return values.get("environment") is Environment.PRODUCTION


class Settings(BaseSettings):
    """The settings of a process."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        validate_default=True,
        hide_input_in_errors=True,
    )

    # Running

    environment: Environment = Environment.DEVELOPMENT
    """`production` rejects every value that is only suitable for development."""
    host: str = "127.0.0.1"
    """The address to listen on; 0.0.0.0 for all."""
    port: Port = 8080
    """The port of the API."""
    metrics_port: Port | None = None
    """The port of `/metrics` (Prometheus), separate from the API; empty: none."""
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Number of API processes."""
    shutdown_grace: Duration = timedelta(seconds=25)
    """How long requests and background work may continue after SIGTERM."""
    drain_delay: Delay = timedelta(0)
    """How long new requests are served after SIGTERM, while `/health/ready` is 503."""
    docs_enabled: bool = True
    """Whether `/docs`, `/redoc` and `/openapi.json` are served."""
    max_body_bytes: Annotated[int, Field(ge=1024, le=16 * 1024**2)] = 64 * 1024
    """The largest request body, in bytes."""
    head_timeout: Duration = timedelta(seconds=10)
    """How long the head of a request may take, from the connection or its first byte."""
    body_timeout: Duration = timedelta(seconds=30)
    """How long the body of a request may take, from the end of its head."""
    read_timeout: Duration = timedelta(seconds=10)
    """How long a client may read nothing of its response before the connection is reset."""
    keep_alive: Duration = timedelta(seconds=5)
    """How long a connection may be idle between requests."""
    max_connections: Annotated[int, Field(ge=1, le=100_000)] = 2000
    """Connections of each process; beyond that idle ones are closed, or new ones get 503."""

    # Database

    database_url: DatabaseUrl | None = None
    """PostgreSQL 15 or newer; empty in development: `development/start` provides one."""
    database_read_url: DatabaseUrl | None = None
    """A read replica for lists; empty: the same as DATABASE_URL."""
    database_read_max_lag: Duration = timedelta(seconds=30)
    """How far the replica may lag; beyond that DATABASE_URL is used."""
    database_pool_size: Annotated[int, Field(ge=1, le=500)] = 10
    """Maximum number of connections of each process; values below three mean three."""
    database_pool_timeout: Duration = timedelta(seconds=2)
    """How long a request waits for a connection, or for a result, before it gets 503."""
    database_transaction_pooler: bool = False
    """Whether the URLs lead to a pooler in transaction mode, such as PgBouncer."""
    redis_url: RedisUrl | None = None
    """Redis for rate limits and cached products that all processes share; empty: none."""

    # The catalog and its cache

    fakestore_url: HttpUrl = "https://fakestoreapi.com"
    """The Fake Store API; empty: the public one, or a local one with `development/start`."""
    fakestore_connect_timeout: Duration = timedelta(seconds=1)
    """How long connecting to it may take."""
    fakestore_timeout: Duration = timedelta(seconds=3)
    """How long a whole call may take, including retries and pauses."""
    fakestore_tries: Annotated[int, Field(ge=1, le=10)] = 3
    """Maximum number of requests in one call."""
    fakestore_backoff: Duration = timedelta(seconds=0.1)
    """Maximum pause before the second try; doubles with each try (full jitter)."""
    fakestore_backoff_max: Duration = timedelta(seconds=1)
    """Maximum pause before any try."""
    fakestore_retry_budget: Ratio = 0.1
    """Retries that each call earns; when all are used, calls are not retried."""
    fakestore_retry_reserve: Annotated[float, Field(ge=1, le=1000)] = 10
    """Maximum number of saved retries, and their number at the start."""
    fakestore_breaker_window: Duration = timedelta(seconds=30)
    """The period over which the circuit breaker counts calls."""
    fakestore_breaker_calls: Count = 10
    """Minimum number of calls in that period that can open the circuit."""
    fakestore_breaker_rate: Ratio = 0.5
    """The share of failed calls that opens the circuit."""
    fakestore_breaker_pause: Duration = timedelta(seconds=5)
    """How long the circuit stays open before it allows one call."""
    fakestore_concurrency: Annotated[int, Field(ge=1, le=1000)] = 16
    """Maximum number of concurrent calls in each process."""
    fakestore_queue: Annotated[int, Field(ge=0, le=10_000)] = 64
    """Maximum number of calls that wait for one of them to end."""
    fakestore_queue_timeout: Annotated[Duration, less_than("fakestore_timeout")] = timedelta(
        seconds=1
    )
    """How long they wait; less than FAKESTORE_TIMEOUT."""
    fakestore_max_bytes: Annotated[int, Field(ge=1024, le=64 * 1024**2)] = 1024**2
    """The largest accepted response, in bytes after decompression."""
    fakestore_retry_after_max: Duration = timedelta(seconds=60)
    """The longest accepted `Retry-After`; a longer one is shortened to this."""
    soft_ttl: Duration = timedelta(minutes=5)
    """How long a cached product is fresh."""
    hard_ttl: Annotated[Duration, at_least("soft_ttl")] = timedelta(hours=24)
    """How long a cached product is served while it is revalidated; older only in an outage."""
    hot_ttl: Duration | None = timedelta(seconds=30)
    """How long a fresh product is served from Redis, if REDIS_URL is set; empty: never."""
    negative_ttl: Duration = timedelta(minutes=1)
    """How long the answer "there is no such product" is cached."""
    refresh_lease: Annotated[Duration, at_least("fakestore_timeout")] = timedelta(seconds=5)
    """How long a refresh lease lasts; at least FAKESTORE_TIMEOUT, plus the time to store."""
    refresh_backoff: Duration = timedelta(seconds=5)
    """How long a product is not refreshed again after a failed refresh."""

    # Favorites

    favorites_max: Count = 10_000
    """Maximum number of favorites of a customer."""
    pending_max: Count = 50
    """Maximum number of favorites of a customer that wait for the catalog."""
    favorite_patience: Duration = timedelta(seconds=1)
    """How long adding a favorite waits for the catalog before it is accepted as pending (202)."""
    popular_min_count: Count = 3
    """Minimum number of customers with a favorite before its product is listed as popular."""
    undo_window: Duration = timedelta(minutes=10)
    """How long a removed favorite can be restored."""
    removals_kept: Duration = timedelta(days=30)
    """How long removed favorites are reported to clients that synchronize a list."""

    # Accounts, tokens and keys

    jwt_keys: JwtKeys = (("development", SecretBytes(DEVELOPMENT_JWT_SECRET.encode())),)
    """Signing keys of access tokens: `kid:secret` pairs separated by commas. The first signs."""
    jwt_issuer: Claim = "favorites"
    """The `iss` claim of access tokens."""
    jwt_audience: Claim = "favorites"
    """The `aud` claim of access tokens."""
    access_token_ttl: Duration = timedelta(minutes=15)
    """How long an access token is valid."""
    refresh_token_ttl: Duration = timedelta(days=14)
    """How long a session lasts without being used."""
    session_ttl: Annotated[Duration, at_least("refresh_token_ttl")] = timedelta(days=90)
    """Maximum duration of a session."""
    refresh_grace: Duration = timedelta(seconds=10)
    """How long a used refresh token still returns the same successor."""
    cookie_secure: bool = False
    """Whether browsers send the cookies over HTTPS only; in production true unless set."""
    allowed_origins: Origins = ()
    """Exact origins of other sites whose pages may call the API; empty: none."""
    trusted_proxies: Networks = ()
    """Addresses or networks whose `X-Forwarded-For` is trusted; empty: none."""
    api_key_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] = "x-aiqfome-api-key"
    """The header in which internal systems send their API key."""
    development_api_key: ApiKey | None = SecretStr(DEVELOPMENT_API_KEY)
    """A public key with all scopes for local use; empty, as in production: none."""
    password_memory_kib: Annotated[int, Field(ge=8 * 1024, le=1024**2)] = 19 * 1024
    """Argon2id: memory of one hash, in KiB."""
    password_passes: Annotated[int, Field(ge=1, le=100)] = 2
    """Argon2id: passes over that memory."""
    password_lanes: Annotated[int, Field(ge=1, le=16)] = 1
    """Argon2id: lanes."""
    password_threads: Annotated[int, Field(ge=1, le=64)] | None = None
    """Passwords hashed at once for each process; empty: its share of the cores."""
    password_queue: Annotated[int, Field(ge=0, le=10_000)] = 64
    """Maximum number of passwords that wait to be hashed; the next one gets 503."""

    # Jobs

    worker_concurrency: Annotated[int, Field(ge=1, le=1000)] = 8
    """Maximum number of jobs that a worker runs at once."""
    worker_lease: Duration = timedelta(seconds=15)
    """How long a worker may send no heartbeat before its jobs are run again."""
    dead_letters_kept: Duration = timedelta(days=30)
    """How long jobs that failed permanently are kept, to be inspected and retried."""
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
    """The minimum severity of log lines."""
    log_format: LogFormat = LogFormat.CONSOLE
    """`console` for people, `json` (a line each) for machines; in production json unless set."""
    otel_exporter_otlp_endpoint: HttpUrl | None = None
    """Where traces are sent (OpenTelemetry, OTLP over HTTP); empty: nowhere."""

    @model_validator(mode="before")
    @classmethod
    def _apply_defaults(cls, values: dict[str, Any]) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for name, value in values.items():
            text = value.strip() if isinstance(value, str) else value
            if text != "":
                given[name] = text
            elif type(None) in get_args(cls.model_fields[name].annotation):
                given[name] = None
        # Default factories would not do: pydantic skips them if another field is invalid, and the
        # errors of these fields would not be reported.
        production = given.get("environment") == Environment.PRODUCTION
        return {**(_PRODUCTION_DEFAULTS if production else {}), **given}

    @field_validator("log_level", mode="before")
    @classmethod
    def _ignore_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("database_url", "database_read_url")
    @classmethod
    def _reject_development_password(
        cls, url: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        if not _is_production(info.data):
            return url
        if url is None:
            if info.field_name == "database_url":
                raise ValueError("must be set in production")
            return None
        password = urlsplit(url.get_secret_value()).password or ""
        if unquote(password) == DEVELOPMENT_DATABASE_PASSWORD:
            raise ValueError("contains the development password, which production rejects")
        return url

    @field_validator("refresh_lease")
    @classmethod
    def _cover_call_and_storing(cls, lease: timedelta, info: ValidationInfo) -> timedelta:
        # A lease that ends before the response is stored lets another process call as well.
        times = (info.data.get(name) for name in ("fakestore_timeout", "database_pool_timeout"))
        return max(lease, sum((time for time in times if time is not None), timedelta(0)))

    @field_validator("jwt_keys")
    @classmethod
    def _reject_development_secret(
        cls, keys: tuple[tuple[str, SecretBytes], ...], info: ValidationInfo
    ) -> tuple[tuple[str, SecretBytes], ...]:
        if not keys:
            raise ValueError("must be set in production: kid:secret pairs separated by commas")
        if len({kid for kid, _ in keys}) < len(keys):
            raise ValueError("contains a kid twice")
        public = DEVELOPMENT_JWT_SECRET.encode()
        if _is_production(info.data) and any(key.get_secret_value() == public for _, key in keys):
            raise ValueError("contains the development key, which production rejects")
        return keys

    @field_validator("development_api_key")
    @classmethod
    def _reject_development_api_key(
        cls, key: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        if key is not None and _is_production(info.data):
            raise ValueError("must be empty in production")
        return key


_PRODUCTION_DEFAULTS: Mapping[str, object] = {
    "cookie_secure": True,
    "development_api_key": None,
    "jwt_keys": (),
    "log_format": LogFormat.JSON,
}
