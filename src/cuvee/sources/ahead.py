"""Reading far-away files in large pieces, ahead of who asks, several at once.

A block of a merge is a mebibyte, and an object store takes tens of milliseconds to answer whatever it is asked for.
So files are fetched in chunks of several blocks, which threads that read neighbouring blocks share, and the chunks that
come next are asked for before anybody needs them. Knows neither protocols nor tensors.

::

    asked for     |--|
    chunks     |  0   |  1   |  2   |  3   |  4   |
               fetched  on their way          not yet
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from weakref import WeakSet

__all__ = ["CHUNK", "ReadAhead"]

CHUNK = 4 << 20  # bytes fetched by one request
DEPTH = 3  # chunks on their way for each thread that reads
HELD = DEPTH + 1  # chunks for each thread, with the one that it reads from
REQUESTS = 16  # at once, for reading ahead; each thread may make one of its own besides

Key = tuple[str, int]
Fetch = Callable[[str, int, int], bytes]


class _Chunk:
    """A piece of a file, there or on its way."""

    def __init__(self) -> None:
        self.data: Future[bytes] = Future()
        self.is_read = False  # to its end, so that it may go first
        self.is_taken = False  # by the thread that reads it ahead


class ReadAhead:
    """Files that are read through chunks; any number of threads may do so at once.

    Holds at most `HELD` chunks for each thread that reads. Chunks are read ahead where reading goes forward: the one
    before is there, or it is a file's first.

    Args:
        fetch: returns bytes of a file, given its name, the first byte and the one after the last; fewer only at the
            file's end. Called from several threads at once. Raises OSError.
        size_of: returns a file's size in bytes.

    Attributes:
        memory: bytes that each thread takes: its chunks, and one that is copied from while it is given up.
    """

    memory = (HELD + 1) * CHUNK

    def __init__(self, fetch: Fetch, size_of: Callable[[str], int]) -> None:
        self._fetch = fetch
        self._size_of = size_of
        self._lock = threading.Lock()
        self._chunks: OrderedDict[Key, _Chunk] = OrderedDict()  # least recently used first
        self._threads: WeakSet[threading.Thread] = WeakSet()
        self._known = threading.local()
        self._readers = 1
        self._flying = 0  # chunks on their way that nobody has asked for yet
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False

    def read_at(self, name: str, view: memoryview, position: int) -> int:
        """Fill `view` from byte `position` of a file; return how many bytes there were, less only at the file's end.

        Raises:
            OSError: the file cannot be read, or all were closed.
        """
        if not getattr(self._known, "yes", False):
            self._get_to_know()
        done, last = 0, (position + len(view) - 1) // CHUNK
        while done < len(view):
            index, inside = divmod(position + done, CHUNK)
            data = self._chunk(name, index, last)
            part = memoryview(data)[inside : inside + len(view) - done]
            if not part:
                break
            view[done : done + len(part)] = part
            done += len(part)
            if inside + len(part) == len(data):
                self._has_read((name, index))
        return done

    def close(self) -> None:
        """Forget all chunks. Reading afterwards is an error."""
        with self._lock:
            self._closed = True
            for chunk in self._chunks.values():
                _settle(chunk, OSError(0, "it was closed"))  # its turn may never come
            self._chunks.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _get_to_know(self) -> None:
        """Count the threads that read. The main one waits while others do."""
        with self._lock:
            self._threads.add(threading.current_thread())
            working = [each for each in self._threads if each.is_alive() and each is not threading.main_thread()]
            self._readers = max(len(working), 1)
        self._known.yes = True

    def _has_read(self, key: Key) -> None:
        with self._lock:
            if (chunk := self._chunks.get(key)) is not None:
                chunk.is_read = True

    def _chunk(self, name: str, index: int, last: int) -> bytes:
        """Return a chunk, and have those fetched that come next: to the `last` of this read, and beyond."""
        key = name, index
        with self._lock:
            if self._closed:
                raise OSError(0, "it was closed")
            chunk = self._chunks.get(key)
            is_mine = chunk is None
            if chunk is None:
                chunk = self._begin(key)
            self._chunks.move_to_end(key)
            forward = index == 0 or (name, index - 1) in self._chunks
            following = self._following(name, index, max(last, index + DEPTH * self._readers if forward else last))
        for each, later in following:
            self._ahead(each, later)
        if is_mine:
            self._load(key, chunk)
        return chunk.data.result()

    def _following(self, name: str, index: int, last: int) -> list[tuple[Key, _Chunk]]:
        """Make room for chunks that come next, as far as there is room. The lock is held."""
        begun = []
        end = min(last, (self._size_of(name) - 1) // CHUNK)
        for following in range(index + 1, end + 1):
            key = name, following
            if key in self._chunks:
                continue
            if self._flying >= DEPTH * self._readers or not self._has_room():
                break
            self._flying += 1
            begun.append((key, self._begin(key)))
        return begun

    def _has_room(self) -> bool:
        """Say whether a chunk can be held without giving up one that is still to be read. The lock is held."""
        return len(self._chunks) < HELD * self._readers or any(chunk.is_read for chunk in self._chunks.values())

    def _begin(self, key: Key) -> _Chunk:
        """Hold a chunk that is to be fetched; give others up, those read to their end first. The lock is held."""
        while len(self._chunks) >= HELD * self._readers:
            there = [each for each, chunk in self._chunks.items() if chunk.data.done()]
            if not there:
                break  # all are on their way; each thread adds one of its own at most
            del self._chunks[next((each for each in there if self._chunks[each].is_read), there[0])]
        chunk = self._chunks[key] = _Chunk()
        return chunk

    def _ahead(self, key: Key, chunk: _Chunk) -> None:
        """Have a chunk fetched by another thread."""

        def load() -> None:
            with self._lock:
                if chunk.is_taken:  # given up when no thread could be started; it stays in the pool's queue
                    return
                chunk.is_taken = True
            try:
                self._load(key, chunk)
            finally:
                with self._lock:
                    self._flying -= 1

        with self._lock:
            self._pool = self._pool or ThreadPoolExecutor(REQUESTS, "cuvee-ahead")
        try:
            self._pool.submit(load)
        except RuntimeError as error:  # closed meanwhile, or the system has no room for a thread
            with self._lock:
                if chunk.is_taken:  # by a thread that was there before
                    return
                chunk.is_taken = True
                self._flying -= 1
                self._drop(key, chunk, OSError(0, f"it cannot be read ahead: {error}"))

    def _load(self, key: Key, chunk: _Chunk) -> None:
        """Fetch a chunk, or have all who wait for it learn why not."""
        name, index = key
        outcome: bytes | BaseException
        try:
            begin = index * CHUNK
            outcome = self._fetch(name, begin, min(begin + CHUNK, self._size_of(name)))
        except BaseException as error:  # noqa: BLE001 - raised where the chunk is waited for
            outcome = error
        with self._lock:
            if isinstance(outcome, BaseException):
                self._drop(key, chunk, outcome)
            else:
                _settle(chunk, outcome)

    def _drop(self, key: Key, chunk: _Chunk, error: BaseException) -> None:
        """Have all who wait for a chunk learn why not; whoever asks next tries again. The lock is held."""
        if self._chunks.get(key) is chunk:
            del self._chunks[key]
        _settle(chunk, error)


def _settle(chunk: _Chunk, outcome: bytes | BaseException) -> None:
    """Have all who wait for a chunk learn how it came out, unless they know. The lock is held."""
    if chunk.data.done():
        return
    if isinstance(outcome, BaseException):
        chunk.data.set_exception(outcome)
    else:
        chunk.data.set_result(outcome)
