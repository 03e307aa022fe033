"""Adapters that hold an embedding or a head as a whole, on a base whose head is its embedding. Forms no weight.

PEFT puts a copy in the place of each module of ``modules_to_save``. Of a tied base, an embedding's copy leaves the head
with the base's weights, and the other way round: what was one tensor are two. Only where the adapter holds both, and
equal, or says that they stay one (``ensure_weight_tying``), is there one tensor again.
"""

from collections.abc import Mapping

from cuvee.errors import UnsupportedError
from cuvee.sources.adapter.folder import AdapterFolder
from cuvee.sources.adapter.untied import Untied
from cuvee.sources.strict_json import shown
from cuvee.spec import Header, Source

__all__ = ["HEAD", "embedding_equal_to", "parted"]

HEAD = "lm_head"
HEADS = (HEAD, "embed_out", "output_projection", "vocab_projector", "decoder")
EMBEDDINGS = ("embed_tokens", "wte", "shared", "word_embeddings", "embed_in", "tok_embeddings", "tokens_embed")
DECODES = ("ForCausalLM", "LMHeadModel")
GENERATES = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ForMaskedLM", "ForPreTraining")
BLOCK = 4 << 20  # bytes compared at a time


def embedding_equal_to(folder: AdapterFolder, stored: str) -> str | None:
    """Return the name of the embedding that an adapter holds as a whole and that equals its head, or None.

    Args:
        folder: the adapter.
        stored: the file's name for its head.

    Raises:
        SourceError: the file cannot be read.
    """
    spec = folder.header[stored]
    for name, other in folder.whole.items():
        if _module(name) in EMBEDDINGS and folder.header[other] == spec and _equal(folder, stored, other):
            return name
    return None


def parted(base: Source, folder: AdapterFolder) -> Source:
    """Return a base as it is; with a head of its own, where the adapter makes two tensors of embedding and head.

    Args:
        base: what the adapter is merged into.
        folder: the adapter.

    Raises:
        SourceError: the adapter's file cannot be read.
        UnsupportedError: several parts of the base use the embedding, so that what becomes of each is not known.
    """
    configuration = folder.configuration
    whole = [name for name in folder.whole if configuration.saves(name)]
    heads = [name for name in whole if _module(name) in HEADS]
    embeddings = [name for name in whole if _module(name) in EMBEDDINGS]
    if not heads and (not embeddings or configuration.options.get("ensure_weight_tying") is True):
        return base
    if not _ties(base.config, base.header) or any(embedding_equal_to(folder, folder.whole[name]) for name in heads):
        return base
    own = [name for name in base.header if _module(name) in EMBEDDINGS]
    if len(own) == 1 and _is_decoder(base.config) and all(_module(name) == HEAD for name in heads):
        return Untied(base, own[0], f"{HEAD}.weight")
    what, name = ("a head", heads[0]) if heads else ("an embedding", embeddings[0])
    raise UnsupportedError(
        f"{folder.file} holds {what} of its own, {shown(name)}, and {base.reference} ties its head to its embedding, "
        "which other parts of it use, too. Save the base with a tensor of its own for each (tie_word_embeddings "
        "false), and add the adapter to that."
    )


def _ties(config: Mapping[str, object], header: Header) -> bool:
    """Say whether a model has a head that is its embedding."""
    parts = [config, *(part for key in ("text_config", "decoder") if isinstance(part := config.get(key), Mapping))]
    said = [part["tie_word_embeddings"] for part in parts if isinstance(part.get("tie_word_embeddings"), bool)]
    if (said and not any(said)) or any(_module(name) in HEADS for name in header):
        return False
    classes = config.get("architectures")
    return any(str(each).endswith(GENERATES) for each in classes) if isinstance(classes, list) else bool(said)


def _is_decoder(config: Mapping[str, object]) -> bool:
    """Say whether nothing but the first layer and the head uses a model's embedding."""
    classes = config.get("architectures")
    return isinstance(classes, list) and any(str(each).endswith(DECODES) for each in classes)


def _module(name: str) -> str:
    """Return the last module of the name of a weight, or nothing."""
    return ("", *name.split("."))[-2] if name.endswith(".weight") else ""


def _equal(folder: AdapterFolder, one: str, other: str) -> bool:
    """Compare two tensors of one specification, block by block."""
    total = folder.header[one].nbytes
    for offset in range(0, total, BLOCK):
        ours, theirs = (bytearray(min(BLOCK, total - offset)) for _ in range(2))
        folder.read_into(memoryview(ours), one, offset)
        folder.read_into(memoryview(theirs), other, offset)
        if ours != theirs:
            return False
    return True
