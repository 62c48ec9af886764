"""Reading the next and writing the last while the network is at work: two loops that go on in threads."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def ahead(items: Iterable[T]) -> Iterator[T]:
    """Yield the items of an iterable, which makes the next one in a thread while the caller uses one.

    No more than one is made ahead. What it raises is raised in the place of the item.
    """
    source = iter(items)
    end: Any = object()
    with ThreadPoolExecutor(1, "ahead") as reader:
        coming = reader.submit(next, source, end)
        while (item := coming.result()) is not end:
            coming = reader.submit(next, source, end)
            yield item


def behind(calls: Iterable[Callable[[], T]]) -> Iterator[T]:
    """Yield what calls return, in their order; each is made in a thread while the iterable makes the next call.

    No more than one waits for that. What one raises is raised in the place of its result; those after it are not made.
    """
    with ThreadPoolExecutor(1, "behind") as writer:
        running = None
        for call in calls:
            if running is not None:
                yield running.result()
            running = writer.submit(call)
        if running is not None:
            yield running.result()
