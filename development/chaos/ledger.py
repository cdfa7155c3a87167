"""The answers that clients got, on disk before each client continues."""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Verdict(Enum):
    """What a client knows about a write."""

    ACKNOWLEDGED = "done"
    REFUSED = "not done"
    UNKNOWN = "done or not done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    A write and its answer; moments are Unix times.

    A sign-up has no products. `status` is None without an answer; `results` are those of a batch,
    by product.
    """

    email: str
    began: float
    ended: float
    status: int | None
    add: tuple[int, ...] = ()
    remove: tuple[int, ...] = ()
    batch: bool = False
    results: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_sign_up(self) -> bool:
        """Whether this is a sign-up."""
        return not self.add and not self.remove

    @property
    def verdict(self) -> Verdict:
        """What is known about the write as a whole."""
        if self.status is None or self.status >= 500:
            return Verdict.UNKNOWN
        return Verdict.ACKNOWLEDGED if self.status < 400 else Verdict.REFUSED

    def result_for(self, product_id: int) -> tuple[Verdict, bool | None]:
        """Return what is known about a product, and whether it was a favorite before, if known."""
        if self.verdict is not Verdict.ACKNOWLEDGED:
            return self.verdict, None
        if not self.batch:
            return Verdict.ACKNOWLEDGED, _WAS_FAVORITE.get(self.status or 0)
        result = self.results.get(str(product_id), "missing")
        if result not in _WAS_FAVORITE_IN_BATCH:
            return Verdict.REFUSED, None
        return Verdict.ACKNOWLEDGED, _WAS_FAVORITE_IN_BATCH[result]

    def is_pending(self, product_id: int) -> bool:
        """Whether the favorite was accepted without asking the catalog."""
        return self.status == 202 or self.results.get(str(product_id)) == "pending"

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Read what `asdict` wrote."""
        return cls(**{**fields, "add": tuple(fields["add"]), "remove": tuple(fields["remove"])})


# 202 and 204 do not tell.
_WAS_FAVORITE = {201: False, 200: True}
_WAS_FAVORITE_IN_BATCH: Mapping[str, bool | None] = {
    "added": False,
    "pending": None,
    "already_present": True,
    "removed": True,
    "not_present": False,
}


class Ledger:
    """A file with one entry per line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Concurrent appends do not mix their lines.
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._file)

    async def note(self, entry: Entry) -> None:
        """Append an entry; it is on disk when this returns."""
        await asyncio.to_thread(self._write, json.dumps(asdict(entry)))

    def _write(self, line: str) -> None:
        os.write(self._file, f"{line}\n".encode())
        os.fsync(self._file)

    def entries(self) -> Sequence[Entry]:
        """Return all entries in the order of writing."""
        lines = self._path.read_text(encoding="utf-8").splitlines()
        return [Entry.of(json.loads(line)) for line in lines]
