"""Which tensors have one row for each token: input embeddings, output heads and their biases.

Knows names, shapes and the configuration; no tokenizer, and no list of architectures. Tables of positions, types,
patches and the like are of no token, whatever their size; nor is anything inside a layer.
"""

import re
from collections.abc import Mapping

from cuvee.architectures.layers import layer_of
from cuvee.architectures.roles import role_of
from cuvee.architectures.tied import HEAD_PARTS, TEXT_CONFIGS, is_embedding, is_head
from cuvee.spec import Header, TensorSpec

__all__ = ["is_of_tokens", "num_rows", "resized", "vocabulary_size", "vocabulary_tensors"]

SIZE = "vocab_size"
_OF_TOKENS = re.compile(r"(?:.*_)?(?:tokens?|word|vocab)_?(?:embed\w*|emb|proj\w*)", re.IGNORECASE)
_TO_TOKENS = re.compile(r"output_layer|unembed\w*|(?:.*_)?vocab\w*|logits?", re.IGNORECASE)
_LOGITS_BIAS = re.compile(r"(?:.*_)?logits_bias")  # BART and Marian have one of shape (1, tokens)


def is_of_tokens(name: str, spec: TensorSpec) -> bool:
    """Say whether a tensor's name and rank are those of a table with one row, or one number, for each token.

    Args:
        name: full name of the tensor.
        spec: its shape and element type.

    Example:
        >>> from cuvee.spec import DTYPES
        >>> table = TensorSpec((96, 16), DTYPES["BF16"])
        >>> [is_of_tokens(f"model.{name}.weight", table) for name in ("embed_tokens", "embed_positions")]
        [True, False]
    """
    if spec.dtype.kind != "float" or layer_of(name) is not None:
        return False
    *path, leaf = name.rpartition("/")[2].split(".")
    last = path[-1] if path else ""
    if _LOGITS_BIAS.fullmatch(leaf):
        return len(spec.shape) == 2 and spec.shape[0] == 1
    if leaf == "bias":
        return len(spec.shape) == 1 and (last in HEAD_PARTS or is_head(".".join([*path, "weight"])))
    if leaf != "weight" or len(spec.shape) != 2:
        return False
    if is_embedding(name) or is_head(name) or _TO_TOKENS.fullmatch(last):
        return True
    return role_of(name, spec) == "embedding" and bool(_OF_TOKENS.fullmatch(last))


def num_rows(name: str, spec: TensorSpec) -> int:
    """Return how many tokens such a tensor is for: its first extent, or the second of (1, tokens)."""
    return spec.shape[-1] if _LOGITS_BIAS.fullmatch(name.rpartition(".")[2]) else spec.shape[0]


def resized(name: str, spec: TensorSpec, rows: int) -> tuple[int, ...]:
    """Return the shape of such a tensor with another number of rows."""
    return (1, rows) if _LOGITS_BIAS.fullmatch(name.rpartition(".")[2]) else (rows, *spec.shape[1:])


def vocabulary_tensors(header: Header, config: Mapping[str, object]) -> Mapping[str, int]:
    """Return the tensors of a model that are indexed by its vocabulary.

    Args:
        header: the source's header.
        config: the model's configuration, or an empty mapping.

    Returns:
        Name to number of rows, all equal: the configuration's ``vocab_size`` if any table has as many, else the rows
        of the first input embedding. Empty if the model has no such table.

    Example:
        >>> from cuvee.spec import DTYPES
        >>> shapes = {"model.embed_tokens.weight": (96, 16), "model.norm.weight": (16,), "lm_head.weight": (96, 16)}
        >>> vocabulary_tensors({name: TensorSpec(shape, DTYPES["F16"]) for name, shape in shapes.items()}, {})
        {'model.embed_tokens.weight': 96, 'lm_head.weight': 96}
    """
    tables = {name: num_rows(name, spec) for name, spec in header.items() if is_of_tokens(name, spec)}
    said = vocabulary_size(config)
    embeddings = [rows for name, rows in tables.items() if not is_head(name) and header[name].shape[0] == rows]
    size = said if said in tables.values() else next(iter([*embeddings, *tables.values()]), None)
    return {name: rows for name, rows in tables.items() if rows == size}


def vocabulary_size(config: Mapping[str, object]) -> int | None:
    """Return the ``vocab_size`` of a configuration or of its text model; None if it has none."""
    parts = [config, *(part for key in TEXT_CONFIGS if isinstance(part := config.get(key), Mapping))]
    parts += [inner for part in parts for key in TEXT_CONFIGS if isinstance(inner := part.get(key), Mapping)]
    return next((size for part in parts if isinstance(size := part.get(SIZE), int) and size > 0), None)
