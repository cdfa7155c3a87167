"""The list of common passwords."""

from importlib.resources import files

from app.domain.customer import fold


def common_passwords() -> frozenset[str]:
    """
    Read the list in this package, case folded; its header states its source.

    This takes some milliseconds: do it once, at the start.
    """
    text = files("app.infra.security").joinpath("common_passwords.txt").read_text("utf-8")
    return frozenset(fold(line) for line in text.splitlines() if line and line[0] != "#")
