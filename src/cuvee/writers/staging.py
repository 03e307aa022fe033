"""Where an output grows until it is whole: a hidden folder beside it, which a later run can take over.

Knows names and folders, and nothing of tensors.
"""

import fcntl
import json
import os
import re
import secrets
import shutil
import stat
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from cuvee.errors import CuveeWarning, OutputError
from cuvee.writers.files import sync_folder
from cuvee.writers.journal import Journal
from cuvee.writers.target import check_target, is_single_file

__all__ = ["Staging", "cut_short"]

LONGEST = 40  # letters of the output's name in the folder's: file systems allow 255 bytes, letters may take four each


class Staging:
    """A hidden folder beside the output, in which it grows, and from which it is renamed into place.

    Its name follows from the output's, so that the next run finds what an interrupted one has left. It belongs to the
    process that has locked it; the system unlocks it however that process ends. In it lie::

        output/     what grows
        journal     what of it is done
        placed      what is about to stand at the output: there, it is done
        lock        locked while a process works here
        replaced/   what stood at the output before, while one is exchanged for the other; of an output that is one
                    file, what stood beside it

    Who gives it up first gives it another name, under which nobody works: `.NAME.unfinished-` and 16 digits.

    Args:
        out: the real path of the output, as `check_target` returns it.

    Attributes:
        root: the hidden folder.
        folder: where the output grows.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        name = out.name
        if len(name) > LONGEST:
            name = f"{name[:LONGEST]}-{blake2b(os.fsencode(name), digest_size=4).hexdigest()}"
        self.root = out.parent / f".{name}.unfinished"
        self.folder = self.root / "output"
        self._replaced = self.root / "replaced"
        self._placed = self.root / "placed"
        self._lock: int | None = None
        self._journal: Journal | None = None
        self._new_parents: list[Path] = []

    def claim(self, run: str) -> Journal:
        """Make the folder, or take over what an earlier attempt at the same run has left; lock it.

        Args:
            run: names the run: everything that its result depends on. What another run has left is removed.

        Returns:
            The journal, with what is done already; what is not done has to be made anew.

        Raises:
            OutputError: another process is at work here, or what has the folder's name is none of this user's.
            OSError: it cannot be made.
        """
        self._new_parents = [parent for parent in self.out.parents if not parent.exists()]
        self.out.parent.mkdir(parents=True, exist_ok=True)
        while self._lock is None:
            self._make_root()
            self._lock = self._locked()
        self.sweep()
        self._restore()
        self._journal = Journal(self.root / "journal", run)
        if not self._journal.entries:
            self.clear(tell=self._journal.is_foreign)  # of this run nothing was done: nothing is lost
        return self._journal

    def sweep(self) -> None:
        """Remove what processes had given up that were killed before they could."""
        given_up = re.compile(re.escape(self.root.name) + "-[0-9a-f]{16}")
        with suppress(OSError):  # another process removes it too
            for path in [path for path in self.root.parent.iterdir() if given_up.fullmatch(path.name)]:
                if _is_own_folder(path):
                    shutil.rmtree(path, ignore_errors=True)

    def stands(self) -> bool:
        """Say whether what has grown here stands at the output already: a process was killed after it had put it there.

        Raises:
            OSError: it cannot be told.
        """
        placed = self._about_to_stand()
        if placed is None:
            return False
        if is_single_file(self.out):
            return bool(placed == _stamps(self.out.parent, [self.out.parent / name for name in placed]))
        return bool(placed == _stamps(self.out, _files(self.out)))

    def _about_to_stand(self) -> Mapping[str, object] | None:
        """Return what tells the files that are about to be put in place, by name; None if none are."""
        try:
            placed: dict[str, object] = json.loads(self._placed.read_bytes())
        except (FileNotFoundError, ValueError):  # killed before, or while it was written
            return None
        return placed

    def clear(self, *, tell: bool = True) -> None:
        """Forget what an earlier attempt has left.

        Args:
            tell: warn, if there is something.
        """
        assert self._journal is not None
        if self.folder.exists():
            shutil.rmtree(self.folder)
            if tell:
                warnings.warn(
                    f"Removed what an interrupted run had left of {self.out}: it was begun with other inputs, another "
                    "recipe or other software, or before the machine was started anew.",
                    CuveeWarning,
                    stacklevel=2,
                )
        self._journal.forget()
        self._placed.unlink(missing_ok=True)
        self.folder.mkdir()

    def files(self) -> Sequence[Path]:
        """Return all files that have grown, those in folders of the output too."""
        return _files(self.folder)

    def _make_root(self) -> None:
        """Make the hidden folder, or see that what stands there is one: all in it may be removed."""
        try:
            self.root.mkdir()
        except FileExistsError:
            with suppress(FileNotFoundError):  # it went away meanwhile
                if not _is_own_folder(self.root):
                    raise OutputError(
                        f"{self.root} is not a folder of yours, but {self.out} grows in a folder of this name. Remove "
                        "it, or choose another place."
                    ) from None

    def _locked(self) -> int | None:
        """Lock the folder; return the lock, or None if the folder went away meanwhile."""
        path = self.root / "lock"
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise OutputError(
                f"{self.out} is being written by another process, in {self.root}. Wait for it, stop it, or choose "
                "another place."
            ) from None
        except OSError as error:  # a file system without locks
            warnings.warn(
                f"{self.root} cannot be locked ({error.strerror}): see to it that no other run writes to {self.out}.",
                CuveeWarning,
                stacklevel=2,
            )
            return lock
        if self._holds(lock):
            return lock
        os.close(lock)
        return None

    def _holds(self, lock: int | None) -> bool:
        """Say whether a lock is that of the folder as it is now."""
        with suppress(FileNotFoundError):
            return lock is not None and os.path.samestat(os.fstat(lock), (self.root / "lock").stat())
        return False

    def _restore(self) -> None:
        """End the exchange that a process began before it was killed: put back what stood there, or remove it."""
        if not self._replaced.exists():
            return
        if is_single_file(self.out):
            self._restore_beside()
        elif not self.out.exists():
            self._replaced.rename(self.out)
            return
        self._remove_replaced()

    def _restore_beside(self) -> None:
        """Put back what stood beside the one file, unless the new one stands already; no file of somebody else's goes.

        The one file comes last, by one rename: until it has come, the old one stands, if there was one.
        """
        if not (self.folder / self.out.name).exists():
            return
        for name, new in (self._about_to_stand() or {}).items():
            place, old = self.out.with_name(name), self._replaced / name
            now = _stamps(place.parent, [place])[name]
            if now in (new, None) and os.path.lexists(old):
                old.replace(place)
            elif now == new:
                place.unlink()

    def publish(self, *, overwrite: bool, sync: bool = False) -> None:
        """Rename what has grown to its final name. After a failure what stood there before stands there again.

        The hidden folder stays, for a run of several outputs that is killed between two of them; see `discard`.

        Args:
            overwrite: replace a checkpoint that stands there.
            sync: make names last through a loss of power.

        Raises:
            OutputError: something has appeared there in the meantime, or the hidden folder is no longer this process's.
            OSError: it cannot be renamed.
        """
        if not self._holds(self._lock):
            raise cut_short(self.root)
        for folder in {self.folder, *(file.parent for file in self.files())} if sync else ():
            sync_folder(folder)
        check_target(self.out, overwrite=overwrite)
        self._placed.write_text(json.dumps(_stamps(self.folder, self.files())))
        if is_single_file(self.out):
            self._exchange(self._put_file)
        elif self.out.exists() and any(self.out.iterdir()):
            self._exchange(self._put_folder)
        else:
            self.folder.rename(self.out)
        if sync:
            sync_folder(self.out.parent)
        self._new_parents = []

    def _exchange(self, put: Callable[[], None]) -> None:
        """Put the output where another may stand, and remove that one; or put it back."""
        try:
            put()
        except BaseException:
            try:
                self._restore()
            except OSError:
                message = f"What stood at {self.out} before was not put back; it is now in {self._replaced}."
                warnings.warn(message, CuveeWarning, stacklevel=2)
            raise
        self._remove_replaced()

    def _put_folder(self) -> None:
        self.out.rename(self._replaced)
        self.folder.rename(self.out)

    def _put_file(self) -> None:
        self._replaced.mkdir()
        for file in sorted(self.files(), key=lambda file: file.name == self.out.name):  # the weights come last
            place = self.out.with_name(file.name)
            if place != self.out and os.path.lexists(place):
                place.rename(self._replaced / file.name)
            file.replace(place)

    def _remove_replaced(self) -> None:
        shutil.rmtree(self._replaced, ignore_errors=True)
        if self._replaced.exists():
            message = f"What stood at {self.out} before was not removed; it is now {self._replaced}."
            warnings.warn(message, CuveeWarning, stacklevel=2)

    def keep(self) -> bool:
        """Leave what has grown to the next attempt, if something of it is done; say whether it is."""
        if self._journal is None or self._journal.is_empty:
            return False
        self._release()
        return True

    def discard(self) -> None:
        """Remove what has grown, and the parents made for it; leave a folder that another process works in."""
        if self._holds(self._lock) and not self._replaced.exists():
            self._remove()
        self._release()
        for parent in self._new_parents:
            try:
                parent.rmdir()
            except OSError:  # someone else has put something there
                return

    def _remove(self) -> None:
        """Remove the hidden folder.

        As long as it has its name, it tells a later run that the output stands, should this process be killed. It loses
        the name while it is locked, and so with nobody else at work in it; what is done under the new one harms none.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        given_up = self.root.with_name(f"{self.root.name}-{secrets.token_hex(8)}")
        with suppress(OSError):
            self.root.rename(given_up)
        self._release()  # some file systems keep what is open
        shutil.rmtree(given_up, ignore_errors=True)

    def _release(self) -> None:
        """Close the journal, and unlock the folder."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def cut_short(path: Path) -> OutputError:
    """Return the error that something has been at work where the output grows."""
    return OutputError(f"{path} was cut short or removed while it was written; nothing else may write to it.")


def _is_own_folder(path: Path) -> bool:
    """Say whether a path is a folder of this user's, and no link to one."""
    found = path.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _files(folder: Path) -> list[Path]:
    """Return all files in a folder and its folders."""
    return [Path(within, name) for within, _, names in os.walk(folder) for name in names]


def _stamps(folder: Path, files: Sequence[Path]) -> dict[str, list[int] | None]:
    """Return what tells files from any others, by name within a folder; renaming leaves it. None for a missing one."""
    stamps: dict[str, list[int] | None] = {}
    for file in files:
        known = file.stat() if file.exists() else None
        stamps[file.relative_to(folder).as_posix()] = known and [known.st_ino, known.st_size, known.st_mtime_ns]
    return stamps
