"""
The composition root: the only module that knows every adapter.

The order of construction is the order of reading; everything is taken down in the opposite one.
"""

import gc
import hashlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Self, cast
from uuid import uuid4

from fastapi import FastAPI
from opentelemetry.trace import Tracer
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

from app.application.build import Collaborators, Rules, UseCases
from app.application.catalog.hot_products import NullHotProducts
from app.application.ports import Clock
from app.domain.access import ApiKey, PresentedApiKey, Scope
from app.domain.outcome import StorageUnavailable
from app.domain.product import CachePolicy
from app.domain.session import SessionPolicy
from app.domain.throttle import AccessThrottles
from app.domain.writes import FavoriteLimits
from app.infra.fakestore.catalog import FakeStoreCatalog
from app.infra.fakestore.client import create_client
from app.infra.fakestore.options import CatalogOptions
from app.infra.hashing.argon2 import Argon2Parameters
from app.infra.hashing.cores import hashing_cores
from app.infra.hashing.executor import HashingExecutor
from app.infra.hashing.password_hasher import ArgonPasswordHasher
from app.infra.http.api import VERSION, create_api
from app.infra.http.middleware import access_log
from app.infra.http.middleware.request_id import current_request_id
from app.infra.http.options import HttpOptions
from app.infra.http.rate_limit.create import create_limiter
from app.infra.observability.logger import PlainEvents, configure_logging
from app.infra.observability.metrics.process import Sampler, process_metrics
from app.infra.observability.tracing.spans import NO_TRACER, log_fields
from app.infra.postgres.engine import connector, create_engine, sessions_of, statement_trace
from app.infra.postgres.favorite_writes import PostgresFavoriteWrites
from app.infra.postgres.queries import PostgresQueries
from app.infra.postgres.replica import PATIENCE as REPLICA_PATIENCE
from app.infra.postgres.replica import Replica, ReplicaFirstPool
from app.infra.postgres.row_cache import ProductRowCache
from app.infra.postgres.schema import schema_at_head
from app.infra.postgres.sign_in_writes import PostgresSignInWrites
from app.infra.postgres.statement_pool import PLANNED_ONCE, StatementPool
from app.infra.postgres.unit_of_work import PostgresUnitOfWork
from app.infra.security.api_key import new_api_key
from app.infra.security.common_password import common_passwords
from app.infra.security.device_token import HmacDeviceTokens
from app.infra.security.refresh_token import HmacRefreshTokenSource
from app.infra.security.signing_keys import SigningKeys
from app.infra.security.token import JwtTokenIssuer
from app.infra.server.disconnect import ConnectionObserver
from app.infra.task_manager import TaskManager
from app.settings import Settings, load_settings

if TYPE_CHECKING:
    from app.infra.jobs.worker import JobWorker
    from app.infra.observability.tracing.export import TraceExport
    from app.infra.redis.hot_products import RedisHotProducts

STATEMENT_CONNECTIONS_MAX = 4
"""Connections of one process for shared statements, and at most a third of all."""

BACKGROUND_TASKS_MAX = 256
"""Refreshes in progress or waited for in one process."""

TRACES_SHUTDOWN_MAX = timedelta(seconds=2)
"""How long a process that stops waits until its last spans are sent, at most."""

# Set by the command line for the processes of a server.
WORKERS_VARIABLE = "FAVORITES_SERVER_PROCESSES"


class PoolSizes(NamedTuple):
    """How the connections of one process are divided among independent pools."""

    main: int
    """For units of work."""
    statements: int
    """For shared statements."""
    sign_ins: int

    @classmethod
    def of(cls, connections: int) -> Self:
        """Divide a number of connections, at least one for each pool."""
        connections = max(connections, len(cls._fields))
        statements = min(STATEMENT_CONNECTIONS_MAX, connections // 3)
        sign_ins = max(1, statements // 2)
        main = connections - statements - sign_ins
        return cls(main=main, statements=statements, sign_ins=sign_ins)


class Readiness:
    """Whether requests can be served: not before wiring has ended, not after stopping began."""

    def __init__(self) -> None:
        self._check: Callable[[], Awaitable[None]] | None = None

    def opened(self, check: Callable[[], Awaitable[None]]) -> None:
        """Be ready as long as the check passes."""
        self._check = check

    def closed(self) -> None:
        """Be ready no more."""
        self._check = None

    async def __call__(self) -> None:
        """
        Return if requests can be served.

        :raises StorageUnavailable: if the database cannot be reached or is not at our revision,
            or if this process is starting or stopping
        """
        if self._check is None:
            raise StorageUnavailable("Starting or stopping", retry_after=timedelta(seconds=1))
        await self._check()


@asynccontextmanager
async def wire(
    settings: Settings,
    *,
    readiness: Readiness | None = None,
    traces: "TraceExport | None" = None,
) -> AsyncGenerator[UseCases]:
    """
    Build the service and, on leaving, take it down in the opposite order.

    `traces` is shut down last.
    """
    tracer = NO_TRACER if traces is None else traces.tracer
    clock = partial(datetime.now, UTC)
    keys = _signing_keys(settings)
    catalog_options = _catalog_options(settings)
    sizes = PoolSizes.of(settings.database_pool_size)
    engine = create_engine(
        database_url(settings),
        pool_size=sizes.main,
        patience=settings.database_pool_timeout,
        statement_timeout=settings.database_pool_timeout,
        transaction_pooler=settings.database_transaction_pooler,
        tracer=tracer,
    )
    statement_pool = partial(
        StatementPool,
        connector(
            database_url(settings),
            patience=settings.database_pool_timeout,
            statement_timeout=settings.database_pool_timeout,
            transaction_pooler=settings.database_transaction_pooler,
            settings=PLANNED_ONCE,
            trace=statement_trace(tracer, database_url(settings)),
        ),
        transaction_pooler=settings.database_transaction_pooler,
    )
    statements = statement_pool(size=sizes.statements)
    sign_in_statements = statement_pool(size=sizes.sign_ins)
    replica = _replica(settings, tracer)
    row_cache = ProductRowCache(statements.fetch)
    queries = PostgresQueries(
        statements,
        row_cache,
        patience=settings.database_pool_timeout,
        replica=None if replica is None else ReplicaFirstPool(replica, statements),
    )
    favorites = PostgresFavoriteWrites(
        statements, row_cache, patience=settings.database_pool_timeout, tracer=tracer
    )
    sign_ins = PostgresSignInWrites(sign_in_statements, patience=settings.database_pool_timeout)
    pool = cast("QueuePool", engine.pool)
    units = partial(PostgresUnitOfWork, sessions_of(engine), budget=settings.database_pool_timeout)
    hashing = HashingExecutor(threads=_hashing_threads(settings), queue=settings.password_queue)
    hasher = ArgonPasswordHasher(
        hashing,
        parameters=Argon2Parameters(
            memory_kib=settings.password_memory_kib,
            passes=settings.password_passes,
            lanes=settings.password_lanes,
        ),
    )
    client = create_client(settings.fakestore_url, catalog_options)
    tasks = TaskManager(
        limit=BACKGROUND_TASKS_MAX, grace=settings.shutdown_grace / 2, tracer=tracer
    )
    metrics = process_metrics()
    hot = _hot_products(settings, clock)
    sampler = Sampler(
        {
            metrics.hashing_queue: lambda: hashing.queue_depth,
            metrics.replica_usable: lambda: float(replica is not None and replica.usable),
            # For each pool: an exhausted one would not be visible in a sum.
            metrics.connections_in_use.labels("main"): pool.checkedout,
            metrics.connections_in_use.labels("lookups"): lambda: statements.in_use,
            metrics.connections_in_use.labels("sign_ins"): lambda: sign_in_statements.in_use,
            metrics.connections_limit.labels("main"): lambda: sizes.main,
            metrics.connections_limit.labels("lookups"): lambda: sizes.statements,
            metrics.connections_limit.labels("sign_ins"): lambda: sizes.sign_ins,
        }
    )
    try:
        # Tasks stop before the client they use, and everything before the last spans are sent.
        async with (
            traces or nullcontext(),
            replica or nullcontext(),
            hot or nullcontext(),
            sampler,
            hashing,
            client,
            tasks,
        ):
            if readiness is not None:
                hashing.start()
                _settle()
                readiness.opened(partial(_check_schema, engine))
            yield UseCases(
                Collaborators(
                    uow=units,
                    queries=queries,
                    favorites=favorites,
                    sign_ins=sign_ins,
                    catalog=FakeStoreCatalog(
                        client,
                        options=catalog_options,
                        clock=clock,
                        request_id=current_request_id,
                        observer=metrics.catalog,
                        tracer=tracer,
                    ),
                    hasher=hasher,
                    tokens=JwtTokenIssuer(
                        keys=keys,
                        issuer=settings.jwt_issuer,
                        audience=settings.jwt_audience,
                        ttl=settings.access_token_ttl,
                    ),
                    refresh_tokens=HmacRefreshTokenSource(keys=keys),
                    devices=HmacDeviceTokens(keys=keys),
                    tasks=tasks,
                    clock=clock,
                    new_id=uuid4,
                    new_api_key=new_api_key,
                    cache_observer=metrics.cache,
                    hot_products=hot or NullHotProducts(),
                ),
                _rules(settings, now=clock()),
            )
    finally:
        if readiness is not None:
            readiness.closed()
        await favorites.aclose()
        await queries.aclose()
        await statements.aclose()
        await sign_in_statements.aclose()
        await engine.dispose()


def create_app() -> FastAPI:
    """Build the application of one server process; the settings are read, nothing connects yet."""
    settings = load_settings()
    traces = _trace_export(settings, service="favorites-api")
    configure_logging(
        format=settings.log_format.value,
        level=settings.log_level.value,
        extra_fields=None if traces is None else log_fields,
        lasting=True,
    )
    readiness = Readiness()
    keys = _signing_keys(settings)
    return create_api(
        wire(settings, readiness=readiness, traces=traces),
        HttpOptions(
            cursor_keys=[
                hashlib.sha256(b"favorites cursor\0" + secret).digest() for secret in keys.values()
            ],
            api_key_header=settings.api_key_header,
            cookie_secure=settings.cookie_secure,
            docs_enabled=settings.docs_enabled,
            allowed_origins=frozenset(settings.allowed_origins),
            trusted_proxies=settings.trusted_proxies,
            max_body_bytes=settings.max_body_bytes,
            ready=readiness,
            limiter=create_limiter(
                settings.rate_limit,
                redis_url=_redis_url(settings),
            ),
            log=PlainEvents(access_log.__name__, access_log.EVENT),
            observe=process_metrics().requests,
            tracer=None if traces is None else traces.tracer,
        ),
    )


def connection_observer() -> ConnectionObserver:
    """Return the observer that counts the connections of one server process."""
    return process_metrics().connections


@asynccontextmanager
async def job_worker(settings: Settings) -> AsyncGenerator["JobWorker"]:
    """Build a worker of the job queue; if traces are sent, log lines name them from now on."""
    # Servers have no use for it, and it brings a second driver: a tenth of their memory.
    from app.infra.jobs.tasks import JobHandlers
    from app.infra.jobs.worker import JobWorker, WorkerOptions

    traces = _trace_export(settings, service="favorites-worker")
    if traces is not None:
        configure_logging(
            format=settings.log_format.value,
            level=settings.log_level.value,
            extra_fields=log_fields,
        )
    async with wire(settings, traces=traces) as use_cases:
        yield JobWorker(
            database_url(settings),
            JobHandlers(
                validate_product=lambda product_id: use_cases.validate_product(
                    product_id=product_id
                ),
                refresh_favorited=use_cases.refresh_favorited,
                reconcile_popularity=use_cases.reconcile_popularity,
                purge=use_cases.purge,
            ),
            WorkerOptions(
                concurrency=settings.worker_concurrency,
                lease=settings.worker_lease,
                grace=settings.shutdown_grace * 0.8,
                dead_letters_kept=settings.dead_letters_kept,
            ),
            observe=process_metrics().jobs,
            tracer=NO_TRACER if traces is None else traces.tracer,
        )


def database_url(settings: Settings) -> str:
    """
    Return where the database is.

    :raises ValueError: if the settings do not say so
    """
    if settings.database_url is None:
        raise ValueError("DATABASE_URL is not set; ./development/start brings a database")
    return settings.database_url.get_secret_value()


def _trace_export(settings: Settings, *, service: str) -> "TraceExport | None":
    if settings.otel_exporter_otlp_endpoint is None:
        return None
    # Imported here: without traces the SDK must cost neither memory nor start time.
    from app.infra.observability.tracing.export import create_export

    return create_export(
        settings.otel_exporter_otlp_endpoint,
        service=service,
        version=VERSION,
        environment=settings.environment.value,
        shutdown_timeout=min(TRACES_SHUTDOWN_MAX, settings.shutdown_grace / 10),
    )


def _replica(settings: Settings, tracer: Tracer) -> Replica | None:
    if settings.database_read_url is None:
        return None
    url = settings.database_read_url.get_secret_value()
    connect = connector(
        url,
        application_name="favorites-reads",
        patience=REPLICA_PATIENCE,
        statement_timeout=REPLICA_PATIENCE,
        transaction_pooler=settings.database_transaction_pooler,
        settings=PLANNED_ONCE,
        trace=statement_trace(tracer, url, pool="favorites-reads"),
    )
    return Replica(
        StatementPool(
            connect,
            size=settings.database_pool_size,
            transaction_pooler=settings.database_transaction_pooler,
        ),
        max_lag=settings.database_read_max_lag,
    )


def _redis_url(settings: Settings) -> str | None:
    return None if settings.redis_url is None else settings.redis_url.get_secret_value()


def _hot_products(settings: Settings, clock: Clock) -> "RedisHotProducts | None":
    url = _redis_url(settings)
    if url is None or settings.hot_ttl is None:
        return None
    # Without Redis its library costs neither memory nor time to start.
    from app.infra.redis.hot_products import RedisHotProducts

    return RedisHotProducts(url, ttl=settings.hot_ttl, clock=clock, observe=process_metrics().hot)


def _settle() -> None:
    """
    Exclude the objects that live as long as the process from garbage collection.

    A full collection of all modules takes some 70 ms, during which no request is answered.
    Requests rarely leave reference cycles behind: less frequent collections cost a little memory.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


async def _check_schema(engine: AsyncEngine) -> None:
    if not await schema_at_head(engine):
        raise StorageUnavailable(
            "The database is not at this version's revision", retry_after=timedelta(seconds=5)
        )


def _signing_keys(settings: Settings) -> SigningKeys:
    return SigningKeys({kid: secret.get_secret_value() for kid, secret in settings.jwt_keys})


def _hashing_threads(settings: Settings) -> int:
    if settings.password_threads is not None:
        return settings.password_threads
    return hashing_cores(processes=int(os.environ.get(WORKERS_VARIABLE, "1")))


def _catalog_options(settings: Settings) -> CatalogOptions:
    return CatalogOptions(
        connect_timeout_s=settings.fakestore_connect_timeout.total_seconds(),
        deadline_s=settings.fakestore_timeout.total_seconds(),
        max_tries=settings.fakestore_tries,
        backoff_base_s=settings.fakestore_backoff.total_seconds(),
        backoff_max_s=settings.fakestore_backoff_max.total_seconds(),
        retry_ratio=settings.fakestore_retry_budget,
        retry_reserve=settings.fakestore_retry_reserve,
        max_concurrent=settings.fakestore_concurrency,
        max_queued=settings.fakestore_queue,
        queue_timeout_s=settings.fakestore_queue_timeout.total_seconds(),
        breaker_window_s=settings.fakestore_breaker_window.total_seconds(),
        breaker_min_calls=settings.fakestore_breaker_calls,
        breaker_failure_rate=settings.fakestore_breaker_rate,
        breaker_open_s=settings.fakestore_breaker_pause.total_seconds(),
        max_body_bytes=settings.fakestore_max_bytes,
        # When the catalog will be asked again is when it is worth asking us again.
        retry_after_default_s=settings.refresh_backoff.total_seconds(),
        retry_after_max_s=settings.fakestore_retry_after_max.total_seconds(),
    )


def _rules(settings: Settings, *, now: datetime) -> Rules:
    return Rules(
        cache=CachePolicy(
            soft_ttl=settings.soft_ttl,
            hard_ttl=settings.hard_ttl,
            negative_ttl=settings.negative_ttl,
            lease=settings.refresh_lease,
            backoff=settings.refresh_backoff,
        ),
        session=SessionPolicy(
            idle=settings.refresh_token_ttl,
            absolute=settings.session_ttl,
            grace=settings.refresh_grace,
        ),
        throttles=AccessThrottles(
            sign_in_email=settings.sign_in_limit_email,
            sign_in_ip=settings.sign_in_limit_ip,
            sign_up_ip=settings.sign_up_limit_ip,
        ),
        common_passwords=common_passwords(),
        favorite_limits=FavoriteLimits(total=settings.favorites_max, pending=settings.pending_max),
        favorite_patience=settings.favorite_patience,
        popular_min_count=settings.popular_min_count,
        undo_window=settings.undo_window,
        removals_kept=settings.removals_kept,
        sessions_kept=settings.sessions_kept,
        development_key=_development_key(settings, now=now),
    )


def _development_key(settings: Settings, *, now: datetime) -> ApiKey | None:
    if settings.development_api_key is None:
        return None
    presented = PresentedApiKey.parse(settings.development_api_key.get_secret_value())
    return ApiKey(
        id=presented.id,
        name="development",
        secret_hash=presented.secret_hash,
        scopes=frozenset(Scope),
        created_at=now,
    )
