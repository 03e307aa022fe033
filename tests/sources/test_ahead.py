"""Reading ahead from a store that takes a while to answer."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from cuvee.errors import SourceError
from cuvee.sources import ahead
from sources.remote_store import Opened, Store, numbers, put, read


def test_any_range_is_read_right_whatever_the_order(store: type[Store], opened: Opened, small_chunks: None) -> None:
    put("store://a", {"model.safetensors": numbers(64_000)})
    source, whole = opened("store://a"), torch.arange(8000, dtype=torch.int64).numpy().tobytes()
    for begin, count in [(0, 1), (999, 2), (63_999, 1), (500, 3500), (0, 64_000), (7000, 1000), (6999, 1002), (3, 0)]:
        buffer = bytearray(count)
        source.read_into(memoryview(buffer), "w", begin)
        assert buffer == whole[begin : begin + count]


def test_threads_share_what_they_read(store: type[Store], opened: Opened, small_chunks: None) -> None:
    put("store://a", {"model.safetensors": numbers(200_000)})
    source, whole = opened("store://a"), torch.arange(25_000, dtype=torch.int64).numpy().tobytes()
    store.requests.clear()
    store.latency = 0.001
    turn = iter(range(0, len(whole), 250))
    lock = threading.Lock()

    def work(_: int) -> bool:
        while True:
            with lock:
                begin = next(turn, None)
            if begin is None:
                return True
            buffer = bytearray(250)
            source.read_into(memoryview(buffer), "w", begin)
            if buffer != whole[begin : begin + 250]:
                return False

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
    # 200 chunks; the one that holds the header's end is counted, and a few may be given up too early.
    assert 200 <= store.requests["model.safetensors"] <= 230
    assert store.most > 4


def test_memory_stays_within_what_is_stated(store: type[Store], opened: Opened, small_chunks: None) -> None:
    put("store://a", {"model.safetensors": numbers(400_000)})
    source = opened("store://a")
    held = source._storage._ahead  # type: ignore[attr-defined]
    most = 0

    def work(thread: int) -> None:
        nonlocal most
        for begin in range(thread * 100_000, (thread + 1) * 100_000, 500):
            source.read_into(memoryview(bytearray(500)), "w", begin)
            most = max(most, sum(map(len, (c.data.result() for c in list(held._chunks.values()) if c.data.done()))))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert most <= 4 * ahead.HELD * 1000
    assert source.memory == (ahead.HELD + 1) * (4 << 20)


def test_reading_here_and_there_fetches_nothing_ahead(store: type[Store], opened: Opened, small_chunks: None) -> None:
    put("store://a", {"model.safetensors": numbers(100_000)})
    source = opened("store://a")
    store.requests.clear()
    for begin in (90_000, 50_000, 70_000, 30_000, 10_000):
        source.read_into(memoryview(bytearray(8)), "w", begin)
    assert store.requests["model.safetensors"] == 5


def test_latency_is_hidden(store: type[Store], opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "CHUNK", 10_000)
    put("store://a", {"model.safetensors": numbers(400_000)})
    source = opened("store://a")
    store.latency = 0.02
    began = time.perf_counter()
    for begin in range(0, 400_000, 2500):
        source.read_into(memoryview(bytearray(2500)), "w", begin)
    taken = time.perf_counter() - began
    # 160 blocks of 20 ms would take 3.2 s, 40 chunks one after the other 0.8 s.
    assert taken < 0.7


def test_close_releases_who_waits(store: type[Store], opened: Opened, small_chunks: None) -> None:
    put("store://a", {"model.safetensors": numbers(100_000)})
    source = opened("store://a")
    store.latency = 0.1
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read, source, "w")
        time.sleep(0.15)
        source.close()
        with pytest.raises(SourceError, match="it was closed"):
            reading.result(timeout=5)


def test_without_threads_to_read_ahead_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "CHUNK", 1000)
    whole = bytes(range(200)) * 20
    reading = ahead.ReadAhead(lambda name, begin, end: whole[begin:end], lambda name: len(whole))
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("cuvee-ahead"):
            raise RuntimeError("can't start new thread")
        start(thread)

    buffer, failures = bytearray(len(whole)), []

    def work() -> None:
        for begin in range(0, len(whole), 500):
            try:
                reading.read_at("file", memoryview(buffer)[begin : begin + 500], begin)
            except OSError as error:
                failures.append(error)
                reading.read_at("file", memoryview(buffer)[begin : begin + 500], begin)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(10)
    assert not worker.is_alive()
    assert buffer == whole
    assert all("can't start new thread" in error.strerror for error in failures)
    assert reading._flying == 0
