"""Errors of merges of adapters into an adapter, and of extracting one."""

import json
from typing import Any

import safetensors.torch
import torch

import cuvee
from bad_input.checkpoints import WEIGHT, state
from docs.errors.made import merge, models
from docs.errors.scenarios import Place, provokes

MODULE = "model.layers.0.mlp"  # of a weight of shape (3, 5)
EMBEDDING = "model.embed_tokens"  # of a weight of shape (4, 2)


def factors(module: str, shape: tuple[int, int], rank: int = 2) -> dict[str, torch.Tensor]:
    """Factors of a linear layer."""
    names = f"{module}.lora_A.weight", f"{module}.lora_B.weight"
    return dict(zip(names, (torch.ones(rank, shape[1]), torch.ones(shape[0], rank)), strict=True))


def adapter(place: Place, name: str, tensors: dict[str, torch.Tensor] | None = None, **options: Any) -> None:
    """Save an adapter, by default of one linear layer."""
    folder = place.folder / name
    folder.mkdir()
    stored = {f"base_model.model.{key}": tensor for key, tensor in (tensors or factors(MODULE, (3, 5))).items()}
    safetensors.torch.save_file(stored, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2, **options}))


def merged(method: str = "linear", **keys: Any) -> None:
    """Merge the adapters x and y."""
    merge(method=method, **{"models": {"x": "x", "y": "y"}, "output": {"adapter": True}, **keys})


@provokes("{out} is one file; an adapter is a folder, with its configuration. Give a folder.")
def adapter_into_one_file(_: Place) -> None:
    merged(out="out.safetensors")


@provokes("{out}: nothing is left of the adapter: every factor is zero or left out.")
def adapters_that_are_left_out(place: Place) -> None:
    adapter(place, "x")
    adapter(place, "y")
    merged("task_arithmetic", parameters={"weight": 0.0})


@provokes("{base} and {finetuned} are equal in every tensor; there is nothing to extract.")
def adapter_of_two_equal_models(place: Place) -> None:
    models(place)
    place.command("extract", "a", "a", "--out", "out", "--rank", "2")


@provokes("an adapter to extract needs a rank or an error: --rank 16, or --error 0.1.")
def extraction_without_a_rank(place: Place) -> None:
    place.command("extract", "base", "a", "--out", "out")


@provokes(
    "'{tensor}' has shape {shape} in {one}, and {found} in {other}; expected a base and a model that was trained "
    "from it."
)
def extraction_from_another_base(place: Place) -> None:
    models(place, a=state(1, **{WEIGHT: torch.ones(5, 3)}))
    cuvee.extract("base", "a", "out", rank=2)


@provokes("{tensor}: a weight is NaN or infinite; see which with cuvee diff.")
def extraction_from_a_broken_model(place: Place) -> None:
    models(place, a=state(1, **{WEIGHT: torch.full((3, 5), float("nan"))}))
    cuvee.extract("base", "a", "out", rank=2)


@provokes("the adapters differ in '{key}': {values}; expected adapters of one kind.")
def adapters_of_two_kinds(place: Place) -> None:
    adapter(place, "x")
    adapter(place, "y", bias="all")
    merged()


@provokes(
    "{tensor}: method '{method}' is no weighted sum, so what it makes of adapters of rank {ranks} has a rank of "
    "up to {rank}. Say which rank to keep: output: {adapter: true, rank: 4}, or error: 0.1."
)
def ties_of_adapters_without_a_rank(place: Place) -> None:
    adapter(place, "x")
    adapter(place, "y")
    merged("ties")


@provokes(
    "{tensor}: the merged factors are not finite: an adapter holds NaN or infinite numbers, or the weights are "
    "too large. Look at the adapters with cuvee diff."
)
def adapter_that_is_broken(place: Place) -> None:
    adapter(place, "x")
    adapter(place, "y", {name: tensor * float("inf") for name, tensor in factors(MODULE, (3, 5)).items()})
    merged()


@provokes("'{module}' is an embedding in some of the adapters only; expected adapters of one base.")
def embedding_in_one_adapter_only(place: Place) -> None:
    adapter(place, "x", factors(EMBEDDING, (4, 2)))
    embedding = {"lora_embedding_A": torch.ones(2, 4), "lora_embedding_B": torch.ones(2, 2)}
    adapter(place, "y", {f"{EMBEDDING}.{name}": tensor for name, tensor in embedding.items()})
    merged()


@provokes("adapters are merged as adapters of one base; the recipe names {bases}. …")
def adapters_of_two_bases(place: Place) -> None:
    models(place)
    adapter(place, "x")
    adapter(place, "y")
    merged(models=["base+x", "a+y"])


@provokes("model '{label}' must be named by a path to be merged as an adapter.")
def state_dict_among_adapters(place: Place) -> None:
    merged(models=["x", factors(MODULE, (3, 5))])


@provokes("model '{label}' is a merge, and adapters are merged as adapters from folders. …")
def merge_among_adapters(_: Place) -> None:
    merged(models=["x", {"method": "linear", "models": ["y", "z"]}])


@provokes("model '{label}': it is a merge to an adapter, which is no model by itself. …")
def adapter_as_a_model(place: Place) -> None:
    models(place)
    inner = {"method": "linear", "models": ["x", "y"], "output": {"adapter": True}}
    recipes = {"inner": inner, "outer": {"method": "linear", "models": ["a", "inner"]}}
    cuvee.merge({"cuvee": 1, "recipes": recipes}, "out")


@provokes(
    "{module}: this module needs {number} MB of memory in all, with one {worker}; the limit is {limit} MB. Allow "
    "{number} MB or more."
)
def extraction_in_too_little_memory(place: Place) -> None:
    models(place)
    place.command("extract", "base", "a", "--out", "out", "--rank", "2", "--memory", "1MB")


@provokes("model '{label}' has {number} adapters; expected one. Merge those first, with task_arithmetic.")
def two_adapters_on_one_base(place: Place) -> None:
    models(place)
    adapter(place, "x")
    adapter(place, "y")
    merged(models=["base+x+y", "base+y"])


@provokes("the base of adapters must be named by its path.")
def base_of_adapters_in_memory(place: Place) -> None:
    adapter(place, "x")
    adapter(place, "y")
    merged(base=state(0))


@provokes("the adapters say that they were made for different bases: {bases}. …")
def adapters_that_state_two_bases(place: Place) -> None:
    adapter(place, "x", base_model_name_or_path="org/one")
    adapter(place, "y", base_model_name_or_path="org/two")
    merged()


@provokes(
    "model '{label}': {file} changes '{module}' by other means than two factors {kind}, which has no merge as an "
    "adapter. …"
)
def adapter_with_magnitudes(place: Place) -> None:
    adapter(place, "x")
    dora = factors(MODULE, (3, 5)) | {f"{MODULE}.lora_magnitude_vector.weight": torch.ones(3)}
    adapter(place, "y", dora, use_dora=True)
    merged()


@provokes("'{tensor}': adapter '{label}' is made for shape {shape}, others for {other}; expected adapters of one base.")
def adapters_of_two_sizes(place: Place) -> None:
    adapter(place, "x")
    adapter(place, "y", factors(MODULE, (3, 6)))
    merged()


@provokes("'{tensor}' is a whole tensor in some of the adapters, and low-rank in others. …")
def head_that_one_adapter_has_as_a_whole(place: Place) -> None:
    adapter(place, "x", factors(MODULE, (3, 5)) | factors("lm_head", (4, 2)))
    adapter(place, "y", factors(MODULE, (3, 5)) | {"lm_head.weight": torch.ones(4, 2)}, modules_to_save=["lm_head"])
    merged()


@provokes("adapter '{label}' has a '{tensor}' of its own below its factors, which differs from that of {other}. …")
def embeddings_that_differ_below_factors(place: Place) -> None:
    for number, name in enumerate("xy"):
        own = {f"{EMBEDDING}.weight": torch.full((4, 2), float(number))}
        names = {"lora_embedding_A": torch.ones(2, 4), "lora_embedding_B": torch.ones(2, 2)}
        adapter(place, name, own | {f"{EMBEDDING}.{key}": tensor for key, tensor in names.items()})
    merged()


@provokes("the adapters have '{tensor}' as a whole, {reason}. Name the base: 'base', or BASE+ADAPTER.")
def head_that_one_adapter_lacks(place: Place) -> None:
    adapter(place, "x")
    adapter(place, "y", factors(MODULE, (3, 5)) | {"lm_head.weight": torch.ones(4, 2)}, modules_to_save=["lm_head"])
    merged()
