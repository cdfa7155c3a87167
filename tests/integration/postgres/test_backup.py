"""Backups are made and restored with the commands of docs/operations.md, and compared."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx2
import psycopg
import pytest
from psycopg import sql

from app.domain.access import Scope
from app.domain.product import ProductId
from app.infra.dependency import Readiness, wire
from app.infra.http.api import create_api
from app.infra.http.options import HttpOptions
from app.infra.postgres.migrate import upgrade
from development.fakestore.server import RunningFakeStore, running_fakestore
from development.postgres import EmbeddedPostgres, binary
from tests.http.client import connect
from tests.integration.service.harness import settings_of
from tests.integration.service.people import PASSWORD

ROOT = Path(__file__).parents[3]
DATABASE = "favorites_test"
WITHIN_S = 60.0
FAVORITES = "/customers/me/favorites"

pytestmark = pytest.mark.postgres


def block(name: str) -> str:
    """Return the code block of the documentation under a mark."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"<!-- backup: {name} -->\n```\w+\n(.*?)```", text, re.DOTALL)
    return str(found)


class Operator:
    """Runs the documented commands, with a directory for backups."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def placed(self, text: str) -> str:
        """Replace /backup in a text by the directory."""
        return text.replace("/backup/", f"{self.directory}/")

    def run(self, name: str, **environment: str) -> None:
        """Run the commands under a mark, all of which have to succeed."""
        programs = (str(binary("psql").parent), str(Path(sys.executable).parent))
        subprocess.run(  # noqa: S603 - our own documentation
            ["/bin/sh", "-eu", "-c", self.placed(block(name))],
            cwd=self.directory,
            env={
                "PATH": os.pathsep.join((*programs, os.environ.get("PATH", os.defpath))),
                "PYTHONPATH": str(ROOT),
                **environment,
            },
            check=True,
        )

    def archive(self, segment: Path, name: str) -> int:
        """Archive a file as the server archives a WAL segment; return the exit status."""
        (command,) = re.findall("^archive_command = '(.*)'$", block("archive"), re.MULTILINE)
        command = self.placed(command).replace("%p", str(segment)).replace("%f", name)
        return subprocess.run(["/bin/sh", "-c", command], check=False).returncode  # noqa: S603 - likewise

    def archived(self) -> list[str]:
        """Return the WAL segments of the archive, oldest first."""
        names = sorted(path.name for path in (self.directory / "wal").iterdir())
        return [name for name in names if not name.endswith(".backup")]

    def bases(self) -> list[Path]:
        """Return the base backups, oldest first."""
        return sorted((self.directory / "base").iterdir())


@pytest.fixture
def operator() -> Generator[Operator]:
    # Not the directory of pytest, which only its owner may enter: the server copies WAL here.
    directory = Path(tempfile.mkdtemp(prefix="favorites-backup-"))
    (directory / "wal").mkdir()
    for path in (directory, directory / "wal"):
        path.chmod(0o777)
    yield Operator(directory)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def server(operator: Operator) -> Generator[EmbeddedPostgres]:
    """Return a server that archives as documented, with a migrated database."""
    lines = re.findall(r"^(\w+) = '?(.*?)'?$", operator.placed(block("archive")), re.MULTILINE)
    with EmbeddedPostgres.temporary(dict(lines)) as server:
        server.create_database(DATABASE)
        upgrade(server.url(DATABASE))
        yield server


@pytest.fixture
def store() -> Generator[RunningFakeStore]:
    with running_fakestore() as store:
        yield store


async def live(url: str, store: RunningFakeStore, email: str) -> None:
    """Write to every table: an account, a session, favorites, a job, a key."""
    async with wire(settings_of(url, fakestore_url=store.url)) as use_cases:
        customer = await use_cases.sign_up(
            name="Inês Conceição", email=email, password=PASSWORD, ip="127.0.0.1"
        )
        await use_cases.sign_in(email=email, password=PASSWORD, ip="127.0.0.1", device="a test")
        for number in (1, 2, 3):
            await use_cases.favorite_product(customer_id=customer.id, product_id=ProductId(number))
        await use_cases.remove_favorite(customer_id=customer.id, product_id=ProductId(2))
        store.control.misbehave(status=503)
        await use_cases.favorite_product(customer_id=customer.id, product_id=ProductId(4711))
        store.control.behave()
        await use_cases.manage_api_keys.create(
            name="crm", scopes=frozenset({Scope.CUSTOMERS_READ}), lifetime=None
        )


async def signs_in(url: str, email: str) -> bool:
    """Sign in on a database, which has to be ready and to have the customer."""
    readiness = Readiness()
    async with wire(settings_of(url), readiness=readiness) as use_cases:
        # This checks too that the schema is at the newest revision.
        await readiness()
        signed_in = await use_cases.sign_in(
            email=email, password=PASSWORD, ip="127.0.0.1", device="a test"
        )
        return signed_in.customer.email.value == email


def rows(url: str) -> Mapping[str, list[str]]:
    """Return every row of every table, as text."""
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace ORDER BY relname"
        ).fetchall()
        return {
            name: [
                row[0]
                for row in connection.execute(
                    sql.SQL('SELECT t::text COLLATE "C" FROM {} AS t ORDER BY 1').format(
                        sql.Identifier(name)
                    )
                )
            ]
            for (name,) in names
        }


def run(url: str, statements: str) -> int:
    """Run statements, and return how many rows the last one has changed."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(statements.encode())
        while found.nextset():
            pass
        return found.rowcount


def ask(url: str, question: str) -> object:
    """Return the one value that a query selects."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(question.encode()).fetchone()
        assert found is not None
        return found[0]


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def archive_all(url: str) -> None:
    """Wait until the WAL so far is in the archive."""
    last = ask(url, "SELECT pg_walfile_name(pg_switch_wal())")
    archived = "SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver"
    wait_for(lambda: str(ask(url, archived)) >= str(last))


@contextmanager
def restored_server(
    operator: Operator, server: EmbeddedPostgres, until: datetime, *, base: Path
) -> Generator[EmbeddedPostgres]:
    """Run a second server on the restored data."""
    directory = Path(tempfile.mkdtemp(prefix="favorites-restored-"))
    data = str(directory / "data")
    operator.run("restore-base", PGDATA=data, BASE=str(base), UNTIL=until.isoformat())
    shutil.copy(server.log.with_name("password"), directory / "password")
    owner = server.log.with_name("data").stat()
    if os.geteuid() == 0:
        for path in (directory, *directory.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
    with EmbeddedPostgres(directory, fsync=False, remove_if_orphaned=True) as restored:
        yield restored


class TestDump:
    def test_brings_back_every_row(
        self, operator: Operator, server: EmbeddedPostgres, store: RunningFakeStore
    ) -> None:
        url, restored = server.url(DATABASE), server.url("favorites_restored")
        asyncio.run(live(url, store, "ines@example.com"))
        before = rows(url)
        operator.run("dump", DATABASE_URL=url)
        operator.run("restore-dump", DATABASE_URL=url, RESTORED_URL=restored)
        assert rows(restored) == before
        for table in ("customers", "sessions", "favorites", "favorite_tombstones", "api_keys"):
            assert before[table], f"{table} has nothing to be compared"
        assert any("validate_product" in row for row in before["procrastinate_jobs"])
        assert asyncio.run(signs_in(restored, "ines@example.com"))

    def test_goes_on_counting_where_it_was(
        self, operator: Operator, server: EmbeddedPostgres, store: RunningFakeStore
    ) -> None:
        url, restored = server.url(DATABASE), server.url("favorites_restored")
        asyncio.run(live(url, store, "ines@example.com"))
        operator.run("dump", DATABASE_URL=url)
        operator.run("restore-dump", DATABASE_URL=url, RESTORED_URL=restored)
        # Another account has a job of its own, whose number must be a new one.
        asyncio.run(live(restored, store, "joao@example.com"))
        jobs = "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'validate_product'"
        assert (ask(url, jobs), ask(restored, jobs)) == (1, 1)
        assert ask(restored, "SELECT count(*) FROM customers") == 2


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a front end keeps of an account: the tags, and its position in the history."""

    account: str
    favorites: str
    cursor: str


@asynccontextmanager
async def front_end(
    url: str, store: RunningFakeStore, email: str
) -> AsyncGenerator[httpx2.AsyncClient]:
    """Serve from a database, to a client that is signed in."""
    api = create_api(
        wire(settings_of(url, fakestore_url=store.url)),
        HttpOptions(cursor_keys=[b"a-cursor-key-that-a-restore-keeps"], cookie_secure=False),
    )
    async with connect(api) as client:
        signed_in = await client.post("/auth/sign-in", json={"email": email, "password": PASSWORD})
        assert signed_in.status_code == 200, signed_in.text
        yield client


async def change(client: httpx2.AsyncClient, *, name: str, product_id: int) -> Seen:
    """Change the name and the list once each, and return what a client sees then."""
    renamed = await client.patch("/customers/me", json={"name": name})
    added = await client.put(f"{FAVORITES}/{product_id}")
    assert (renamed.status_code, added.status_code) == (200, 201)
    favorites, changes = await client.get(FAVORITES), await client.get(f"{FAVORITES}/changes")
    return Seen(
        account=renamed.headers["ETag"],
        favorites=favorites.headers["ETag"],
        cursor=changes.json()["cursor"],
    )


class TestAfterARestore:
    def test_nothing_of_the_lost_future_is_taken_for_the_present(
        self, operator: Operator, server: EmbeddedPostgres, store: RunningFakeStore
    ) -> None:
        url, restored = server.url(DATABASE), server.url("favorites_restored")
        emails = ("ines@example.com", "joao@example.com")

        async def begin() -> None:
            async with wire(settings_of(url, fakestore_url=store.url)) as use_cases:
                ines, _ = [
                    await use_cases.sign_up(
                        name="Inês", email=email, password=PASSWORD, ip="127.0.0.1"
                    )
                    for email in emails
                ]
                # João has no list yet.
                await use_cases.favorite_product(customer_id=ines.id, product_id=ProductId(1))

        async def lose(email: str) -> Seen:
            async with front_end(url, store, email) as client:
                return await change(client, name="Of the lost future", product_id=2)

        async def come_back(email: str, lost: Seen, *, product_id: int) -> Seen:
            async with front_end(restored, store, email) as client:
                seen = await change(client, name="Of the present", product_id=product_id)
                favorites = await client.get(FAVORITES, headers={"If-None-Match": lost.favorites})
                assert favorites.status_code == 200
                assert product_id in [item["product_id"] for item in favorites.json()["items"]]
                account = await client.get(
                    "/customers/me", headers={"If-None-Match": lost.account}
                )
                assert (account.status_code, account.json()["name"]) == (200, "Of the present")
                changes = f"{FAVORITES}/changes"
                refused = await client.get(changes, params={"since": lost.cursor})
                assert (refused.status_code, refused.json()["code"]) == (410, "changes_forgotten")
                late = await client.patch(
                    "/customers/me", json={"name": "Late"}, headers={"If-Match": lost.account}
                )
                assert late.status_code == 412
                # What clients know since the restore stays valid.
                again = await client.get(FAVORITES, headers={"If-None-Match": seen.favorites})
                assert again.status_code == 304
                current = await client.get(changes, params={"since": seen.cursor})
                assert (current.status_code, current.json()["items"]) == (200, [])
                return seen

        asyncio.run(begin())
        operator.run("dump", DATABASE_URL=url)
        seen = {email: asyncio.run(lose(email)) for email in emails}
        # A restore of the same backup for the second time loses what came after the first.
        for product_id in (3, 4):
            run(url, "DROP DATABASE IF EXISTS favorites_restored")
            operator.run("restore-dump", DATABASE_URL=url, RESTORED_URL=restored)
            run(restored, block("versions"))
            of_catalog = "SELECT content_version FROM catalog_state"
            assert int(str(ask(restored, of_catalog))) > int(str(ask(url, of_catalog)))
            seen = {
                email: asyncio.run(come_back(email, lost, product_id=product_id))
                for email, lost in seen.items()
            }


class TestArchive:
    """PostgreSQL archives a segment again if it stopped before it recorded the first time."""

    NAME = "000000010000000000000001"

    @pytest.fixture
    def segment(self, tmp_path: Path) -> Path:
        segment = tmp_path / "segment"
        segment.write_bytes(b"what happened")
        return segment

    def test_takes_the_same_piece_again(self, operator: Operator, segment: Path) -> None:
        assert [operator.archive(segment, self.NAME) for _ in range(3)] == [0, 0, 0]
        assert operator.archived() == [self.NAME]

    def test_never_replaces_a_segment_by_another(self, operator: Operator, segment: Path) -> None:
        assert operator.archive(segment, self.NAME) == 0
        segment.write_bytes(b"what happened elsewhere")
        assert operator.archive(segment, self.NAME) != 0
        assert (operator.directory / "wal" / self.NAME).read_bytes() == b"what happened"

    def test_repeats_what_was_left_incomplete(self, operator: Operator, segment: Path) -> None:
        (operator.directory / "wal" / f"{self.NAME}.part").write_bytes(b"what hap")
        assert operator.archive(segment, self.NAME) == 0
        assert operator.archived() == [self.NAME]
        assert (operator.directory / "wal" / self.NAME).read_bytes() == b"what happened"


class TestBaseBackup:
    def test_brings_back_any_moment_since(
        self, operator: Operator, server: EmbeddedPostgres, store: RunningFakeStore
    ) -> None:
        url = server.url(DATABASE)
        operator.run("base", DATABASE_URL=url)
        asyncio.run(live(url, store, "ines@example.com"))
        # The next night.
        operator.run("base", DATABASE_URL=url)
        assert len(operator.bases()) == 2
        # What the base backup does not know is in the WAL.
        asyncio.run(live(url, store, "joao@example.com"))
        before = rows(url)
        until = ask(url, "SELECT clock_timestamp()")
        assert isinstance(until, datetime)
        run(url, "DELETE FROM customers")
        assert rows(url) != before
        archive_all(url)

        with restored_server(operator, server, until, base=operator.bases()[-1]) as again:
            wait_for(lambda: ask(again.url(DATABASE), "SELECT NOT pg_is_in_recovery()"))
            assert rows(again.url(DATABASE)) == before
            assert asyncio.run(signs_in(again.url(DATABASE), "joao@example.com"))
            assert run(again.url(DATABASE), block("sessions")) == 3

    def test_goes_when_its_time_is_over_with_the_wal_before_the_next(
        self, operator: Operator, server: EmbeddedPostgres
    ) -> None:
        url = server.url(DATABASE)
        for night in range(3):
            operator.run("base", DATABASE_URL=url)
            run(url, f"CREATE TABLE night_{night} ()")
        until = ask(url, "SELECT clock_timestamp()")
        assert isinstance(until, datetime)
        run(url, "DROP TABLE night_2")
        archive_all(url)
        bases, archived = operator.bases(), operator.archived()
        # What a night that was cut short leaves behind.
        (operator.directory / "base" / f"{bases[0].name}.part").mkdir()

        operator.run("expire", KEEP="3")
        assert operator.bases() == bases
        operator.run("expire", KEEP="2")
        assert operator.bases() == bases[1:]
        kept = operator.archived()
        assert kept == archived[-len(kept) :]
        assert len(kept) < len(archived)

        # From the oldest that was kept to any moment after it.
        with restored_server(operator, server, until, base=operator.bases()[0]) as again:
            wait_for(lambda: ask(again.url(DATABASE), "SELECT NOT pg_is_in_recovery()"))
            assert ask(again.url(DATABASE), "SELECT to_regclass('night_2') IS NOT NULL")
