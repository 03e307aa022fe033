"""The files of a model on the Hugging Face hub, as those of a folder.

Opening one asks the hub which commit a revision is and which files that has; then all goes by the commit. The index,
configuration, tokenizer and card are downloaded; of the weights only the headers are read, by requests for parts of the
files. So a recipe that is wrong fails before any weight is downloaded, and planning downloads none. The weight files
that are needed (those that make up the model, by the rules for a folder; of them, those that a merge reads) are
downloaded when planning is over, by `HubFolder.fetch`. A reader that does not say beforehand what it needs has a file
downloaded once it has read `PEEK` bytes of it: until then it may only be looking.

Downloads go to the cache that all programs share which use huggingface_hub, and are read there as any folder is. Where
the hub cannot be reached, or may not be (``HF_HUB_OFFLINE=1``), what that cache has is used. Python files of a model
are downloaded only when somebody reads them, which is a merge that was told to take custom code along. Knows nothing of
tensors.
"""

import shutil
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from cuvee.errors import SourceError
from cuvee.sources.folder import SUFFIX
from cuvee.sources.header import FileHeader, fetch_header
from cuvee.sources.hub import cache_folder, download, download_part, list_files
from cuvee.sources.local import LocalFolder
from cuvee.sources.storage import StoredFile, at_once
from cuvee.sources.strict_json import check_small
from cuvee.sources.within import Within

__all__ = ["PEEK", "HubFolder"]

NEWEST = "main"
PEEK = 32 << 20  # bytes of a file that are read from afar before it is downloaded; more than a forecast reads


class HubFolder:
    """A model on the hub, at one commit; see `cuvee.sources.storage.Storage`.

    Args:
        model: ``org/name``.
        revision: branch, tag or commit; None is the newest commit of the main branch.

    Raises:
        SourceError: there is no such model or revision, access is refused, or the hub cannot be reached and the
            cache does not have it.
    """

    single = None
    memory = 0  # weights are read from the cache; what is looked at before they are there is little

    def __init__(self, model: str, revision: str | None = None) -> None:
        self._listing = list_files(model, revision or NEWEST)
        self.place = self.location = f"{self._listing.model}@{self._listing.commit}"
        self._sizes = self._listing.sizes
        self._snapshot = self._listing.snapshot
        # Asked for by the revision, the first file teaches the cache which commit that is, for days without network.
        self._first_revision = self._listing.revision if self._listing.is_online else self._listing.commit
        self._headers: dict[str, FileHeader] = {}
        self._local: LocalFolder | None = None
        self._here: set[str] = set()
        self._looked: dict[str, int] = {}  # bytes of a file that were read from afar
        self._lock = threading.Lock()
        self._fetching = threading.Lock()
        self._closed = False

    @property
    def remedy(self) -> str:
        """Say how to get files that are missing."""
        if self._listing.is_online:
            return "The model on the hub is incomplete: name another revision, or ask its authors."
        return f"The hub was not asked, and its cache {cache_folder()} lacks them. {self._command()}"

    @property
    def unseen(self) -> str:
        """Say how to get what the cache may lack, where the hub was not asked what there is."""
        if self._listing.is_online:
            return ""
        return f" The hub was not asked, and its cache {cache_folder()} may lack files of it. {self._command()}"

    def _command(self) -> str:
        """Say how to have the cache hold all."""
        return f"Where there is a network, run `hf download {self._listing.model} --revision {self._listing.commit}`."

    def names(self) -> Sequence[str]:
        """Return the names of the files at its top, sorted; hidden ones are left out."""
        return sorted(name for name in self._sizes if "/" not in name and not name.startswith("."))

    def folder(self, name: str) -> Within | None:
        """Return a folder at its top as a storage of its own; None if there is none."""
        inside = [file.removeprefix(f"{name}/") for file in self._sizes if file.startswith(f"{name}/")]
        files = sorted(file for file in inside if "/" not in file and not file.startswith("."))
        return Within(self, name, files) if inside else None

    def inner(self) -> Sequence[str]:
        """Return the names of the folders at its top that hold weights, sorted."""
        parts = [name.split("/") for name in self._sizes if name.endswith(SUFFIX)]
        return sorted({folder for folder, *rest in parts if len(rest) == 1})

    def where(self, name: str) -> str:
        """Return a file's name, after the model's and the commit."""
        return f"{self.location}/{name}"

    def paths(self, names: Iterable[str]) -> Sequence[Path]:  # noqa: ARG002 - one folder holds them all
        """Return the folder of the cache in which the model lies, or will."""
        return (self._snapshot.parent.parent,)

    def file(self, name: str) -> StoredFile:
        """Return a small file, which is downloaded when it is read, unless it is there."""
        return StoredFile(self.where(name), name.rpartition("/")[2], lambda: self._whole(name))

    def small(self, name: str) -> bytes:
        """Read a JSON file whole."""
        check_small(self._sizes.get(name) or 0, self.where(name))
        return self._whole(name)

    def prepare(self, small: Sequence[str]) -> None:
        """Download small files, several at once."""
        for name in small[:1]:
            self._download(name)
        at_once(self._download, small[1:])

    def watch(self, small: Sequence[str]) -> Sequence[str]:  # noqa: ARG002 - a commit names them all
        """Return nothing: files of a commit never change."""
        return ()

    def headers(self, names: Sequence[str]) -> Sequence[FileHeader]:
        """Read the headers of weight files: those in the cache there, others on the hub, several at once."""
        self._open_local([name for name in names if self._is_there(name)])
        away = [name for name in names if name not in self._here]
        self._headers |= dict(zip(away, at_once(self._far_header, away), strict=True))
        return [self._headers[name] for name in names]

    def identity(self, name: str) -> str:
        """Return the model's name, the commit and the file's name."""
        return self.where(name)

    def read_at(self, name: str, view: memoryview, position: int) -> int:
        """Fill `view` from byte `position` of a weight file; return how many bytes there were, less only at its end."""
        if name not in self._here:
            if self._only_looks(name, len(view)):
                data = download_part(self._listing, name, position, position + len(view))
                view[: len(data)] = data
                return len(data)
            self.fetch([name])
        if self._local is None:
            raise OSError(0, "it was closed")
        return self._local.read_at(name, view, position)

    def fetch(self, names: Sequence[str]) -> None:
        """Download weight files that the cache lacks."""
        with self._fetching:
            wanted = [name for name in names if name not in self._here]
            missing = [name for name in wanted if not self._is_there(name)]
            self._check_room(missing)
            for name in missing:
                self._download(name)
            self._open_local(wanted)

    def check_unchanged(self) -> None:
        """Verify that what was downloaded is still what it was. On the hub a commit never changes."""
        if self._local is not None:
            self._local.check_unchanged()

    def close(self) -> None:
        """Close all files. Reading afterwards is an error."""
        self._closed = True
        if self._local is not None:
            self._local.close()

    def _is_there(self, name: str) -> bool:
        return (self._snapshot / name).is_file()

    def _only_looks(self, name: str, nbytes: int) -> bool:
        """Say whether so little of a large file has been asked for that it need not be downloaded."""
        if self._closed:
            raise OSError(0, "it was closed")
        with self._lock:
            self._looked[name] = self._looked.get(name, 0) + nbytes
            return self._looked[name] <= PEEK < self._headers[name].file_bytes

    def _open_local(self, names: Sequence[str]) -> None:
        """Read the headers of files that are there, and read them there from now on."""
        if not names:
            return
        self._local = self._local or LocalFolder(self._snapshot)
        for name, header in zip(names, self._local.headers(names), strict=True):
            own = replace(header, version="-")  # a commit says which, whether a file lies here or there
            if self._headers.setdefault(name, own).digest != own.digest or self._sizes[name] not in (
                None,
                own.file_bytes,
            ):
                raise SourceError(f"{self._snapshot / name} is not what the hub has. Remove it, to download it again.")
        self._here |= {*names}

    def _far_header(self, name: str) -> FileHeader:
        """Read a header on the hub."""
        size = self._sizes[name]
        if size is None:
            raise SourceError(f"{self.where(name)}: the hub does not tell its size. Download it, and name its folder.")
        try:
            return fetch_header(
                lambda begin, count: download_part(self._listing, name, begin, begin + count),
                size,
                "-",
                self.where(name),
            )
        except OSError as error:
            raise SourceError(f"{self.where(name)} cannot be read: {error.strerror}.") from error

    def _whole(self, name: str) -> bytes:
        """Read a small file, and download it first if it is not there."""
        self._download(name)
        try:
            return (self._snapshot / name).read_bytes()
        except OSError as error:
            raise SourceError(f"{self._snapshot / name} cannot be read: {error.strerror}.") from error

    def _download(self, name: str) -> None:
        """Have the cache hold a file."""
        revision, self._first_revision = self._first_revision, self._listing.commit
        if revision != self._listing.commit:
            download(self._listing, name, revision)
        if not self._is_there(name):  # or the branch has moved since it was asked for
            download(self._listing, name, self._listing.commit)

    def _check_room(self, names: Sequence[str]) -> None:
        """Verify that the cache's disk has room for what is needed, before the first file fills it."""
        needed = sum(self._sizes[name] or 0 for name in names)
        parent = next(each for each in (self._snapshot, *self._snapshot.parents) if each.is_dir())
        free = shutil.disk_usage(parent).free
        if needed > free:
            raise SourceError(
                f"{self.location} needs {needed:,} bytes more in the cache folder {cache_folder()}, whose disk has "
                f"{free:,} left. Make room, or set HF_HOME to a folder on a larger disk."
            )
