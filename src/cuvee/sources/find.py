"""From a reference to where its files lie: on a disk, at an address, on the hub."""

from pathlib import Path

from cuvee.errors import SourceError, nearest
from cuvee.sources.hub_folder import HubFolder
from cuvee.sources.local import LocalFolder
from cuvee.sources.reference import hub_id, is_address, usable_path
from cuvee.sources.remote import RemoteFolder
from cuvee.sources.storage import Storage

__all__ = ["find_storage"]

LOCAL = "file://", "local://"


def find_storage(reference: str) -> Storage:
    """Find where the files lie that a reference names; no weight is read.

    Args:
        reference: a path (``~`` is expanded), an address, or a model's name on the hub. A path that exists is a path;
            what follows ``file://`` is always one.

    Raises:
        SourceError: nothing is there, or it cannot be reached.
        MissingLibraryError: the protocol of an address needs a library that is not installed.
    """
    start = next((each for each in LOCAL if reference.startswith(each)), None)
    if is_address(reference) and start is None:
        return RemoteFolder(reference)
    text = reference.removeprefix(start or "")
    path = usable_path(text)
    try:
        if path.exists():
            return LocalFolder(path)
        named = hub_id(text) if start is None and not path.is_symlink() else None
        if named is None:
            raise SourceError(_no_path(text, path))
        try:
            return HubFolder(*named)
        except SourceError as error:
            raise type(error)(f"{error} {_no_path(text, path)}") from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error


def _no_path(reference: str, path: Path) -> str:
    """Say that there is no such path, and what is there that is called nearly the same."""
    if path.is_symlink():
        return f"'{reference}' is a link to '{path.readlink()}', which is not there. Download it again."
    parent = path.parent
    siblings = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
    return f"'{reference}' is not a local folder or file.{nearest(path.name, siblings)}"
