"""What docs/operations.md tells people to ask the database."""

import re
from pathlib import Path

import psycopg
import pytest

PAGE = Path(__file__).parents[3] / "docs" / "operations.md"
LOOKS = re.findall(
    r"<!-- look: (\w+) -->\n```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
)


@pytest.mark.parametrize(
    "statements", [text for _, text in LOOKS], ids=[name for name, _ in LOOKS]
)
def test_every_look_can_be_taken(database_url: str, statements: str) -> None:
    assert len(LOOKS) == 3
    for statement in filter(str.strip, statements.split(";\n")):
        with psycopg.connect(database_url) as connection:
            found = connection.execute(statement.encode())
            assert found.description
