from pathlib import Path

import pytest
import safetensors.torch
import torch

from cuvee.errors import SourceError
from cuvee.sources.checkpoint import Checkpoint
from cuvee.sources.memory import Memory
from cuvee.sources.open import open_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "expert-math"
    folder.mkdir()
    safetensors.torch.save_file({"w": torch.ones(2)}, folder / "model.safetensors")
    return folder


def test_folders_and_files_open_as_checkpoints(folder: Path) -> None:
    for reference in (folder, str(folder), folder / "model.safetensors"):
        source = open_source(reference)
        assert isinstance(source, Checkpoint)
        assert source.reference == str(reference)


def test_home_is_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    source = open_source("~/expert-math")
    assert source.reference == "~/expert-math"
    assert source.paths[0] == folder


def test_state_dict_opens_as_memory() -> None:
    assert isinstance(open_source({"w": torch.ones(2)}), Memory)


def test_source_passes_through() -> None:
    source = Memory({"w": torch.ones(2)})
    assert open_source(source) is source


def test_missing_path_is_an_error_with_the_nearest_sibling(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"expert-maths' is not a local folder or file. Did you mean 'expert-math'\?"):
        open_source(f"{folder}s")


def test_name_that_is_neither_a_path_nor_in_the_cache_of_the_hub_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"^'org/model' is not a local folder or file\..*'org/model' is not to be had from the hub"
    ):
        open_source("org/model")


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("./modls/a", "'./modls/a' is not a local folder or file. There is no 'modls'. Did you mean 'models'?"),
        ("models/expert-maths", "'models/expert-maths' is not a local folder or file. Did you mean 'expert-math'?"),
        ("modls/a", "'modls/a' is not a local folder or file. There is no 'modls'. Did you mean 'models'?"),
        ("modls/deep/a", "'modls/deep/a' is not a local folder or file. There is no 'modls'. Did you mean 'models'?"),
        ("a", "'a' is not a local folder or file. Did you mean 'aa'?"),
        ("models/b", "'models/b' is not a local folder or file."),
        ("./file/model", "'./file/model' is not a local folder or file. 'file' is a file."),
    ],
)
def test_misspelt_path_is_told_before_the_hub_is(
    reference: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("models/expert-math", "models/a", "aa"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "file").touch()
    with pytest.raises(SourceError) as caught:
        open_source(reference)
    is_name = not reference.startswith(".") and reference.count("/") == 1
    start, _, rest = str(caught.value).partition(" Taken as a name on the hub: ")
    assert start == said
    assert rest.startswith(f"'{reference}' is not to be had from the hub") == is_name


@pytest.mark.parametrize("reference", ["x" * 5000, "nul\0byte"])
def test_impossible_path_is_an_error(reference: str) -> None:
    with pytest.raises(SourceError):
        open_source(reference)


def test_other_things_are_an_error() -> None:
    with pytest.raises(SourceError, match="A int is no source; expected a path, a state dict or a source"):
        open_source(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["iterdir", "exists"])
def test_unreadable_folder_is_an_error(method: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:  # permissions alone do not stop root, who may be running the tests
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, method, refuse)
    with pytest.raises(SourceError, match="expert-math cannot be read: Permission denied"):
        open_source(folder)
