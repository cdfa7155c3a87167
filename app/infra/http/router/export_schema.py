"""Sessions and the export of a customer in responses."""

from collections.abc import Iterable
from typing import Annotated, Self
from uuid import UUID

from pydantic import Field

from app.application.accounts.export_customer import CustomerExport
from app.domain.session import Session, SessionId
from app.infra.http.json_writer import JsonWriter
from app.infra.http.router.customer_schema import CustomerOut
from app.infra.http.router.favorite_schema import FavoriteOut
from app.infra.http.schema import Out, TimeOut, format_time


class SessionOut(Out):
    """A session: one sign-in on one device."""

    id: UUID
    device: Annotated[str, Field(description="The `User-Agent` of its client.")]
    created_at: TimeOut
    last_used_at: TimeOut
    expires_at: Annotated[TimeOut, Field(description="The latest time at which it ends.")]
    current: Annotated[bool, Field(description="Whether it is the session of this request.")]

    @classmethod
    def of(cls, session: Session, *, current: SessionId) -> Self:
        """Describe a session to a caller in the session `current`."""
        return cls(
            id=session.id,
            device=session.device,
            created_at=session.created_at,
            last_used_at=session.last_used_at,
            expires_at=session.expires_at,
            current=session.id == current,
        )


class SessionsOut(Out):
    """Sessions, last used first."""

    items: list[SessionOut]


class HeldSessionOut(Out):
    """A session as it is stored, active or not."""

    id: UUID
    device: str
    created_at: TimeOut
    last_used_at: TimeOut
    idle_expires_at: TimeOut
    expires_at: TimeOut
    ended_at: TimeOut | None


class RemovedFavoriteOut(Out):
    """The removal of a favorite."""

    product_id: int
    removed_at: TimeOut


class ExportOut(Out):
    """Everything stored about a customer."""

    exported_at: TimeOut
    customer: CustomerOut
    sessions: list[HeldSessionOut]
    favorites: list[FavoriteOut]
    removed_favorites: list[RemovedFavoriteOut]


def written_export(export: CustomerExport, writer: JsonWriter) -> str:
    """Write an export as JSON; `ExportOut` documents it."""
    customer, sessions, favorites, removed = export.records
    now = export.exported_at
    members = {
        "exported_at": f'"{format_time(now)}"',
        "customer": CustomerOut.model_validate(customer).model_dump_json(),
        "sessions": _list(
            HeldSessionOut.model_validate(each).model_dump_json() for each in sessions
        ),
        "favorites": _list(writer.favorite(each, now=now) for each in favorites),
        "removed_favorites": _list(
            RemovedFavoriteOut.model_validate(each).model_dump_json() for each in removed
        ),
    }
    return "{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}"


def _list(items: Iterable[str]) -> str:
    return f"[{','.join(items)}]"
