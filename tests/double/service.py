"""The whole service in memory: real use cases and tokens with doubles of all adapters."""

from dataclasses import dataclass, field
from datetime import timedelta

from app.application.build import Collaborators, Rules, UseCases
from app.domain.access import ApiKey, PresentedApiKey, Principal, Scope
from app.domain.customer import Customer, Role
from app.domain.throttle import AccessThrottles, ThrottleRule
from app.domain.writes import FavoriteLimits
from app.infra.security.api_key import new_api_key
from app.infra.security.device_token import HmacDeviceTokens
from app.infra.security.refresh_token import HmacRefreshTokenSource
from app.infra.security.signing_keys import SigningKeys
from app.infra.security.token import JwtTokenIssuer
from tests import make
from tests.double.catalog import StubCatalog
from tests.double.clock import ManualClock
from tests.double.favorite_writes import InMemoryFavoriteWrites
from tests.double.hasher import PlainHasher
from tests.double.queries import InMemoryQueries
from tests.double.sign_in_writes import InMemorySignInWrites
from tests.double.storage import InMemoryStorage
from tests.double.tasks import DeferredTasks

PASSWORD = "correct horse battery staple"
KEYS = {"test": b"a-secret-that-only-tests-know-0123456789"}
DEVELOPMENT_KEY = PresentedApiKey.parse("aiq_test_" + "7e" * 32)
THROTTLES = AccessThrottles(
    sign_in_email=ThrottleRule(limit=10, window=5 * make.MINUTE),
    sign_in_ip=ThrottleRule(limit=30, window=5 * make.MINUTE),
    sign_up_ip=ThrottleRule(limit=20, window=make.HOUR),
)


@dataclass(kw_only=True)
class Service:
    """The use cases of the service, and the doubles of their collaborators."""

    catalog: StubCatalog = field(default_factory=StubCatalog)
    storage: InMemoryStorage = field(default_factory=InMemoryStorage)
    replica: InMemoryStorage | None = None
    clock: ManualClock = field(default_factory=lambda: ManualClock(make.NOW))
    tasks: DeferredTasks = field(default_factory=DeferredTasks)
    hasher: PlainHasher = field(default_factory=PlainHasher)
    throttles: AccessThrottles = THROTTLES
    favorites_max: int = 100
    pending_max: int = 3
    popular_min_count: int = 2
    favorite_patience: timedelta = make.MINUTE
    token_ttl: timedelta = 15 * make.MINUTE
    use_cases: UseCases = field(init=False)
    tokens: JwtTokenIssuer = field(init=False)

    def __post_init__(self) -> None:
        keys = SigningKeys(KEYS)
        self.tokens = JwtTokenIssuer(
            keys=keys, issuer="favorites", audience="favorites", ttl=self.token_ttl
        )
        self.use_cases = UseCases(
            Collaborators(
                uow=self.storage,
                queries=InMemoryQueries(self.storage, replica=self.replica),
                favorites=InMemoryFavoriteWrites(self.storage),
                sign_ins=InMemorySignInWrites(self.storage),
                catalog=self.catalog,
                hasher=self.hasher,
                tokens=self.tokens,
                refresh_tokens=HmacRefreshTokenSource(keys=keys),
                devices=HmacDeviceTokens(keys=keys),
                tasks=self.tasks,
                clock=self.clock,
                new_id=make.uuid,
                new_api_key=new_api_key,
            ),
            Rules(
                cache=make.CACHE_POLICY,
                session=make.SESSION_POLICY,
                throttles=self.throttles,
                common_passwords=frozenset({"password1234"}),
                favorite_limits=FavoriteLimits(total=self.favorites_max, pending=self.pending_max),
                favorite_patience=self.favorite_patience,
                popular_min_count=self.popular_min_count,
                development_key=ApiKey(
                    id=DEVELOPMENT_KEY.id,
                    name="development",
                    secret_hash=DEVELOPMENT_KEY.secret_hash,
                    scopes=frozenset(Scope),
                    created_at=make.NOW,
                ),
            ),
        )

    async def principal(self, token: str) -> Principal:
        """Return the caller that an access token identifies."""
        authenticate = self.use_cases.authenticate
        return await authenticate.confirm(authenticate.verify(token))

    async def customer(self, *, role: Role = Role.CUSTOMER, name: str = "Ana Souza") -> Customer:
        """Store a customer whose password is `PASSWORD`."""
        stored = make.customer(name=name, role=role)
        async with self.storage() as work:
            await work.customers.add(stored)
            await work.commit()
        return stored
