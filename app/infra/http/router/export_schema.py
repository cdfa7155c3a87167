"""How sessions and the export of everything appear in answers."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import Field

from app.application.accounts.export_customer import CustomerExport
from app.domain.session import Session, SessionId
from app.infra.http.router.customer_schema import CustomerOut
from app.infra.http.router.favorite_schema import FavoriteOut, IsStale
from app.infra.http.schema import Out, TimeOut


class SessionOut(Out):
    """A session: one sign-in on one device."""

    id: UUID
    device: Annotated[str, Field(description="What the client said of itself.")]
    created_at: TimeOut
    last_used_at: TimeOut
    expires_at: Annotated[TimeOut, Field(description="When it ends at the latest.")]
    current: Annotated[bool, Field(description="Whether this request belongs to it.")]

    @classmethod
    def of(cls, session: Session, *, current: SessionId) -> Self:
        """Describe a session to somebody who is in one."""
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
    """That a product was a favorite."""

    product_id: int
    removed_at: TimeOut


class ExportOut(Out):
    """Everything that is held about a customer."""

    exported_at: TimeOut
    customer: CustomerOut
    sessions: list[HeldSessionOut]
    favorites: list[FavoriteOut]
    removed_favorites: list[RemovedFavoriteOut]

    @classmethod
    def of(cls, export: CustomerExport, *, stale: IsStale) -> Self:
        """Describe an export."""
        return cls(
            exported_at=export.exported_at,
            customer=CustomerOut.model_validate(export.customer),
            sessions=[HeldSessionOut.model_validate(session) for session in export.sessions],
            favorites=[FavoriteOut.of(item, stale=stale) for item in export.favorites],
            removed_favorites=[
                RemovedFavoriteOut.model_validate(removed) for removed in export.removed_favorites
            ],
        )
