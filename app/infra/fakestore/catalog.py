"""The Fake Store over HTTP: breaker around bulkhead around retries around a request."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TypeVar

import httpx2
import structlog
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
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
from app.application.tracer import NULL_TRACER, Attributes, Span, SpanKind, Tracer
from app.domain.outcome import CatalogUnavailable
from app.domain.product import Product, ProductId
from app.infra.fakestore.answer import Answer, read_answer
from app.infra.fakestore.breaker import CircuitBreaker
from app.infra.fakestore.budget import RetryBudget
from app.infra.fakestore.bulkhead import Bulkhead
from app.infra.fakestore.failure import CallFailed, CallRefused, NotAnswered
from app.infra.fakestore.options import CatalogOptions
from app.infra.fakestore.retry_after import parse_retry_after
from app.infra.fakestore.translation import to_product, to_products

T = TypeVar("T")

_MIN_RETRY_AFTER = timedelta(seconds=1)

logger = structlog.get_logger(__name__)


class FakeStoreCatalog(ProductCatalog):
    """
    Asks the Fake Store, as patiently as the options say; made once per process.

    `request_id` returns the id to pass on as `X-Request-ID`, if there is one. `tracer` is told of
    calls and of each try; the catalog, which is somebody else's, is not told of the trace.
    """

    def __init__(
        self,
        client: httpx2.AsyncClient,
        *,
        options: CatalogOptions,
        clock: Clock,
        request_id: Callable[[], str | None],
        observer: CatalogObserver,
        tracer: Tracer = NULL_TRACER,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._options = options
        self._clock = clock
        self._request_id = request_id
        self._observer = observer
        self._tracer = tracer
        self._server = _server(client.base_url)
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
        return await self._ask(
            Operation.FIND, f"products/{product_id}", partial(to_product, asked_for=product_id)
        )

    @override
    async def list_all(self) -> Sequence[Product]:
        return await self._ask(Operation.LIST, "products", to_products)

    async def _ask(self, operation: Operation, path: str, translate: Callable[[Answer], T]) -> T:
        began = self._monotonic()
        retrying = self._retrying(deadline=began + self._options.deadline_s)
        with self._tracer.span(f"catalog {operation.value}") as span:
            try:
                answer = await self._guarded(retrying, partial(self._try, path, translate))
            except NotAnswered as error:
                span.fail(error.outcome.value)
                self._observe(operation, error.outcome, began=began, retrying=retrying)
                self._log(operation, path, error, retrying=retrying)
                raise CatalogUnavailable(
                    "The product catalog cannot be asked at the moment",
                    retry_after=self._retry_after(error),
                ) from error
            outcome = CallOutcome.ABSENT if answer is None else CallOutcome.FOUND
            span.note({"outcome": outcome.value})
        self._observe(operation, outcome, began=began, retrying=retrying)
        return answer

    async def _guarded(self, retrying: AsyncRetrying, attempt: Callable[[], Awaitable[T]]) -> T:
        with self._breaker.guard():
            try:
                async with asyncio.timeout(self._options.deadline_s), self._bulkhead:
                    self._budget.deposit()
                    return await retrying(attempt)
            except TimeoutError as error:
                raise CallFailed(CallOutcome.TIMEOUT) from error

    async def _try(self, path: str, translate: Callable[[Answer], T]) -> T:
        with self._tracer.span(
            "GET", kind=SpanKind.CLIENT, attributes={**self._server, "url.path": f"/{path}"}
        ) as span:
            try:
                return await self._request(path, translate, span)
            except CallFailed as error:
                span.fail(error.outcome.value)
                raise

    async def _request(self, path: str, translate: Callable[[Answer], T], span: Span) -> T:
        request_id = self._request_id()
        headers = {} if request_id is None else {"X-Request-ID": request_id}
        try:
            async with self._client.stream("GET", path, headers=headers) as response:
                span.note({"http.response.status_code": response.status_code})
                answer = await read_answer(
                    response,
                    limit=self._options.max_body_bytes,
                    parse_retry_after=partial(
                        parse_retry_after,
                        now=self._clock(),
                        at_most=timedelta(seconds=self._options.retry_after_max_s),
                    ),
                )
        except httpx2.HTTPError as error:
            raise CallFailed(CallOutcome.TRANSPORT, type(error).__name__) from error
        return translate(answer)

    def _retrying(self, *, deadline: float) -> AsyncRetrying:
        """Make the retries of one call; they keep state, so calls cannot share them."""

        def too_late(state: RetryCallState) -> bool:
            return self._monotonic() + state.upcoming_sleep >= deadline

        def too_many(_state: RetryCallState) -> bool:
            return not self._budget.withdraw()

        def stop(state: RetryCallState) -> bool:
            # The budget is asked last, since asking is paying.
            tried_enough = stop_after_attempt(self._options.max_tries)
            return tried_enough(state) or too_late(state) or too_many(state)

        return AsyncRetrying(
            retry=retry_if_exception(_worth_a_retry),
            wait=self._wait,
            stop=stop,
            sleep=self._sleep,
            reraise=True,
        )

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome and state.outcome.exception()
        asked = error.retry_after if isinstance(error, CallFailed) else None
        return self._jitter(state) + (asked.total_seconds() if asked else 0.0)

    def _retry_after(self, error: NotAnswered) -> timedelta:
        default = timedelta(seconds=self._options.retry_after_default_s)
        return max(default if error.retry_after is None else error.retry_after, _MIN_RETRY_AFTER)

    def _observe(
        self,
        operation: Operation,
        outcome: CallOutcome,
        *,
        began: float,
        retrying: AsyncRetrying,
    ) -> None:
        self._observer.called(
            operation,
            outcome=outcome,
            latency_s=self._monotonic() - began,
            retries=_retries(retrying),
        )

    def _log(
        self, operation: Operation, path: str, error: NotAnswered, *, retrying: AsyncRetrying
    ) -> None:
        if isinstance(error, CallRefused):
            # Not a warning: in an outage there are many, and what led to them was one.
            logger.info(
                "catalog_call_refused",
                operation=operation.value,
                path=path,
                reason=error.outcome.value,
                detail=error.detail,
            )
            return
        logger.warning(
            "catalog_call_failed",
            operation=operation.value,
            path=path,
            reason=error.outcome.value,
            detail=error.detail,
            retries=_retries(retrying),
        )

    def _breaker_changed(self, state: BreakerState) -> None:
        logger.warning("catalog_breaker_changed", state=state.value)
        self._observer.breaker_changed(state)


def _server(url: httpx2.URL) -> Attributes:
    default = 443 if url.scheme == "https" else 80
    return {
        "http.request.method": "GET",
        "server.address": url.host,
        "server.port": url.port or default,
    }


def _worth_a_retry(error: BaseException) -> bool:
    return isinstance(error, CallFailed) and error.retryable


def _retries(retrying: AsyncRetrying) -> int:
    """How often it was tried again; the statistics are empty if it was not tried at all."""
    return int(retrying.statistics.get("attempt_number", 1)) - 1
