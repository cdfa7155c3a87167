"""`python -m app api-key`."""

from datetime import datetime, timedelta
from typing import Annotated

import typer

from app.command_line.common import fail, format_time, prepare, print_table, run
from app.domain.access import ApiKey, ApiKeyId, Scope
from app.domain.customer import checked_name

api_key = typer.Typer(
    help="Create, list and revoke the API keys of internal systems.", no_args_is_help=True
)


@api_key.command("create")
def create_api_key(
    name: Annotated[str, typer.Argument(help="The system that will use the key.")],
    scope: Annotated[
        list[Scope], typer.Option(help="A permission of the key; repeat for more than one.")
    ],
    expires_in_days: Annotated[
        int | None,
        typer.Option(min=1, max=3650, help="Days until it expires; without it, it never does."),
    ] = None,
) -> None:
    """
    Create an API key and print it. It is printed only once, because only its hash is stored.

    Examples:

    * `python -m app api-key create crm --scope customers:read --scope favorites:read`

    * `python -m app api-key create import --scope favorites:write --expires-in-days 7`
    """
    lifetime = None if expires_in_days is None else timedelta(days=expires_in_days)
    key = run(
        prepare(),
        lambda use_cases: use_cases.manage_api_keys.create(
            name=checked_name(name), scopes=frozenset(scope), lifetime=lifetime
        ),
    )
    typer.echo(str(key))
    typer.echo("Save it now: it cannot be shown again.", err=True)


@api_key.command("list")
def list_api_keys() -> None:
    """List all API keys, oldest first, without their secrets."""
    keys = run(prepare(), lambda use_cases: use_cases.manage_api_keys.list_all())
    now = datetime.now().astimezone()
    print_table(
        ("id", "name", "scopes", "created", "expires", "last used", "state"),
        [
            (
                key.id,
                key.name,
                ", ".join(sorted(key.scopes)),
                format_time(key.created_at),
                format_time(key.expires_at),
                format_time(key.last_used_at),
                _state(key, now=now),
            )
            for key in keys
        ],
    )


def _state(key: ApiKey, *, now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "usable" if key.usable(now) else "expired"


@api_key.command("revoke")
def revoke_api_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The ID that `list` shows.")],
) -> None:
    """
    Revoke an API key immediately, together with the access tokens it was exchanged for.

    Example: `python -m app api-key revoke 7d3f`
    """
    if not run(prepare(), lambda use_cases: use_cases.manage_api_keys.revoke(ApiKeyId(key_id))):
        fail("No API key that can be revoked has this ID")
