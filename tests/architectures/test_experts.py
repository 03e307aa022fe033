"""Experts stored one by one are recognised by their names, whatever the model, and packed only if they are alike."""

from typing import Any

import pytest

from cuvee.architectures.experts import packing_of, packings
from cuvee.spec import DTYPES, Header, TensorSpec

F32, BF16, I8 = DTYPES["F32"], DTYPES["BF16"], DTYPES["I8"]
QWEN, MIXTRAL = ("gate_proj", "up_proj", "down_proj"), ("w1", "w3", "w2")


def experts(parent: str, words: tuple[str, str, str], count: int = 2, **changes: TensorSpec | None) -> Header:
    """Make a header of one layer: alphabetical, as transformers writes it; `changes` are of expert 1."""
    made: dict[str, TensorSpec | None] = {}
    for e in range(count):
        gate, up, down = (f"{parent}.experts.{e}.{word}.weight" for word in words)
        made |= {gate: TensorSpec((6, 4), BF16), up: TensorSpec((6, 4), BF16), down: TensorSpec((4, 6), BF16)}
    made |= {f"{parent}.experts.1.{key}": spec for key, spec in changes.items()}
    return {name: made[name] for name in sorted(made) if made[name] is not None}  # type: ignore[misc]


def test_experts_are_packed_gate_before_up() -> None:
    header = {"a": TensorSpec((3,), F32), **experts("layers.0.mlp", QWEN), "z": TensorSpec((2,), F32)}
    packing = packing_of(header)
    assert packing is not None
    prefix = "layers.0.mlp.experts"
    assert packing.header == {
        "a": header["a"],
        f"{prefix}.down_proj": TensorSpec((2, 4, 6), BF16),
        f"{prefix}.gate_up_proj": TensorSpec((2, 12, 4), BF16),
        "z": header["z"],
    }
    assert list(packing.header) == ["a", f"{prefix}.down_proj", f"{prefix}.gate_up_proj", "z"]
    assert packing.parts == {
        f"{prefix}.gate_up_proj": [
            f"{prefix}.{e}.{word}.weight" for e in range(2) for word in ("gate_proj", "up_proj")
        ],
        f"{prefix}.down_proj": [f"{prefix}.{e}.down_proj.weight" for e in range(2)],
    }


def test_the_third_word_of_mixtral_is_up_and_its_module_is_renamed() -> None:
    old = "m.layers.0.block_sparse_moe"
    packing = packing_of({f"{old}.gate.weight": TensorSpec((2, 4), BF16), **experts(old, MIXTRAL)})
    assert packing is not None
    assert next(iter(packing.header)) == "m.layers.0.mlp.gate.weight"
    assert packing.parts == {
        "m.layers.0.mlp.gate.weight": (f"{old}.gate.weight",),
        "m.layers.0.mlp.experts.gate_up_proj": [
            f"{old}.experts.{e}.{word}.weight" for e in (0, 1) for word in ("w1", "w3")
        ],
        "m.layers.0.mlp.experts.down_proj": [f"{old}.experts.{e}.w2.weight" for e in (0, 1)],
    }


def test_experts_are_ordered_by_number_not_by_name() -> None:
    packing = packing_of(experts("mlp", QWEN, 11))
    assert packing is not None
    assert packing.parts["mlp.experts.down_proj"][2] == "mlp.experts.2.down_proj.weight"
    assert packing.parts["mlp.experts.down_proj"][10] == "mlp.experts.10.down_proj.weight"


ALIKE = experts("mlp", QWEN, 3)


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"mlp.gate_proj.weight": TensorSpec((6, 4), BF16)},
        {"mlp.shared_experts.0.gate_proj.weight": TensorSpec((6, 4), BF16)},
        {name: spec for name, spec in ALIKE.items() if ".1." not in name},
        {name: spec for name, spec in ALIKE.items() if ".0." not in name},
        {name: spec for name, spec in ALIKE.items() if name != "mlp.experts.1.up_proj.weight"},
        ALIKE | {"mlp.experts.1.up_proj.weight": TensorSpec((8, 4), BF16)},
        ALIKE | {"mlp.experts.1.up_proj.weight": TensorSpec((6, 4), F32)},
        ALIKE | {"mlp.experts.1.up_proj.weight": TensorSpec((6, 4), F32, stored=BF16)},
        ALIKE | {"mlp.experts.1.up_proj.bias": TensorSpec((6,), BF16)},
        ALIKE | {"mlp.experts.1.up_proj.weight_scale_inv": TensorSpec((1, 1), F32)},
        ALIKE | {"mlp.experts.999999999.up_proj.weight": TensorSpec((6, 4), BF16)},
        ALIKE | {"mlp.experts.gate_up_proj": TensorSpec((3, 12, 4), BF16)},
        ALIKE | experts("other", QWEN, 2, **{"w1.weight": TensorSpec((6, 4), BF16)}),
        {name: TensorSpec(spec.shape, I8) for name, spec in ALIKE.items()},
        {name: TensorSpec((*spec.shape, 1), BF16) for name, spec in ALIKE.items()},
        experts("block_sparse_moe", MIXTRAL) | {"block_sparse_moe.b": ALIKE["mlp.experts.0.up_proj.weight"],
                                                "mlp.b": ALIKE["mlp.experts.0.up_proj.weight"]},
    ],
    ids=lambda header: f"{len(header)} tensors",
)  # fmt: skip
def test_what_is_not_alike_is_left(header: Any) -> None:
    assert packing_of(header) is None


def test_only_models_that_another_one_stores_packed_are_packed() -> None:
    packed = packing_of(ALIKE)
    assert packed is not None
    both = {"old": ALIKE, "new": packed.header, "dense": {}}
    found, notes = packings(both, always=False)
    assert list(found) == ["old"]
    assert notes == ["Experts stored one by one are read packed, as another model stores them: models 'old'."]
    assert packings({"a": ALIKE, "b": ALIKE}, always=False) == ({}, [])
    found, notes = packings({"a": ALIKE, "b": ALIKE}, always=True)
    assert list(found) == ["a", "b"]
    assert notes == ["Experts stored one by one are read packed: models 'a', 'b'."]


def test_models_whose_experts_cannot_be_packed_are_named() -> None:
    odd = ALIKE | {"mlp.experts.1.up_proj.weight": TensorSpec((6, 4), F32)}
    found, notes = packings({"odd": odd}, always=True)
    assert not found
    assert notes == ["Experts stay as they are stored, one by one, because they are not all alike: models 'odd'."]
    assert packings({"odd": odd}, always=False) == ({}, [])
