"""Errors of merges that run, of what was merged, and of the demonstration."""

import json
from typing import Any

import torch

import cuvee
from bad_input.checkpoints import state
from cuvee.execute import run
from cuvee.plan import limits as plan_limits
from cuvee.plan import planner
from docs.errors.made import merge, models
from docs.errors.scenarios import Place, provokes


@provokes(
    "{tensor} of {model} is {value} at flat index {index}. A merge would spread it: repair that model, or give a "
    "rule for this tensor (copy it from another model, or skip it)."
)
def weight_that_is_not_a_number(place: Place) -> None:
    models(place, b=state(2, **{"model.norm.weight": torch.tensor([1, float("nan")])}))
    merge()


@provokes(
    "{tensor} of {model} is {value} at flat index {index}. float32 arithmetic cannot hold it: repair that model, "
    "or give a rule for this tensor (copy it from another model, or skip it)."
)
def weight_too_large_for_float32(place: Place) -> None:
    models(place, b=state(2, **{"model.norm.weight": torch.tensor([1, 1e300], dtype=torch.float64)}))
    merge()


@provokes(
    "{tensor}: method '{method}' gives {value} at flat index {index}, which comes of finite inputs; lower the "
    "weights or the scale. …"
)
def result_that_is_infinite(place: Place) -> None:
    models(place, b=state(2, **{"model.norm.weight": torch.tensor([1, 3e38])}))
    merge(parameters={"weight": 10, "normalize": False})


@provokes(
    "{tensor}: method '{method}' gives {value} at flat index {index}, which does not fit into {type}; choose a "
    "wider output dtype. …"
)
def result_beyond_the_type_of_the_output(place: Place) -> None:
    models(place, b=state(2, **{"model.norm.weight": torch.tensor([1, 3e5])}))
    merge(output={"dtype": "float16"})


@provokes(
    "{what} is a {type}; merge_tensors takes one tensor of each model, in a list or by label, and one of the base. …"
)
def numbers_in_the_place_of_tensors(_: Place) -> None:
    cuvee.merge_tensors("linear", [1, 2])  # type: ignore[list-item]


@provokes("{tensor}: mlerp: the models cancel out and their mean has no direction; use linear for this tensor.")
def models_that_cancel_out(_: Place) -> None:
    one = torch.tensor([1.0, 2.0])
    cuvee.merge_tensors("mlerp", [one, -one])


@provokes("{tensor}: multislerp: the models cancel out and their mean has no direction; use linear for this tensor.")
def directions_that_cancel_out(_: Place) -> None:
    one = torch.tensor([1.0, 2.0])
    cuvee.merge_tensors("multislerp", [one, one, -one], weight=[1, 1, 2])


@provokes("{tensor}: its elements have changed from one reading to the next; nothing may write to an input.")
def state_dict_that_changes_while_it_is_merged(place: Place) -> None:
    place.patch.setattr(planner, "CELL", 4096)  # a small tensor is then merged in several steps
    place.patch.setattr(run, "CELL", 1)
    place.patch.setattr(plan_limits, "KEPT", 0)  # and read again for each pass
    weights = torch.randn(50_000)
    num_cells = -(-50_000 // 4096)
    calls = 0

    def progress(*_: int) -> None:
        nonlocal calls
        calls += 1
        if calls > num_cells:  # the first pass is over
            weights.zero_()

    limits = cuvee.Limits(workers=1, block_bytes=1)
    merge("out", "ties", models=[{"w": weights}], base={"w": torch.zeros(50_000)}, progress=progress, limits=limits)


@provokes("{out} has no record, which a merge leaves as {file}: there is nothing to compare with.")
def verification_of_a_model(place: Place) -> None:
    models(place)
    place.command("verify", "a")


@provokes("{file} has format {format}; this version reads format 1.")
def record_of_another_format(place: Place) -> None:
    bend(place, format=2)


@provokes(
    "{folder} has no record of its own, but holds the merges {names}. Verify each by itself: cuvee verify {first}"
)
def verification_of_several_merges(place: Place) -> None:
    models(place)
    merge("merges/one")
    merge("merges/two")
    place.command("verify", "merges")


DAMAGED = (
    "{file} is not the record of a merge, or is damaged: {what}. Copy it again from where the merge was made, or merge "
    "again."
)


@provokes(DAMAGED)
def record_that_is_cut_off(place: Place) -> None:
    models(place)
    merge()
    (place.folder / "out" / "cuvee.json").write_text("{")
    place.command("verify", "out/cuvee.json")


@provokes(DAMAGED)
def record_without_inputs(place: Place) -> None:
    bend(place, inputs=None)


@provokes(DAMAGED)
def record_without_a_recipe(place: Place) -> None:
    bend(place, recipe="linear")


def bend(place: Place, **changed: Any) -> None:
    """Merge, change the record, and verify."""
    models(place)
    merge()
    record = place.folder / "out" / "cuvee.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | changed))
    place.command("verify", "out")


@provokes("not as recorded: {parts}.")
def weights_that_changed_after_the_merge(place: Place) -> None:
    models(place)
    merge()
    weights = place.folder / "out" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + bytes(4))
    place.command("verify", "out")


@provokes("{out}: the folder holds something that no earlier demo made; name a new one with --out.")
def demo_into_a_folder_of_work(place: Place) -> None:
    (place.folder / "notes.txt").touch()
    place.command("demo", "--out", place.folder)


@provokes("{out} is a file; the demo needs a folder. Name another one with --out.")
def demo_into_a_file(place: Place) -> None:
    (place.folder / "out").touch()
    place.command("demo", "--out", "out")


@provokes("{out}: the demo's folder cannot be made: {cause}.")
def demo_below_a_file(place: Place) -> None:
    (place.folder / "notes.txt").touch()
    place.command("demo", "--out", "notes.txt/out")
