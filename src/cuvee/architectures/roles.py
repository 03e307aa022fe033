"""What part a tensor plays in its model, read from its name, shape and element type.

Knows no architecture: the words are those that all families use for their parts. Methods that treat matrices,
embeddings or statistics differently ask here instead of looking at the number of axes.

=============  ========================================================================================================
role           meaning
=============  ========================================================================================================
``matrix``     weight of a linear map inside the model: attention, MLP, one expert, pooler, projector
``expert``     the weights of several experts packed in one tensor, (experts, out, in) or (experts, in, out)
``router``     everything in the gate that sends a token to experts, its bias included (its norms are ``norm``)
``embedding``  table with one row per token, position, type or learned token
``head``       last map to vocabulary, classes or scores
``conv``       kernel of a convolution, (out, in, …)
``norm``       scale and shift of a normalisation
``bias``       any other additive vector, or relative position bias
``statistic``  measured, not learned: running mean and variance, usage of a codebook, ranges of activations
``buffer``     integers, booleans and constants: counters, position ids, rotary frequencies, causal masks
``other``      layer scales, temperatures, state-space parameters, gates and whatever names do not tell
=============  ========================================================================================================
"""

import re
from typing import Literal, get_args

from cuvee.architectures.layers import layer_of
from cuvee.spec import TensorSpec

__all__ = ["ROLES", "Role", "measured", "role_of"]

Role = Literal[
    "matrix", "expert", "router", "embedding", "head", "conv", "norm", "bias", "statistic", "buffer", "other"
]
ROLES: tuple[Role, ...] = get_args(Role)

_BUFFER = re.compile(
    r"num_batches_tracked|(?:position|token_type|input)_ids|(?:\w+_)?inv_freq|freqs_cis|(?:cos|sin)(?:_cached)?|masked_bias|"
    r"relative_position_index|inited|initialized|"
    r"(?:input|output)_(?:min|max)"  # limits for activations, ±inf where unset: not to be averaged
)
_STATISTIC = re.compile(
    r"running_(?:mean|var|std)|(?:\w+_)?mean|(?:\w+_)?(?:invstd|std|var)|cluster_(?:size|usage)|embed_(?:avg|sum)|"
    r"x_(?:min|max)|act_scaling_factor"
)
_NORM = re.compile(r".*(?:norm|layrnorm).*|(?:.*_)?(?:ln|bn|gn)(?:_?\d+|_[a-z]+)?", re.IGNORECASE)
_ACTIVATION = re.compile(r"(?:.*_)?(?:act|activation|prelu)(?:_?fn)?\d*")
_BIAS = re.compile(r"(?:.*_)?bias(?:es)?(?:_.*)?")
_ROUTER = re.compile(r"(?:.*_)?router(?:_.*)?|shared_expert_gate")
_ROUTER_LEAF = re.compile(r"e_score_correction_bias|expert_bias|balancing_biases")
_MLP = re.compile(r"(?:.*_)?(?:mlp|moe|ffn|feed_forward|mixer)")
_TABLE = re.compile(
    r".*embed.*|(?:.*_)?embs?(?:_.*)?|wte|wpe|(?:.*_)?tokens?|relative_attention_bias|(?:.*_)?rel_pos(?:_.*)?|codebook",
    re.IGNORECASE,
)
_NOT_A_TABLE = re.compile(r".*(?:proj|transform|mapping|dense|linear|norm|patch|unembed).*", re.IGNORECASE)
_HEAD = re.compile(
    r"(?:.*_)?heads?|embed_out|unembed.*|classifier(?:_.*)?|scores?|output_projection|vocab_projector|lm_loss|qa_outputs|"
    r"logits?|(?!denoising)(?:.*_)?(?:class|bbox|score)_embed|seq_relationship",
    re.IGNORECASE,
)
_HEAD_AT_TOP = re.compile(r"output|decoder|proj_out|fc|cls", re.IGNORECASE)
_INSIDE_HEAD = re.compile(r"decoder|out_proj|proj|output")
_HEAD_PARENT = re.compile(r"(?:.*_)?(?:heads?|predictions|pred_layer|classifier)")
_WEIGHT = re.compile(r"(?:.*_)?weight(?:_.*)?|(?:.*_)?proj|w\d*|original\d*")


def role_of(name: str, spec: TensorSpec) -> Role:
    """Return the part a tensor plays; the first rule that fits decides.

    Args:
        name: full name of the tensor.
        spec: its shape and element type.

    Example:
        >>> from cuvee.spec import DTYPES
        >>> role_of("model.layers.0.self_attn.q_proj.weight", TensorSpec((64, 64), DTYPES["BF16"]))
        'matrix'
        >>> role_of("model.layers.0.mlp.experts.gate_up_proj", TensorSpec((8, 128, 64), DTYPES["BF16"]))
        'expert'
    """
    name = name.rpartition("/")[2]  # what precedes it is a component of a pipeline
    unlearned = measured(name, spec)
    if unlearned is not None:
        return unlearned
    *path, leaf = name.split(".")
    modules = [part for part in path if not part.isdigit()]
    module = modules[-1] if modules else ""
    rank = sum(extent != 1 for extent in spec.shape)
    if rank <= 1 and (_NORM.fullmatch(module) or _NORM.fullmatch(leaf)):
        return "norm"
    if _is_router(path, leaf, spec):
        return "router"
    if _BIAS.fullmatch(leaf) and leaf != "relative_attention_bias":
        return "bias"
    if len(spec.shape) == 1 and leaf == "weight" and not _ACTIVATION.fullmatch(module):
        return "norm"  # a vector of weights scales what another part made: nothing but norms does that under this name
    return _role_of_weight(name, modules, leaf, spec)


def measured(name: str, spec: TensorSpec) -> Literal["buffer", "statistic"] | None:
    """Return the role of what training does not learn, and None for what it does.

    Args:
        name: full name of the tensor.
        spec: its shape and element type.
    """
    path, _, leaf = name.rpartition(".")
    if spec.dtype.kind in ("integer", "boolean") or _BUFFER.fullmatch(leaf):
        return "buffer"
    if leaf == "bias" and _is_causal_mask(spec.shape):
        return "buffer"
    if _STATISTIC.fullmatch(leaf) or (leaf == "embed" and _last_module(path) == "codebook"):
        return "statistic"
    return None


def _last_module(path: str) -> str:
    """Return the last component that is not a number, or an empty string."""
    return next((part for part in reversed(path.split(".")) if not part.isdigit()), "")


def _is_causal_mask(shape: tuple[int, ...]) -> bool:
    """Tell GPT-2's stored mask, (1, 1, positions, positions), from a bias."""
    return len(shape) == 4 and shape[:2] == (1, 1) and shape[2] == shape[3] > 1


def _is_router(path: list[str], leaf: str, spec: TensorSpec) -> bool:
    """Tell the gate in front of experts from the gate of a gated MLP or of attention."""
    if _ROUTER_LEAF.fullmatch(leaf) or any(_ROUTER.fullmatch(part) for part in path):
        return True
    if "gate" not in path:
        return False
    before = path[: path.index("gate")]
    # A gated MLP that calls its up-projection "gate" widens; a router has one row per expert.
    widens = len(spec.shape) == 2 and spec.shape[0] > spec.shape[1]
    return "experts" not in before and not widens and any(_MLP.fullmatch(part) for part in before)


def _role_of_weight(name: str, modules: list[str], leaf: str, spec: TensorSpec) -> Role:
    """Return the role of a tensor that is neither measured, nor a norm, a router or a bias."""
    num_axes = len(spec.shape)
    module = modules[-1] if modules else ""
    if _is_packed_experts(name, leaf, num_axes):
        return "expert"
    if num_axes >= 2 and leaf == "weight" and _is_head(name, modules):
        return "head"
    if _is_table(name, module if leaf == "weight" else leaf, leaf, num_axes):
        return "embedding"
    if num_axes >= 3 and (leaf == "weight" or leaf in ("weight_v", "original1")):
        return "conv"
    if num_axes == 2 and _WEIGHT.fullmatch(leaf):
        return "matrix"
    return "other"


def _is_packed_experts(name: str, leaf: str, num_axes: int) -> bool:
    """Tell experts packed in one tensor from one expert among numbered ones."""
    parts = name.split(".")
    if num_axes == 3 and any("expert" in part or part.endswith(("moe", "linear")) for part in parts[:-1]):
        return True  # a linear map has two axes; with a third, it is JetMoE's or Granite's stack of experts
    # DBRX stacks its experts along the rows: ffn.experts.mlp.w1 is (experts * hidden, width).
    numbered = "experts" in parts and any(part.rsplit("_", 1)[-1].isdigit() for part in parts[parts.index("experts") :])
    return num_axes == 2 and "experts" in parts and not numbered and leaf != "weight"


def _is_head(name: str, modules: list[str]) -> bool:
    """Tell the last map of a model, by the last module of its name, from one inside a layer or inside a head's MLP."""
    layer = layer_of(name)
    if not modules or (layer is not None and "." in layer.rest):
        return False
    last, parent = modules[-1], modules[-2] if len(modules) > 1 else ""
    if _HEAD.fullmatch(last) or (len(modules) == 1 and _HEAD_AT_TOP.fullmatch(last)):
        return True
    return bool(_INSIDE_HEAD.fullmatch(last) and _HEAD_PARENT.fullmatch(parent))


def _is_table(name: str, word: str, leaf: str, num_axes: int) -> bool:
    """Tell a table of vectors (or one learned vector) from a map that feeds or follows it."""
    if leaf == "weight" and num_axes != 2:
        return False
    if word == "shared" or word == "w":
        return layer_of(name) is None
    return bool(_TABLE.fullmatch(word)) and not _NOT_A_TABLE.fullmatch(word)
