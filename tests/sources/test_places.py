"""What a name means follows from the folder it is relative to, and from no other folder."""

from pathlib import Path

import pytest
import torch

import cuvee
from cuvee.errors import SourceError
from cuvee.sources.reference import places_of
from cuvee.writers.save import save_state_dict
from sources.hub_models import single
from sources.hub_server import Hub


def put(folder: Path, value: float) -> None:
    save_state_dict(folder, {"a": torch.full((4, 4), value), "b": torch.zeros(3)})


def recipe_in(folder: Path, model: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(f"cuvee: 1\nmethod: linear\nmodels: [{model}]\n")
    return folder / "recipe.yaml"


def merged(recipe: Path, out: Path) -> float:
    cuvee.merge(recipe, out)
    source = cuvee.open_source(out)
    data = bytearray(4)
    source.read_into(memoryview(data), "a")
    return float(torch.frombuffer(data, dtype=torch.float32))


@pytest.mark.parametrize("folder", [Path(), Path("recipes")])
def test_what_lies_beside_the_recipe_comes_before_the_hub(folder: Path, hub: Hub, tmp_path: Path) -> None:
    hub.add("org/model", single(1.0))
    put(tmp_path / folder / "org" / "model", 2.0)
    assert merged(recipe_in(folder, "org/model"), tmp_path / "out") == 2.0
    assert not hub.asked("GET")
    assert "base_model:" not in (tmp_path / "out" / "README.md").read_text()


def test_what_lies_in_the_current_folder_is_not_what_a_recipe_elsewhere_names(hub: Hub, tmp_path: Path) -> None:
    hub.add("org/model", single(1.0))
    put(tmp_path / "org" / "model", 2.0)
    assert merged(recipe_in(tmp_path / "recipes", "org/model"), tmp_path / "out") == 1.0
    assert "base_model:\n- org/model\n" in (tmp_path / "out" / "README.md").read_text()
    assert merged(recipe_in(tmp_path / "recipes", "../org/model"), tmp_path / "other") == 2.0


def test_a_path_that_is_missing_beside_a_recipe_is_not_looked_for_on_the_hub(hub: Hub, tmp_path: Path) -> None:
    hub.add("recipes/model", single())
    put(tmp_path / "recipes" / "models", 1.0)
    said = "'recipes/model' is not a local folder or file. Did you mean 'models'?"
    with pytest.raises(SourceError, match=f"m0': {said[:-1]}\\?$"):
        cuvee.plan(recipe_in(Path("recipes"), "model"))
    assert cuvee.open_source("recipes/model").location.startswith("recipes/model@")  # there it is the hub's name


def test_parts_are_told_apart_by_what_lies_beside_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "a+b", 1.0)
    assert [place.called for place in places_of("a+b")] == ["a+b"]
    assert [place.called for place in places_of("a+b", tmp_path)] == [f"{tmp_path}/a+b"]
    assert [place.called for place in places_of("a+b", Path("recipes"))] == ["recipes/a", "recipes/b"]
    assert [place.called for place in places_of("s3://x/a+org/b", tmp_path)] == ["s3://x/a", "org/b"]


@pytest.mark.parametrize("folder", [None, Path("recipes")])
@pytest.mark.parametrize(
    "name", ["../org/model", "./org/model", "~/org/model", "/org/model", "file://org/model", "model", "org/model/v1"]
)
def test_a_name_in_the_manner_of_paths_is_none_of_the_hub(name: str, folder: Path | None) -> None:
    (place,) = places_of(name, folder)
    assert place.hub is None
    assert place.path is not None


@pytest.mark.parametrize("folder", [None, Path("recipes")])
def test_a_name_of_the_hub_has_no_more_than_an_owner_and_a_revision(folder: Path | None) -> None:
    assert [places_of(name, folder)[0].hub for name in ("org/model", "org/model@v1.0")] == [
        ("org/model", None),
        ("org/model", "v1.0"),
    ]


def test_names_of_one_place_are_one_model(tmp_path: Path) -> None:
    put(tmp_path / "model", 1.0)
    (tmp_path / "link").symlink_to("model")
    names = "model", "./model", "link", f"file://{tmp_path}/model"
    assert {places_of(name, tmp_path)[0].real for name in names} == {str(tmp_path / "model")}
