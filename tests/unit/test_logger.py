import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import pytest
import structlog
from structlog.testing import capture_logs

from app.infra.http.middleware.request_id import RequestIdBound
from app.infra.observability.logger import PlainEvents, configure_logging
from app.infra.observability.redaction import REDACTED

Write = Callable[[], str]


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Restore the process's logging after the test."""
    root = logging.getLogger()
    handlers, level, config = root.handlers[:], root.level, structlog.get_config()
    processors = config["processors"][:]
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**{**config, "processors": processors})
    structlog.contextvars.clear_contextvars()


@pytest.mark.usefixtures("restored_logging")
class LogTest:
    """What was logged since `configure`."""

    stream: io.StringIO

    def configure(self, format: Literal["console", "json"], level: str = "INFO") -> None:
        self.stream = io.StringIO()
        configure_logging(format=format, level=level, stream=self.stream)

    def line(self) -> dict[str, Any]:
        (line,) = self.stream.getvalue().splitlines()
        parsed = json.loads(line)
        assert isinstance(parsed, dict)
        return parsed


def fail(message: str) -> None:
    raise RuntimeError(message)


class TestJson(LogTest):
    def test_writes_one_object_per_line(self) -> None:
        self.configure("json")
        structlog.stdlib.get_logger("app.somewhere").info("done", count=2, ratio=float("nan"))
        line = self.line()
        assert line.pop("timestamp").endswith("Z")
        assert line == {
            "event": "done",
            "level": "info",
            "logger": "app.somewhere",
            "count": 2,
            "ratio": "nan",
        }

    def test_includes_the_standard_library(self) -> None:
        self.configure("json")
        logging.getLogger("uvicorn.error").info("at %s", "work", extra={"color_message": "x"})
        logging.getLogger("app.core").info("customer_created", extra={"customer_id": "c1"})
        first, second = map(json.loads, self.stream.getvalue().splitlines())
        assert first["event"] == "at work"
        assert "color_message" not in first
        assert (second["event"], second["customer_id"]) == ("customer_created", "c1")

    def test_includes_the_context(self) -> None:
        self.configure("json")
        with structlog.contextvars.bound_contextvars(request_id="r1"):
            logging.getLogger("app.core").info("done")
        assert self.line()["request_id"] == "r1"

    def test_includes_the_traceback_without_local_variables(self) -> None:
        self.configure("json")
        local = "never" + "shown"
        try:
            fail(str(len(local)))
        except RuntimeError:
            structlog.stdlib.get_logger("app").exception("unhandled_error")
        assert "RuntimeError: 10" in self.line()["exception"]
        assert local not in self.stream.getvalue()

    def test_includes_warnings(self) -> None:
        self.configure("json")
        with warnings.catch_warnings(action="always"):
            logging.captureWarnings(capture=False)
            logging.captureWarnings(capture=True)
            warnings.warn("look out", stacklevel=1)
        assert "look out" in self.line()["event"]

    def test_drops_events_below_the_level(self) -> None:
        self.configure("json", level="WARNING")
        structlog.stdlib.get_logger("app").info("detail")
        logging.getLogger("app").info("detail")
        assert self.stream.getvalue() == ""

    def test_drops_statements_and_urls(self) -> None:
        self.configure("json", level="DEBUG")
        for name in ("sqlalchemy.engine.Engine", "httpx2", "uvicorn.access"):
            logging.getLogger(name).info("detail")
        assert self.stream.getvalue() == ""


class TestRedaction(LogTest):
    @pytest.mark.parametrize(
        "field",
        [
            "password", "new_password", "Authorization", "cookie", "Set-Cookie", "access_token",
            "client_secret", "email", "e-mail", "api_key", "x-aiqfome-api-key",
        ],
    )  # fmt: skip
    def test_hides_fields_by_name(self, field: str) -> None:
        self.configure("json")
        structlog.stdlib.get_logger("app").info("done", **{field: "hunter2"})
        logging.getLogger("app").info("done", extra={"request": {"headers": [{field: "hunter2"}]}})
        assert "hunter2" not in self.stream.getvalue()
        assert self.stream.getvalue().count(REDACTED) == 2

    @pytest.mark.parametrize("field", ["customer_id", "api_key_id", "key_id", "token_type"])
    def test_leaves_ids_alone(self, field: str) -> None:
        self.configure("json")
        structlog.stdlib.get_logger("app").info("done", **{field: "c1"})
        assert self.line()[field] == "c1"

    @pytest.mark.parametrize(
        "secret",
        [
            "joana.silva+x@example.com.br",
            "joão@exemplo.com",
            "joana%40example.com",
            f"aiq_shop_{'0a' * 32}",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA",
        ],
    )
    def test_hides_secrets_within_texts(self, secret: str) -> None:
        self.configure("json")
        try:
            fail(f"Key (email)=({secret}) exists")
        except RuntimeError:
            structlog.stdlib.get_logger("app").exception(f"about {secret}", detail=[secret])
        line = self.line()
        assert line["event"] == f"about {REDACTED}"
        assert line["detail"] == [REDACTED]
        assert f"RuntimeError: Key (email)=({REDACTED}) exists" in line["exception"]

    def test_hides_passwords_in_urls(self) -> None:
        self.configure("json")
        structlog.stdlib.get_logger("app").info("postgresql://user:hunter2@db/favorites")
        assert self.line()["event"] == f"postgresql://{REDACTED}@db/favorites"


class TestConsole(LogTest):
    def test_escapes_what_could_forge_a_line_or_steer_a_terminal(self) -> None:
        self.configure("console")
        hostile = "a\r\n2026-01-01 [info] forged\x1b[2J\x9b2J\u2028\u202e"
        structlog.stdlib.get_logger("app").info(hostile, agent=hostile, more=[{hostile: hostile}])
        (line,) = self.stream.getvalue().splitlines()
        assert line.isprintable()

    def test_shows_tracebacks_in_lines_of_their_own(self) -> None:
        self.configure("console")
        try:
            fail("first\x1b[2J")
        except RuntimeError:
            structlog.stdlib.get_logger("app").exception("unhandled_error")
        lines = self.stream.getvalue().splitlines()
        assert lines[1] == "Traceback (most recent call last):"
        assert lines[-1] == "RuntimeError: first\\x1b[2J"

    def test_has_no_colors_unless_on_a_terminal(self) -> None:
        self.configure("console")
        structlog.stdlib.get_logger("app").error("failed", reason="x")
        assert "\x1b" not in self.stream.getvalue()


class TestExtraFields(LogTest):
    def test_are_on_every_line(self) -> None:
        self.stream = io.StringIO()
        ids: dict[str, str] = {}
        configure_logging(
            format="json", level="INFO", stream=self.stream, extra_fields=lambda: ids
        )
        structlog.stdlib.get_logger("app.outside").info("done")
        ids["trace_id"] = "t1"
        structlog.stdlib.get_logger("app.somewhere").info("done")
        logging.getLogger("app.core").info("done")
        lines = list(map(json.loads, self.stream.getvalue().splitlines()))
        assert [line.get("trace_id") for line in lines] == [None, "t1", "t1"]


FIELDS = {"route": "/products/{product_id}", "status": 200, "duration_ms": 0.25, "key_id": None}


class TestPlainEvents(LogTest):
    def write(self, *, request_id: str = "r1", fields: Mapping[str, Any] = FIELDS) -> None:
        """Log an event through `PlainEvents` and through an ordinary logger."""
        with RequestIdBound(request_id):
            PlainEvents("app.somewhere", "done")(fields, request_id=request_id)
            structlog.stdlib.get_logger("app.somewhere").info("done", **fields)

    def lines(self) -> list[list[tuple[str, Any]]]:
        lines = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        for line in lines:
            assert line.pop("timestamp").endswith("Z")
        return [list(line.items()) for line in lines]

    @pytest.mark.parametrize(
        ("request_id", "fields"),
        [
            ("r1", FIELDS),
            ("r1", {}),
            ("r1", {"route": "/d\xe9j\xe0"}),
            ("r1", {"route": "a\r\n{}"}),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0", FIELDS),
            (f"aiq_shop_{'0a' * 32}", FIELDS),
        ],
    )
    def test_are_equal_to_ordinary_lines(self, request_id: str, fields: Mapping[str, Any]) -> None:
        self.configure("json")
        self.write(request_id=request_id, fields=fields)
        first, second = self.lines()
        assert first == second
        assert self.stream.getvalue().isascii()
        assert (request_id in self.stream.getvalue()) == (request_id == "r1")

    def test_carry_the_extra_fields(self) -> None:
        self.stream = io.StringIO()
        configure_logging(
            format="json",
            level="INFO",
            stream=self.stream,
            extra_fields=lambda: {"trace_id": "t1"},
        )
        self.write()
        first, second = self.lines()
        assert first == second
        assert ("trace_id", "t1") in first

    def test_are_not_logged_below_the_level(self) -> None:
        self.configure("json", level="WARNING")
        self.write()
        assert self.stream.getvalue() == ""

    def test_are_equal_on_a_terminal(self) -> None:
        self.configure("console")
        self.write()
        first, second = (line.split(maxsplit=1)[1] for line in self.stream.getvalue().splitlines())
        assert first == second

    def test_are_captured_by_structlogs_testing(self) -> None:
        self.configure("json")
        with capture_logs() as logs:
            self.write()
        assert logs[0] == logs[1]
