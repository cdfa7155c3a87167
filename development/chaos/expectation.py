"""The favorites that a customer has to find after the answers they got."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from development.chaos.ledger import Entry, Verdict


@dataclass(slots=True)
class Expectation:
    """
    Whether a product is a favorite.

    `present` is the last certain state; `unresolved` are later writes of unknown outcome. A
    removal has to be `remembered` if the product was a favorite before it.
    """

    present: bool = False
    remembered: bool = False
    unresolved: list[Entry] = field(default_factory=list)

    def possible(self, product_id: int) -> set[bool]:
        """Return the states that may be found."""
        return {self.present, *(product_id in write.add for write in self.unresolved)}


@dataclass(kw_only=True)
class ExpectedList:
    """
    One customer's favorites, as far as they follow from the answers.

    The version of the list counts its changes, of which there are `least` to `most`. The catalog
    rejects favorites of `nonexistent` products; adding one again counts as a change.
    """

    nonexistent: Collection[int] = ()
    expectations: dict[int, Expectation] = field(default_factory=dict)
    least: int = 0
    most: int = 0

    def note(self, entry: Entry) -> Iterator[str]:
        """Apply an answer; yield where it contradicts earlier ones."""
        for product_id in (*entry.add, *entry.remove):
            verdict, was = entry.result_for(product_id)
            if verdict is Verdict.REFUSED:
                continue
            expectation = self.expectations.setdefault(product_id, Expectation())
            wanted = product_id in entry.add
            if verdict is Verdict.UNKNOWN:
                expectation.unresolved.append(entry)
                # It may have been accepted as pending, and confirmed later: two changes.
                self.most += 2 if wanted else 1
                continue
            if (
                was is not None
                and was not in expectation.possible(product_id)
                and product_id not in self.nonexistent
            ):
                yield (
                    f"{entry.email}, product {product_id}: "
                    + ("removed, and was a favorite again" if was else "a favorite, and was lost")
                    + f" (answer {entry.status} {entry.results.get(str(product_id), '')})"
                )
            self._count(expectation, product_id, entry, wanted=wanted)
            expectation.remembered = not wanted and (expectation.remembered or expectation.present)
            expectation.present = wanted
            expectation.unresolved = []

    def _count(
        self, expectation: Expectation, product_id: int, entry: Entry, *, wanted: bool
    ) -> None:
        changed = expectation.present != wanted
        self.least += changed
        self.most += changed or bool(expectation.unresolved) or product_id in self.nonexistent
        self.most += entry.is_pending(product_id)

    def contradictions(self, found: Collection[int], *, whole: bool = True) -> Iterator[str]:
        """
        Yield the differences between the favorites found and those expected.

        Favorites may only be missing if these are not the `whole` list.
        """
        for product_id in found:
            expectation = self.expectations.get(product_id)
            if expectation is None:
                yield f"product {product_id} is a favorite that was never requested"
            elif True not in expectation.possible(product_id):
                yield f"product {product_id} is a favorite, though its removal was acknowledged"
        for product_id, expectation in self.expectations.items() if whole else ():
            if product_id not in found and False not in expectation.possible(product_id):
                yield f"product {product_id} was acknowledged as a favorite and is lost"

    def partial_batches(self, found: Collection[int]) -> Iterator[str]:
        """Yield the batches of unknown outcome that were done in part only."""
        found_by_batch: dict[int, set[bool]] = {}
        for product_id, expectation in self.expectations.items():
            # Other unresolved writes, or a write without effect, allow no conclusion.
            if len(expectation.unresolved) != 1:
                continue
            (write,) = expectation.unresolved
            wanted = product_id in write.add
            if (
                write.batch
                and expectation.present != wanted
                and product_id not in self.nonexistent
            ):
                found_by_batch.setdefault(id(write), set()).add((product_id in found) == wanted)
        for done in found_by_batch.values():
            if len(done) > 1:
                yield "a batch that was not acknowledged was done in part"
