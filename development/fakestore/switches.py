"""The faults that the store injects, and the calls that they affect."""

import random
import re
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints


class Fault(StrEnum):
    """A fault of a response."""

    HANG = "hang"
    RESET = "reset"
    HTML = "html"
    TRUNCATED = "truncated"
    WRONG_ID = "wrong_id"
    EMPTY_OBJECT = "empty_object"
    NULL = "null"
    EMPTY = "empty"
    INFINITE_PRICE = "infinite_price"
    MISSING_FIELD = "missing_field"
    NO_RATING = "no_rating"
    DRIP = "drip"
    GZIP_BOMB = "gzip_bomb"
    REDIRECT = "redirect"
    OVERSIZED = "oversized"


class UnknownId(StrEnum):
    """How the store answers for a product it does not have."""

    NULL = "null"  # 200 with the body `null`, as the public store did in 2022
    EMPTY = "empty"  # 200 with an empty body, as it does today
    NOT_FOUND = "not_found"  # 404, as clients would expect


Seconds = Annotated[float, Field(ge=0, le=3600)]
ProductId = Annotated[int, Field(ge=1, le=2_147_483_647)]
Pattern = Annotated[str, StringConstraints(pattern=r"^/[!-~]{0,199}$")]
# Any value that HTTP allows: clients have to handle odd ones.
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[!-~]([ -~]{0,198}[!-~])?$")]


class Switches(BaseModel):
    """All switches; with the defaults there are no faults.

    `delay` and `jitter` affect every call in scope, `status` or `fault` only the share
    `error_rate` of them. An `error_rate` alone means status 503.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    delay: Seconds = 0
    jitter: Seconds = 0
    error_rate: Annotated[float, Field(ge=0, le=1)] = 1
    status: Annotated[int, Field(ge=300, le=599)] | None = None
    retry_after: HeaderValue | None = None
    # Strict mode would refuse the plain strings of JSON.
    fault: Annotated[Fault, Field(strict=False)] | None = None
    drip_interval: Annotated[float, Field(ge=0.001, le=60)] = 0.5
    redirect_to: HeaderValue = "http://169.254.169.254/latest/meta-data/"
    product_ids: Annotated[list[ProductId], Field(max_length=1000)] | None = None
    paths: Annotated[list[Pattern], Field(max_length=100)] | None = None
    count: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    unknown_id: Annotated[UnknownId, Field(strict=False)] = UnknownId.NULL

    def covers(self, path: str) -> bool:
        """Return whether calls of a path are in scope; a pattern may end in `*`."""
        if self.product_ids is not None:
            found = re.fullmatch(r"/products/([0-9]{1,10})", path)
            if not found or int(found[1]) not in self.product_ids:
                return False
        return self.paths is None or any(
            path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern
            for pattern in self.paths
        )

    @property
    def answer(self) -> Fault | int | None:
        """The fault or status of affected calls; None for a good response."""
        if self.fault is not None:
            return self.fault
        if self.status is None and "error_rate" in self.model_fields_set and self.error_rate:
            return 503
        return self.status


class Effect(BaseModel):
    """The effect on one call: seconds to wait, then a fault, a status or a good response."""

    wait: float = 0
    answer: Fault | int | None = None


class FaultState:
    """The current switches, and the number of calls that they have affected."""

    def __init__(self) -> None:
        self.switches = Switches()
        self.affected = 0

    def set(self, switches: Switches) -> None:
        """Set all switches and reset the number of affected calls."""
        self.switches = switches
        self.affected = 0

    def next_effect(self, path: str) -> Effect:
        """Return the effect on a call, and count the call if there is one."""
        switches = self.switches
        if switches.count is not None and self.affected >= switches.count:
            return Effect()
        if not switches.covers(path):
            return Effect()
        effect = Effect(wait=switches.delay + switches.jitter * random.random())  # noqa: S311
        if random.random() < switches.error_rate:  # noqa: S311 - chance, not a secret
            effect.answer = switches.answer
        if effect.wait or effect.answer is not None:
            self.affected += 1
        return effect
