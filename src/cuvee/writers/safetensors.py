"""The sink that makes a checkpoint: safetensors files written at final offsets, by several threads, in any order.

The output appears by rename when it is whole, or not at all. What an interrupted run has written stays hidden beside
it, for the same run to go on from.
"""

import io
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from cuvee.errors import CuveeError, OutputError
from cuvee.files import OpenFiles
from cuvee.sources.folder import INDEX_SUFFIX
from cuvee.writers.account import Account
from cuvee.writers.files import create, is_full
from cuvee.writers.journal import Journal
from cuvee.writers.shards import Arrangement, Entries, Shard, index_files
from cuvee.writers.staging import Staging, cut_short
from cuvee.writers.target import check_target, is_single_file

__all__ = ["SafetensorsWriter"]

# transformers asks for it.
FORMAT = {"format": "pt"}
IN_SHARDS = Arrangement()


class SafetensorsWriter:
    """A checkpoint being written: a folder, or one file if `out` ends in ``.safetensors``.

    A context manager: entering makes a hidden folder beside `out` and reserves the space, or takes over what an earlier
    attempt at the same run has left there; leaving puts the output in place, or, after an exception, removes all traces
    of it. Where `run` is given, what is done stays if the run was stopped from outside or by the operating system
    (Ctrl-C, an input that cannot be read, a full disk). No write may be in progress then.

    Args:
        out: folder or file to make; missing parents are made too.
        entries: name and specification of every tensor, in the order in which files are filled.
        arrangement: how they lie in files.
        metadata: free text for the header of each file; ``{"format": "pt"}`` is added.
        overwrite: replace a checkpoint that stands at `out`; anything else is refused all the same.
        sync: finish only when the output would survive a loss of power, which takes as long as the disk needs.
        inputs: files and folders that are read, which the output must not touch.
        run: names everything that the output depends on; None for a run that cannot be repeated.

    Attributes:
        out: real path of the output.
        journal: what of it is done; while it is being written.
        shards: the files it will have.
        nbytes: size of all of them in bytes, headers included.

    Raises:
        OutputError: the output may not be put there, or the tensors cannot be stored; nothing was written.

    Example:
        >>> with SafetensorsWriter(out, [("weight", spec)]) as writer:  # doctest: +SKIP
        ...     writer.write_at("weight", 0, block)
    """

    stores = True

    def __init__(
        self,
        out: str | os.PathLike[str],
        entries: Entries,
        arrangement: Arrangement = IN_SHARDS,
        metadata: Mapping[str, str] | None = None,
        *,
        overwrite: bool = False,
        sync: bool = False,
        inputs: Sequence[Path] = (),
        run: str | None = None,
    ) -> None:
        self.out = check_target(out, overwrite=overwrite, inputs=inputs, is_ours=_stands)
        self._staging = Staging(self.out)
        self._stands = False
        self.shards = arrangement.shards(self.out, entries)
        self._has_folders = bool(arrangement.folders)
        self._headers = [part.header_bytes({**FORMAT, **(metadata or {})}) for part in self.shards]
        self.nbytes = sum(part.nbytes + len(header) for part, header in zip(self.shards, self._headers, strict=True))
        self._overwrite = overwrite
        self._sync = sync
        self._account = Account(entries)
        self._run = run
        self.journal: Journal
        self._files = OpenFiles(lambda path: io.FileIO(path, "r+b"))
        self._written: list[Path] = []
        self._places: dict[str, tuple[Path, int]] = {}
        self._is_open = False
        self._free_bytes = 0

    def __enter__(self) -> Self:
        """Reserve the space and write the headers, or take over what an earlier attempt has written.

        Raises:
            OutputError: the output cannot be made, for example because the disk is full, or another process is making
                it; nothing of it is left.
        """
        try:
            with self._explained():
                self._free_bytes = shutil.disk_usage(next(path for path in self.out.parents if path.exists())).free
                self.journal = self._staging.claim(self._run or secrets.token_hex(16))
                self._stands = bool(self.journal.entries) and self._staging.stands()
                if not self._stands:
                    check_target(self.out, overwrite=self._overwrite)
                    if self.journal.entries and not self._take_over():
                        self._staging.clear()
                for part, header in zip(self.shards, self._headers, strict=True):
                    self._open(part, header)
        except BaseException as error:
            self._leave(error)
            raise
        self._is_open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Put the output in place unless `finish` has, or remove all traces of it after an exception.

        Where the run may go on, what tells that a finished output stands is left for it.
        """
        if kind is None:
            self.finish()
        self._leave(error)

    def keep(self, name: str, offset: int, nbytes: int) -> None:
        """Count bytes of a tensor as stored: an earlier attempt has written them.

        Raises:
            AssertionError: there is no such tensor, or they lie outside it.
        """
        self._account.check(name, offset, nbytes)
        self._account.enter(name, offset, nbytes)

    def read_back(self, buffer: memoryview, name: str, offset: int) -> None:
        """Fill `buffer` with bytes of a tensor that have been stored, from byte `offset` on.

        Raises:
            OutputError: they cannot be read.
        """
        file, begin = self._places[name]
        with self._explained():
            if self._files.read_at(file, buffer, begin + offset) < len(buffer):
                raise cut_short(file)

    def write_at(self, name: str, offset: int, buffer: memoryview) -> None:
        """Store `buffer` at byte `offset` of the tensor. Any number of threads may do so at once.

        Args:
            name: a tensor of the entries.
            offset: first byte, counted from the tensor's beginning.
            buffer: contiguous bytes.

        Raises:
            OutputError: the disk is full, or the system refuses.
            AssertionError: there is no such tensor, the bytes lie outside it, or the writer is not open.
        """
        self._check_open()
        self._account.check(name, offset, buffer.nbytes)
        if buffer.nbytes == 0:
            return
        file, begin = self._places[name]
        with self._explained():
            self._files.write_at(file, buffer.cast("B"), begin + offset)
        self._account.enter(name, offset, buffer.nbytes)

    def add_file(self, name: str, data: bytes) -> None:
        """Add a file to the folder, such as the configuration; it appears together with the weights.

        Args:
            name: its bare name, or ``folder/name`` if the output has folders. Beside an output that is one file it must
                begin with that one's name, without suffix, and a dot; it replaces what is called so.
            data: all of it.

        Raises:
            OutputError: the name is taken or not bare, or it cannot be written.
            AssertionError: it does not go with the one file that the output is, or the writer is not open.
        """
        self._check_open()
        if self._stands:
            return
        if is_single_file(self.out) and not name.startswith(f"{self.out.stem}."):
            raise AssertionError(f"{self.out} is one file by itself; '{name}' cannot go with it")
        *folder, bare = name.split("/")
        if len(folder) > self._has_folders or {"", ".", ".."} & {*folder, bare} or {"\\", "\0"} & set(name):
            raise OutputError(f"'{name}' cannot be added to {self.out}: expected a file name without folders.")
        if name.endswith(INDEX_SUFFIX) or (self._staging.folder / name).exists():
            raise OutputError(f"'{name}' cannot be added to {self.out} twice.")
        self._add(name, data)

    def finish(self) -> None:
        """Verify that every byte was written, and put the output in place. Does nothing the second time.

        Where several outputs belong together, finish all before leaving any: only so is a run that is killed in between
        able to go on.

        Raises:
            OutputError: something cannot be written; nothing of the output is left.
            AssertionError: something is missing; nothing of the output is left.
        """
        if not self._is_open:
            return
        try:
            self._account.close(str(self.out))
            if not self._stands:
                self._publish()
            self._files.close()
        except BaseException as error:
            self._leave(error)
            raise
        self._is_open = False

    def _publish(self) -> None:
        with self._explained():
            for file in self._lacking():
                raise cut_short(file)
            for name, data in index_files(self.shards).items():
                self._add(name, data)
            for file in self._written if self._sync else ():
                self._files.sync(file)
            self._files.close()
            self._staging.publish(overwrite=self._overwrite, sync=self._sync)

    def _take_over(self) -> bool:
        """Remove what the last attempt has left besides the weights; say whether those are all there."""
        if not self._staging.folder.is_dir():
            return False
        weights = {part.file for part in self.shards}
        for path in self._staging.files():
            if path.relative_to(self._staging.folder).as_posix() not in weights:
                path.unlink()
        return not self._lacking()

    def _lacking(self) -> Sequence[Path]:
        """Return the weight files that are not there in their full size."""
        sizes = {
            self._staging.folder / part.file: len(header) + part.nbytes
            for part, header in zip(self.shards, self._headers, strict=True)
        }
        return [path for path, size in sizes.items() if not path.is_file() or path.stat().st_size != size]

    def _open(self, part: Shard, header: bytes) -> None:
        if self._stands:
            file = self.out if is_single_file(self.out) else self.out / part.file
        else:
            file = self._create(part.file, len(header) + part.nbytes)
            self._files.write_at(file, memoryview(header), 0)
        for name, begin in part.begins.items():
            self._places[name] = file, len(header) + begin

    def _add(self, name: str, data: bytes) -> None:
        with self._explained():
            self._files.write_at(self._create(name, len(data)), memoryview(data), 0)

    def _create(self, name: str, nbytes: int) -> Path:
        """Make a file of the output."""
        path = self._staging.folder / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists():  # it does where it was taken over
            create(path, nbytes)
        self._written.append(path)
        return path

    def _leave(self, error: BaseException | None) -> None:
        """Leave what has been written to the next attempt if there is any use in it; else remove it."""
        self._is_open = False
        self._files.close()
        if error is not None and self._run and _may_go_on(error) and self._staging.keep():
            error.add_note(
                f"What is done of it is kept in {self._staging.root}: the same merge goes on from there, another one "
                "to the same place removes it."
            )
        else:
            self._staging.discard()

    def _check_open(self) -> None:
        if not self._is_open:
            raise AssertionError(f"{self.out} is not being written: the writer was not entered, or has finished")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say what an error of the operating system means for the output."""
        try:
            yield
        except OSError as error:
            if is_full(error):
                raise OutputError(
                    f"{self.out}: the disk is full. The output needs {self.nbytes:,} bytes; {self._free_bytes:,} were "
                    f"free when it was begun. Free some space, or choose another place."
                ) from error
            place = error.filename or self.out
            raise OutputError(f"{self.out} cannot be written: {place}: {error.strerror}.") from error


def _stands(real: Path) -> bool:
    """Say whether a run that is about to be taken up again has put its output at a place already."""
    staging = Staging(real)
    staging.sweep()
    return staging.stands()


def _may_go_on(error: BaseException | None) -> bool:
    """Say whether a run was stopped from outside or by the operating system, and not by what it was to do."""
    if isinstance(error, CuveeError):
        error = error.__cause__
        return isinstance(error, OSError) and bool(error.errno)  # without a number it is our own: a file has changed
    return isinstance(error, KeyboardInterrupt | MemoryError | OSError | SystemExit)
