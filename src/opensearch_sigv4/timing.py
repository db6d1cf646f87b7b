"""How long the stages of a request take, told to whoever asks: for traces, and to find where the time goes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from time import time_ns
from typing import Any, Final

from opensearchpy.serializer import JSONSerializer

#: What a hook is told of, in the order in which a request has it. `serialise`: documents, or a body, become text.
#: `gzip` and `hash`: of the body that is sent. `sign`: what is left of the signature. `wait`: from then to the answer's
#: head, with the wait for a connection of the pool, its set-up and the sending. `read`: the answer's body.
STAGES: Final = ("serialise", "gzip", "hash", "sign", "wait", "read")

Hook = Callable[[str, int, int], object]

_lock = threading.Lock()
_hooks: tuple[Hook, ...] = ()


def add_hook(hook: Hook) -> None:
    """Have `hook(stage, start_ns, end_ns)` called at the end of each stage of each request of this process.

    It is called in the thread, task and context of the request, so that a span that is current there becomes the
    parent. A request that is signed and sent again has its stages again. As long as there is a hook, bodies are hashed
    apart from being signed, and answers read apart from being waited for, which costs some microseconds more. A request
    that fails without an answer has neither `wait` nor `read`.

    Args:
        hook: gets one of `STAGES`, and when it began and ended in nanoseconds of Unix time. What it raises reaches
            whoever sent the request.

    Thread-safety: any thread may add and remove hooks; each is called from many threads at once.

    >>> from opensearch_sigv4.compression import Compressor
    >>> spent = {}
    >>> hook = lambda stage, start_ns, end_ns: spent.update({stage: end_ns - start_ns})
    >>> add_hook(hook)
    >>> TimedSerializer().dumps({"a": 1}), sorted(spent)
    ('{"a":1}', ['serialise'])
    >>> remove_hook(hook)
    """
    global _hooks  # noqa: PLW0603
    if not callable(hook):
        raise TypeError(f"hook: a callable is needed, not {type(hook).__name__}")
    with _lock:
        _hooks = (*_hooks, hook)


def remove_hook(hook: Hook) -> None:
    """Take back one `add_hook`.

    Raises:
        ValueError: there is no such hook.
    """
    global _hooks  # noqa: PLW0603
    with _lock:
        hooks = list(_hooks)
        hooks.remove(hook)
        _hooks = tuple(hooks)


class Watch:
    """Times stages that come one after the other."""

    __slots__ = ("_noted", "_start_ns")

    def __init__(self) -> None:
        self._start_ns = time_ns()
        self._noted: list[tuple[str, int, int]] = []

    def start(self) -> None:
        """Begin a stage, whatever was before it."""
        self._start_ns = time_ns()

    def end(self, stage: str) -> None:
        """Tell the hooks of a stage that ends now, and begin the next one."""
        end_ns = time_ns()
        tell(stage, self._start_ns, end_ns)
        self._start_ns = time_ns()

    def note(self, stage: str) -> None:
        """End a stage where what a hook raises would be taken for a failure of the request; `tell` tells of it."""
        end_ns = time_ns()
        self._noted.append((stage, self._start_ns, end_ns))
        self._start_ns = end_ns

    def tell(self) -> None:
        """Tell the hooks of what was noted."""
        noted, self._noted = self._noted, []
        for stage in noted:
            tell(*stage)


def watch() -> Watch | None:
    """A watch for one request; None as long as there is no hook."""
    return Watch() if _hooks else None


class TimedIterator:
    """An iterator, and the nanoseconds that it took."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator = iterator
        self.spent_ns = 0

    def __iter__(self) -> TimedIterator:
        return self

    def __next__(self) -> Any:
        start_ns = time_ns()
        try:
            return next(self._iterator)
        finally:
            self.spent_ns += time_ns() - start_ns


def tell(stage: str, start_ns: int, end_ns: int) -> None:
    """Tell the hooks of a stage that is over."""
    for hook in _hooks:
        hook(stage, start_ns, end_ns)


class TimedSerializer(JSONSerializer):
    """opensearch-py's `JSONSerializer`, of whose time the hooks are told: `OpenSearch(serializer=TimedSerializer())`.

    `connect` and `connect_async` pass it by themselves; the bulk helpers tell of theirs with any serializer.
    """

    def dumps(self, data: Any) -> Any:
        """opensearch-py's `dumps`, whose time the hooks are told of as `serialise`."""
        if not _hooks or isinstance(data, (str, bytes)):
            return super().dumps(data)
        start_ns = time_ns()
        text = super().dumps(data)
        tell("serialise", start_ns, time_ns())
        return text
