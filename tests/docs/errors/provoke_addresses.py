"""Addresses at which nothing is, whose store refuses, fails or changes, and which cannot be opened at all."""

import sys
import threading
from typing import Any

import cuvee
from docs.errors.checkpoints import opened
from docs.errors.scenarios import Place, provokes
from sources.remote_store import Store, empty_store, model, numbers, put

CANNOT_BE_OPENED = "'{address}' cannot be opened: {reason}.…"
REFUSED = "{address} cannot be read: access is refused ({reason}). Check the credentials, and that they may read it."


def _store(place: Place) -> type[Store]:
    """Have a store with one model."""
    store = place.stack.enter_context(empty_store())
    put("store://bucket/math", model())
    return store


@provokes("'{address}' holds a password, which a merge would write to its record and its card. …")
def password_in_an_address(_: Place) -> None:
    cuvee.open_source("ftp://me:secret@host/math")


@provokes("'{address}' needs a library that is not installed: {advice}.")
def library_of_a_store_that_is_missing(place: Place) -> None:
    place.patch.setitem(sys.modules, "s3fs", None)
    cuvee.open_source("s3://bucket/math")


@provokes("'{address}' cannot be opened: Protocol not known: {protocol}.…")
def protocol_with_misspelt_name(_: Place) -> None:
    cuvee.open_source("memry://math")


@provokes(CANNOT_BE_OPENED)
def server_that_is_not_there(_: Place) -> None:
    cuvee.open_source("ftp://127.0.0.1:1/math")


@provokes(CANNOT_BE_OPENED)
def address_that_is_none(_: Place) -> None:
    cuvee.open_source("s3://[bucket/math")


@provokes("{address} does not exist.…")
def address_with_misspelt_name(place: Place) -> None:
    _store(place)
    cuvee.open_source("store://bucket/maths")


@provokes("{address} is not a checkpoint folder or a .safetensors file. Name one.")
def address_of_another_file(place: Place) -> None:
    _store(place)
    cuvee.open_source("store://bucket/math/notes.txt")


@provokes("{file}: its server does not tell its size. Download it, and name the copy.")
def store_that_tells_no_size(place: Place) -> None:
    info = _store(place).info

    def without_size(store: Store, path: str, **options: Any) -> dict[str, Any]:
        return {**info(store, path, **options), "size": None}

    place.patch.setattr(Store, "info", without_size)
    cuvee.open_source("store://bucket/math/model.safetensors")


@provokes("{address} cannot be read: its server does not send parts of files; download it, and name the copy.")
def web_server_that_sends_whole_files(place: Place) -> None:
    store = _store(place)
    put("store://bucket/large", {"model.safetensors": numbers(1 << 20)})
    store.sends_parts = False
    cuvee.open_source("store://bucket/large/model.safetensors")


@provokes(
    "{file}: tensor '{tensor}' cannot be read: its server sent {count} bytes where {count} were asked for; try again."
)
def object_that_is_cut_short_during_the_merge(place: Place) -> None:
    _store(place)
    source = opened(place, "store://bucket/math")
    put("store://bucket/math", {"model.safetensors": model()["model.safetensors"][:-8]})
    for name, spec in source.header.items():
        source.read_into(memoryview(bytearray(spec.nbytes)), name)


@provokes(REFUSED)
def store_that_refuses_to_list(place: Place) -> None:
    _refuse_to_list(place, "math")
    cuvee.open_source("store://bucket/math")


@provokes(REFUSED)
def store_that_refuses_to_list_an_inner_folder(place: Place) -> None:
    _refuse_to_list(place, "math")
    cuvee.open_source("store://bucket")


def _refuse_to_list(place: Place, folder: str) -> None:
    """Have a store that does not list a folder."""
    ls = _store(place).ls

    def refuse(store: Store, path: str, **options: Any) -> Any:
        if path.endswith(folder):
            raise PermissionError("AccessDenied")
        return ls(store, path, **options)

    place.patch.setattr(Store, "ls", refuse)


@provokes(REFUSED)
def store_that_refuses_the_configuration(place: Place) -> None:
    _store(place).failures.append(PermissionError("AccessDenied"))
    cuvee.open_source("store://bucket/math")


@provokes(REFUSED)
def store_that_refuses_the_header(place: Place) -> None:
    _store(place).failures.append(PermissionError("AccessDenied"))
    cuvee.open_source("store://bucket/math/model.safetensors")


@provokes("{address} cannot be read: it did not answer in time ({reason}).")
def store_that_is_slow(place: Place) -> None:
    wait = threading.Event.wait
    # Time passes a thousand times as fast, between one attempt and the next.
    place.patch.setattr(threading.Event, "wait", lambda event, timeout=None: wait(event, timeout and timeout / 1000))
    _store(place).failures.extend(TimeoutError("30 s") for _ in range(5))
    cuvee.open_source("store://bucket/math/model.safetensors")


@provokes(
    "{file} was changed during the merge: the result would be neither of the old model nor of the new one. Merge again "
    "when nothing writes to it."
)
def object_that_is_written_during_the_merge(place: Place) -> None:
    _store(place)
    source = opened(place, "store://bucket/math")
    put("store://bucket/math", model(2.0))
    source.check_unchanged()


@provokes("{file} was there when the merge began and cannot be found now: {reason}.")
def object_that_is_removed_during_the_merge(place: Place) -> None:
    store = _store(place)
    source = opened(place, "store://bucket/math")
    store.store.clear()
    source.check_unchanged()
