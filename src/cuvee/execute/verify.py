"""Whether a merged checkpoint, and what it was made of, are still what they were."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cuvee.digest import Digests, digest_of_bytes, digest_of_set, digests_of
from cuvee.errors import CuveeError, FormatError, UnsupportedError, some
from cuvee.execute.adapter.extract import extracted_digests
from cuvee.execute.adapter.merge import merged_digests
from cuvee.execute.merged import open_sources
from cuvee.execute.record import output_of, read_record
from cuvee.execute.run import execute
from cuvee.plan.limits import Limits, budget_of
from cuvee.plan.planner import make_plan
from cuvee.recipe.recipe import Recipe, reference_of
from cuvee.sources.adapter.folder import AdapterFolder
from cuvee.sources.folder import ADAPTER
from cuvee.sources.open import open_adapter, open_source
from cuvee.sources.reference import place_of
from cuvee.sources.strict_json import shown
from cuvee.spec import Location, Source

__all__ = ["Finding", "verify"]

SHOWN = 3
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found about one part.

    Attributes:
        part: ``"output"``, the name of a file beside the weights, ``"replay"``, or the label of an input.
        state: ``"same"``; ``"changed"`` (also where nothing can be read of it any more, because a file is damaged or of
            another kind); ``"missing"`` (it is not there, or cannot be reached); ``"unknown"`` (it was held in memory).
        text: what is wrong, in a sentence; empty if nothing is.
    """

    part: str
    state: Literal["same", "changed", "missing", "unknown"]
    text: str = ""


def verify(out: str | Path, *, replay: bool = False, limits: Limits | None = None) -> list[Finding]:
    """Compare a merged checkpoint, and the models it was made of, with what was recorded when it was made.

    Reads all of them; changes nothing.

    Args:
        out: the folder, or the file, that a merge has written; or the record beside it.
        replay: merge once more as recorded, writing nothing, and compare the result.
        limits: what the replay may use.

    Returns:
        A finding about the output's tensors, one about each file beside them that is not as it was written, one about
        each input, and one about the replay.

    Raises:
        SourceError: there is no merge, or no record of it, or there are several merges.
        FormatError: the record is damaged, or of another version.
    """
    place = output_of(Path(out))
    record = read_record(place)
    findings = [_output(place, record["output"]), *_files(place, record["output"].get("files", {}))]
    findings += [_input(label, stated) for label, stated in record["inputs"].items()]
    return findings + ([_replay(record, limits or Limits())] if replay else [])


def _digests(source: Source | AdapterFolder, names: list[str]) -> Mapping[str, str]:
    """Read tensors and return their digests."""
    return Digests(source.header).complete(names, source.read_into)


def _unreadable(error: CuveeError) -> Literal["changed", "missing"]:
    """Say what became of a part that cannot be read: a file that could be, when it was merged, is there and cannot."""
    return "changed" if isinstance(error, FormatError | UnsupportedError) else "missing"


def _output(out: Path, stated: Mapping[str, Any]) -> Finding:
    """Compare the tensors of a merge with what was recorded."""
    try:
        with closing(open_source(out / ADAPTER if (out / ADAPTER).is_file() else out)) as source:
            found = digests_of(source.header, _digests(source, list(source.header)))
    except CuveeError as error:
        return Finding(part="output", state=_unreadable(error), text=str(error))
    return _compared("output", stated, found, str(out))


def _files(out: Path, stated: Mapping[str, str]) -> Iterator[Finding]:
    """Compare the files beside the weights with what was recorded; tell of those that are not as they were."""
    for name, digest in stated.items():
        path = out / name
        try:
            found = digest_of_bytes(path.read_bytes()) if path.is_file() else None
        except (OSError, ValueError) as error:  # no permission; a name that no file can have
            yield Finding(part=name, state="missing", text=f"{shown(name)} of {out} cannot be read: {error}.")
            continue
        if found is None:
            yield Finding(part=name, state="missing", text=f"{path} is not there; the merge had written it.")
        elif found != digest:
            yield Finding(part=name, state="changed", text=f"{path} is not as the merge had written it.")


def _compared(part: str, recorded: Mapping[str, Any], again: Mapping[str, Any], where: str) -> Finding:
    """Compare digests by tensor; then types and shapes, which only the digest of all together depends on."""
    stated, found = recorded["tensors"], again["tensors"]
    wrong = [
        f"{what} {some(names, SHOWN)}"
        for what, names in (
            ("other bytes in", [name for name in stated if found.get(name, stated[name]) != stated[name]]),
            ("lacks", [name for name in stated if name not in found]),
            ("has more:", [name for name in found if name not in stated]),
        )
        if names
    ]
    if not wrong and recorded["digest"] != again["digest"]:
        wrong = ["the bytes are the same, but tensors have other types or shapes"]
    if not wrong:
        return Finding(part=part, state="same")
    return Finding(part=part, state="changed", text=f"{where}: {'; '.join(wrong)}.")


def _input(label: str, stated: Mapping[str, Any]) -> Finding:
    """Compare an input with what was recorded."""
    location = stated.get("location")
    if not location:
        return Finding(
            part=label, state="unknown", text=f"model {shown(label)} was held in memory and cannot be read again."
        )
    try:
        with ExitStack() as stack:
            source = _adapter(location, stack) if stated.get("adapter") else _open(location, stack)
            unused = set(stated["unused"])
            names = [name for name in source.header if name not in unused]
            digest = digest_of_set(source.header, _digests(source, names))
    except CuveeError as error:
        return Finding(part=label, state=_unreadable(error), text=f"model {shown(label)}: {error}")
    if digest == stated["digest"]:
        return Finding(part=label, state="same")
    return Finding(
        part=label, state="changed", text=f"model {shown(label)} ({shown(location)}) is not what was merged."
    )


def _adapter(location: str, stack: ExitStack) -> AdapterFolder:
    """Open an adapter until a stack is closed."""
    return stack.enter_context(closing(open_adapter(place_of(location), location)))


def _open(location: Location, stack: ExitStack) -> Source:
    """Open what a record says an input was, a place or a recipe, until a stack is closed."""
    return stack.enter_context(open_sources()).open(reference_of(location))


class _Nowhere:
    """A sink that keeps nothing."""

    stores = False

    def write_at(self, name: str, offset: int, buffer: memoryview) -> None:
        """Drop bytes."""

    def keep(self, name: str, offset: int, nbytes: int) -> None:
        """There is nothing to keep."""

    def read_back(self, buffer: memoryview, name: str, offset: int) -> None:  # noqa: ARG002 - as every sink
        """Refuse: there is nothing to read."""
        raise AssertionError(f"bytes of '{name}' have not passed, and none are kept")


def _replay(record: Mapping[str, Any], limits: Limits) -> Finding:
    """Merge as recorded, and compare the digests of the result."""
    held = [shown(label) for label, stated in record["inputs"].items() if not stated.get("location")]
    if held:
        text = f"the merge cannot be done again: held in memory was {', '.join(held)}."
        return Finding(part="replay", state="unknown", text=text)
    try:
        found = _again(record["recipe"], limits)
    except CuveeError as error:
        return Finding(part="replay", state="missing", text=f"the merge cannot be done again: {error}")
    return _compared("replay", record["output"], found, "merging again gives another result")


def _again(recorded: Mapping[str, Any], limits: Limits) -> Mapping[str, Any]:
    """Merge, or extract, once more, writing nothing; return the digests of the result."""
    if isinstance(recorded.get("extract"), dict):
        return extracted_digests(recorded["extract"], limits)
    recipe = Recipe.of(recorded)
    if recipe.output.adapter:
        return merged_digests(recipe, limits)
    with open_sources() as sources:
        plan = make_plan([sources.resolve(recipe)])
        return digests_of(plan.outputs[0], execute(plan, [_Nowhere()], budget_of(plan, limits)).outputs[0])
