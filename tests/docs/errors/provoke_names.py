"""Names that stand for no model: of nothing, of something else, of nobody."""

import torch

import cuvee
from docs.errors.checkpoints import checkpoint
from docs.errors.scenarios import Place, provokes


@provokes("{text} is not a path: it holds a zero byte.")
def path_with_zero_byte(_: Place) -> None:
    cuvee.open_source("models/math\0models/code")


@provokes("{text} is not a path: its '~' stands for no user of this machine. Write it in full.")
def path_of_nobody(_: Place) -> None:
    cuvee.open_source("~nobody-of-this-name/model")


@provokes("'{text}' is not BASE+ADAPTER: there is nothing on one side of a '+'.")
def base_without_adapter(place: Place) -> None:
    cuvee.open_source(f"{checkpoint(place.folder / 'base')}+")


@provokes(
    "{file} is named as a recipe; a model is expected here. Within a recipe, write the other one itself in the "
    "model's place, or both under 'recipes:' in one file; elsewhere, name what it makes."
)
def recipe_instead_of_model(place: Place) -> None:
    text = "cuvee: 1\nmethod: linear\nmodels: [a, b]\n"
    (place.folder / "inner.yaml").write_text(text)
    (place.folder / "outer.yaml").write_text(text.replace("a, b", "inner.yaml, b"))
    cuvee.plan("outer.yaml")


@provokes("A {type} is no source; expected a path, a state dict or a source.")
def module_instead_of_its_state_dict(_: Place) -> None:
    cuvee.open_source(torch.nn.Linear(2, 2))  # type: ignore[arg-type]


@provokes("'{path}' is not a local folder or file.…")
def model_with_misspelt_name(place: Place) -> None:
    checkpoint(place.folder / "expert-math")
    place.command("inspect", "expert-maths")


@provokes("'{path}' is a link to '{target}', which is not there. Download it again.")
def link_to_nowhere(place: Place) -> None:
    (place.folder / "model").symlink_to("../blobs/0123")
    cuvee.open_source("model")


@provokes("{file} is not weights but a file about them. Name its folder, {folder}.")
def configuration_instead_of_folder(place: Place) -> None:
    (checkpoint(place.folder / "math") / "config.json").write_text("{}")
    cuvee.open_source("math/config.json")
