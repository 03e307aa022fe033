"""Models on the hub that are not there, not for everybody, not whole; a hub or a disk that has trouble."""

import shutil
from pathlib import Path
from typing import Any

import cuvee
from docs.errors.checkpoints import opened, read
from docs.errors.scenarios import Place, provokes
from sources.hub_models import empty_cache, put_in_cache, sharded, single
from sources.hub_server import Hub, running_hub

MODEL = "org/model"


def _hub(place: Place, **options: Any) -> Hub:
    """Run a hub with one model."""
    empty_cache(place.folder, place.patch)
    hub = place.stack.enter_context(running_hub(place.patch))
    hub.add(MODEL, single(), **options)
    return hub


@provokes("'{model}' on the hub: it cannot be opened: there is no such model, or it is private. …")
def model_that_the_hub_lacks(place: Place) -> None:
    _hub(place)
    cuvee.open_source("org/modle")


@provokes("'{model}' on the hub: it cannot be opened: it has no revision '{revision}'. …")
def revision_that_the_hub_lacks(place: Place) -> None:
    _hub(place)
    cuvee.open_source(f"{MODEL}@v9")


@provokes("'{model}' on the hub: it cannot be opened: its authors ask for consent. …")
def model_that_asks_for_consent(place: Place) -> None:
    _hub(place, token="right", gated=True)
    cuvee.open_source(MODEL)


@provokes("'{model}' on the hub: it cannot be opened: access is refused ({reason}). …")
def model_that_is_forbidden(place: Place) -> None:
    _hub(place, status=403)
    cuvee.open_source(MODEL)


@provokes("'{model}' on the hub: it cannot be opened: the hub has switched it off. Choose another model.…")
def model_that_was_switched_off(place: Place) -> None:
    _hub(place, status=403, said="Access to this resource is disabled.")
    cuvee.open_source(MODEL)


@provokes("'{model}' on the hub: it cannot be opened: a model there cannot be called so ({reason}).…")
def name_that_no_model_can_have(place: Place) -> None:
    _hub(place)
    cuvee.open_source("org/my--model")


@provokes(
    "'{model}' on the hub: it cannot be opened: it was asked too often. Wait some minutes; who has a token may "
    "ask more. …"
)
def hub_that_is_asked_too_often(place: Place) -> None:
    _hub(place, status=429, said="You have reached your rate limit.")
    cuvee.open_source(MODEL)


@provokes("'{model}' on the hub: {file} cannot be downloaded: it is not there any more. …")
def file_that_vanishes_from_the_hub(place: Place) -> None:
    hub = _hub(place)
    source = opened(place, MODEL)
    for files in hub.models[MODEL].commits.values():
        del files["model.safetensors"]
    read(source, "a")


@provokes("'{model}' on the hub: {file} cannot be downloaded: {reason}, in the cache folder {folder}. …")
def cache_folder_that_is_a_file(place: Place) -> None:
    _hub(place)
    (place.folder / "cache").touch()
    cuvee.open_source(MODEL)


@provokes("'{model}' on the hub: {what}: {reason}. Try again when the network is well.…")
def proxy_that_answers_for_the_hub(place: Place) -> None:
    _hub(place, status=407)
    cuvee.open_source(MODEL)


NOT_TO_BE_HAD = (
    "'{model}' is not to be had from the hub: {cause}; and the cache folder {folder} has nothing of its revision "
    "'{revision}'. …"
)


@provokes(NOT_TO_BE_HAD)
def hub_that_may_not_be_asked(place: Place) -> None:
    empty_cache(place.folder, place.patch)
    place.patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    cuvee.open_source(MODEL)


@provokes(NOT_TO_BE_HAD)
def hub_that_cannot_be_reached(place: Place) -> None:
    _hub(place)
    place.patch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    cuvee.open_source(MODEL)


@provokes("The hub does not say which commit '{revision}' of '{model}' is. …")
def hub_that_tells_no_commit(place: Place) -> None:
    _hub(place).tells_commits = False
    cuvee.open_source(MODEL)


@provokes("{file}: the hub does not tell its size. Download it, and name its folder.")
def hub_that_tells_no_size(place: Place) -> None:
    _hub(place).tells_sizes = False
    opened(place, MODEL)


@provokes(
    "{file} cannot be read: {server} does not send parts of files; run `hf download {model} --revision {commit}` first."
)
def hub_that_sends_no_parts(place: Place) -> None:
    _hub(place).sends_parts = False
    cuvee.open_source(MODEL)


@provokes("{file} cannot be read: {server} sent {count} bytes where {count} were asked for; try again.")
def hub_that_sends_more_than_was_asked_for(place: Place) -> None:
    _hub(place).excess = 1
    cuvee.open_source(MODEL)


@provokes("{model} needs {size} bytes more in the cache folder {folder}, whose disk has {size} left. …")
def disk_without_room(place: Place) -> None:
    _hub(place)
    source = opened(place, MODEL)
    usage = shutil.disk_usage("/")
    place.patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=3))
    read(source, "a")


@provokes("{file} is not what the hub has. Remove it, to download it again.")
def file_in_the_cache_that_was_changed(place: Place) -> None:
    (commit,) = _hub(place).models[MODEL].commits
    put_in_cache(
        place.folder / "cache", {**single(), "model.safetensors": sharded()["model-00001-of-00002.safetensors"]}, commit
    )
    cuvee.open_source(MODEL)


@provokes("{file} cannot be read: {reason}.")
def file_in_the_cache_of_somebody_else(place: Place) -> None:
    _hub(place)

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    place.patch.setattr(Path, "read_bytes", refuse)
    cuvee.open_source(MODEL)
