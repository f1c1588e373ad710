"""Parts that workers of many machines claim, largest first, where the store has conditional writes.

    ROOT/.tmp/<run>/claims/<stage>/<rank>    for each part that a worker claimed; rank 0 is the largest of the plan

A worker lists what others claimed since it looked last, then claims what is free. Whoever is refused looks again and
draws among twice as many, so a thousand that begin at once do not meet at each part. Nobody gives a claim back: what
was claimed and is not there when all are through (its worker died, or never heard that the claim is its own) is dealt
out again. `workers.py` has the claims of one machine.
"""

import os
import random
import threading
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice

from redpajama import environment
from redpajama.engine.parts import Part
from redpajama.engine.stages import Job
from redpajama.engine.store import Refused, Store, crash_point

MIN_MEAN_BYTES = int(environment.number("REDPAJAMA_CLAIM_BYTES", 8 << 20))  # smaller parts are not worth the requests


def pay(job: Job, parts: Sequence[Part]) -> bool:
    """Whether the workers of a step claim its parts: they are many and, on average, large."""
    return 0 < job.claim_bytes <= sum(part.size for part in parts) / max(1, len(parts)) and len(parts) > 1


class Claims:
    """What this process knows of the claims of a step. Its threads share it."""

    def __init__(self, store: Store, run: str, stage: str) -> None:
        self.store, self.folder = store, f".tmp/{run}/claims/{stage}"
        self.is_begun = False  # this process was to claim
        self.is_through = False  # nothing is left, for ever
        self._taken = bytearray()  # 1 for each rank that somebody has
        self._own = -1  # the last that this process claimed
        self._width = 1  # of how many it draws one: more, the more often it was refused
        self._claiming = threading.Lock()

    def claim(self, count: int) -> int | None:
        """Claim the largest part that is free, of so many; its rank, or None where none is left."""
        with self._claiming:
            self.is_begun = True
            self._taken.extend(bytes(count - len(self._taken)))
            while free := self._free():
                rank = random.choice(free)
                is_own = self._take(rank)
                self._taken[rank] = 1
                if is_own:
                    crash_point("after-claim")
                    self._own, self._width = rank, max(1, self._width // 2)
                    return rank
                self._width *= 2
            self.is_through = True
            return None

    def _free(self) -> list[int]:
        """The first ranks that nobody has, to draw from; none where even our own is gone: the step is over."""
        if (first := self._taken.find(0)) < 0:
            return []
        claimed = self._claimed_from(first if self._own < 0 else min(first, self._own))
        if self._own >= 0 and self._own not in claimed:
            return []
        for rank in claimed:
            self._taken[rank] = 1
        free = (rank for rank in range(first, len(self._taken)) if not self._taken[rank])
        return list(islice(free, self._width))

    def _claimed_from(self, rank: int) -> set[int]:
        keys = self.store.keys_after(self.folder, self._key(rank - 1) if rank else "")
        return {int(key.rpartition("/")[2]) for key in keys}

    def _key(self, rank: int) -> str:
        return f"{self.folder}/{rank:08d}"

    def _take(self, rank: int) -> bool:
        try:
            self.store.write_if(self._key(rank), f"process {os.getpid()} on {os.uname().nodename}".encode())
        except Refused:
            return False
        return True

    def sweep(self) -> None:
        """Remove them: the step is committed."""
        self.store.remove(self.folder)


@lru_cache(maxsize=8)  # elements of a step that is through may come late
def of(store: Store, run: str, stage: str) -> Claims:
    """The claims of a step."""
    return Claims(store, run, stage)
