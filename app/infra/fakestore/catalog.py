"""The Fake Store over HTTP: circuit breaker, bulkhead, retries, request; in this order."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TypeVar

import httpx2
import structlog
from opentelemetry.trace import Span, SpanKind, Tracer
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_exception,
    wait_random_exponential,
)
from typing_extensions import override

from app.application.catalog.catalog_observer import (
    BreakerState,
    CallOutcome,
    CatalogObserver,
    Operation,
)
from app.application.ports import Clock, ProductCatalog
from app.domain.outcome import CatalogUnavailable
from app.domain.product import Product, ProductId
from app.infra.fakestore.breaker import CircuitBreaker
from app.infra.fakestore.budget import RetryBudget
from app.infra.fakestore.bulkhead import Bulkhead
from app.infra.fakestore.catalog_response import CatalogResponse, read_response
from app.infra.fakestore.failure import CallError, CallFailed, CallRefused
from app.infra.fakestore.options import CatalogOptions
from app.infra.fakestore.translation import to_product, to_products
from app.infra.observability.tracing.spans import NO_TRACER, mark_failed, start_span

T = TypeVar("T")

_MIN_RETRY_AFTER = timedelta(seconds=1)

logger = structlog.get_logger(__name__)


class FakeStoreCatalog(ProductCatalog):
    """
    Call the Fake Store within the limits of the options; create one per process.

    `request_id` returns the ID to send as `X-Request-ID`, if there is one. Calls and tries are
    traced; the trace is not propagated to the catalog, because a third party operates it.
    """

    def __init__(
        self,
        client: httpx2.AsyncClient,
        *,
        options: CatalogOptions,
        clock: Clock,
        request_id: Callable[[], str | None],
        observer: CatalogObserver,
        tracer: Tracer = NO_TRACER,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._options = options
        self._clock = clock
        self._request_id = request_id
        self._observer = observer
        self._tracer = tracer
        self._span_attributes = _span_attributes(client.base_url)
        self._monotonic = monotonic
        self._sleep = sleep
        self._breaker = CircuitBreaker(
            options=options, monotonic=monotonic, on_change=self._breaker_changed
        )
        self._bulkhead = Bulkhead(
            slots=options.max_concurrent,
            max_queued=options.max_queued,
            queue_timeout_s=options.queue_timeout_s,
        )
        self._budget = RetryBudget(ratio=options.retry_ratio, reserve=options.retry_reserve)
        self._jitter = wait_random_exponential(
            multiplier=options.backoff_base_s, max=options.backoff_max_s
        )

    @override
    async def find(self, product_id: ProductId) -> Product | None:
        return await self._call(
            Operation.FIND, f"products/{product_id}", partial(to_product, expected_id=product_id)
        )

    @override
    async def list_all(self) -> Sequence[Product]:
        return await self._call(Operation.LIST, "products", to_products)

    async def _call(
        self, operation: Operation, path: str, translate: Callable[[CatalogResponse], T]
    ) -> T:
        started = self._monotonic()
        retrying = self._retrying(deadline=started + self._options.deadline_s)
        with start_span(self._tracer, f"catalog {operation.value}") as span:
            try:
                result = await self._guarded(retrying, partial(self._try, path, translate))
            except CallError as error:
                mark_failed(span, error.outcome.value)
                self._observe(operation, error.outcome, started=started, retrying=retrying)
                _log_failure(operation, path, error, retries=_retries(retrying))
                raise CatalogUnavailable(
                    "The product catalog cannot be asked at the moment",
                    retry_after=self._retry_after(error),
                ) from error
            outcome = CallOutcome.ABSENT if result is None else CallOutcome.FOUND
            span.set_attribute("outcome", outcome.value)
        self._observe(operation, outcome, started=started, retrying=retrying)
        return result

    async def _guarded(self, retrying: AsyncRetrying, attempt: Callable[[], Awaitable[T]]) -> T:
        with self._breaker.guard():
            try:
                async with asyncio.timeout(self._options.deadline_s), self._bulkhead:
                    self._budget.deposit()
                    return await retrying(attempt)
            except TimeoutError as error:
                raise CallFailed(CallOutcome.TIMEOUT) from error

    async def _try(self, path: str, translate: Callable[[CatalogResponse], T]) -> T:
        with start_span(
            self._tracer,
            "GET",
            kind=SpanKind.CLIENT,
            attributes={**self._span_attributes, "url.path": f"/{path}"},
        ) as span:
            try:
                return await self._request(path, translate, span)
            except CallFailed as error:
                mark_failed(span, error.outcome.value)
                raise

    async def _request(
        self, path: str, translate: Callable[[CatalogResponse], T], span: Span
    ) -> T:
        request_id = self._request_id()
        headers = {} if request_id is None else {"X-Request-ID": request_id}
        try:
            async with self._client.stream("GET", path, headers=headers) as response:
                span.set_attribute("http.response.status_code", response.status_code)
                received = await read_response(response, options=self._options, now=self._clock())
        except httpx2.HTTPError as error:
            raise CallFailed(CallOutcome.TRANSPORT, type(error).__name__) from error
        return translate(received)

    def _retrying(self, *, deadline: float) -> AsyncRetrying:
        """Create the retry policy of one call; it has state, so calls cannot share it."""
        is_last_try = stop_after_attempt(self._options.max_tries)

        def stop(state: RetryCallState) -> bool:
            # The budget comes last, because a withdrawal is final.
            return (
                is_last_try(state)
                or self._monotonic() + state.upcoming_sleep >= deadline
                or not self._budget.withdraw()
            )

        return AsyncRetrying(
            retry=retry_if_exception(_is_retryable),
            wait=self._jitter + wait_exception(_requested_pause_s),
            stop=stop,
            sleep=self._sleep,
            reraise=True,
        )

    def _retry_after(self, error: CallError) -> timedelta:
        default = timedelta(seconds=self._options.retry_after_default_s)
        return max(default if error.retry_after is None else error.retry_after, _MIN_RETRY_AFTER)

    def _observe(
        self,
        operation: Operation,
        outcome: CallOutcome,
        *,
        started: float,
        retrying: AsyncRetrying,
    ) -> None:
        self._observer.called(
            operation,
            outcome=outcome,
            latency_s=self._monotonic() - started,
            retries=_retries(retrying),
        )

    def _breaker_changed(self, state: BreakerState) -> None:
        logger.warning("catalog_breaker_changed", state=state.value)
        self._observer.breaker_changed(state)


def _span_attributes(url: httpx2.URL) -> dict[str, str | int]:
    default = 443 if url.scheme == "https" else 80
    return {
        "http.request.method": "GET",
        "server.address": url.host,
        "server.port": url.port or default,
    }


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, CallFailed) and error.retryable


def _requested_pause_s(error: BaseException) -> float:
    if isinstance(error, CallFailed) and error.retry_after is not None:
        return error.retry_after.total_seconds()
    return 0.0


def _retries(retrying: AsyncRetrying) -> int:
    # The statistics are empty if there was no try.
    return int(retrying.statistics.get("attempt_number", 1)) - 1


def _log_failure(operation: Operation, path: str, error: CallError, *, retries: int) -> None:
    fields = {
        "operation": operation.value,
        "path": path,
        "reason": error.outcome.value,
        "detail": error.detail,
    }
    if isinstance(error, CallRefused):
        # Not a warning: an outage causes many, and its cause has been logged.
        logger.info("catalog_call_refused", **fields)
    else:
        logger.warning("catalog_call_failed", **fields, retries=retries)
