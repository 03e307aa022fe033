"""Names of an adapter's tensors, as PEFT saves them: what each is of which module.

::

    base_model.model.<module>.lora_A.weight                     today
    base_model.model.<module>.lora_A.default.weight             with the adapter's name in it, as older files have
    base_model.model.<module>.base_layer.lora_B.weight          a parameter below another one, both with factors
    base_model.model.<module>.base_layer.bias                   a tensor of the base, trained or resized
    base_model.model.<module>.token_adapter.trainable_tokens_delta
    base_model.model.<module>.weight                            a module that was saved as a whole
    <module>.modules_to_save.<adapter>.weight, <module>.original_module.weight

Without ``base_model.model.`` they are names, too: adapters that were injected are saved so.
"""

import re
from dataclasses import dataclass

__all__ = ["Role", "role_of"]

ROOT = "base_model.model."
_ROLE = re.compile(
    r"(?P<module>.+)\.(?P<role>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector|ia3_l|"
    r"trainable_tokens_delta)(?:\.(?P<adapter>[^.]+?))??(?:\.(?P<leaf>weight|bias))?",
    re.DOTALL,
)
_LEAVES = {"lora_A": ("weight",), "lora_B": ("weight", "bias"), "lora_magnitude_vector": ("", "weight")}
_SAVED = re.compile(r"\.modules_to_save(?:\.default)?\.")
_BELOW = ".base_layer"
_TOKENS = ".token_adapter"
_ORIGINAL = ".original_module."


@dataclass(frozen=True, slots=True)
class Role:
    """What a tensor of an adapter is.

    Attributes:
        module: name of the module it belongs to; of a whole tensor, name of that tensor.
        kind: ``lora_A`` and so on, ``"bias"`` for the bias of ``lora_B``, ``"whole"``, or ``"original"``: what a whole
            tensor replaces.
        depth: how many wrappers it lies below.
        adapter: name of the adapter, where the file has it.
    """

    module: str
    kind: str
    depth: int = 0
    adapter: str = ""


def role_of(name: str) -> Role | None:
    """Say what a tensor of an adapter is, or None if that cannot be told.

    Example:
        >>> role_of("base_model.model.h.0.attn.lora_A.weight")
        Role(module='h.0.attn', kind='lora_A', depth=0, adapter='')
    """
    name = name.removeprefix(ROOT)
    found = _ROLE.fullmatch(name)
    if found is None:
        return _whole(name)
    kind, leaf = found["role"], found["leaf"] or ""
    if leaf not in _LEAVES.get(kind, ("",)):
        return None
    module, depth = _above(found["module"])
    kind = "bias" if leaf == "bias" else kind
    return Role(module.removesuffix(_TOKENS), kind, depth, found["adapter"] or "")


def _whole(name: str) -> Role:
    """Say which tensor of the base a whole tensor replaces."""
    if _ORIGINAL in name:
        return Role(_above(name.replace(_ORIGINAL, "."))[0], "original")
    plain = _SAVED.sub(".", name)
    return Role(_above(plain.replace(f"{_TOKENS}{_BELOW}.", "."))[0], "whole")


def _above(module: str) -> tuple[str, int]:
    """Return a name without the wrappers' parts, and how many there were."""
    parts = module.split(".")
    kept = [part for part in parts if part != _BELOW[1:]]
    return ".".join(kept), len(parts) - len(kept)
