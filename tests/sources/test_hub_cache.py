"""Models of the hub that were downloaded before, where the hub may not be asked."""

import contextlib
from pathlib import Path

import pytest
import safetensors.torch

import cuvee
from cuvee.errors import FormatError, OutputError, SourceError
from cuvee.sources.checkpoint import Checkpoint
from cuvee.sources.open import open_source
from sources.hub_models import CARD, SHARDS, Opened, put_in_cache, read, sharded, single, weights


def test_cached_model_opens_without_the_hub(cache: Path) -> None:
    put_in_cache(cache, single(2.0))
    with contextlib.closing(open_source("org/model")) as source:
        assert isinstance(source, Checkpoint)
        assert source.location == f"org/model@{'a' * 40}"
        assert source.reference == "org/model"
        assert source.config == {"hidden_size": 4}
        assert read(source, "a") == weights(2.0)["a"].numpy().tobytes()
        assert source.sidecars["README.md"].read_bytes() == CARD
        assert source.locate("a") == f"org/model@{'a' * 40}/model.safetensors"
        source.check_unchanged()


def test_revisions_and_commits_name_what_is_cached(cache: Path, opened: Opened) -> None:
    put_in_cache(cache, single(1.0), "a" * 40, "main")
    put_in_cache(cache, single(2.0), "b" * 40, "refs/pr/1")
    for revision, commit in (("main", "a"), ("refs/pr/1", "b"), ("b" * 40, "b")):
        assert opened(f"org/model@{revision}").location == f"org/model@{commit * 40}"


def test_model_that_is_nowhere_says_where_was_looked_and_how_to_get_it(
    cache: Path, tmp_path: Path, opened: Opened
) -> None:
    (tmp_path / "org" / "models").mkdir(parents=True)
    with pytest.raises(SourceError) as caught:
        opened("org/model@v2")
    said = str(caught.value)
    assert "HF_HUB_OFFLINE" in said
    assert f"the cache folder {cache} has nothing of its revision 'v2'" in said
    assert "`hf download org/model --revision v2`" in said
    assert "'org/model@v2' is not a local folder or file. Did you mean 'models'?" in said


def test_shards_that_the_cache_lacks_are_named(cache: Path, opened: Opened) -> None:
    files = sharded()
    del files[SHARDS[1]]
    put_in_cache(cache, files)
    with pytest.raises(FormatError) as caught:
        opened("org/model")
    said = str(caught.value)
    assert f"names '{SHARDS[1]}', missing" in said
    assert str(cache) in said
    assert f"`hf download org/model --revision {'a' * 40}`" in said


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (["config.json"], "holds no .safetensors file"),
        (["config.json", SHARDS[0]], f"holds 1 safetensors file ('{SHARDS[0]}') and no single index"),
        (SHARDS, "holds 2 safetensors files"),
    ],
)
def test_a_part_of_a_model_in_the_cache_says_how_to_get_the_rest(
    cache: Path, opened: Opened, there: list[str], said: str
) -> None:
    put_in_cache(cache, {name: data for name, data in sharded().items() if name in there})
    with pytest.raises(SourceError) as caught:
        opened("org/model")
    assert said in str(caught.value)
    assert f"Where there is a network, run `hf download org/model --revision {'a' * 40}`." in str(caught.value)


def test_blob_that_is_gone_is_a_file_that_is_missing(cache: Path, opened: Opened) -> None:
    snapshot = put_in_cache(cache, sharded())
    (snapshot / SHARDS[0]).resolve().unlink()
    with pytest.raises(FormatError, match=f"names '{SHARDS[0]}', missing"):
        opened("org/model")


def test_folder_of_that_name_wins(cache: Path, tmp_path: Path, opened: Opened) -> None:
    put_in_cache(cache, single(2.0))
    (tmp_path / "org" / "model").mkdir(parents=True)
    safetensors.torch.save_file(weights(5.0), tmp_path / "org" / "model" / "model.safetensors")
    source = opened("org/model")
    assert source.location == str(tmp_path / "org" / "model")
    assert read(source, "a") == weights(5.0)["a"].numpy().tobytes()


def test_output_cannot_lie_in_the_cache_of_an_input(cache: Path, tmp_path: Path) -> None:
    snapshot = put_in_cache(cache, single())
    with pytest.raises(OutputError, match="would touch the input"):
        cuvee.merge({"cuvee": 1, "method": "linear", "models": ["org/model", "org/model"]}, snapshot / "merged")
