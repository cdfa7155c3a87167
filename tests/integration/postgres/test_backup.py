"""Backups are made and restored by the very commands of docs/operations.md, then compared."""

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
    """Return what stands in the documentation under a mark, less how it looks there."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"<!-- backup: {name} -->\n```\w+\n(.*?)```", text, re.DOTALL)
    return str(found)


class Desk:
    """Somebody at a shell, with the programs of PostgreSQL and a place for backups."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def placed(self, text: str) -> str:
        """Let text speak of our place in lieu of /backup."""
        return text.replace("/backup/", f"{self.directory}/")

    def run(self, name: str, **environment: str) -> None:
        """Run the commands under a mark; each has to succeed."""
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
        """Do with a file what the server does with a piece of WAL; return the status."""
        (command,) = re.findall("^archive_command = '(.*)'$", block("archive"), re.MULTILINE)
        command = self.placed(command).replace("%p", str(segment)).replace("%f", name)
        return subprocess.run(["/bin/sh", "-c", command], check=False).returncode  # noqa: S603 - likewise

    def archived(self) -> list[str]:
        """Return which pieces of WAL are in the archive, oldest first."""
        names = sorted(path.name for path in (self.directory / "wal").iterdir())
        return [name for name in names if not name.endswith(".backup")]

    def bases(self) -> list[Path]:
        """Return the base backups that there are, oldest first."""
        return sorted((self.directory / "base").iterdir())


@pytest.fixture
def desk() -> Generator[Desk]:
    # Not pytest's own, which nobody but us may enter: the server copies its WAL there.
    directory = Path(tempfile.mkdtemp(prefix="favorites-backup-"))
    (directory / "wal").mkdir()
    for path in (directory, directory / "wal"):
        path.chmod(0o777)
    yield Desk(directory)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def server(desk: Desk) -> Generator[EmbeddedPostgres]:
    """Return a server that archives as the documentation has it, with a migrated database."""
    lines = re.findall(r"^(\w+) = '?(.*?)'?$", desk.placed(block("archive")), re.MULTILINE)
    with EmbeddedPostgres.temporary(dict(lines)) as server:
        server.create_database(DATABASE)
        upgrade(server.url(DATABASE))
        yield server


@pytest.fixture
def store() -> Generator[RunningFakeStore]:
    with running_fakestore() as store:
        yield store


async def live(url: str, store: RunningFakeStore, email: str) -> None:
    """Leave something in every table: an account, a session, favorites, a job, a key."""
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
    """Use a database as the service does: it has to be ready, and know the customer."""
    readiness = Readiness()
    async with wire(settings_of(url), readiness=readiness) as use_cases:
        # Among others that the schema is at the newest revision.
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
    """Return the one thing that a query selects."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(question.encode()).fetchone()
        assert found is not None
        return found[0]


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def archive_all(url: str) -> None:
    """Wait until all that has happened so far is in the archive."""
    last = ask(url, "SELECT pg_walfile_name(pg_switch_wal())")
    archived = "SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver"
    wait_for(lambda: str(ask(url, archived)) >= str(last))


@contextmanager
def restored_server(
    desk: Desk, server: EmbeddedPostgres, until: datetime, *, base: Path
) -> Generator[EmbeddedPostgres]:
    """Run a second server on what is brought back."""
    directory = Path(tempfile.mkdtemp(prefix="favorites-restored-"))
    data = str(directory / "data")
    desk.run("restore-base", PGDATA=data, BASE=str(base), UNTIL=until.isoformat())
    shutil.copy(server.log.with_name("password"), directory / "password")
    owner = server.log.with_name("data").stat()
    if os.geteuid() == 0:
        for path in (directory, *directory.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
    with EmbeddedPostgres(directory, fsync=False, remove_if_orphaned=True) as restored:
        yield restored


class TestDump:
    def test_brings_back_every_row(
        self, desk: Desk, server: EmbeddedPostgres, store: RunningFakeStore
    ) -> None:
        url, restored = server.url(DATABASE), server.url("favorites_restored")
        asyncio.run(live(url, store, "ines@example.com"))
        before = rows(url)
        desk.run("dump", DATABASE_URL=url)
        desk.run("restore-dump", DATABASE_URL=url, RESTORED_URL=restored)
        assert rows(restored) == before
        for table in ("customers", "sessions", "favorites", "favorite_tombstones", "api_keys"):
            assert before[table], f"{table} has nothing to be compared"
        assert any("validate_product" in row for row in before["procrastinate_jobs"])
        assert asyncio.run(signs_in(restored, "ines@example.com"))

    def test_goes_on_counting_where_it_was(
        self, desk: Desk, server: EmbeddedPostgres, store: RunningFakeStore
    ) -> None:
        url, restored = server.url(DATABASE), server.url("favorites_restored")
        asyncio.run(live(url, store, "ines@example.com"))
        desk.run("dump", DATABASE_URL=url)
        desk.run("restore-dump", DATABASE_URL=url, RESTORED_URL=restored)
        # An account of somebody new has a job of its own, which takes no number twice.
        asyncio.run(live(restored, store, "joao@example.com"))
        jobs = "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'validate_product'"
        assert (ask(url, jobs), ask(restored, jobs)) == (1, 1)
        assert ask(restored, "SELECT count(*) FROM customers") == 2


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a front end keeps of a customer's account: the tags, and how far it has caught up."""

    account: str
    favorites: str
    cursor: str


@asynccontextmanager
async def front_end(
    url: str, store: RunningFakeStore, email: str
) -> AsyncGenerator[httpx2.AsyncClient]:
    """Serve from a database, to somebody who is signed in."""
    api = create_api(
        wire(settings_of(url, fakestore_url=store.url)),
        HttpOptions(cursor_keys=[b"a-cursor-key-that-a-restore-keeps"], cookie_secure=False),
    )
    async with connect(api) as client:
        signed_in = await client.post("/auth/sign-in", json={"email": email, "password": PASSWORD})
        assert signed_in.status_code == 200, signed_in.text
        yield client


async def change(client: httpx2.AsyncClient, *, name: str, product_id: int) -> Seen:
    """Change one's name and list once each, and return what is seen then."""
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
        self, desk: Desk, server: EmbeddedPostgres, store: RunningFakeStore
    ) -> None:
        url, restored = server.url(DATABASE), server.url("favorites_restored")
        emails = ("ines@example.com", "joao@example.com")

        async def begin() -> None:
            async with wire(settings_of(url, fakestore_url=store.url)) as use_cases:
                ines, _ = [
                    await use_cases.sign_up(
                        name="Somebody", email=email, password=PASSWORD, ip="127.0.0.1"
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
                # What is known since then goes on.
                again = await client.get(FAVORITES, headers={"If-None-Match": seen.favorites})
                assert again.status_code == 304
                current = await client.get(changes, params={"since": seen.cursor})
                assert (current.status_code, current.json()["items"]) == (200, [])
                return seen

        asyncio.run(begin())
        desk.run("dump", DATABASE_URL=url)
        seen = {email: asyncio.run(lose(email)) for email in emails}
        # A restore of the same backup for the second time loses what came after the first.
        for product_id in (3, 4):
            run(url, "DROP DATABASE IF EXISTS favorites_restored")
            desk.run("restore-dump", DATABASE_URL=url, RESTORED_URL=restored)
            run(restored, block("versions"))
            of_catalog = "SELECT content_version FROM catalog_state"
            assert int(str(ask(restored, of_catalog))) > int(str(ask(url, of_catalog)))
            seen = {
                email: asyncio.run(come_back(email, lost, product_id=product_id))
                for email, lost in seen.items()
            }


class TestArchive:
    """A piece of WAL comes again when PostgreSQL was stopped before it noted that it is there."""

    NAME = "000000010000000000000001"

    @pytest.fixture
    def segment(self, tmp_path: Path) -> Path:
        segment = tmp_path / "segment"
        segment.write_bytes(b"what happened")
        return segment

    def test_takes_the_same_piece_again(self, desk: Desk, segment: Path) -> None:
        assert [desk.archive(segment, self.NAME) for _ in range(3)] == [0, 0, 0]
        assert desk.archived() == [self.NAME]

    def test_never_replaces_a_piece_by_another(self, desk: Desk, segment: Path) -> None:
        assert desk.archive(segment, self.NAME) == 0
        segment.write_bytes(b"what happened elsewhere")
        assert desk.archive(segment, self.NAME) != 0
        assert (desk.directory / "wal" / self.NAME).read_bytes() == b"what happened"

    def test_begins_anew_what_was_left_half_done(self, desk: Desk, segment: Path) -> None:
        (desk.directory / "wal" / f"{self.NAME}.part").write_bytes(b"what hap")
        assert desk.archive(segment, self.NAME) == 0
        assert desk.archived() == [self.NAME]
        assert (desk.directory / "wal" / self.NAME).read_bytes() == b"what happened"


class TestBaseBackup:
    def test_brings_back_any_moment_since(
        self, desk: Desk, server: EmbeddedPostgres, store: RunningFakeStore
    ) -> None:
        url = server.url(DATABASE)
        desk.run("base", DATABASE_URL=url)
        asyncio.run(live(url, store, "ines@example.com"))
        # The next night.
        desk.run("base", DATABASE_URL=url)
        assert len(desk.bases()) == 2
        # What the base backup does not know is in the WAL.
        asyncio.run(live(url, store, "joao@example.com"))
        before = rows(url)
        until = ask(url, "SELECT clock_timestamp()")
        assert isinstance(until, datetime)
        run(url, "DELETE FROM customers")
        assert rows(url) != before
        archive_all(url)

        with restored_server(desk, server, until, base=desk.bases()[-1]) as again:
            wait_for(lambda: ask(again.url(DATABASE), "SELECT NOT pg_is_in_recovery()"))
            assert rows(again.url(DATABASE)) == before
            assert asyncio.run(signs_in(again.url(DATABASE), "joao@example.com"))
            assert run(again.url(DATABASE), block("sessions")) == 3

    def test_goes_when_its_time_is_over_with_the_wal_before_the_next(
        self, desk: Desk, server: EmbeddedPostgres
    ) -> None:
        url = server.url(DATABASE)
        for night in range(3):
            desk.run("base", DATABASE_URL=url)
            run(url, f"CREATE TABLE night_{night} ()")
        until = ask(url, "SELECT clock_timestamp()")
        assert isinstance(until, datetime)
        run(url, "DROP TABLE night_2")
        archive_all(url)
        bases, archived = desk.bases(), desk.archived()
        # What a night that was cut short leaves behind.
        (desk.directory / "base" / f"{bases[0].name}.part").mkdir()

        desk.run("expire", KEEP="3")
        assert desk.bases() == bases
        desk.run("expire", KEEP="2")
        assert desk.bases() == bases[1:]
        kept = desk.archived()
        assert kept == archived[-len(kept) :]
        assert len(kept) < len(archived)

        # From the oldest that was kept to any moment after it.
        with restored_server(desk, server, until, base=desk.bases()[0]) as again:
            wait_for(lambda: ask(again.url(DATABASE), "SELECT NOT pg_is_in_recovery()"))
            assert ask(again.url(DATABASE), "SELECT to_regclass('night_2') IS NOT NULL")
