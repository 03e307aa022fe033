"""The containers of pickled weights, looked at before torch sees them: what they ask for, and what memory they take.

``torch.save`` writes a zip archive: the pickle as ``…/data.pkl``, each storage as ``…/data/0``, ``…/data/1`` and so on,
none compressed, so that it can be mapped. Before PyTorch 1.6 it wrote pickles and then storages, one after the other.
Knows nothing of tensors.
"""

import io
import re
import sys
import zipfile
from collections.abc import Collection, Iterable
from pathlib import Path

from cuvee.errors import FormatError, SourceError, UnsupportedError
from cuvee.sources.opcodes import Request, requests_of

__all__ = ["MOST_PICKLE", "is_archive", "requests_of_archive", "requests_of_old_file"]

START = b"PK\3\4"
# Bytes of a pickle, and of an archive's directory. A model of 100,000 tensors needs about 13 MB; of a hostile pickle
# each byte can take some 70 of memory, and more than a microsecond: 1.2 GB and 20 s for the worst of them.
MOST_PICKLE = 16_000_000
MOST_OTHER = 1 << 16  # bytes of the other records that torch reads: versions, the byte order
OLD_PICKLES = 5  # a magic number, a version, the machine, the state dict, and the order of its storages
END, END_BYTES = b"PK\5\6", 22  # what an archive ends with
END64, POINTER64, END64_BYTES = b"PK\6\6", b"PK\6\7", 56 + 20  # what stands before that in large archives
ADVICE = "Download it again, or save it anew with torch.save."


def is_archive(file: Path) -> bool:
    """Say whether a file begins as a zip archive does, which is what torch goes by.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        return opened.read(len(START)) == START


def requests_of_archive(file: Path) -> Collection[Request]:
    """Verify that reading an archive takes little memory, and say what its pickle asks for that is no tensor.

    What torch reads of it has to be small, and not compressed.

    Raises:
        FormatError: it is malformed.
        UnsupportedError: it holds a program (TorchScript), or was written on a machine of the other byte order.
        OSError: it cannot be read.
    """
    size = _directory_bytes(file)
    if size > MOST_PICKLE:
        raise FormatError(f"{file}: its directory claims {size:,} bytes; at most {MOST_PICKLE:,} are read. {ADVICE}")
    try:
        with zipfile.ZipFile(file) as archive:
            found: dict[Request, None] = {}
            _refuse_program(file, archive.infolist())
            for entry in archive.infolist():
                _verify_entry(file, entry)
                if _last(entry) == "byteorder" and archive.read(entry) != sys.byteorder.encode():
                    raise UnsupportedError(
                        f"{file} was written on a machine of the other byte order. Convert it there, to safetensors."
                    )
                if _last(entry) == "data.pkl":
                    found |= dict.fromkeys(requests_of(io.BytesIO(archive.read(entry))))
            return found
    except (OSError, SourceError):
        raise
    except Exception as error:  # a damaged archive can make its reader raise anything
        raise FormatError(
            f"{file} is a zip archive that torch.save has not written, or damaged: {error}. {ADVICE}"
        ) from error


def requests_of_old_file(file: Path) -> Collection[Request]:
    """Verify that the pickles of an old file take little memory, and say what they ask for that is no tensor.

    Raises:
        FormatError: it does not begin with such pickles.
        OSError: it cannot be read.
    """
    try:
        with _Bounded(io.FileIO(file)) as opened:
            return requests_of(opened, OLD_PICKLES)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can make its reader raise anything
        raise FormatError(f"{file} does not hold pickled weights, or is damaged: {error}. {ADVICE}") from error


class _Bounded(io.BufferedReader):
    """A file of which only so much is read as pickles may take."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, but not beyond what pickles may take."""
        if self.tell() + max(size or 0, 0) > MOST_PICKLE:
            raise ValueError(f"its pickles take more than {MOST_PICKLE:,} bytes")
        return super().read(size)


def _refuse_program(file: Path, entries: Iterable[zipfile.ZipInfo]) -> None:
    """Refuse a program by what it is: its code, which comes first, is compressed as weights never are."""
    if any(_last(entry) == "constants.pkl" for entry in entries):
        raise UnsupportedError(f"{file} holds a program (TorchScript), not weights. Save the model's state dict.")


def _verify_entry(file: Path, entry: zipfile.ZipInfo) -> None:
    """Verify one record of an archive."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise FormatError(
            f"{file}: its record {entry.filename[:80]!r} is compressed, which torch.save never does. {ADVICE}"
        )
    most = MOST_PICKLE if _last(entry) == "data.pkl" else MOST_OTHER
    if "/data/" not in entry.filename and entry.file_size > most:
        raise FormatError(
            f"{file}: its record {entry.filename[:80]!r} claims {entry.file_size:,} bytes; at most {most:,} are "
            f"read. {ADVICE}"
        )


def _last(entry: zipfile.ZipInfo) -> str:
    """Return the name of a record without its folders, as the least careful reader would see it."""
    return re.split(r"[/\\]", entry.filename)[-1].lower()


def _directory_bytes(file: Path) -> int:
    """Return how many bytes the directory of an archive says it has, and verify that it stands where it says.

    Readers of archives disagree about those with a comment, or with something before them; torch.save writes neither.
    """
    with file.open("rb") as opened:
        size = opened.seek(0, io.SEEK_END)
        opened.seek(max(0, size - END_BYTES - END64_BYTES))
        tail = opened.read()
    end = tail[-END_BYTES:]
    wide = tail[:END64_BYTES] if tail[-END_BYTES - 20 :].startswith(POINTER64) else b""
    if not end.startswith(END) or not end.endswith(b"\0\0") or (wide and not wide.startswith(END64)):
        raise FormatError(f"{file} is a zip archive with no plain end: it was cut short, or is damaged. {ADVICE}")
    # What torch finds the wide end by. Another one, earlier in the file, would lead it to a directory nobody looked at.
    misleads = wide and int.from_bytes(wide[-12:-4], "little") != size - END_BYTES - END64_BYTES
    fields = (wide[40:48], wide[48:56]) if wide else (end[12:16], end[16:20])
    nbytes, offset = (int.from_bytes(field, "little") for field in fields)
    if misleads or offset + nbytes != size - END_BYTES - len(wide):
        raise FormatError(f"{file} is a zip archive whose directory is not where it says: it is damaged. {ADVICE}")
    return nbytes
