from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from app.domain.throttle import ThrottleRule
from app.settings import (
    DEVELOPMENT_API_KEY,
    DEVELOPMENT_DATABASE_PASSWORD,
    DEVELOPMENT_JWT_SECRET,
    Environment,
    LogFormat,
    LogLevel,
    Settings,
    SettingsError,
    load_settings,
)

GOOD_SECRET = "0123456789abcdef0123456789abcdef"
PRODUCTION = {
    "ENVIRONMENT": "production",
    "DATABASE_URL": "postgresql://favorites:s3cret@db.example/favorites",
    "JWT_KEYS": f"main:{GOOD_SECRET}",
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Use a working directory without `.env` and an environment without settings."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Environ:
    """Set environment variables and load the settings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def load(self, **variables: str) -> Settings:
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)
        return load_settings()

    def errors(self, **variables: str) -> list[str]:
        with pytest.raises(SettingsError) as caught:
            self.load(**variables)
        return str(caught.value).splitlines()


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> Environ:
    return Environ(monkeypatch)


class TestDefaults:
    def test_are_suitable_for_development(self, environ: Environ) -> None:
        settings = environ.load()
        assert settings.environment is Environment.DEVELOPMENT
        assert settings.database_url is None
        assert not settings.cookie_secure
        assert settings.log_format is LogFormat.CONSOLE
        assert settings.development_api_key is not None
        assert [kid for kid, _ in settings.jwt_keys] == ["development"]

    def test_are_stricter_in_production(self, environ: Environ) -> None:
        settings = environ.load(**PRODUCTION)
        assert settings.cookie_secure
        assert settings.log_format is LogFormat.JSON
        assert settings.development_api_key is None

    def test_of_production_can_be_overridden(self, environ: Environ) -> None:
        settings = environ.load(**PRODUCTION, COOKIE_SECURE="false", LOG_FORMAT="console")
        assert not settings.cookie_secure
        assert settings.log_format is LogFormat.CONSOLE

    def test_replace_empty_values(self, environ: Environ) -> None:
        settings = environ.load(PORT="", JWT_KEYS=" ", FAKESTORE_URL="")
        assert settings.port == 8080
        assert settings.fakestore_url == "https://fakestoreapi.com"
        assert settings.jwt_keys[0][0] == "development"

    def test_do_not_replace_empty_values_that_mean_off(self, environ: Environ) -> None:
        settings = environ.load(RATE_LIMIT="", HOT_TTL="", DEVELOPMENT_API_KEY="", METRICS_PORT="")
        assert settings.rate_limit is None
        assert settings.hot_ttl is None
        assert settings.development_api_key is None
        assert settings.metrics_port is None


class TestProduction:
    def test_requires_a_database_and_keys(self, environ: Environ) -> None:
        assert environ.errors(ENVIRONMENT="production") == [
            "DATABASE_URL: must be set in production",
            "JWT_KEYS: must be set in production: kid:secret pairs separated by commas",
        ]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("JWT_KEYS", f"development:{DEVELOPMENT_JWT_SECRET}"),
            ("JWT_KEYS", f"main:{GOOD_SECRET},renamed:{DEVELOPMENT_JWT_SECRET}"),
            ("DEVELOPMENT_API_KEY", DEVELOPMENT_API_KEY),
            ("DEVELOPMENT_API_KEY", f"aiq_other_{'0' * 64}"),
            ("DATABASE_URL", f"postgresql://u:{DEVELOPMENT_DATABASE_PASSWORD}@db/favorites"),
            ("DATABASE_URL", "postgresql://u:favorites%2Ddevelopment%2Donly@db/favorites"),
            ("DATABASE_READ_URL", f"postgresql://u:{DEVELOPMENT_DATABASE_PASSWORD}@db/favorites"),
        ],
    )
    def test_refuses_public_values(self, environ: Environ, name: str, value: str) -> None:
        (error,) = environ.errors(**{**PRODUCTION, name: value})
        assert error.startswith(f"{name}: ")
        assert value not in error

    def test_refuses_the_unchanged_example(self, environ: Environ, bare_environment: Path) -> None:
        example = Path(__file__).parents[2] / ".env.example"
        (bare_environment / ".env").write_bytes(example.read_bytes())
        assert [error.partition(":")[0] for error in environ.errors(ENVIRONMENT="production")] == [
            "DATABASE_URL",
            "JWT_KEYS",
            "DEVELOPMENT_API_KEY",
        ]


class TestErrors:
    def test_are_all_reported_at_once(self, environ: Environ, bare_environment: Path) -> None:
        (bare_environment / ".env").write_text("DATABSE_URL=x\nWORKERS=0\n")
        errors = environ.errors(ENVIRONMENT="production", PORT="http", SOFT_TTL="-1")
        assert [error.partition(": ")[0] for error in errors] == [
            ".env, line 1",
            "PORT",
            "WORKERS",
            "DATABASE_URL",
            "SOFT_TTL",
            "JWT_KEYS",
        ]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("ENVIRONMENT", "produktion"),
            ("PORT", "0"),
            ("PORT", "65536"),
            ("PORT", "8080.5"),
            ("DOCS_ENABLED", "perhaps"),
            ("DATABASE_URL", "postgresql://db"),
            ("DATABASE_URL", "postgresql:///favorites"),
            ("DATABASE_URL", "mysql://u:p@db/favorites"),
            ("DATABASE_URL", "postgresql://u:p@db:port/favorites"),
            ("DATABASE_URL", "postgresql://u:p@[db/favorites"),
            ("REDIS_URL", "http://cache"),
            ("FAKESTORE_URL", "fakestoreapi.com"),
            ("FAKESTORE_URL", "https://user:password@fakestoreapi.com"),
            ("FAKESTORE_URL", "https://fakestoreapi.com?x=1"),
            ("SOFT_TTL", "5 minutes"),
            ("SOFT_TTL", "nan"),
            ("SOFT_TTL", "0"),
            ("SOFT_TTL", "1e300"),
            ("HARD_TTL", "299"),
            ("SESSION_TTL", "60"),
            ("REFRESH_LEASE", "2.9"),
            ("FAKESTORE_RETRY_BUDGET", "nan"),
            ("FAKESTORE_QUEUE_TIMEOUT", "3"),
            ("JWT_KEYS", GOOD_SECRET),
            ("JWT_KEYS", f"a b:{GOOD_SECRET}"),
            ("JWT_KEYS", f"{GOOD_SECRET}:main"),
            ("JWT_KEYS", f"main:{GOOD_SECRET},main:{GOOD_SECRET}"),
            ("JWT_KEYS", f"main:{GOOD_SECRET[1:]}"),
            ("ALLOWED_ORIGINS", "*"),
            ("ALLOWED_ORIGINS", "null"),
            ("ALLOWED_ORIGINS", "toys.example"),
            ("ALLOWED_ORIGINS", "https://toys.example/cart"),
            ("ALLOWED_ORIGINS", "https://user@toys.example"),
            ("ALLOWED_ORIGINS", "https://*.toys.example"),
            ("TRUSTED_PROXIES", "10.0.0.1/8"),
            ("TRUSTED_PROXIES", "proxy.example"),
            ("API_KEY_HEADER", "x-key: 1"),
            ("DEVELOPMENT_API_KEY", "aiq_development_1234"),
            ("RATE_LIMIT", "300"),
            ("RATE_LIMIT", "0/minute"),
            ("RATE_LIMIT", "300/minute;1000/hour"),
            ("LOG_LEVEL", "loud"),
        ],
    )
    def test_name_the_variable_and_not_its_value(
        self, environ: Environ, name: str, value: str
    ) -> None:
        (error,) = environ.errors(**{name: value})
        assert error.startswith(f"{name}: ")
        assert len(value) < 6 or value not in error

    def test_name_a_lease_that_is_shorter_than_a_call(self, environ: Environ) -> None:
        assert environ.errors(FAKESTORE_TIMEOUT="5.5") == [
            "REFRESH_LEASE: must be at least FAKESTORE_TIMEOUT"
        ]

    @pytest.mark.parametrize("url", ["DATABASE_URL", "DATABASE_READ_URL", "REDIS_URL"])
    def test_contain_no_password(self, environ: Environ, url: str) -> None:
        assert "hunter2" not in "".join(environ.errors(**{url: "ftp://u:hunter2@host:x/y"}))


class TestEnvFile:
    def test_is_overridden_by_the_environment(
        self, environ: Environ, bare_environment: Path
    ) -> None:
        (bare_environment / ".env").write_text("PORT=1111\nexport HOST='::1' # all\n")
        settings = environ.load(PORT="2222")
        assert (settings.host, settings.port) == ("::1", 2222)

    def test_may_start_with_a_byte_order_mark(
        self, environ: Environ, bare_environment: Path
    ) -> None:
        (bare_environment / ".env").write_text("PORT=1111\n", encoding="utf-8-sig")
        assert environ.load().port == 1111

    def test_may_contain_variables_of_other_programs(
        self, environ: Environ, bare_environment: Path
    ) -> None:
        (bare_environment / ".env").write_text("TEST_DATABASE_URL=x\nCOMPOSE_PROFILES=dev\n")
        environ.load()

    def test_may_not_misspell_a_setting(self, environ: Environ, bare_environment: Path) -> None:
        (bare_environment / ".env").write_text("PORT=1111\nDATABSE_URL=x\n")
        assert environ.errors() == [
            ".env, line 2: DATABSE_URL is not a setting; did you mean DATABASE_URL?"
        ]

    def test_must_be_text(self, environ: Environ, bare_environment: Path) -> None:
        (bare_environment / ".env").write_bytes(b"PORT=\xff\n")
        assert environ.errors() == [".env: must be a text file in UTF-8"]

    def test_must_be_a_file(self, environ: Environ, bare_environment: Path) -> None:
        (bare_environment / ".env").mkdir()
        assert environ.errors() == [".env: cannot be read (Is a directory)"]

    def test_must_contain_assignments(self, environ: Environ, bare_environment: Path) -> None:
        (bare_environment / ".env").write_text("PORT=1111\n= 5\n")
        assert environ.errors() == [".env, line 2: must be NAME=value"]


class TestValues:
    def test_are_parsed(self, environ: Environ) -> None:
        settings = environ.load(
            SOFT_TTL="2.5",
            LOG_LEVEL="debug",
            SIGN_IN_LIMIT_IP="30/5 minutes",
            TRUSTED_PROXIES="10.0.0.7, fd00::/8",
            FAKESTORE_URL="http://localhost:8081/",
            DATABASE_URL="postgresql://postgres@/favorites?host=/run/postgresql",
            JWT_KEYS=f"new:{GOOD_SECRET}, old:{GOOD_SECRET}:with:colons",
        )
        assert settings.soft_ttl == timedelta(seconds=2.5)
        assert settings.log_level is LogLevel.DEBUG
        assert settings.sign_in_limit_ip == ThrottleRule(limit=30, window=timedelta(minutes=5))
        assert settings.trusted_proxies == (ip_network("10.0.0.7"), ip_network("fd00::/8"))
        assert settings.fakestore_url == "http://localhost:8081"
        assert [(kid, key.get_secret_value()) for kid, key in settings.jwt_keys] == [
            ("new", GOOD_SECRET.encode()),
            ("old", f"{GOOD_SECRET}:with:colons".encode()),
        ]

    def test_origins_are_normalized_as_by_browsers(self, environ: Environ) -> None:
        settings = environ.load(
            ALLOWED_ORIGINS="HTTPS://Shop.Example:443, http://localhost:3000,http://[::1]:80"
        )
        assert settings.allowed_origins == (
            "https://shop.example",
            "http://localhost:3000",
            "http://[::1]",
        )

    def test_that_are_secret_are_not_in_the_repr(self, environ: Environ) -> None:
        shown = repr(environ.load(**PRODUCTION, REDIS_URL="redis://:hunter2@cache"))
        assert "s3cret" not in shown
        assert GOOD_SECRET not in shown
        assert "hunter2" not in shown
