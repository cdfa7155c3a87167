"""The log events of the use cases: level and fields, which hold no personal data."""

import logging
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeAlias

import pytest
from typing_extensions import override

from app.application.operations.reconcile_popularity import ReconcilePopularity
from app.application.signed_in import SignedIn
from app.domain.access import CustomerPrincipal, PresentedApiKey, Scope
from app.domain.customer import Customer, CustomerId, Role
from app.domain.outcome import (
    CatalogUnavailable,
    CustomerNotFound,
    EmailTaken,
    InvalidApiKey,
    InvalidCredentials,
    InvalidRefreshToken,
    WrongPassword,
)
from app.domain.product import Product, ProductId
from app.domain.repository import PopularityRepository, UnitOfWork
from tests import make
from tests.double.service import PASSWORD, Service

Event: TypeAlias = tuple[str, str, dict[str, object]]
"""Level, name and fields."""

Log: TypeAlias = Callable[[], list[Event]]
"""Returns the events since the last call."""

IP = "192.0.2.7"
INHERENT = {*vars(logging.makeLogRecord({})), "message"}
HARMLESS = re.compile(r"[0-9a-f-]{36}|[a-z0-9_]{1,20}|192\.0\.2\.\d+")
"""An id, a word of ours, or the address of a client."""


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[Log]:
    """Return what reads the log; its fields must never hold a secret or a personal datum."""
    read = 0

    def events() -> list[Event]:
        nonlocal read
        records, read = caplog.records[read:], len(caplog.records)
        return [
            (
                record.levelname,
                record.getMessage(),
                {name: value for name, value in vars(record).items() if name not in INHERENT},
            )
            for record in records
        ]

    with caplog.at_level(logging.DEBUG, logger="app"):
        yield events
    for record in caplog.get_records("call"):
        assert record.exc_info is None
        for name, value in vars(record).items():
            if name not in INHERENT and isinstance(value, str):
                assert HARMLESS.fullmatch(value), f"{record.getMessage()} shows {name}"


async def sign_in(service: Service, customer: Customer) -> SignedIn:
    return await service.use_cases.sign_in(
        email=customer.email.value, password=PASSWORD, ip=IP, device="a test"
    )


def principal_of(access: SignedIn) -> CustomerPrincipal:
    return CustomerPrincipal(
        customer_id=access.customer.id, session_id=access.session.id, role=access.customer.role
    )


class TestAccess:
    async def test_reports_a_sign_in(self, service: Service, log: Log) -> None:
        access = await sign_in(service, await service.customer())
        fields = {"customer_id": str(access.customer.id), "session_id": str(access.session.id)}
        assert log() == [("INFO", "sign_in_succeeded", fields)]

    async def test_reports_a_refused_sign_in(self, service: Service, log: Log) -> None:
        customer = await service.customer()
        for email, customer_id in [
            (customer.email.value, str(customer.id)),
            ("unknown@example.com", None),
            ("no address", None),
        ]:
            with pytest.raises(InvalidCredentials):
                await service.use_cases.sign_in(
                    email=email, password="a wrong password", ip=IP, device="a test"
                )
            fields = {"customer_id": customer_id, "client_ip": IP}
            assert log() == [("WARNING", "sign_in_refused", fields)]

    async def test_reports_a_refused_sign_in_to_a_managed_account(
        self, service: Service, log: Log
    ) -> None:
        managed = make.customer(password_hash=None)
        async with service.storage() as work:
            await work.customers.add(managed)
            await work.commit()
        with pytest.raises(InvalidCredentials):
            await sign_in(service, managed)
        fields = {"customer_id": str(managed.id), "client_ip": IP}
        assert log() == [("WARNING", "sign_in_refused", fields)]

    async def test_reports_a_sign_out(self, service: Service, log: Log) -> None:
        access = await sign_in(service, await service.customer())
        log()
        await service.use_cases.sign_out(principal=principal_of(access))
        fields = {"customer_id": str(access.customer.id), "session_id": str(access.session.id)}
        assert log() == [("INFO", "signed_out", fields)]

    async def test_reports_the_reuse_of_a_refresh_token(self, service: Service, log: Log) -> None:
        access = await sign_in(service, await service.customer())
        log()
        await service.use_cases.refresh_session(refresh_token=access.refresh_token)
        assert log() == []
        service.clock.advance(make.MINUTE)
        with pytest.raises(InvalidRefreshToken):
            await service.use_cases.refresh_session(refresh_token=access.refresh_token)
        fields = {"customer_id": str(access.customer.id), "session_id": str(access.session.id)}
        assert log() == [("WARNING", "refresh_token_reused", fields)]

    async def test_reports_no_reuse_of_a_token_that_expired_or_is_unknown(
        self, service: Service, log: Log
    ) -> None:
        access = await sign_in(service, await service.customer())
        log()
        service.clock.advance(make.SESSION_POLICY.idle)
        for token in (access.refresh_token, "unknown"):
            with pytest.raises(InvalidRefreshToken):
                await service.use_cases.refresh_session(refresh_token=token)
        assert log() == []

    async def test_reports_ended_sessions(self, service: Service, log: Log) -> None:
        access = await sign_in(service, await service.customer())
        customer_id, session_id = access.customer.id, access.session.id
        log()
        await service.use_cases.manage_sessions.end(customer_id=customer_id, session_id=session_id)
        await service.use_cases.manage_sessions.end_all(customer_id=customer_id)
        assert log() == [
            (
                "INFO",
                "session_ended",
                {"customer_id": str(customer_id), "session_id": str(session_id)},
            ),
            ("INFO", "sessions_ended", {"customer_id": str(customer_id)}),
        ]
        with pytest.raises(CustomerNotFound):
            await service.use_cases.manage_sessions.end_all(customer_id=make.customer_id())
        assert log() == []


class TestApiKeys:
    async def test_reports_the_life_of_a_key(self, service: Service, log: Log) -> None:
        manage, authenticate = service.use_cases.manage_api_keys, service.use_cases.authenticate
        key = await manage.create(
            name="CRM", scopes=frozenset({Scope.CUSTOMERS_READ}), lifetime=None
        )
        fields = {"key_id": key.id}
        assert log() == [("INFO", "api_key_created", fields)]
        await authenticate.by_api_key(str(key))
        assert log() == [("INFO", "api_key_used", fields)]
        service.clock.advance(make.MINUTE - timedelta(microseconds=1))
        await authenticate.by_api_key(str(key))
        assert log() == []
        await manage.revoke(key.id)
        assert log() == [("INFO", "api_key_revoked", fields)]
        assert not await manage.revoke(key.id)
        assert log() == []

    async def test_reports_a_refused_key_by_its_id_alone(self, service: Service, log: Log) -> None:
        manage, authenticate = service.use_cases.manage_api_keys, service.use_cases.authenticate
        key = await manage.create(name="CRM", scopes=frozenset(Scope), lifetime=make.HOUR)
        log()
        refused = [("WARNING", "api_key_refused", {"key_id": key.id})]
        with pytest.raises(InvalidApiKey):
            await authenticate.by_api_key(str(PresentedApiKey(id=key.id, secret="0" * 64)))
        assert log() == refused
        service.clock.advance(make.HOUR)
        with pytest.raises(InvalidApiKey):
            await authenticate.by_api_key(str(key))
        assert log() == refused
        with pytest.raises(InvalidApiKey):
            await authenticate.by_api_key("not a key, but perhaps a password")
        assert log() == []


class TestAccounts:
    async def test_reports_a_sign_up(self, service: Service, log: Log) -> None:
        sign_up = service.use_cases.sign_up
        customer = await sign_up(name="Ana", email="a@example.com", password=PASSWORD, ip=IP)
        assert log() == [("INFO", "customer_signed_up", {"customer_id": str(customer.id)})]
        with pytest.raises(EmailTaken):
            await sign_up(name="Ana", email="a@example.com", password=PASSWORD, ip=IP)
        assert log() == []

    @pytest.mark.parametrize("role", Role)
    async def test_reports_a_created_account(self, service: Service, log: Log, role: Role) -> None:
        customer = await service.use_cases.create_customer(
            name="Ana", email="ana@example.com", password=None, role=role
        )
        fields = {"customer_id": str(customer.id), "role": role.value}
        assert log() == [("INFO", "customer_created", fields)]

    async def test_reports_changes_and_deletion(self, service: Service, log: Log) -> None:
        customer = await service.customer()
        fields = {"customer_id": str(customer.id)}
        await service.use_cases.change_customer(customer_id=customer.id, name="Bia")
        assert log() == [("INFO", "customer_changed", fields)]
        await service.use_cases.delete_customer(customer_id=customer.id)
        assert log() == [("INFO", "customer_deleted", fields)]
        with pytest.raises(CustomerNotFound):
            await service.use_cases.delete_customer(customer_id=customer.id)
        assert log() == []

    async def test_reports_changed_passwords(self, service: Service, log: Log) -> None:
        access = await sign_in(service, await service.customer())
        principal, fields = principal_of(access), {"customer_id": str(access.customer.id)}
        log()
        with pytest.raises(WrongPassword):
            await service.use_cases.change_password(
                principal=principal, current_password="a guess", new_password="another password"
            )
        assert log() == [("WARNING", "password_change_refused", fields)]
        await service.use_cases.change_password(
            principal=principal, current_password=PASSWORD, new_password="another password"
        )
        assert log() == [("INFO", "password_changed", fields)]


class TestFavorites:
    async def test_reports_added_favorites_for_debugging(self, service: Service, log: Log) -> None:
        customer, product = await service.customer(), make.product()
        service.catalog.put(product)
        for _ in range(2):
            await favorite(service, customer.id, product.id)
        fields = {"customer_id": str(customer.id), "product_id": product.id}
        assert log() == [("DEBUG", "product_favorited", {**fields, "status": "available"})]

        pending = make.product_id()
        service.catalog.down = True
        await favorite(service, customer.id, pending)
        assert log() == [
            (
                "DEBUG",
                "product_favorited",
                {**fields, "product_id": pending, "status": "pending"},
            )
        ]

    async def test_reports_removed_and_restored_favorites(
        self, service: Service, log: Log
    ) -> None:
        customer, product = await service.customer(), make.product()
        service.catalog.put(product)
        await favorite(service, customer.id, product.id)
        log()
        fields = {"customer_id": str(customer.id), "product_id": product.id}
        for _ in range(2):
            await service.use_cases.remove_favorite(customer_id=customer.id, product_id=product.id)
        assert log() == [("INFO", "favorite_removed", fields)]
        for _ in range(2):
            await service.use_cases.restore_favorite(
                customer_id=customer.id, product_id=product.id
            )
        assert log() == [("INFO", "favorite_restored", fields)]

    async def test_reports_how_many_were_changed_at_once(self, service: Service, log: Log) -> None:
        customer = await service.customer()
        present, added, other, removed = (make.product() for _ in range(4))
        service.catalog.put(present, added, other, removed)
        for product in (present, removed):
            await favorite(service, customer.id, product.id)
        log()
        changes = {
            "customer_id": customer.id,
            "add": [added.id, other.id, present.id],
            "remove": [removed.id, ProductId(999)],
        }
        await service.use_cases.change_favorites(**changes)  # type: ignore[arg-type]  # each fits
        fields = {"customer_id": str(customer.id), "added": 2, "removed": 1}
        assert log() == [("INFO", "favorites_changed", fields)]
        await service.use_cases.change_favorites(
            customer_id=customer.id, add=[removed.id], dry_run=True
        )
        assert log() == []

    @pytest.mark.parametrize("exists", [True, False])
    async def test_reports_settled_favorites(
        self, service: Service, log: Log, *, exists: bool
    ) -> None:
        product = make.product()
        service.catalog.down = True
        for _ in range(2):
            await favorite(service, (await service.customer()).id, product.id)
        with pytest.raises(CatalogUnavailable):
            await service.use_cases.validate_product(product_id=product.id)
        log()
        await settle(service, product, exists=exists)
        fields = {"product_id": product.id, "exists": exists, "favorites": 2}
        assert log() == [("INFO", "pending_favorites_settled", fields)]


async def favorite(service: Service, customer_id: CustomerId, product_id: ProductId) -> None:
    await service.use_cases.favorite_product(customer_id=customer_id, product_id=product_id)


async def settle(service: Service, product: Product, *, exists: bool) -> None:
    service.catalog.down = False
    if exists:
        service.catalog.put(product)
    await service.use_cases.validate_product(product_id=product.id)


class WrongCounts(PopularityRepository):
    """Finds and repairs a number of wrong counts."""

    def __init__(self, number: int) -> None:
        self._number = number

    @override
    async def reconcile(self) -> int:
        return self._number


class TestUpkeep:
    async def test_reports_what_was_erased(self, service: Service, log: Log) -> None:
        customer, kept = await service.customer(), make.product()
        service.catalog.put(kept)
        for number in range(3):
            await sign_in(service, customer)
            with pytest.raises(InvalidCredentials):
                await service.use_cases.sign_in(
                    email=f"unknown{number}@example.com", password="wrong", ip=IP, device=""
                )
        await favorite(service, customer.id, kept.id)
        await service.use_cases.remove_favorite(customer_id=customer.id, product_id=kept.id)
        await service.use_cases.change_favorites(customer_id=customer.id, add=[ProductId(999)])
        log()
        service.clock.advance(make.SESSION_POLICY.absolute + 31 * make.DAY)
        await service.use_cases.purge()
        assert log() == [
            (
                "INFO",
                "purged",
                {"sessions": 3, "throttles": 5, "removals": 2, "unknown_products": 1},
            )
        ]

    async def test_reports_wrong_counts(self, service: Service, log: Log) -> None:
        def miscounted() -> UnitOfWork:
            work = service.storage()
            work.popularity = WrongCounts(3)
            return work

        await ReconcilePopularity(uow=miscounted)()
        assert log() == [("WARNING", "popularity_repaired", {"products": 3})]
        await service.use_cases.reconcile_popularity()
        assert log() == []
