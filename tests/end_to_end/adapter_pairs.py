"""Adapters of one base, what peft makes of them, and adapters of small whole numbers."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

State = dict[str, torch.Tensor]


def weights(path: Path) -> State:
    return load_file(path / "model.safetensors")


def merged_by_peft(pair: Path, adapter: Path, family: str) -> State:
    """Load an adapter onto the base with peft, merge it and return every tensor as saved."""
    kind = {
        "llama classifier": transformers.AutoModelForSequenceClassification,
        "bert": transformers.AutoModelForSequenceClassification,
        "resnet": transformers.AutoModelForImageClassification,
    }
    loader = kind.get(family, transformers.AutoModelForCausalLM)
    with warnings.catch_warnings(action="ignore"):
        warnings.filterwarnings("error", message=".*(missing|unexpected).*keys.*")
        model = peft.PeftModel.from_pretrained(loader.from_pretrained(pair / "0" / "base"), adapter)
    model.merge_and_unload().save_pretrained(adapter.parent / f"{adapter.name}-merged")
    return weights(adapter.parent / f"{adapter.name}-merged")


def models(pair: Path, *, with_base: bool) -> list[str]:
    base = f"{pair}/0/base+" if with_base else ""
    return [f"{base}{pair}/{number}/adapter" for number in (0, 1)]


def weighted(pair: Path, shares: list[float]) -> State:
    """The base and the weighted sum of what peft's merges add to it."""
    base = {name: tensor.double() for name, tensor in weights(pair / "0" / "base").items()}
    made = [weights(pair / number / "merged") for number in ("0", "1")]
    return {
        name: tensor + sum(share * (own[name].double() - tensor) for share, own in zip(shares, made, strict=True))
        for name, tensor in base.items()
    }


def assert_near(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        atol = 2.0**-20 * max(float(tensor.abs().max()), 1.0)
        torch.testing.assert_close(
            found[name].double(), tensor.double(), rtol=2.0**-20, atol=atol, msg=lambda t, n=name: f"{n}: {t}"
        )


def delta(folder: Path, module: str) -> np.ndarray[Any, Any]:
    """Multiply a module's written factors in float64; their scaling is 1."""
    tensors = load_file(folder / "adapter_model.safetensors")
    a, b = (tensors[f"base_model.model.{module}.lora_{side}.weight"].double().numpy() for side in "AB")
    product: np.ndarray[Any, Any] = b @ a
    return product


def exact(folder: Path) -> list[Path]:
    """Make a base and two adapters of small whole numbers, so that no sum is rounded."""
    generator = torch.Generator().manual_seed(0)

    def whole(*shape: int) -> torch.Tensor:
        return torch.randint(-4, 5, shape, generator=generator).float()

    names, found = ("layers.0.q", "layers.1.q"), []
    (folder / "base").mkdir(parents=True)
    save_file({f"{name}.weight": whole(12, 10) for name in names}, folder / "base" / "model.safetensors")
    (folder / "base" / "config.json").write_text("{}")
    for number in range(3):
        path = folder / f"a{number}"
        path.mkdir()
        factors = {
            f"base_model.model.{n}.lora_{s}.weight": whole(*(2, 10) if s == "A" else (12, 2))
            for n in names
            for s in "AB"
        }
        save_file(factors, path / "adapter_model.safetensors")
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": list(names)}
        (path / "adapter_config.json").write_text(json.dumps(config))
        found.append(path)
    return found
