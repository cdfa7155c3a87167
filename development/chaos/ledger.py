"""What clients were told, on the disk before they went on."""

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
    """What a client knows of a write."""

    ACKNOWLEDGED = "it is done"
    REFUSED = "it is not done"
    UNKNOWN = "it may be done, or not"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    A write that somebody asked for, and what they were told; moments are Unix times.

    A sign-up names no product. `status` is None if there was no answer; `results` are those of a
    batch, by product.
    """

    who: str
    began: float
    ended: float
    status: int | None
    add: tuple[int, ...] = ()
    remove: tuple[int, ...] = ()
    batch: bool = False
    results: Mapping[str, str] = field(default_factory=dict)

    @property
    def signs_up(self) -> bool:
        """Whether somebody wanted an account."""
        return not self.add and not self.remove

    @property
    def verdict(self) -> Verdict:
        """What is known of the write as a whole."""
        if self.status is None or self.status >= 500:
            return Verdict.UNKNOWN
        return Verdict.ACKNOWLEDGED if self.status < 400 else Verdict.REFUSED

    def told(self, product_id: int) -> tuple[Verdict, bool | None]:
        """Return what is known of one product, and whether it was a favorite before, if told."""
        if self.verdict is not Verdict.ACKNOWLEDGED:
            return self.verdict, None
        if not self.batch:
            return Verdict.ACKNOWLEDGED, _WAS_FAVORITE.get(self.status or 0)
        result = self.results.get(str(product_id), "missing")
        if result not in _WAS_FAVORITE_IN_BATCH:
            return Verdict.REFUSED, None
        return Verdict.ACKNOWLEDGED, _WAS_FAVORITE_IN_BATCH[result]

    def waits(self, product_id: int) -> bool:
        """Whether the favorite was accepted before the catalog could be asked."""
        return self.status == 202 or self.results.get(str(product_id)) == "pending"

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Read what `asdict` wrote."""
        return cls(**{**fields, "add": tuple(fields["add"]), "remove": tuple(fields["remove"])})


# What 202 and 204 are answered to, nobody can tell.
_WAS_FAVORITE = {201: False, 200: True}
_WAS_FAVORITE_IN_BATCH: Mapping[str, bool | None] = {
    "added": False,
    "pending": None,
    "already_present": True,
    "removed": True,
    "not_present": False,
}


class Ledger:
    """A file of entries, one a line; each is on the disk when noting it returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Appending lines are whole, whoever else appends.
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
        """Write an entry down."""
        await asyncio.to_thread(self._write, json.dumps(asdict(entry)))

    def _write(self, line: str) -> None:
        os.write(self._file, f"{line}\n".encode())
        os.fsync(self._file)

    def entries(self) -> Sequence[Entry]:
        """Return everything written so far, in that order."""
        lines = self._path.read_text(encoding="utf-8").splitlines()
        return [Entry.of(json.loads(line)) for line in lines]
