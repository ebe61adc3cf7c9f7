"""An engine on Ray Data: a cluster, or this machine."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..errors import MissingPackageError
from .local import Item, Result

ITEMS_PER_BLOCK = 4  # results of a block arrive together: the most an actor loses when killed
MAX_ATTEMPTS = 2  # for an item that kills its process


class RayEngine:
    """Ray Data actors; each keeps what its stage has loaded, such as a model.

    Args:
        workers: number of actors.
        address: address of a running cluster; None starts Ray on this machine.
        gpus: GPUs per actor, may be a fraction.
    """

    def __init__(self, workers: int, address: str | None = None, gpus: float = 0.0) -> None:
        self.workers = workers
        self.address = address
        self.gpus = gpus

    def map(
        self,
        stage: Callable[[Item], Result],
        items: Iterable[Item],
        on_worker_death: Callable[[Item], Result],
    ) -> Iterator[tuple[Item, Result]]:
        """See `Engine.map`."""
        todo = list(items)
        if not todo:
            return
        ray = self._start()
        # The dataset holds indices only, so that items need not fit Arrow's types.
        indices = [{"index": index} for index in range(len(todo))]
        # Smaller blocks for few items, so that each actor gets some.
        blocks = -(-len(todo) // min(ITEMS_PER_BLOCK, -(-len(todo) // self.workers)))
        results = ray.data.from_items(indices, override_num_blocks=blocks).map(
            _Actor,
            fn_constructor_args=(stage, ray.put(todo), ray.remote(num_cpus=0)(_Attempts).remote()),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=self.workers),
            num_gpus=self.gpus or None,
        )
        for row in results.iter_rows():
            item, result = todo[row["index"]], row["result"]
            yield item, json.loads(result) if result else on_worker_death(item)

    def _start(self) -> Any:
        """Return the module `ray`, connected to the cluster or to a local instance."""
        ray = _require_ray()
        options: dict[str, Any] = {}
        if self.address is None:  # local workers share our import path; a cluster has its own
            path = os.pathsep.join(path for path in sys.path if path)
            options = {
                "include_dashboard": False,
                "runtime_env": {"env_vars": {"PYTHONPATH": path}},
            }
        ray.init(self.address or "local", ignore_reinit_error=True, log_to_driver=False, **options)
        ray.data.DataContext.get_current().enable_progress_bars = False  # the caller has its own
        return ray


class _Attempts:
    """An actor that counts the unfinished attempts at each item.

    Ray restarts a dead worker with the same block without any limit.
    """

    def __init__(self) -> None:
        self.begun: Counter[int] = Counter()

    def begin(self, index: int) -> int:
        self.begun[index] += 1
        return self.begun[index]

    def end(self, index: int) -> None:
        del self.begun[index]


class _Actor:
    """One process of the cluster, with the stage and all items."""

    def __init__(self, stage: Callable[[Any], Any], items: Any, attempts: Any) -> None:
        self.ray = _require_ray()
        self.stage = stage
        self.items = self.ray.get(items)
        self.attempts = attempts

    def __call__(self, row: dict[str, int]) -> dict[str, Any]:
        index = row["index"]
        if self.ray.get(self.attempts.begin.remote(index)) > MAX_ATTEMPTS:
            return {"index": index, "result": ""}
        # JSON, as Arrow needs the same columns in every row; JSON preserves floats exactly.
        result = json.dumps(self.stage(self.items[index]))
        self.attempts.end.remote(index)
        return {"index": index, "result": result}


def _require_ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingPackageError(
            "the engine ray needs Ray Data: pip install 'ray[data]'"
        ) from error
    return ray
