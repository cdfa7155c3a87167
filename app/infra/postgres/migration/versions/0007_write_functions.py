"""
The writes of favorites as functions, and the rules that statements share as functions of a line.

Installs every function of `app.infra.postgres.functions`. Those of 0005 do what they did. The
release before goes on to call the `add_favorites` of 0006; that of 0004 has no caller any more and
is dropped.
"""

from alembic import context, op

from app.infra.postgres.functions import install

revision = "0007"
down_revision = "0006"

_NEW = (
    "change_favorites(uuid, timestamptz, integer[], integer[], timestamptz[], text[], numeric[],"
    " text[], numeric[], bigint[], text[], integer, integer, boolean)",
    "add_favorites(uuid[], uuid[], timestamptz, integer[], xid[], timestamptz[], text[],"
    " numeric[], text[], numeric[], bigint[], text[], integer, integer, boolean, boolean)",
    "remove_favorites(uuid[], uuid[], timestamptz, integer[], timestamptz[], boolean)",
    "restore_favorite(uuid, integer, timestamptz, integer, text)",
    "enter_catalog_changes(uuid)",
    "enqueue_validate_product(integer, text)",
    "lock_favorite_lists(uuid[], boolean)",
    "list_is_full(bigint, integer)",
    "favorite_is_pending(text, timestamptz)",
    "session_is_active(timestamptz, timestamptz, timestamptz, timestamptz)",
)
_DROPPED = """
DROP FUNCTION add_favorites(
    uuid[], integer[], timestamptz[], text[], numeric[], text[], numeric[], bigint[], integer
)
"""


def upgrade() -> None:
    op.execute(_DROPPED)
    install(
        "session_is_active",
        "favorite_is_pending",
        "list_is_full",
        "lock_favorite_lists",
        "enqueue_validate_product",
        "add_favorites",
        "remove_favorites",
        "change_favorites",
        "restore_favorite",
        "enter_catalog_changes",
        "give_back_attempt",
        "take_attempts",
        "begin_session",
    )


def downgrade() -> None:
    for function in _NEW:
        op.execute(f"DROP FUNCTION {function}")
    context.script.get_revision("0004").module.upgrade()
