"""Generated parts of documentation pages."""

import re
from pathlib import Path


def update_page(page: Path, text: str, *, part: str) -> None:
    """Replace the text between the markers of a part of a page."""
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    between = re.compile(f"(?<={begin}\n).*?(?={end})", re.DOTALL)
    before = page.read_text(encoding="utf-8")
    page.write_text(between.sub(lambda _: f"{text}\n", before), encoding="utf-8")
