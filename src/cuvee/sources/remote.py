"""The files of a checkpoint at an address that fsspec understands: an object store, a web server, another machine.

They are read where they are, by requests for parts of them; nothing is downloaded as a whole but small files. The one
module that imports fsspec, and only when such an address is opened. Knows nothing of tensors.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from cuvee.errors import CuveeWarning, MissingLibraryError, SourceError, nearest
from cuvee.sources.ahead import ReadAhead
from cuvee.sources.folder import PICKLE_SUFFIXES, SUFFIX
from cuvee.sources.header import FileHeader, fetch_header
from cuvee.sources.storage import StoredFile, at_once
from cuvee.sources.strict_json import check_small

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["RemoteFolder"]

# Seconds before a request that failed is made again; then it has failed. Stores tell of overload by failing.
WAITS = 0.25, 0.5, 1.0, 2.0
# What trying again does not help against. A path that is not there stays away, and nobody is let in later.
LASTING = FileNotFoundError, IsADirectoryError, NotADirectoryError, NotImplementedError, PermissionError, ValueError
# What libraries call it when they find no credentials, or ones that are refused; none of them is imported here.
REFUSALS = frozenset({
    "AnonymousCredentials", "ClientAuthenticationError", "CredentialRetrievalError", "DefaultCredentialsError",
    "InvalidCredentials", "NoCredentialsError", "PartialCredentialsError", "RefreshError", "SSOTokenLoadError",
    "TokenRetrievalError", "UnauthorizedSSOTokenError",
})  # fmt: skip
LIBRARIES: Mapping[str, str] = {
    "abfs": "adlfs", "abfss": "adlfs", "adl": "adlfs", "az": "adlfs", "gcs": "gcsfs", "gs": "gcsfs", "http": "aiohttp",
    "https": "aiohttp", "s3": "s3fs", "s3a": "s3fs", "sftp": "paramiko", "ssh": "paramiko",
}  # fmt: skip
# What stores call that which changes with a file's content, and the time of its last change, which has to do where
# there is no such tag. The first that a store tells is compared.
VERSIONS = (
    "ETag", "etag", "generation", "md5Hash", "content_md5", "checksum", "oid", "blob_id", "version_id", "VersionId",
    "Content-MD5", "Digest", "sha", "mtime", "LastModified", "Last-Modified", "last_modified", "modificationTime",
    "modify", "updated", "modified", "created",
)  # fmt: skip
UNKNOWN = "-"  # the version of a file of which nothing of that is told

Result = TypeVar("Result")


class RemoteFolder:
    """A folder, or one safetensors file, at an address; see `cuvee.sources.storage.Storage`.

    An address without the suffix of a weight file is a folder, which its store must be able to list: web servers
    often are not.

    Args:
        address: such as ``s3://bucket/checkpoint``. It appears in messages, in the record of a merge and on its card,
            so it must not hold a password; credentials come from where the protocol's library looks for them.

    Raises:
        MissingLibraryError: the protocol needs a library that is not installed; names it.
        SourceError: nothing is there, it cannot be reached, or access is refused.
    """

    memory = ReadAhead.memory
    remedy = "Copy the whole checkpoint to that place."
    unseen = ""

    def __init__(self, address: str) -> None:
        _refuse_password(address)
        self.place = self.location = address.rstrip("/")
        self._is_single = PurePosixPath(urlsplit(address).path).suffix.lower() in (SUFFIX, ".json", *PICKLE_SUFFIXES)
        self._local = threading.local()
        self._fs, self._root = _connected(address)
        self._shared = bool(getattr(self._fs, "async_impl", False))
        self._local.fs = self._fs
        self._closed = threading.Event()
        self._entries = self._listed()
        self.single = next(iter(self._entries)) if self._is_single else None
        self._versions: dict[str, str] = {}
        self._ahead = ReadAhead(self._range, self._size)

    def names(self) -> Sequence[str]:
        """Return the names of the files at its top, sorted; hidden ones are left out."""
        return sorted(
            name for name, entry in self._entries.items() if entry["type"] == "file" and not name.startswith(".")
        )

    def folder(self, name: str) -> RemoteFolder | None:
        """Return a folder at its top as a storage of its own; None if there is none."""
        entry = self._entries.get(name)
        return RemoteFolder(f"{self.place}/{name}") if entry and entry["type"] == "directory" else None

    def inner(self) -> Sequence[str]:
        """Return the names of the folders at its top that hold weights, sorted."""
        folders = sorted(name for name, entry in self._entries.items() if entry["type"] == "directory")
        try:
            found = at_once(lambda name: self._ask(lambda fs: fs.ls(f"{self._root}/{name}", detail=False)), folders)
        except OSError as error:
            raise SourceError(f"{self.place} cannot be read: {error.strerror}.") from error
        return [name for name, inside in zip(folders, found, strict=True) if any(x.endswith(SUFFIX) for x in inside)]

    def where(self, name: str) -> str:
        """Return a file's address."""
        return self.place if self._is_single else f"{self.place}/{name}"

    def paths(self, names: Iterable[str]) -> Sequence[Path]:  # noqa: ARG002 - it is so for all
        """Return nothing: none of it lies on this machine."""
        return ()

    def file(self, name: str) -> StoredFile:
        """Return a small file, which is fetched whole when it is read."""
        return StoredFile(self.where(name), name, lambda: self._whole(name))

    def small(self, name: str) -> bytes:
        """Read a JSON file whole."""
        check_small(self._size(name), self.where(name))
        data = self._whole(name)
        check_small(len(data), self.where(name))  # a server may send more than it said
        return data

    def prepare(self, small: Sequence[str]) -> None:
        """Do nothing: small files are fetched when they are read."""

    def watch(self, small: Sequence[str]) -> Sequence[str]:
        """Return the versions of small files in the listing."""
        return [f"{name} {entry.get('size')} {_version(entry)}" for name in small for entry in (self._entries[name],)]

    def headers(self, names: Sequence[str]) -> Sequence[FileHeader]:
        """Read the headers of weight files, several at once."""
        self._fs.invalidate_cache()
        found = at_once(self._header, names)
        if any(header.version == UNKNOWN for header in found):
            message = (
                f"{self.place}: its server does not tell when a file was changed. A change during a merge would not be "
                "noticed, and a merge that is interrupted begins anew."
            )
            warnings.warn(message, CuveeWarning, stacklevel=2)
        return found

    def identity(self, name: str) -> str:
        """Return a file's address; nothing where its store does not tell one version of it from the next."""
        return self.where(name) if self._versions[name] != UNKNOWN else ""

    def read_at(self, name: str, view: memoryview, position: int) -> int:
        """Fill `view` from byte `position` of a weight file; return how many bytes there were, less only at its end."""
        return self._ahead.read_at(name, view, position)

    def fetch(self, names: Sequence[str]) -> None:
        """Do nothing: files are read where they are."""

    def check_unchanged(self) -> None:
        """Verify that the weight files are still what they were when their headers were read."""
        self._fs.invalidate_cache()

        def check(name: str) -> None:
            try:
                entry = self._ask(lambda fs: fs.info(self._path(name)))
            except OSError as error:
                raise SourceError(
                    f"{self.where(name)} was there when the merge began and cannot be found now: {error.strerror}."
                ) from error
            if (entry["size"], _version(entry)) != (self._size(name), self._versions[name]):
                raise SourceError(
                    f"{self.where(name)} was changed during the merge: the result would be neither of the old model "
                    "nor of the new one. Merge again when nothing writes to it."
                )

        at_once(check, list(self._versions))

    def close(self) -> None:
        """Forget what was read ahead. Reading afterwards is an error."""
        self._closed.set()
        self._ahead.close()

    def _listed(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what lies there, by name."""
        self._fs.invalidate_cache()  # another source of this process may have listed it before it changed
        try:
            if self._is_single:
                return {_name(self._root): self._ask(lambda fs: fs.info(self._root))}
            entries = self._ask(lambda fs: fs.ls(self._root, detail=True))
        except FileNotFoundError as error:
            raise SourceError(
                f"{self.place} does not exist.{self._nearest()} Expected a checkpoint folder or a safetensors file."
            ) from error
        except OSError as error:
            raise SourceError(f"{self.place} cannot be read: {error.strerror}.") from error
        own = self._root.strip("/")
        if [(each["name"].strip("/"), each["type"]) for each in entries] == [(own, "file")]:
            raise SourceError(f"{self.place} is not a checkpoint folder or a {SUFFIX} file. Name one.")
        return {_name(each["name"]): each for each in entries if each["name"].strip("/") != own}

    def _nearest(self) -> str:
        """Suggest the nearest name beside the missing one, where that can be listed."""
        parent, _, name = self._root.rstrip("/").rpartition("/")
        with suppress(OSError):
            return nearest(name, [_name(each) for each in self._ask(lambda fs: fs.ls(parent, detail=False))])
        return ""

    def _path(self, name: str) -> str:
        return self._root if self._is_single else str(self._entries[name]["name"])

    def _size(self, name: str) -> int:
        """Return a file's size, as listed."""
        size = self._entries[name].get("size")
        if not isinstance(size, int):
            raise SourceError(f"{self.where(name)}: its server does not tell its size. Download it, and name the copy.")
        return size

    def _header(self, name: str) -> FileHeader:
        """Read a header, and remember which version of the file it is of."""
        try:
            # Asked again: what a listing says of a file may be less, or worded otherwise.
            version = self._versions[name] = _version(self._ask(lambda fs: fs.info(self._path(name))))
            return fetch_header(
                lambda begin, count: self._range(name, begin, begin + count),
                self._size(name),
                version,
                self.where(name),
            )
        except OSError as error:
            raise SourceError(f"{self.where(name)} cannot be read: {error.strerror}.") from error

    def _whole(self, name: str) -> bytes:
        """Fetch a small file."""
        try:
            return self._ask(lambda fs: bytes(fs.cat_file(self._path(name))))
        except OSError as error:
            raise SourceError(f"{self.where(name)} cannot be read: {error.strerror}.") from error

    def _range(self, name: str, begin: int, end: int) -> bytes:
        """Fetch part of a file.

        Raises:
            OSError: it cannot be had, or is not what was asked for: a web server may send the whole file instead.
        """
        if begin == end:
            return b""
        data = self._ask(lambda fs: bytes(fs.cat_file(self._path(name), begin, end)))
        if len(data) < end - begin:
            raise OSError(0, f"its server sent {len(data):,} bytes where {end - begin:,} were asked for; try again")
        if len(data) > end - begin:
            raise OSError(0, "its server does not send parts of files; download it, and name the copy")
        return data

    def _ask(self, request: Callable[[AbstractFileSystem], Result]) -> Result:
        """Make a request, again after a while if it fails of something that may pass.

        Raises:
            OSError: it failed; its `strerror` says why, in words.
        """
        for wait in (*WAITS, None):
            try:
                return request(self._own())
            except LASTING as error:
                kind = type(error) if isinstance(error, FileNotFoundError) else OSError
                raise kind(0, _reason(error)) from error
            except Exception as error:  # libraries of protocols raise what they like
                if wait is None or type(error).__name__ in REFUSALS or self._closed.wait(wait):
                    raise OSError(0, _reason(error)) from error
        raise AssertionError("the last wait is None")

    def _own(self) -> AbstractFileSystem:
        """Return what this thread may use: only asynchronous file systems can be shared between threads."""
        if self._shared:
            return self._fs
        if getattr(self._local, "fs", None) is None:
            self._local.fs = _connected(self.place)[0]
        return self._local.fs


def _refuse_password(address: str) -> None:
    """Refuse an address that holds a password, without repeating it."""
    try:
        password = urlsplit(address).password
    except ValueError as error:
        raise SourceError(f"'{address}' cannot be opened: {error}.") from error
    if password is not None:
        safe = address.replace(f":{password}@", ":…@")
        raise SourceError(
            f"'{safe}' holds a password, which a merge would write to its record and its card. Give credentials where "
            "the protocol's library looks for them."
        )


def _connected(address: str) -> tuple[AbstractFileSystem, str]:
    """Return what speaks an address's protocol, and the path that it knows the address by."""
    from fsspec.core import url_to_fs

    protocol = address.partition("://")[0]
    try:
        fs, root = url_to_fs(address)
    except ImportError as error:
        library = LIBRARIES.get(protocol)
        advice = f"pip install {library}" if library else str(error)
        raise MissingLibraryError(f"'{address}' needs a library that is not installed: {advice}.") from error
    except ValueError as error:
        from fsspec import available_protocols

        hint = nearest(protocol, available_protocols())
        raise SourceError(f"'{address}' cannot be opened: {error}.{hint}") from error
    except Exception as error:  # libraries of protocols raise what they like
        raise SourceError(f"'{address}' cannot be opened: {_reason(error)}.") from error
    return fs, root


def _name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _version(entry: Mapping[str, Any]) -> str:
    """Return what differs once a file has changed, as far as its store tells; in one word."""
    return next((str(entry[key]).replace(" ", "T") for key in VERSIONS if entry.get(key)), UNKNOWN)


def _reason(error: BaseException) -> str:
    """Say in words why a request failed."""
    if isinstance(error, FileNotFoundError):
        return "it does not exist"
    said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    if isinstance(error, PermissionError) or type(error).__name__ in REFUSALS:
        return f"access is refused ({said}). Check the credentials, and that they may read it"
    if isinstance(error, TimeoutError):
        return f"it did not answer in time ({said})"
    return said if isinstance(error, OSError) else f"{type(error).__name__}: {said}"
