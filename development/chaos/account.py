"""What a customer has to find, by what they were told."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from development.chaos.ledger import Entry, Verdict


@dataclass(slots=True)
class Belief:
    """
    Whether a product is a favorite.

    `present` is what is certain; writes since then that may be done or not are `doubts`.
    `remembered`: it was one, so that its removal is remembered.
    """

    present: bool = False
    remembered: bool = False
    doubts: list[Entry] = field(default_factory=list)

    def possible(self, product_id: int) -> set[bool]:
        """Return what may be found."""
        return {self.present, *(product_id in doubt.add for doubt in self.doubts)}


@dataclass(kw_only=True)
class Account:
    """
    One customer's favorites, as far as their answers tell.

    The list's version counts its changes: by now there are `least` to `most` of them. `invented`
    are products that the catalog does not have: a favorite of one is rejected, and may be added
    again though it is there.
    """

    invented: Collection[int] = ()
    beliefs: dict[int, Belief] = field(default_factory=dict)
    least: int = 0
    most: int = 0

    def note(self, entry: Entry) -> Iterator[str]:
        """Take over what an answer says; yields where it contradicts earlier ones."""
        for product_id in (*entry.add, *entry.remove):
            verdict, was = entry.told(product_id)
            if verdict is Verdict.REFUSED:
                continue
            belief = self.beliefs.setdefault(product_id, Belief())
            wanted = product_id in entry.add
            if verdict is Verdict.UNKNOWN:
                belief.doubts.append(entry)
                # It may have had to wait, and been settled since.
                self.most += 2 if wanted else 1
                continue
            if (
                was is not None
                and was not in belief.possible(product_id)
                and product_id not in self.invented
            ):
                yield (
                    f"{entry.who}, product {product_id}: "
                    + ("removed, and was a favorite again" if was else "a favorite, and was lost")
                    + f" (by the answer {entry.status} {entry.results.get(str(product_id), '')})"
                )
            self._count(belief, product_id, entry, wanted=wanted)
            belief.remembered = not wanted and (belief.remembered or belief.present)
            belief.present = wanted
            belief.doubts = []

    def _count(self, belief: Belief, product_id: int, entry: Entry, *, wanted: bool) -> None:
        changed = belief.present != wanted
        self.least += changed
        self.most += changed or bool(belief.doubts) or product_id in self.invented
        self.most += entry.waits(product_id)

    def contradictions(self, found: Collection[int], *, whole: bool = True) -> Iterator[str]:
        """
        Yield how the favorites that were found differ from what they have to be.

        If they are not the `whole` list, none is missed.
        """
        for product_id in found:
            belief = self.beliefs.get(product_id)
            if belief is None:
                yield f"product {product_id} is a favorite, and nobody ever asked for that"
            elif True not in belief.possible(product_id):
                yield f"product {product_id} is a favorite, though its removal was acknowledged"
        for product_id, belief in self.beliefs.items() if whole else ():
            if product_id not in found and False not in belief.possible(product_id):
                yield f"product {product_id} was acknowledged as a favorite, and is lost"

    def half_done(self, found: Collection[int]) -> Iterator[str]:
        """Yield the batches of unknown outcome that were done in part."""
        votes: dict[int, set[bool]] = {}
        for product_id, belief in self.beliefs.items():
            # Where anything else is in doubt, or nothing would change, nothing can be told.
            if len(belief.doubts) != 1:
                continue
            (doubt,) = belief.doubts
            wanted = product_id in doubt.add
            if doubt.batch and belief.present != wanted and product_id not in self.invented:
                votes.setdefault(id(doubt), set()).add((product_id in found) == wanted)
        for vote in votes.values():
            if len(vote) > 1:
                yield "a batch that was not acknowledged was done in part"
