"""Which layer a tensor belongs to, and how deep in the model it stands.

Knows names only. The first group ``.<digits>.`` of a name is the layer; later ones count experts, blocks within a stage
and the like::

    model.layers.11.mlp.experts.7.w1.weight
    └────┬─────┘ └┬┘└──────────┬──────────┘
       stack    index         rest

so one rule serves every family: ``transformer.h.N.``, ``bert.encoder.layer.N.``, ``encoder.block.N.``,
``visual.blocks.N.``, ``down_blocks.N.``, ``layer1.N.`` or, in a plain sequence, ``N.``.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["Layer", "depth_of", "layer_of", "renumbered", "stacks"]

# At most nine digits: a hostile name must not make us build a huge number.
_LAYER = re.compile(r"(?:^|[./])([0-9]{1,9})\.")

# Names outside the layers, component by component. What is neither is taken to stand after the layers (see `depth_of`).
_AFTER = re.compile(
    r"(?:.*_)?heads?|cls|classifier|embed_out|unembed\w*|(?:class|bbox|score)_embed|(?:\w+_)?merger|pooler|output\w*",
    re.IGNORECASE,
)
_BEFORE = re.compile(
    r".*embed.*|wte|wpe|shared|(?:\w+_)?emb|(?:\w+_)?tokens?|\w*positions?(?:_ids)?|pos_\w+|relative_attention_bias|"
    r"rel(?:ative)?_pos\w*|rotary\w*|stem\w*|conv_?1|bn_?1|conv_in|patch_conv|pre_layr?norm|ln_pre|norm_pre",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Layer:
    """Where a tensor stands in a stack of layers.

    Attributes:
        stack: what precedes the index, without the dot, for example ``"model.layers"``; empty when the name begins with
            it.
        index: number of the layer, from 0.
        rest: what follows the index, for example ``"self_attn.q_proj.weight"``.
    """

    stack: str
    index: int
    rest: str


def layer_of(name: str) -> Layer | None:
    """Return the layer a tensor belongs to, or None for a tensor outside layers.

    Args:
        name: full name of the tensor.

    Example:
        >>> layer_of("model.layers.3.mlp.experts.5.w1.weight")
        Layer(stack='model.layers', index=3, rest='mlp.experts.5.w1.weight')
        >>> layer_of("lm_head.weight") is None
        True
    """
    found = _LAYER.search(name)
    if found is None:
        return None
    return Layer(name[: found.start()], int(found[1]), name[found.end() :])


def renumbered(name: str, index: int) -> str:
    """Return what a tensor of a layer is called in another layer of the same stack.

    Args:
        name: full name of the tensor; it belongs to a layer.
        index: number of the other layer.

    Example:
        >>> renumbered("model.layers.3.mlp.experts.5.w1.weight", 12)
        'model.layers.12.mlp.experts.5.w1.weight'
    """
    return _LAYER.sub(lambda found: f"{found[0][: found.start(1) - found.start()]}{index}.", name, count=1)


def stacks(names: Iterable[str]) -> Mapping[str, int]:
    """Return the number of layers of every stack: its largest index plus one.

    Args:
        names: names of all tensors of a model.

    Returns:
        Stack to count, in the order in which the names first mention them.

    Example:
        >>> stacks(["encoder.block.0.wi.weight", "encoder.block.1.wi.weight", "decoder.block.0.wi.weight"])
        {'encoder.block': 2, 'decoder.block': 1}
    """
    counts: dict[str, int] = {}
    for name in names:
        layer = layer_of(name)
        if layer is not None:
            counts[layer.stack] = max(counts.get(layer.stack, 0), layer.index + 1)
    return counts


def depth_of(name: str, stacks: Mapping[str, int]) -> float:
    """Return how deep a tensor stands: 0.0 at the input, 1.0 at the output.

    A tensor of a layer stands at ``index / (count - 1)`` of its own stack; in a stack of one layer at 1.0. Each stack
    (encoder and decoder, vision tower and text model, the stages of a convolutional network) runs from 0 to 1 by
    itself.

    A tensor outside layers stands at 0.0 if a component of its name says that it comes before them: an embedding (of
    tokens, positions, types, patches) and its norm, a learned token, a rotary or relative position table, a stem.
    Everything else (final norm, pooler, head, classifier, projection, temperature, unknown names) stands at 1.0. Words
    for a head win over words for an embedding, as in ``embed_out`` or ``lm_head.embed``.

    Args:
        name: full name of the tensor.
        stacks: number of layers of every stack, as `stacks` returns it; an unknown stack counts as one that ends at
            `name`.

    Returns:
        Depth in [0, 1].

    Example:
        >>> [depth_of(f"model.layers.{i}.mlp.up_proj.weight", {"model.layers": 3}) for i in range(3)]
        [0.0, 0.5, 1.0]
        >>> depth_of("model.embed_tokens.weight", {}), depth_of("model.norm.weight", {})
        (0.0, 1.0)
    """
    layer = layer_of(name)
    if layer is not None:
        last = max(stacks.get(layer.stack, 0) - 1, layer.index)
        return layer.index / last if last else 1.0
    components = name.rpartition("/")[2].split(".")
    if any(_AFTER.fullmatch(component) for component in components):
        return 1.0
    return 0.0 if any(_BEFORE.fullmatch(component) for component in components) else 1.0
