from datetime import datetime

from sqlalchemy import ARRAY, CheckConstraint, LargeBinary, Text
from sqlmodel import Field

from app.domain.access import ApiKey
from app.infra.postgres.orm.row import Row, UtcDateTime


class ApiKeyRow(Row, table=True):
    __tablename__ = "api_keys"
    __table_args__ = (CheckConstraint("octet_length(secret_hash) = 32", name="secret_hash"),)

    id: str = Field(sa_type=Text, primary_key=True)
    name: str = Field(sa_type=Text)
    secret_hash: bytes = Field(sa_type=LargeBinary)
    scopes: list[str] = Field(sa_type=ARRAY(Text))
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime | None = Field(sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(sa_type=UtcDateTime)
    last_used_at: datetime | None = Field(sa_type=UtcDateTime)

    @classmethod
    def from_entity(cls, key: ApiKey) -> "ApiKeyRow":
        return cls(
            id=key.id,
            name=key.name,
            secret_hash=key.secret_hash,
            scopes=sorted(scope.value for scope in key.scopes),
            created_at=key.created_at,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
            last_used_at=key.last_used_at,
        )
