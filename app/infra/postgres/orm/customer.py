from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Text, UniqueConstraint
from sqlmodel import Field

from app.domain.customer import Customer, fold
from app.infra.postgres.orm.row import FoldedText, Row, UtcDateTime


class CustomerRow(Row, table=True):
    __tablename__ = "customers"
    __table_args__ = (
        UniqueConstraint("email_key"),
        CheckConstraint("role IN ('customer', 'admin')", name="role"),
        CheckConstraint("version > 0", name="version"),
        Index(None, "created_at", "id"),
        Index(None, "name_key", "id"),
    )

    id: UUID = Field(primary_key=True)
    name: str = Field(sa_type=Text)
    name_key: str = Field(sa_type=FoldedText)
    email: str = Field(sa_type=Text)
    email_key: str = Field(sa_type=FoldedText)
    password_hash: str | None = Field(sa_type=Text)
    role: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=UtcDateTime)
    updated_at: datetime = Field(sa_type=UtcDateTime)
    version: int

    @classmethod
    def from_entity(cls, customer: Customer) -> "CustomerRow":
        return cls(
            id=customer.id,
            name=customer.name,
            name_key=fold(customer.name),
            email=customer.email.value,
            email_key=customer.email.key,
            password_hash=customer.password_hash,
            role=customer.role.value,
            created_at=customer.created_at,
            updated_at=customer.updated_at,
            version=customer.version,
        )
