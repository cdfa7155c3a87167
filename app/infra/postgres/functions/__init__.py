"""
The SQL functions of the schema, each in the file that has its name.

A migration installs the current text of a file. To change a function, edit its file and add a
migration that installs it again; the release before calls the new text too, so it must accept the
same parameters and return the same columns.
"""

from pathlib import Path

from alembic import op


def install(*names: str) -> None:
    """Create or replace functions, within the migration that runs."""
    # Not checked yet: a function may call another one that is created after it.
    op.execute("SET LOCAL check_function_bodies = off")
    for name in names:
        text = Path(__file__).with_name(f"{name}.sql").read_text(encoding="utf-8")
        # As it is: `op.execute` would take a colon in it for a parameter.
        op.get_bind().exec_driver_sql(text)
