"""Beam's DaskRunner, mended: what is grouped spreads over all workers.

The runner keeps the number of a bag's partitions through each grouping, and a build begins with one element: all work
would be done by one worker. So a bag is dealt out anew before it is grouped. The scheduler needs redpajama, too.
"""

from math import inf
from typing import Any, cast

from redpajama.errors import UserError

PARTITIONS_A_THREAD = 4  # a worker that is through takes the next one
MOST_PARTITIONS = 4096


def queue_nothing(dask_scheduler: Any) -> None:
    """Tasks go to workers at once. Dask 2026.8 forgets its queue where a worker dies for good (seen)."""
    dask_scheduler.WORKER_SATURATION = inf


def mend() -> None:
    """Let DaskRunner repartition before it groups. May be called again.

    Raises:
        UserError: Dask is not installed.
    """
    try:
        import distributed
        from apache_beam.runners.dask import transform_evaluator as evaluator
    except ImportError:
        raise UserError("DaskRunner needs an extra: pip install 'redpajama[dask]'") from None
    table = evaluator.TRANSLATIONS
    kind, grouped = next((kind, op) for kind, op in table.items() if op.__name__.endswith("GroupByKey"))
    if grouped.__name__ == "SpreadGroupByKey":
        return

    def apply(self: Any, input_bag: Any, side_inputs: Any = None) -> Any:
        client = distributed.default_client()
        client.run_on_scheduler(queue_nothing)
        threads = sum(client.ncores().values())
        wanted = min(MOST_PARTITIONS, max(1, threads) * PARTITIONS_A_THREAD)
        if input_bag.npartitions < wanted:
            input_bag = input_bag.repartition(npartitions=wanted)
        return grouped.apply(self, input_bag, side_inputs)

    table[kind] = cast(Any, type("SpreadGroupByKey", (grouped,), {"apply": apply}))
