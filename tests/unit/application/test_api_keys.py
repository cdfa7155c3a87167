import logging
from datetime import timedelta

import pytest

from app.domain.access import ApiKeyId, Scope, ServicePrincipal
from app.domain.outcome import InvalidApiKey, InvalidToken
from tests import make
from tests.double.service import DEVELOPMENT_KEY, Service

READ = frozenset({Scope.CUSTOMERS_READ})


class TestApiKeys:
    async def test_open_the_service_within_their_scopes(self, service: Service) -> None:
        key = await service.use_cases.manage_api_keys.create(
            name="CRM", scopes=READ, lifetime=None
        )
        principal = await service.use_cases.authenticate.by_api_key(str(key))
        assert principal == ServicePrincipal(key_id=key.id, scopes=READ)
        [stored] = await service.use_cases.manage_api_keys.list_all()
        assert stored.last_used_at == service.clock.now
        assert key.secret not in repr(stored)

    async def test_end_by_revocation_and_by_expiry(self, service: Service) -> None:
        manage = service.use_cases.manage_api_keys
        revoked = await manage.create(name="CRM", scopes=READ, lifetime=None)
        short = await manage.create(name="CRM", scopes=READ, lifetime=make.HOUR)
        assert await manage.revoke(revoked.id)
        assert not await manage.revoke(ApiKeyId("nobody"))
        service.clock.advance(make.HOUR)
        for key in (revoked, short):
            with pytest.raises(InvalidApiKey):
                await service.use_cases.authenticate.by_api_key(str(key))

    @pytest.mark.parametrize(
        "text", ["", "aiq", "aiq_x_y", "aiq_test_" + "00" * 32, "aiq_nobody_" + "7e" * 32, "\0"]
    )
    async def test_are_refused_when_wrong(self, service: Service, text: str) -> None:
        with pytest.raises(InvalidApiKey):
            await service.use_cases.authenticate.by_api_key(text)

    async def test_of_development_has_all_scopes_and_is_not_stored(self, service: Service) -> None:
        principal = await service.use_cases.authenticate.by_api_key(str(DEVELOPMENT_KEY))
        assert principal.scopes == frozenset(Scope)
        assert await service.use_cases.manage_api_keys.list_all() == []

    async def test_are_exchanged_for_tokens_that_end_with_them(self, service: Service) -> None:
        manage = service.use_cases.manage_api_keys
        key = await manage.create(name="CRM", scopes=READ, lifetime=None)
        principal = await service.use_cases.authenticate.by_api_key(str(key))
        token = (await service.use_cases.exchange_api_key(principal=principal)).value
        assert (
            await service.use_cases.authenticate.confirm(
                service.use_cases.authenticate.verify(token)
            )
            == principal
        )
        await manage.revoke(key.id)
        with pytest.raises(InvalidToken):
            await service.use_cases.authenticate.confirm(
                service.use_cases.authenticate.verify(token)
            )


class TestLog:
    async def test_reports_creation_use_refusal_and_revocation(
        self, service: Service, caplog: pytest.LogCaptureFixture
    ) -> None:
        manage, authenticate = service.use_cases.manage_api_keys, service.use_cases.authenticate
        with caplog.at_level(logging.INFO):
            key = await manage.create(name="CRM", scopes=READ, lifetime=None)
            await authenticate.by_api_key(str(key))
            # Use is logged once a minute.
            await authenticate.by_api_key(str(key))
            service.clock.advance(timedelta(minutes=1))
            await authenticate.by_api_key(str(key))
            await manage.revoke(key.id)
            with pytest.raises(InvalidApiKey):
                await authenticate.by_api_key(str(key))
            assert not await manage.revoke(key.id)
        records = [(record.levelname, record.message) for record in caplog.records]
        assert records == [
            ("INFO", "api_key_created"),
            ("INFO", "api_key_used"),
            ("INFO", "api_key_used"),
            ("INFO", "api_key_revoked"),
            ("WARNING", "api_key_refused"),
        ]
        assert {vars(record)["key_id"] for record in caplog.records} == {key.id}
        assert key.secret not in caplog.text
