"""Calls of the catalog: requests, retries, deadlines, the circuit, and logs."""

import asyncio
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs
from typing_extensions import override

from app.application.catalog.catalog_observer import BreakerState, CallOutcome, Operation
from app.domain.outcome import CatalogUnavailable
from app.domain.product import ProductId
from app.infra.fakestore.options import CatalogOptions
from tests import make
from tests.integration.fakestore.upstream import (
    NO_BREAKER,
    ManualTime,
    RecordingObserver,
    Scripted,
    answer,
    catalog_answered_by,
    product_json,
)

FIVE = ProductId(5)
GOOD = answer(product_json())
TRANSPORT_ERRORS = [
    httpx2.ConnectError("refused"),
    httpx2.ConnectTimeout("slow"),
    httpx2.ReadError("reset"),
    httpx2.RemoteProtocolError("cut off"),
]


def _limited(retry_after: str | None, *, status: int = 429) -> httpx2.Response:
    return answer(status=status, headers={"Retry-After": retry_after} if retry_after else None)


async def _hang(_request: httpx2.Request) -> httpx2.Response:
    await asyncio.Event().wait()
    raise AssertionError


class TestRequest:
    @pytest.mark.parametrize(
        "base_url",
        [
            "http://catalog.test",
            "http://catalog.test/",
        ],
    )
    async def test_uses_the_paths_of_the_catalog(self, base_url: str) -> None:
        upstream = Scripted(GOOD, answer(f"[{product_json()}]"))
        catalog = catalog_answered_by(upstream, base_url=base_url)
        await catalog.find(FIVE)
        await catalog.list_all()
        assert [(request.method, str(request.url)) for request in upstream.requests] == [
            ("GET", "http://catalog.test/products/5"),
            ("GET", "http://catalog.test/products"),
        ]

    @pytest.mark.parametrize("base_url", ["http://catalog.test/a/b", "http://catalog.test/a/b/"])
    async def test_keeps_the_path_of_the_base_url(self, base_url: str) -> None:
        upstream = Scripted(GOOD)
        await catalog_answered_by(upstream, base_url=base_url).find(FIVE)
        assert str(upstream.requests[0].url) == "http://catalog.test/a/b/products/5"

    async def test_has_the_headers_of_the_service(self) -> None:
        upstream = Scripted(GOOD)
        await catalog_answered_by(upstream, request_id="abc.1").find(FIVE)
        headers = upstream.requests[0].headers
        assert headers["User-Agent"] == "favorites"
        assert headers["Accept"] == "application/json"
        assert headers["Accept-Encoding"] == "gzip"
        assert headers["X-Request-ID"] == "abc.1"

    async def test_has_no_request_id_if_there_is_none(self) -> None:
        upstream = Scripted(GOOD)
        await catalog_answered_by(upstream).find(FIVE)
        assert "X-Request-ID" not in upstream.requests[0].headers

    async def test_sends_no_cookies(self) -> None:
        upstream = Scripted(answer(product_json(), headers={"Set-Cookie": "a=b; Path=/"}))
        catalog = catalog_answered_by(upstream)
        await catalog.find(FIVE)
        await catalog.find(FIVE)
        assert "Cookie" not in upstream.requests[1].headers

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize(
        "location",
        ["http://169.254.169.254/", "/products/6", "http://xn--0..0/", ":a:?b", "http://[::1", ""],
    )
    async def test_follows_no_redirect(self, status: int, location: str) -> None:
        upstream = Scripted(answer(status=status, headers={"Location": location}))
        observer = RecordingObserver()
        with pytest.raises(CatalogUnavailable):
            await catalog_answered_by(upstream, observer=observer).find(FIVE)
        assert observer.calls == [(Operation.FIND, CallOutcome.UNEXPECTED_STATUS, 0)]
        assert len(upstream.requests) == 1


class TestRetries:
    @pytest.mark.parametrize("error", TRANSPORT_ERRORS)
    async def test_follow_transport_errors(self, error: Exception) -> None:
        upstream, observer = Scripted(error, error, GOOD), RecordingObserver()
        catalog = catalog_answered_by(upstream, observer=observer)
        assert await catalog.find(FIVE) == make.product(id=5)
        assert observer.calls == [(Operation.FIND, CallOutcome.FOUND, 2)]

    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    async def test_follow_transient_statuses(self, status: int) -> None:
        upstream = Scripted(answer(status=status), GOOD)
        assert await catalog_answered_by(upstream).find(FIVE) == make.product(id=5)

    @pytest.mark.parametrize(
        "response",
        [
            answer(status=302),
            answer(status=400),
            answer(status=403),
            answer("{}"),
            answer("<html>"),
            answer(product_json(id=6)),
        ],
    )
    async def test_do_not_follow_other_failures(self, response: httpx2.Response) -> None:
        upstream = Scripted(response)
        with pytest.raises(CatalogUnavailable):
            await catalog_answered_by(upstream).find(FIVE)
        assert len(upstream.requests) == 1

    async def test_do_not_follow_an_absent_product(self) -> None:
        upstream = Scripted(answer("null"))
        assert await catalog_answered_by(upstream).find(FIVE) is None
        assert len(upstream.requests) == 1

    async def test_end_after_three_tries(self) -> None:
        upstream, observer = Scripted(answer(status=500)), RecordingObserver()
        with pytest.raises(CatalogUnavailable):
            await catalog_answered_by(upstream, observer=observer).find(FIVE)
        assert len(upstream.requests) == 3
        assert observer.calls == [(Operation.FIND, CallOutcome.SERVER_ERROR, 2)]

    async def test_have_random_exponential_pauses(self) -> None:
        options = CatalogOptions(
            breaker_min_calls=1_000, retry_reserve=1_000, backoff_base_s=0.1, backoff_max_s=0.15
        )
        time = ManualTime()
        catalog = catalog_answered_by(Scripted(answer(status=500)), options=options, time=time)
        for _ in range(100):
            with pytest.raises(CatalogUnavailable):
                await catalog.find(FIVE)
        first, second = time.pauses[::2], time.pauses[1::2]
        assert 0 <= min(first) < 0.05 < max(first) <= 0.1 < max(second) <= 0.15
        assert len(set(time.pauses)) > 150

    async def test_are_limited_by_the_budget_in_an_outage(self) -> None:
        upstream = Scripted(answer(status=500))
        catalog = catalog_answered_by(upstream)
        for _ in range(1_000):
            with pytest.raises(CatalogUnavailable):
                await catalog.find(FIVE)
        assert 1_000 < len(upstream.requests) <= 1_100 + NO_BREAKER.retry_reserve

    async def test_do_not_start_after_the_deadline(self) -> None:
        time = ManualTime()
        upstream = Scripted(answer(status=500))

        async def slow(request: httpx2.Request) -> httpx2.Response:
            time.now += 2.95
            return await upstream(request)

        options = CatalogOptions(backoff_base_s=1_000, backoff_max_s=1_000)
        with pytest.raises(CatalogUnavailable):
            await catalog_answered_by(slow, time=time, options=options).find(FIVE)
        assert len(upstream.requests) == 1
        assert time.pauses == []


class TestRetryAfter:
    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize(
        "value", ["2", format_datetime(make.NOW + timedelta(seconds=2), usegmt=True)]
    )
    async def test_extends_the_pause_within_the_deadline(self, value: str, status: int) -> None:
        time = ManualTime()
        upstream = Scripted(_limited(value, status=status), GOOD)
        assert await catalog_answered_by(upstream, time=time).find(FIVE) == make.product(id=5)
        [pause] = time.pauses
        assert 2 <= pause <= 2 + NO_BREAKER.backoff_base_s

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("3", 3),
            ("30", 30),
            ("60", 60),
            ("61", 60),
            ("9" * 100, 60),
            (format_datetime(make.NOW + timedelta(seconds=30), usegmt=True), 30),
            (format_datetime(make.NOW + timedelta(days=3_000), usegmt=True), 60),
        ],
    )
    async def test_is_forwarded_if_it_is_after_the_deadline(
        self, value: str, seconds: int
    ) -> None:
        time, upstream = ManualTime(), Scripted(_limited(value))
        with pytest.raises(CatalogUnavailable) as outcome:
            await catalog_answered_by(upstream, time=time).find(FIVE)
        assert outcome.value.retry_after == timedelta(seconds=seconds)
        assert len(upstream.requests) == 1
        assert time.pauses == []

    @pytest.mark.parametrize("value", [None, "0", "-5", "soon", "Thu, 01 Jan 1970 00:00:00 GMT"])
    async def test_does_not_extend_the_pause_if_it_is_invalid_or_past(
        self, value: str | None
    ) -> None:
        time, upstream = ManualTime(), Scripted(_limited(value), GOOD)
        assert await catalog_answered_by(upstream, time=time).find(FIVE) == make.product(id=5)
        assert time.pauses[0] <= NO_BREAKER.backoff_base_s

    async def test_is_at_least_a_second_for_callers(self) -> None:
        with pytest.raises(CatalogUnavailable) as outcome:
            await catalog_answered_by(Scripted(_limited("0"))).find(FIVE)
        assert outcome.value.retry_after == timedelta(seconds=1)

    async def test_has_a_default(self) -> None:
        with pytest.raises(CatalogUnavailable) as outcome:
            await catalog_answered_by(Scripted(answer("<html>"))).find(FIVE)
        assert outcome.value.retry_after == timedelta(seconds=5)


class TestDeadline:
    async def test_ends_a_hanging_call(self) -> None:
        options = CatalogOptions(deadline_s=0.05, queue_timeout_s=0.01)
        observer = RecordingObserver()
        catalog = catalog_answered_by(_hang, options=options, observer=observer)
        with pytest.raises(CatalogUnavailable):
            await catalog.find(FIVE)
        assert observer.calls == [(Operation.FIND, CallOutcome.TIMEOUT, 0)]

    async def test_ends_the_pause_between_tries(self) -> None:
        options = CatalogOptions(deadline_s=0.05, queue_timeout_s=0.01, backoff_base_s=0.01)

        class Frozen(ManualTime):
            @override
            async def sleep(self, seconds: float) -> None:
                await asyncio.Event().wait()

        observer = RecordingObserver()
        catalog = catalog_answered_by(
            Scripted(answer(status=500)), options=options, time=Frozen(), observer=observer
        )
        with pytest.raises(CatalogUnavailable):
            await catalog.find(FIVE)
        assert observer.calls[0][1] is CallOutcome.TIMEOUT


class TestOutage:
    options = CatalogOptions(breaker_min_calls=5, breaker_open_s=5, max_tries=1)

    async def test_stops_calls_until_a_probe_succeeds(self) -> None:
        time, observer = ManualTime(), RecordingObserver()
        upstream = Scripted(*[answer(status=500)] * 6, GOOD)
        catalog = catalog_answered_by(upstream, options=self.options, time=time, observer=observer)

        async def fail() -> CatalogUnavailable:
            with pytest.raises(CatalogUnavailable) as outcome:
                await catalog.find(FIVE)
            return outcome.value

        for _ in range(5):
            await fail()
        time.now += 3
        assert (await fail()).retry_after == timedelta(seconds=2)
        assert len(upstream.requests) == 5
        time.now += 2
        await fail()
        assert len(upstream.requests) == 6
        time.now += 5
        assert await catalog.find(FIVE) == make.product(id=5)
        assert await catalog.find(FIVE) == make.product(id=5)
        assert observer.states == [
            BreakerState.OPEN,
            BreakerState.HALF_OPEN,
            BreakerState.OPEN,
            BreakerState.HALF_OPEN,
            BreakerState.CLOSED,
        ]
        assert [outcome for _, outcome, _ in observer.calls].count(CallOutcome.CIRCUIT_OPEN) == 1

    async def test_is_not_caused_by_absent_products(self) -> None:
        observer = RecordingObserver()
        upstream = Scripted(answer("null"))
        catalog = catalog_answered_by(upstream, options=self.options, observer=observer)
        for _ in range(50):
            assert await catalog.find(FIVE) is None
        assert observer.states == []

    @pytest.mark.parametrize(
        "reply", [answer("<html>"), answer(status=429), *TRANSPORT_ERRORS], ids=repr
    )
    async def test_is_caused_by_every_kind_of_failure(
        self, reply: httpx2.Response | Exception
    ) -> None:
        observer = RecordingObserver()
        catalog = catalog_answered_by(Scripted(reply), options=self.options, observer=observer)
        for _ in range(5):
            with pytest.raises(CatalogUnavailable):
                await catalog.find(FIVE)
        assert observer.states == [BreakerState.OPEN]

    async def test_allows_another_probe_after_a_canceled_one(self) -> None:
        time = ManualTime()
        upstream = Scripted(*[answer(status=500)] * 5, GOOD)
        hanging = False

        async def handle(request: httpx2.Request) -> httpx2.Response:
            return await (_hang if hanging else upstream)(request)

        catalog = catalog_answered_by(handle, options=self.options, time=time)
        for _ in range(5):
            with pytest.raises(CatalogUnavailable):
                await catalog.find(FIVE)
        time.now += 5
        hanging = True
        probe = asyncio.create_task(catalog.find(FIVE))
        await asyncio.sleep(0)
        with pytest.raises(CatalogUnavailable):
            await catalog.find(FIVE)
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        hanging = False
        assert await catalog.find(FIVE) == make.product(id=5)


class TestBulkhead:
    async def test_refuses_excess_calls_without_opening_the_circuit(self) -> None:
        options = CatalogOptions(max_concurrent=2, max_queued=3, breaker_min_calls=1)
        observer = RecordingObserver()
        catalog = catalog_answered_by(_hang, options=options, observer=observer)
        tasks = [asyncio.create_task(catalog.find(FIVE)) for _ in range(5)]
        await asyncio.sleep(0)
        with pytest.raises(CatalogUnavailable):
            await catalog.find(FIVE)
        assert observer.calls == [(Operation.FIND, CallOutcome.BULKHEAD_FULL, 0)]
        assert observer.states == []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class TestLog:
    async def test_contains_the_reason_and_never_the_body(self) -> None:
        upstream = Scripted(answer(product_json(title="SECRET", price="SECRET")))
        with capture_logs() as logs, pytest.raises(CatalogUnavailable) as outcome:
            await catalog_answered_by(upstream).find(FIVE)
        assert logs == [
            {
                "event": "catalog_call_failed",
                "log_level": "warning",
                "operation": "find",
                "path": "products/5",
                "reason": "garbage",
                "detail": "price: value_error",
                "retries": 0,
            }
        ]
        error: BaseException | None = outcome.value
        while error is not None:
            assert "SECRET" not in str(error)
            error = error.__cause__

    async def test_reports_an_open_circuit_once_and_refused_calls_as_information(self) -> None:
        options = CatalogOptions(breaker_min_calls=2, max_tries=1)
        catalog = catalog_answered_by(Scripted(answer(status=500)), options=options)
        with capture_logs() as logs:
            for _ in range(3):
                with pytest.raises(CatalogUnavailable):
                    await catalog.list_all()
        call = {"operation": "list", "path": "products"}
        failed = {
            **call,
            "event": "catalog_call_failed",
            "log_level": "warning",
            "reason": "server_error",
            "detail": "status 500",
            "retries": 0,
        }
        assert logs == [
            failed,
            {"event": "catalog_breaker_changed", "log_level": "warning", "state": "open"},
            failed,
            {
                **call,
                "event": "catalog_call_refused",
                "log_level": "info",
                "reason": "circuit_open",
                "detail": "",
            },
        ]

    async def test_reports_every_state_of_the_circuit(self) -> None:
        options = CatalogOptions(breaker_min_calls=1, max_tries=1)
        time = ManualTime()
        catalog = catalog_answered_by(
            Scripted(answer(status=500), GOOD), options=options, time=time
        )
        with capture_logs() as logs:
            with pytest.raises(CatalogUnavailable):
                await catalog.find(FIVE)
            time.now += options.breaker_open_s
            await catalog.find(FIVE)
        changes = [line for line in logs if line["event"] == "catalog_breaker_changed"]
        assert [line["state"] for line in changes] == ["open", "half_open", "closed"]


class TestObserver:
    async def test_gets_the_duration_of_a_call(self) -> None:
        time, observer = ManualTime(), RecordingObserver()

        async def slow(_request: httpx2.Request) -> httpx2.Response:
            time.now += 0.25
            return answer("null")

        await catalog_answered_by(slow, time=time, observer=observer).find(FIVE)
        assert observer.calls == [(Operation.FIND, CallOutcome.ABSENT, 0)]
        assert observer.latencies == [0.25]


class TestOptions:
    @pytest.mark.parametrize(
        "changes",
        [
            {"deadline_s": 0},
            {"max_tries": 0},
            {"max_concurrent": 0},
            {"retry_after_max_s": -1},
            {"queue_timeout_s": 3},
        ],
    )
    def test_must_be_consistent(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"must be positive|must be shorter"):
            CatalogOptions(**changes)
