"""From a place to its files: on a disk, at an address, on the hub."""

from contextlib import suppress
from pathlib import Path

from cuvee.errors import SourceError, nearest
from cuvee.sources.hub_folder import HubFolder
from cuvee.sources.local import LocalFolder
from cuvee.sources.reference import Place
from cuvee.sources.remote import RemoteFolder
from cuvee.sources.storage import Storage

__all__ = ["find_storage"]


def find_storage(place: Place) -> Storage:
    """Open where files lie; no weight is read.

    Raises:
        SourceError: nothing is there, or it cannot be reached.
        MissingLibraryError: the protocol of an address needs a library that is not installed.
    """
    if place.path is None:
        return RemoteFolder(place.called)
    try:
        if place.hub is None and place.path.exists():
            return LocalFolder(place.path)
        if place.hub is None:
            raise SourceError(_nothing(place.called, place.path))
        try:
            return HubFolder(*place.hub)
        except SourceError as error:
            raise type(error)(f"{_nothing(place.called, place.path)} Taken as a name on the hub: {error}") from error
    except OSError as error:
        raise SourceError(f"{place.path} cannot be read: {error.strerror}.") from error


def _nothing(called: str, path: Path) -> str:
    """Say that there is no such path, and what is there that is called nearly the same."""
    if path.is_symlink():
        return f"'{called}' is a link to '{path.readlink()}', which is not there. Download it again."
    missing = next(each for each in (path, *path.parents) if each.parent.exists() or each == each.parent)
    if missing.parent.is_file():
        return f"'{called}' is not a local folder or file. '{missing.parent}' is a file."
    siblings: list[str] = []
    with suppress(OSError):  # not for this user
        siblings = [entry.name for entry in missing.parent.iterdir()]
    # What comes after an @ may have been meant as a revision.
    hint = nearest(missing.name, siblings) or nearest(missing.name.partition("@")[0], siblings)
    above = "" if missing == path else f" There is no '{missing}'."
    return f"'{called}' is not a local folder or file.{above}{hint}"
