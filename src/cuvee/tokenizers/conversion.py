"""Tokenizers that come without ``tokenizer.json``, read through transformers: the one place that needs it."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from cuvee.errors import FormatError, MissingLibraryError

__all__ = ["converted"]


def converted(files: Mapping[str, bytes], place: str) -> bytes:
    """Return the ``tokenizer.json`` of a tokenizer that has other files only. Runs no code from elsewhere.

    Args:
        files: its files, and the model's configuration, by name.
        place: what to call the model in messages.

    Raises:
        MissingLibraryError: transformers, or what it needs for these files, is not installed.
        FormatError: they cannot be read.
    """
    names = ", ".join(sorted(files))
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingLibraryError(
            f"{place} has no tokenizer.json but {names}, which are read through transformers; install it "
            "(pip install 'cuvee[hf]' sentencepiece protobuf), or save the tokenizer with save_pretrained."
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        try:
            loaded = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            text: str = loaded.backend_tokenizer.to_str()
        except ImportError as error:
            raise MissingLibraryError(
                f"{place} has no tokenizer.json but {names}, and transformers needs another library to read them "
                f"(pip install sentencepiece protobuf tiktoken): {_first_line(error)}."
            ) from error
        except Exception as error:  # whatever its converters raise
            raise FormatError(
                f"{place} has no tokenizer.json but {names}, which transformers cannot read (it may need "
                f"sentencepiece, protobuf or tiktoken): {_first_line(error)}. Save the tokenizer with "
                "save_pretrained, which writes tokenizer.json."
            ) from error
    return text.encode()


def _first_line(error: Exception) -> str:
    """Return the first line of what an error says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
