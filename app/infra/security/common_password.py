"""The passwords that are tried first."""

from importlib.resources import files

from app.domain.customer import fold


def common_passwords() -> frozenset[str]:
    """
    Read the list that is shipped, case folded; it says in its head where it comes from.

    Takes some milliseconds: do it once, at start.
    """
    text = files("app.infra.security").joinpath("common_passwords.txt").read_text("utf-8")
    return frozenset(fold(line) for line in text.splitlines() if line and line[0] != "#")
