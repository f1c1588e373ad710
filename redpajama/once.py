"""What costs much to load is loaded once a process, however many threads ask at the same moment."""

import threading
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar, cast

Given = ParamSpec("Given")
Loaded = TypeVar("Loaded")


def once(most: int) -> Callable[[Callable[Given, Loaded]], Callable[Given, Loaded]]:
    """Keep the last `most` results of a function. `lru_cache` alone lets each of several threads do the work."""

    def keep(load: Callable[Given, Loaded]) -> Callable[Given, Loaded]:
        ask_cached: Callable[Given, Loaded] = cast(Any, lru_cache(most)(load))  # whose types ask for hashable values
        lock = threading.RLock()

        @wraps(load)
        def ask(*args: Given.args, **kwargs: Given.kwargs) -> Loaded:
            with lock:
                return ask_cached(*args, **kwargs)

        return ask

    return keep
