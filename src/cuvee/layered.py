"""Sources that are made of other sources: which those are, down to what reads no other, and what they take together.

Knows no library of tensors, no file format and no method.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from cuvee.spec import Source

__all__ = [
    "Assembled",
    "Reading",
    "Standing",
    "beneath",
    "ground_of",
    "is_changed",
    "made_of",
    "memory_of",
]


@runtime_checkable
class Standing(Protocol):
    """A source that stands on another one, and gives some of its tensors other bytes.

    Its `location` is that of the ground: what it makes of that is said elsewhere, in the recipe.

    Attributes:
        ground: the source that it stands on.
        changed: names of the tensors whose bytes are not those that the ground has under the same name.
    """

    @property
    def ground(self) -> Source: ...  # noqa: D102
    @property
    def changed(self) -> Collection[str]: ...  # noqa: D102

    def made_of(self, name: str) -> Sequence[tuple[Source, str]]:
        """Return the tensors that a tensor is made of, with their sources: those of the ground first, then others'."""
        ...


@runtime_checkable
class Reading(Protocol):
    """A source that makes its tensors of those of others.

    Attributes:
        parts: the sources that it reads.
    """

    @property
    def parts(self) -> Sequence[Source]: ...  # noqa: D102


@runtime_checkable
class Assembled(Reading, Protocol):
    """A source that puts tensors together from those of others. A thread has but one of them in the making.

    Its `memory` is that of all the sources that it reads, of what it holds, and of what a thread takes.

    Attributes:
        held: bytes of what it holds once for all threads, by its id: several such sources may hold the same.
        takes: bytes that a thread takes while it puts a tensor together, and gives back.
        bytes_prepared: bytes of its preparation that it has read so far, without those of its parts.
        progress: called with such bytes as they are read, from any thread.
    """

    progress: Callable[[int], None]

    @property
    def held(self) -> Mapping[int, int]: ...  # noqa: D102
    @property
    def takes(self) -> int: ...  # noqa: D102
    @property
    def bytes_prepared(self) -> int: ...  # noqa: D102


def memory_of(sources: Iterable[Source]) -> tuple[int, int]:
    """Return the bytes that sources take together: once for all threads, and for each thread that reads any of them."""
    parts: dict[int, Source] = {}
    held: dict[int, int] = {}
    takes = 0
    for source in sources:
        own = source.parts if isinstance(source, Assembled) else (source,)
        parts |= {id(part): part for part in own}
        if isinstance(source, Assembled):
            held |= source.held
            takes = max(takes, source.takes)
    return sum(held.values()), takes + sum(part.memory for part in parts.values())


def ground_of(source: Source) -> Source:
    """Return what a source stands on in the end; itself, if that is nothing else."""
    while isinstance(source, Standing):
        source = source.ground
    return source


def beneath(source: Source) -> Iterator[Source]:
    """Go through a source and all that it stands on, or reads, down to what reads no other."""
    yield source
    below = [source.ground] if isinstance(source, Standing) else []
    for each in [*below, *(source.parts if isinstance(source, Reading) else ())]:
        yield from beneath(each)


def made_of(source: Source, name: str) -> Sequence[tuple[Source, str]]:
    """Return the tensors of grounds that a source's tensor is made of, with the grounds; itself if it has no ground."""
    if not isinstance(source, Standing):
        return [(source, name)]
    return [each for whole, part in source.made_of(name) for each in made_of(whole, part)]


def is_changed(source: Source, name: str) -> bool:
    """Say whether a tensor's bytes are not those of the source's ground."""
    return isinstance(source, Standing) and (name in source.changed or is_changed(source.ground, name))
