"""What is asked of the Hugging Face hub, and of the cache of its files on this machine.

The one module that imports huggingface_hub, and only when a model's name is opened. Knows no file format.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cuvee.errors import CuveeWarning, SourceError

__all__ = ["Listing", "cache_folder", "download", "download_part", "list_files", "tell_downloads"]

COMMIT_LETTERS = 40
PARTIAL = 206  # what a server answers that sends part of a file
REFUSED = 401, 403
TOO_MANY = 429
TROUBLE = 500  # from here on it is the server's fault
WAIT = 10  # seconds for the hub to answer
RETRIES = 3

Advance = Callable[[int], None]
Begin = Callable[[str, int], Advance]

_listeners: list[Begin] = []


class Listing:
    """A model at one commit.

    Attributes:
        model: ``org/name``.
        revision: what was asked for.
        commit: the commit that it is.
        sizes: bytes of every file, by its path in the model; None where the hub does not tell.
        is_online: the hub has told; else the cache has, which may lack files.
    """

    def __init__(self, model: str, revision: str, commit: str, sizes: Mapping[str, int | None] | None) -> None:
        self.model = model
        self.revision = revision
        self.commit = commit
        self.is_online = sizes is not None
        self.snapshot = _model_folder(model) / "snapshots" / commit
        here = self.snapshot.iterdir() if sizes is None else ()
        self.sizes = sizes or {path.name: path.stat().st_size for path in here if path.is_file()}


@contextmanager
def tell_downloads(begin: Begin) -> Iterator[None]:
    """Have downloads told while the block runs, instead of shown by huggingface_hub's own bars.

    Args:
        begin: called with a file's name and its bytes when a download begins; returns what is called with the bytes
            that have arrived since its last call.
    """
    _listeners.append(begin)
    try:
        yield
    finally:
        _listeners.remove(begin)


def cache_folder() -> Path:
    """Return the folder of downloads that all programs share which use huggingface_hub."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser()


def _model_folder(model: str) -> Path:
    """Return the folder of downloads in which a model lies, or will."""
    return cache_folder() / f"models--{model.replace('/', '--')}"


def list_files(model: str, revision: str) -> Listing:
    """Ask the hub for a model's commit and files; where it cannot be reached, take those of the cache.

    Args:
        model: ``org/name``.
        revision: branch, tag or commit.

    Raises:
        SourceError: there is no such model or revision, access is refused, or the hub cannot be reached and the cache
            has nothing of it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        info = HfApi(library_name="cuvee").model_info(model, revision=revision, files_metadata=True, timeout=WAIT)
    except _failures() as error:
        is_answer = isinstance(error, HFValidationError) or (
            isinstance(error, HfHubHTTPError) and error.response.status_code < TROUBLE
        )
        # A commit that is here does not change, whoever may see it there.
        if is_answer and _cached_commit(model, revision) != revision:
            raise _problem(error, model, revision, "it cannot be opened") from error
        return _cached(model, revision, error)
    if info.sha is None:
        raise SourceError(
            f"The hub does not say which commit '{revision}' of '{model}' is. Download it with `hf download {model} "
            f"--revision {revision} --local-dir FOLDER`, and name the folder."
        )
    return Listing(model, revision, info.sha, {each.rfilename: each.size for each in info.siblings or []})


def download(listing: Listing, name: str, revision: str) -> None:
    """Have the cache hold a file; the hub is asked only for what the cache lacks.

    Args:
        listing: the model.
        name: the file.
        revision: the commit; or what was asked for: then the cache learns which commit that is.

    Raises:
        SourceError: it cannot be had.
    """
    from huggingface_hub import hf_hub_download

    bar = _bar(f"{listing.model}/{name}", listing.sizes.get(name) or 0)
    try:
        hf_hub_download(listing.model, name, revision=revision, tqdm_class=bar, library_name="cuvee")
    except _failures() as error:
        raise _problem(error, listing.model, revision, f"{name} cannot be downloaded") from error


def download_part(listing: Listing, name: str, begin: int, end: int) -> bytes:
    """Return bytes `begin` to `end` of a file, which is not kept.

    Raises:
        OSError: they cannot be had; its `strerror` says why.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_stream_backoff

    url = hf_hub_url(listing.model, name, revision=listing.commit)
    headers = {**build_hf_headers(library_name="cuvee"), "Range": f"bytes={begin}-{end - 1}"}
    try:
        with http_stream_backoff("GET", url, headers=headers, timeout=WAIT, max_retries=RETRIES) as response:
            hf_raise_for_status(response)
            is_part = response.status_code == PARTIAL
            data = bytes(response.read()) if is_part else b""
    except _failures() as error:
        raise OSError(0, _said(error)) from error
    if not is_part:
        advice = f"`hf download {listing.model} --revision {listing.commit}`"
        raise OSError(0, f"{response.url.host} does not send parts of files; run {advice} first")
    if len(data) != end - begin:
        raise OSError(
            0, f"{response.url.host} sent {len(data):,} bytes where {end - begin:,} were asked for; try again"
        )
    return data


def _cached_commit(model: str, revision: str) -> str | None:
    """Return the commit that the cache knows a revision as, if it has something of it."""
    ref = _model_folder(model) / "refs" / revision
    commit = ref.read_text().strip() if ref.is_file() else revision
    is_commit = len(commit) == COMMIT_LETTERS and {*commit} <= {*"0123456789abcdef"}
    return commit if is_commit and (ref.parents[1 + revision.count("/")] / "snapshots" / commit).is_dir() else None


def _cached(model: str, revision: str, error: Exception) -> Listing:
    """Return what the cache has of a model."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    is_meant = isinstance(error, OfflineModeIsEnabled)
    cause = "HF_HUB_OFFLINE says not to ask it" if is_meant else f"it cannot be reached ({_said(error)})"
    commit = _cached_commit(model, revision)
    if commit is None:
        raise SourceError(
            f"'{model}' is not to be had from the hub: {cause}; and the cache folder {cache_folder()} has nothing of "
            f"its revision '{revision}'. Where there is a network, run `hf download {model} --revision {revision}`."
        ) from error
    if not is_meant:
        message = f"'{model}' is read from the cache, at commit {commit}: the hub was asked, but {cause}."
        warnings.warn(message, CuveeWarning, stacklevel=2)
    return Listing(model, revision, commit, None)


def _problem(error: BaseException, model: str, revision: str, what: str) -> SourceError:
    """Say what is wrong and what to do."""
    from huggingface_hub import constants, get_token
    from huggingface_hub import errors as known

    token = (
        "Check your token (`hf auth whoami`)"
        if get_token()
        else "This machine has no token: run `hf auth login`, or set HF_TOKEN"
    )
    if isinstance(error, known.GatedRepoError):
        cause = f"its authors ask for consent. Give it at {constants.ENDPOINT}/{model}, and use a token of that account"
        cause = f"{cause}. {token}"
    elif isinstance(error, known.DisabledRepoError):
        cause = "the hub has switched it off. Choose another model"
    elif isinstance(error, known.RevisionNotFoundError):
        cause = f"it has no revision '{revision}'. Name a branch, a tag or a commit that it has"
    elif isinstance(error, known.RepositoryNotFoundError):
        cause = f"there is no such model, or it is private. {token}, if it should let you in"
    elif isinstance(error, known.EntryNotFoundError) and not isinstance(error, known.LocalEntryNotFoundError):
        cause = "it is not there any more. Merge again: then the model is opened as it is now"
    elif isinstance(error, known.HfHubHTTPError) and error.response.status_code in REFUSED:
        cause = f"access is refused ({_said(error)}). {token}"
    elif isinstance(error, known.HfHubHTTPError) and error.response.status_code == TOO_MANY:
        cause = f"it was asked too often. Wait some minutes; who has a token may ask more. {token}"
    elif isinstance(error, known.HFValidationError):
        cause = f"a model there cannot be called so ({_said(error)})"
    elif isinstance(error, OSError) and error.errno:
        cause = f"{error.strerror}, in the cache folder {cache_folder()}"
        cause = f"{cause}. Set HF_HOME to a folder that can be written and has room"
    else:
        cause = f"{_said(error)}. Try again when the network is well"
    return SourceError(f"'{model}' on the hub: {what}: {cause}.")


def _failures() -> tuple[type[Exception], ...]:
    """Return what huggingface_hub raises: of its own, of an answer that is none, and whatever its HTTP library does."""
    from huggingface_hub.errors import HfHubHTTPError

    return (OSError, ValueError, *(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)))


def _said(error: BaseException) -> str:
    """Return the first line of what an error says, or its name."""
    lines = [line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _bar(name: str, nbytes: int) -> Any:
    """Return what huggingface_hub makes a progress bar of: its own, unless somebody listens."""
    if not _listeners:
        return None
    from huggingface_hub.utils import tqdm

    begin = _listeners[-1]

    class Told(tqdm):
        """A bar that is not shown, and tells."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "disable": True})  # type: ignore[no-untyped-call]
            self._advance = begin(name, nbytes)

        def update(self, n: float | None = 1) -> None:
            self._advance(int(n or 0))

    return Told
