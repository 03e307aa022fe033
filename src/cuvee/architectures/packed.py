"""Refuse checkpoints whose weights are not what they seem: quantised, scaled, or an adapter without its model.

Averaging the bytes of packed weights, or weights without their scales, gives noise and no error, so such a source is
refused before anything is read, naming a tensor and what packed it. Knows names, headers and the configuration.

A word counts only where ordinary models do not use it. ``scales`` is a table of quantisation scales beside ``qweight``
and an innocent parameter elsewhere, so most rules ask for the neighbour that makes the case; ``layer_scale``,
``logit_scale``, a norm's ``scale``, ``lambda_1`` and the like pass. 8-bit floats without scales pass, too: they are
numbers like any other.
"""

import re
from collections.abc import Iterator, Mapping

from cuvee.errors import UnsupportedError
from cuvee.spec import Header, TensorSpec

__all__ = ["refuse_packed"]

# Last component of a name -> what stores weights so. None of these is a parameter of an ordinary model.
_LEAVES = {
    "qweight": "GPTQ or AWQ",
    "qzeros": "GPTQ or AWQ",
    "g_idx": "GPTQ",
    "weight_packed": "compressed-tensors",
    "weight_scale": "FP8 or INT8 scales",
    "weight_scale_inv": "FP8 scales",
    "weight_scale_2": "NVFP4 scales",
    "weight_global_scale": "NVFP4 scales",
    "weight_zero_point": "compressed-tensors",
    "weight_shape": "compressed-tensors",
    "weight_scales": "EETQ or INT8 scales",
    "weight_format": "bitsandbytes",
    "SCB": "bitsandbytes INT8",
    "absmax": "bitsandbytes",
    "nested_absmax": "bitsandbytes",
    "quant_map": "bitsandbytes",
    "nested_quant_map": "bitsandbytes",
    "W_q": "HQQ",
    "Qidxs": "QuIP#",
    "_packed_params": "torch.ao",
    "_weight_qdata": "torchao",
    "_weight_scale": "torchao",
    "_data": "quanto",
    "_scale": "quanto",
}
# The same, for a component anywhere in the name.
_INSIDE = {"quant_state": "bitsandbytes", "_packed_params": "torch.ao"}
# Last component -> the neighbour it needs to be a part of packed weights -> what stores weights so.
_BESIDE = {
    "scales": {"qweight": "GPTQ or AWQ", "biases": "MLX", "codes": "AQLM"},
    "codebooks": {"codes": "AQLM"},
    "centroids": {"indices": "VPTQ"},
}
_FACTORS = ("lora", "lokr_", "hada_w", "ia3_l", "oft_", "vera_lambda_")  # how components of an adapter's names begin
_ADAPTER = re.compile(
    r"(?P<module>.+?)\.(?:lora_(?:A|B|embedding_A|embedding_B|magnitude_vector|up|down)|lora\.(?:up|down)|lokr_\w+|"
    r"hada_w\w+|ia3_l|oft_[rR]|vera_lambda_[bd])(?:\..+)?"
)
_SCALES = ("scale", "scales")
_CONFIG_KEYS = ("quantization_config", "compression_config")


def refuse_packed(header: Header, config: Mapping[str, object], reference: str) -> None:
    """Raise if the weights of a source cannot be merged as the numbers they are stored as.

    Args:
        header: the source's header.
        config: the model's configuration, or an empty mapping.
        reference: what the user called the source, for the message.

    Raises:
        UnsupportedError: the weights are quantised or scaled, or the source is an adapter.
    """
    name, cause = next(_findings(header), ("", ""))
    if cause == "adapter":
        raise UnsupportedError(
            f"{reference}: {name}: this is an adapter, not a model: its factors only have a meaning together; averaged "
            "one by one they give noise. Name it with its base, BASE+ADAPTER, or merge it into that first (PEFT: "
            "merge_and_unload)."
        )
    if cause:
        raise UnsupportedError(
            f"{reference}: {name}: the weights are packed or scaled ({cause}), here {header[name].dtype} "
            f"{header[name].shape}. Merging needs plain numbers. Dequantise the model first, or use the checkpoint it "
            "was made from."
        )
    key, how = _configured(config)
    if key:
        raise UnsupportedError(
            f"{reference}: config.json has '{key}' ({how}): the weights are quantised, though no tensor's name shows "
            "it. Merging needs plain numbers. Dequantise the model first; if its weights are plain numbers already, "
            f"remove '{key}' from config.json."
        )


def _findings(header: Header) -> Iterator[tuple[str, str]]:
    """Yield names of packed tensors, each with what packed it."""
    # Tens of thousands of names are made of a few hundred words, most of them harmless.
    suspects = set(filter(_is_suspect, set(".".join(header).split("."))))
    for name, spec in header.items():
        is_suspect = bool(suspects) and not suspects.isdisjoint(name.split("."))
        if not is_suspect and spec.dtype.kind == "float":
            continue
        cause = _named_cause(header, name) or _typed_cause(name, spec)
        if cause:
            yield name, cause
        elif _is_adapter(header, name):
            yield name, "adapter"


def _is_suspect(word: str) -> bool:
    """Tell a component of names without which none is that of a packed tensor or an adapter's factor."""
    known = word in _LEAVES or word in _INSIDE or word in _BESIDE or word in _SCALES
    return known or word.endswith("_blocks") or word.startswith(_FACTORS)


def _named_cause(header: Header, name: str) -> str:
    """Return what packed the tensor, by its name and its neighbours' names, or an empty string."""
    module, _, leaf = name.rpartition(".")
    if leaf in _LEAVES:
        return _LEAVES[leaf]
    for part in name.split("."):
        if part in _INSIDE:
            return _INSIDE[part]
    for neighbour, cause in _BESIDE.get(leaf, {}).items():
        if f"{module}.{neighbour}" in header:
            return cause
    if name.endswith("_blocks") and f"{name.removesuffix('_blocks')}_scales" in header:
        return "MXFP4"
    weight = header.get(f"{module}.weight")
    if leaf in _SCALES and weight is not None and weight.dtype.bits == 8:
        return "8-bit weights beside their scale"  # DeepSeek's own format
    return ""


def _typed_cause(name: str, spec: TensorSpec) -> str:
    """Return what the element type says of packing, or an empty string."""
    if spec.dtype.kind == "packed":
        return f"elements of {spec.dtype.bits} bits that need a scale"
    is_matrix = name.endswith(".weight") and len(spec.shape) >= 2
    return "integer weights" if is_matrix and spec.dtype.kind == "integer" else ""


def _is_adapter(header: Header, name: str) -> bool:
    """Tell a factor whose model is not here, or is here but not merged with it, from one that the architecture has."""
    found = _ADAPTER.fullmatch(name)
    if found is None:
        return False
    module = found["module"].split(".parametrizations.")[0]
    return f"{module}.weight" not in header and f"{module}.parametrizations.weight.original" not in header


def _configured(config: Mapping[str, object]) -> tuple[str, str]:
    """Return the key under which the configuration, or a part of it, speaks of quantisation, and how it is done."""
    parts = [("", config), *((f"{key}.", part) for key, part in config.items() if isinstance(part, Mapping))]
    for prefix, part in parts:
        for key in _CONFIG_KEYS:
            quantised = part.get(key)
            if quantised:
                named = quantised if isinstance(quantised, Mapping) else {}
                return f"{prefix}{key}", str(named.get("quant_method") or named.get("format") or "method not named")
    return "", ""
