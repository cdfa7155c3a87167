"""`python -m app create-admin`."""

import sys
from typing import Annotated

import typer

from app.command_line.common import USAGE, fail, prepare, run
from app.domain.customer import Role


def create_admin(
    name: Annotated[str, typer.Option(prompt="Name", help="The administrator's name.")],
    email: Annotated[str, typer.Option(prompt="E-mail", help="The address to sign in with.")],
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from stdin: one line.")
    ] = False,
) -> None:
    """
    Create an administrator, who can see and manage every customer.

    The password is prompted for or read from stdin. It is never an argument, because other users
    of the machine can see arguments.

    Examples:

    * `python -m app create-admin --name 'Ana Souza' --email ana@example.com`

    * `python -m app create-admin --name Ana --email ana@example.com --password-stdin < password`
    """
    settings = prepare()
    password = _read_password() if password_stdin else _prompt_for_password()
    customer = run(
        settings,
        lambda use_cases: use_cases.create_customer(
            name=name, email=email, password=password, role=Role.ADMIN
        ),
    )
    typer.echo(customer.id)


def _prompt_for_password() -> str:
    if not sys.stdin.isatty():
        fail("Prompting for a password needs a terminal: use --password-stdin", status=USAGE)
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password


def _read_password() -> str:
    try:
        return sys.stdin.buffer.readline().decode().rstrip("\r\n")
    except UnicodeDecodeError:
        fail("The password on stdin must be UTF-8", status=USAGE)
