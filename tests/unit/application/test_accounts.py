import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from app.application.pending_attempts import WAITING_MAX
from app.domain.access import CustomerPrincipal
from app.domain.customer import Customer, CustomerId, CustomerQuery, Email, Role
from app.domain.outcome import (
    CustomerNotFound,
    EmailTaken,
    HashingBusy,
    InvalidCredentials,
    InvalidEmail,
    InvalidName,
    InvalidToken,
    PreconditionFailed,
    TooManyAttempts,
    WeakPassword,
    WrongPassword,
)
from app.domain.throttle import AccessThrottles
from tests import make
from tests.double.service import PASSWORD, Service
from tests.unit.application.product_world import begin, turns

IP = "192.0.2.7"
OTHER_IP = "192.0.2.8"


async def sign_up(
    service: Service, *, email: str = "ana@example.com", ip: str = IP, name: str = "Ana"
) -> Customer:
    return await service.use_cases.sign_up(name=name, email=email, password=PASSWORD, ip=ip)


async def sign_in(service: Service, customer: Customer, *, ip: str = IP) -> CustomerPrincipal:
    signed_in = await service.use_cases.sign_in(
        email=customer.email.value, password=PASSWORD, ip=ip, device="a test"
    )
    principal = await service.use_cases.authenticate.confirm(
        service.use_cases.authenticate.verify(signed_in.access_token.value)
    )
    assert isinstance(principal, CustomerPrincipal)
    return principal


async def fail_to_sign_in(service: Service, *, email: str, ip: str = IP) -> None:
    with pytest.raises(InvalidCredentials):
        await service.use_cases.sign_in(
            email=email, password="not the password", ip=ip, device="a test"
        )


class TestSignUp:
    async def test_stores_a_customer_who_is_not_an_administrator(self, service: Service) -> None:
        customer = await sign_up(service, email="  Ana@Example.com ", name=" João Conceição ")

        assert await service.use_cases.read_customer(customer_id=customer.id) == customer
        assert (customer.name, customer.role) == ("João Conceição", Role.CUSTOMER)
        assert customer.email == Email("Ana@example.com")

    async def test_refuses_an_address_that_differs_only_by_case(self, service: Service) -> None:
        await sign_up(service, email="ana@example.com")
        with pytest.raises(EmailTaken):
            await sign_up(service, email="ANA@example.com")

    @pytest.mark.parametrize(
        ("values", "outcome"),
        [
            ({"name": " "}, InvalidName),
            ({"email": "ana@"}, InvalidEmail),
            ({"password": "short"}, WeakPassword),
            ({"password": "PASSWORD1234"}, WeakPassword),
            ({"password": "ana@example.com"}, WeakPassword),
        ],
    )
    async def test_refuses_values_before_counting_or_hashing(
        self, service: Service, values: dict[str, str], outcome: type[Exception]
    ) -> None:
        service.hasher.busy = True
        given = {"name": "Ana", "email": "ana@example.com", "password": PASSWORD} | values
        for _ in range(30):
            with pytest.raises(outcome):
                await service.use_cases.sign_up(**given, ip=IP)

    async def test_is_throttled_by_client_before_hashing(self, service: Service) -> None:
        for number in range(20):
            await sign_up(service, email=f"ana{number}@example.com")
        service.hasher.busy = True
        with pytest.raises(TooManyAttempts) as refused:
            await sign_up(service, email="ana20@example.com")
        assert refused.value.retry_after == make.HOUR
        service.hasher.busy = False
        await sign_up(service, email="ana20@example.com", ip=OTHER_IP)

    async def test_counts_nothing_when_the_queue_is_full(self, service: Service) -> None:
        service.hasher.busy = True
        for _ in range(30):
            with pytest.raises(HashingBusy):
                await sign_up(service)
        service.hasher.busy = False
        await sign_up(service)

    async def test_works_without_throttles(self) -> None:
        service = Service(
            throttles=AccessThrottles(sign_in_email=None, sign_in_ip=None, sign_up_ip=None)
        )
        for number in range(30):
            await sign_up(service, email=f"ana{number}@example.com")


class TestSignIn:
    async def test_begins_a_session_that_gives_access(self, service: Service) -> None:
        customer = await service.customer()

        principal = await sign_in(service, customer)

        assert principal.customer_id == customer.id
        [session] = await service.use_cases.manage_sessions.list_active(customer_id=customer.id)
        assert (session.id, session.device) == (principal.session_id, "a test")

    async def test_accepts_accents_composed_in_another_way(self, service: Service) -> None:
        await service.use_cases.sign_up(
            name="Ana", email="ana@example.com", password="ma\u00e7\u00e3 verde", ip=IP
        )
        await service.use_cases.sign_in(
            email="ana@example.com", password="mac\u0327a\u0303 verde", ip=IP, device=""
        )

    async def test_has_the_same_outcome_for_unknown_malformed_and_passwordless(
        self, service: Service
    ) -> None:
        managed = make.customer(password_hash=None)
        async with service.storage() as work:
            await work.customers.add(managed)
            await work.commit()
        for email in (
            "nobody@example.com",
            "no address",
            managed.email.value,
            "\ud800",
            "a\0@b.c",
        ):
            await fail_to_sign_in(service, email=email)

    async def test_is_throttled_by_address_known_or_not(self, service: Service) -> None:
        customer = await service.customer()
        for email in (customer.email.value, "nobody@example.com"):
            for number in range(10):
                await fail_to_sign_in(service, email=email, ip=f"192.0.2.{number}")
            with pytest.raises(TooManyAttempts):
                await service.use_cases.sign_in(
                    email=email.upper(), password=PASSWORD, ip="198.51.100.1", device=""
                )

    async def test_is_throttled_by_client_before_hashing(self, service: Service) -> None:
        for number in range(30):
            await fail_to_sign_in(service, email=f"nobody{number}@example.com")
        service.hasher.busy = True
        with pytest.raises(TooManyAttempts):
            await service.use_cases.sign_in(
                email="nobody@example.com", password=PASSWORD, ip=IP, device=""
            )

    async def test_counts_only_failures(self, service: Service) -> None:
        customer = await service.customer()
        for _ in range(40):
            await sign_in(service, customer)

    async def test_counts_only_failures_of_concurrent_attempts(self, service: Service) -> None:
        customer = await service.customer()
        service.hasher.held = asyncio.Semaphore(0)
        signing_in = [begin(sign_in(service, customer)) for _ in range(40)]
        await turns()
        assert not any(each.done() for each in signing_in)
        for _ in signing_in:
            service.hasher.held.release()
            await turns()
        assert len({principal.session_id for principal in await asyncio.gather(*signing_in)}) == 40

    async def test_allows_no_more_concurrent_failures_than_sequential_ones(
        self, service: Service
    ) -> None:
        customer = await service.customer()
        guessing = [
            begin(
                service.use_cases.sign_in(
                    email=customer.email.value, password="a guess", ip=IP, device=""
                )
            )
            for _ in range(25)
        ]
        outcomes = await asyncio.gather(*guessing, return_exceptions=True)
        assert Counter(map(type, outcomes)) == {InvalidCredentials: 10, TooManyAttempts: 15}

    async def test_limits_how_many_attempts_wait_for_others(self, service: Service) -> None:
        customer = await service.customer()
        service.hasher.held = asyncio.Semaphore(0)
        signing_in = [begin(sign_in(service, customer)) for _ in range(10 + WAITING_MAX)]
        await turns()
        with pytest.raises(HashingBusy):
            await sign_in(service, customer)
        service.hasher.held = None
        for each in signing_in:
            each.cancel()
        outcomes = await asyncio.gather(*signing_in, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in outcomes)

    async def test_does_not_wait_for_canceled_attempts(self, service: Service) -> None:
        customer = await service.customer()
        service.hasher.held = asyncio.Semaphore(0)
        first = [begin(sign_in(service, customer)) for _ in range(10)]
        await turns()
        waiting = [begin(sign_in(service, customer)) for _ in range(3)]
        await turns()
        waiting[0].cancel()
        for _ in range(12):
            service.hasher.held.release()
        await asyncio.gather(*first, *waiting[1:])

    async def test_is_possible_again_after_the_window(self, service: Service) -> None:
        customer = await service.customer()
        for _ in range(10):
            await fail_to_sign_in(service, email=customer.email.value)
        service.clock.advance(5 * make.MINUTE)
        await sign_in(service, customer)

    async def test_hashes_again_when_the_parameters_changed(self, service: Service) -> None:
        customer = await service.customer()
        service.hasher.scheme = "stronger"

        await sign_in(service, customer)

        stored = await service.use_cases.read_customer(customer_id=customer.id)
        assert stored.password_hash == f"$stronger${PASSWORD}"
        await sign_in(service, customer)

    async def test_is_possible_from_a_known_device_while_others_guess(
        self, service: Service
    ) -> None:
        customer = await service.customer()
        email = customer.email.value
        first = await service.use_cases.sign_in(
            email=email, password=PASSWORD, ip=IP, device="at home"
        )
        for number in range(10):
            await fail_to_sign_in(service, email=email, ip=f"198.51.100.{number}")
        with pytest.raises(TooManyAttempts):
            await sign_in(service, customer)

        again = await service.use_cases.sign_in(
            email=email, password=PASSWORD, ip=IP, device="", device_token=first.device_token
        )
        assert again.device_token is None

    async def test_is_throttled_for_each_known_device(self, service: Service) -> None:
        customer = await service.customer()
        email = customer.email.value
        stolen = await service.use_cases.sign_in(email=email, password=PASSWORD, ip=IP, device="")
        for _ in range(10):
            with pytest.raises(InvalidCredentials):
                await service.use_cases.sign_in(
                    email=email,
                    password="a guess",
                    ip=IP,
                    device="",
                    device_token=stolen.device_token,
                )
        with pytest.raises(TooManyAttempts):
            await service.use_cases.sign_in(
                email=email, password=PASSWORD, ip=IP, device="", device_token=stolen.device_token
            )
        await sign_in(service, customer)

    async def test_counts_an_ipv6_network_as_one_client(self, service: Service) -> None:
        for number in range(30):
            await fail_to_sign_in(
                service, email=f"n{number}@example.com", ip=f"2001:db8::{number:x}"
            )
        with pytest.raises(TooManyAttempts):
            await service.use_cases.sign_in(
                email="n@example.com", password=PASSWORD, ip="2001:db8::ffff:0:1", device=""
            )
        await fail_to_sign_in(service, email="n@example.com", ip="2001:db8:0:1::1")

    async def test_reports_a_full_queue_and_counts_nothing(self, service: Service) -> None:
        customer = await service.customer()
        service.hasher.busy = True
        for _ in range(40):
            with pytest.raises(HashingBusy):
                await sign_in(service, customer)
        service.hasher.busy = False
        await sign_in(service, customer)


class TestSignOut:
    async def test_ends_access_at_once(self, service: Service) -> None:
        customer = await service.customer()
        signed_in = await service.use_cases.sign_in(
            email=customer.email.value, password=PASSWORD, ip=IP, device=""
        )
        token = signed_in.access_token.value
        principal = await service.use_cases.authenticate.confirm(
            service.use_cases.authenticate.verify(token)
        )
        assert isinstance(principal, CustomerPrincipal)

        await service.use_cases.sign_out(principal=principal)
        await service.use_cases.sign_out(principal=principal)

        with pytest.raises(InvalidToken):
            await service.use_cases.authenticate.confirm(
                service.use_cases.authenticate.verify(token)
            )


class TestChangePassword:
    async def test_ends_the_other_sessions(self, service: Service) -> None:
        customer = await service.customer()
        here, _there = await sign_in(service, customer), await sign_in(service, customer)

        await service.use_cases.change_password(
            principal=here, current_password=PASSWORD, new_password="another password"
        )

        [left] = await service.use_cases.manage_sessions.list_active(customer_id=customer.id)
        assert left.id == here.session_id
        await service.use_cases.sign_in(
            email=customer.email.value, password="another password", ip=IP, device=""
        )
        await fail_to_sign_in(service, email=customer.email.value)

    async def test_needs_the_current_one(self, service: Service) -> None:
        customer = await service.customer()
        principal = await sign_in(service, customer)
        for _ in range(10):
            with pytest.raises(WrongPassword):
                await service.use_cases.change_password(
                    principal=principal, current_password="a guess", new_password="another one"
                )
        with pytest.raises(TooManyAttempts):
            await service.use_cases.change_password(
                principal=principal, current_password=PASSWORD, new_password="another one"
            )

    async def test_counts_nothing_when_the_queue_is_full(self, service: Service) -> None:
        principal = await sign_in(service, await service.customer())
        service.hasher.busy = True
        for _ in range(11):
            with pytest.raises(HashingBusy):
                await service.use_cases.change_password(
                    principal=principal, current_password=PASSWORD, new_password="another one"
                )
        service.hasher.busy = False
        await service.use_cases.change_password(
            principal=principal, current_password=PASSWORD, new_password="another one"
        )

    async def test_applies_the_rules_to_the_new_password(self, service: Service) -> None:
        customer = await service.customer()
        with pytest.raises(WeakPassword):
            await service.use_cases.change_password(
                principal=await sign_in(service, customer),
                current_password=PASSWORD,
                new_password=customer.email.value,
            )


class TestChangeCustomer:
    async def test_changes_only_the_given_members(self, service: Service) -> None:
        customer = await service.customer()

        changed = await service.use_cases.change_customer(customer_id=customer.id, name="Bia")

        assert changed == replace(customer, name="Bia", version=2)
        assert await service.use_cases.read_customer(customer_id=customer.id) == changed

    async def test_refuses_an_address_that_is_taken(self, service: Service) -> None:
        customer, other = await service.customer(), await service.customer()
        with pytest.raises(EmailTaken):
            await service.use_cases.change_customer(
                customer_id=customer.id, email=other.email.value.upper()
            )

    async def test_refuses_to_overwrite_another_version(self, service: Service) -> None:
        customer = await service.customer()
        await service.use_cases.change_customer(
            customer_id=customer.id, name="Bia", expected_version=1
        )
        with pytest.raises(PreconditionFailed):
            await service.use_cases.change_customer(
                customer_id=customer.id, name="Eva", expected_version=1
            )

    async def test_needs_a_customer(self, service: Service) -> None:
        with pytest.raises(CustomerNotFound):
            await service.use_cases.change_customer(customer_id=make.customer_id(), name="Bia")


class TestDeleteCustomer:
    async def test_ends_access_and_erases_everything(self, service: Service) -> None:
        customer = await service.customer()
        signed_in = await service.use_cases.sign_in(
            email=customer.email.value, password=PASSWORD, ip=IP, device=""
        )

        await service.use_cases.delete_customer(customer_id=customer.id)

        with pytest.raises(InvalidToken):
            await service.use_cases.authenticate.confirm(
                service.use_cases.authenticate.verify(signed_in.access_token.value)
            )
        for gone in (
            service.use_cases.read_customer(customer_id=customer.id),
            service.use_cases.export_customer(customer_id=customer.id),
            service.use_cases.delete_customer(customer_id=customer.id),
            service.use_cases.manage_sessions.list_active(customer_id=customer.id),
        ):
            with pytest.raises(CustomerNotFound):
                await gone

    async def test_forgets_failed_sign_ins(self, service: Service) -> None:
        customer = await service.customer()
        for _ in range(10):
            await fail_to_sign_in(service, email=customer.email.value)
        await service.use_cases.delete_customer(customer_id=customer.id)
        await fail_to_sign_in(service, email=customer.email.value)

    async def test_frees_the_address(self, service: Service) -> None:
        customer = await sign_up(service)
        await service.use_cases.delete_customer(customer_id=customer.id)
        assert (await sign_up(service)).id != customer.id


class TestCreateCustomer:
    async def test_creates_an_account_without_a_password(self, service: Service) -> None:
        customer = await service.use_cases.create_customer(
            name="Ana", email="ana@example.com", password=None
        )
        assert customer.password_hash is None
        await fail_to_sign_in(service, email="ana@example.com")

    async def test_makes_administrators(self, service: Service) -> None:
        customer = await service.use_cases.create_customer(
            name="Root", email="root@example.com", password=PASSWORD, role=Role.ADMIN
        )
        assert (await sign_in(service, customer)).is_admin


class TestListCustomers:
    async def test_pages(self, service: Service) -> None:
        stored = [await service.customer() for _ in range(3)]

        first = await service.use_cases.queries.list_customers(CustomerQuery(limit=2))
        rest = await service.use_cases.queries.list_customers(
            CustomerQuery(limit=2, after=first.next)
        )

        assert [*first.items, *rest.items] == sorted(stored, key=lambda c: (c.created_at, c.id))
        assert rest.next is None


class TestExportCustomer:
    async def test_holds_sessions_and_favorites(self, service: Service) -> None:
        customer = await service.customer()
        principal = await sign_in(service, customer)
        await service.use_cases.sign_out(principal=principal)
        product = make.product()
        service.catalog.put(product)
        await service.use_cases.favorite_product(customer_id=customer.id, product_id=product.id)

        other = make.product()
        service.catalog.put(other)
        await service.use_cases.favorite_product(customer_id=customer.id, product_id=other.id)
        await service.use_cases.remove_favorite(customer_id=customer.id, product_id=other.id)

        export = await service.use_cases.export_customer(customer_id=CustomerId(customer.id))

        assert export.records.customer == customer
        assert [session.id for session in export.records.sessions] == [principal.session_id]
        assert [item.favorite.product_id for item in export.records.favorites] == [product.id]
        assert [removed.product_id for removed in export.records.removed_favorites] == [other.id]
