"""The files that travel with the weights of a checkpoint folder: the one table of their names, and whose they are."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath

__all__ = ["CARD", "CODE_SUFFIX", "CONFIG", "PIPELINE", "find_sidecars", "is_of_diffusers"]

CONFIG = "config.json"
PIPELINE = "model_index.json"  # names the components of a pipeline, each in a folder of its own
# The key under which the configuration of a diffusers model names its class; transformers has other keys.
DIFFUSERS_CLASS = "_class_name"
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
    # pipelines
    PIPELINE,
    "scheduler_config.json",
})  # fmt: skip

# Custom code travels too, but the writer copies it only when the user asks.
CODE_SUFFIX = ".py"


def find_sidecars(names: Iterable[str]) -> Sequence[str]:
    """Return which of the files at the top of a folder travel with its weights, sorted.

    Custom code (``*.py``) is among them.
    """
    return sorted(name for name in names if name in SIDECARS or PurePath(name).suffix == CODE_SUFFIX)


def is_of_diffusers(config: Mapping[str, object]) -> bool:
    """Say whether a configuration is that of a diffusers model by itself: a UNet, a transformer, a VAE."""
    return DIFFUSERS_CLASS in config
