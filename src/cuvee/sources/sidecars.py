"""The files that travel with the weights of a checkpoint folder: the one table of their names."""

from collections.abc import Mapping
from pathlib import Path

__all__ = ["CARD", "CONFIG", "find_sidecars"]

CONFIG = "config.json"
CARD = "README.md"  # what the model says of itself; a merge writes its own

SIDECARS = frozenset({
    # model
    CARD,
    CONFIG,
    "generation_config.json",
    # tokenizer
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "source.spm",
    "special_tokens_map.json",
    "spiece.model",
    "target.spm",
    "tekken.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    # images, sound, video
    "feature_extractor_config.json",
    "image_processor_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
})  # fmt: skip

# Custom code travels too, but the writer copies it only when the user asks.
CODE_SUFFIX = ".py"


def find_sidecars(folder: Path) -> Mapping[str, Path]:
    """Return the files at the top of `folder` that travel with its weights, by name, sorted.

    Custom code (``*.py``) is among them. Names that are not ordinary files are left out.
    """
    found = (path for path in folder.iterdir() if path.name in SIDECARS or path.suffix == CODE_SUFFIX)
    return {path.name: path for path in sorted(found) if path.is_file()}
