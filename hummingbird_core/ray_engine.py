"""The same stages on Ray Data: a cluster, or this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .engines import Item, Result
from .errors import MissingPackageError

ITEMS_PER_BLOCK = 4  # their results arrive together: what a kill costs for each actor


class RayEngine:
    """Ray Data actors; each keeps what its stage has loaded, such as a model.

    Args:
        workers: number of actors.
        address: of a running cluster; None starts Ray on this machine.
        gpus: share of a GPU for each actor.
    """

    def __init__(self, workers: int, address: str | None = None, gpus: float = 0.0) -> None:
        self.workers = workers
        self.address = address
        self.gpus = gpus

    def map(
        self,
        stage: Callable[[Item], Result],
        items: Iterable[Item],
        lost: Callable[[Item], Result],
    ) -> Iterator[tuple[Item, Result]]:
        """See `Engine.map`. Ray restarts an actor that died and repeats its items by itself."""
        ray = _require_ray()
        todo = list(items)
        if not todo:
            return
        options = {} if self.address else {"include_dashboard": False}
        ray.init(self.address, ignore_reinit_error=True, log_to_driver=False, **options)
        ray.data.DataContext.get_current().enable_progress_bars = False  # the caller has its own
        # A data set of indices: what is in the items need not fit Arrow's types.
        indices = [{"index": index} for index in range(len(todo))]
        # Small blocks where there are few items, so that each actor gets some.
        blocks = -(-len(todo) // min(ITEMS_PER_BLOCK, -(-len(todo) // self.workers)))
        results = ray.data.from_items(indices, override_num_blocks=blocks).map(
            _Actor,
            fn_constructor_args=(stage, ray.put(todo)),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=self.workers),
            num_gpus=self.gpus or None,
        )
        for row in results.iter_rows():
            yield todo[row["index"]], json.loads(row["result"])


class _Actor:
    """One process of the cluster, with the stage and all items at hand."""

    def __init__(self, stage: Callable[[Any], Any], items: Any) -> None:
        self.stage = stage
        self.items = _require_ray().get(items)

    def __call__(self, row: dict[str, int]) -> dict[str, Any]:
        # JSON, because Arrow would want the same columns in every row; it keeps floats exactly.
        return {**row, "result": json.dumps(self.stage(self.items[row["index"]]))}


def _require_ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingPackageError(
            "the engine ray needs Ray Data: pip install 'ray[data]'"
        ) from error
    return ray
