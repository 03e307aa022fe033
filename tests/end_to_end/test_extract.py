"""Adapters extracted from two models: the best of their rank, and nothing lost in silence."""

import json
import re
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from peft import LoraConfig
from safetensors.torch import load_file, save_file

import cuvee
from cuvee import Limits
from cuvee.cli import main
from cuvee.errors import PlanError, RecipeError
from cuvee.execute.adapter import difference
from cuvee.execute.verify import verify
from sources.adapter.adapters import MODELS, make

MODULES = {"llama": ["q_proj", "down_proj", "up_proj"], "gpt2": ["c_attn", "c_proj"]}


@pytest.mark.parametrize("family", MODULES)
def test_what_peft_merged_is_found_again(family: str, tmp_path: Path) -> None:
    make(tmp_path, MODELS[family], LoraConfig(target_modules=MODULES[family], r=3, lora_alpha=6))
    found = cuvee.extract(tmp_path / "base", tmp_path / "merged", tmp_path / "out", rank=3)
    assert found.others == []
    assert max(each.error for each in found.modules) < 1e-5
    with warnings.catch_warnings(action="ignore"):
        warnings.filterwarnings("error", message=".*(missing|unexpected).*keys.*")
        base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
        model = peft.PeftModel.from_pretrained(base, tmp_path / "out")
    model.merge_and_unload().save_pretrained(tmp_path / "again")
    expected, again = (load_file(tmp_path / each / "model.safetensors") for each in ("merged", "again"))
    for name, tensor in expected.items():
        torch.testing.assert_close(again[name], tensor, rtol=1e-4, atol=1e-5, msg=lambda t, n=name: f"{n}: {t}")


def pair(folder: Path) -> dict[str, torch.Tensor]:
    """Write a base and a model with tall, wide and other tensors; return the differences."""
    generator = torch.Generator().manual_seed(1)
    shapes = {
        "l.0.a.weight": (30, 12),
        "l.0.b.weight": (8, 21),
        "l.0.same.weight": (4, 4),
        "embed.weight": (9, 4),
        "norm.weight": (4,),
    }
    base = {name: torch.randn(*shape, generator=generator) for name, shape in shapes.items()}
    steps = {name: torch.randn(*shape, generator=generator) * ("same" not in name) for name, shape in shapes.items()}
    tuned = {name: tensor + steps[name] for name, tensor in base.items()}
    for name, tensors in (("base", base), ("tuned", tuned)):
        (folder / name).mkdir()
        save_file(tensors, folder / name / "model.safetensors")
        (folder / name / "config.json").write_text("{}")
    return {name: tuned[name].double() - base[name].double() for name in shapes}


@pytest.mark.parametrize("settings", [{"rank": 5}, {"error": 0.4}], ids=str)
def test_factors_are_the_best_of_their_rank(settings: dict[str, Any], tmp_path: Path) -> None:
    differences = pair(tmp_path)
    found = cuvee.extract(tmp_path / "base", tmp_path / "tuned", tmp_path / "out", **settings)
    stored = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert [each.module for each in found.modules] == ["l.0.a", "l.0.b"]
    for each in found.modules:
        u, s, vt = torch.linalg.svd(differences[f"{each.module}.weight"], full_matrices=False)
        errors = [float(s[rank:].norm() / s.norm()) for rank in range(len(s) + 1)]
        rank = settings.get("rank") or next(r for r, error in enumerate(errors) if error <= settings["error"])
        a, b = (stored[f"base_model.model.{each.module}.lora_{side}.weight"].double() for side in "AB")
        best = (u[:, :rank] * s[:rank]) @ vt[:rank]
        assert float((b @ a - best).norm() / best.norm()) < 1e-5
        assert (each.rank, each.error) == (rank, pytest.approx(errors[rank], rel=1e-5))
    assert {each.name: each.norm for each in found.others} == {
        name: pytest.approx(float(differences[name].norm()), rel=1e-6) for name in ("embed.weight", "norm.weight")
    }
    assert found.unchanged == 1
    card = (tmp_path / "out" / "README.md").read_text()
    assert all(f"relative error {each.error:.3g}" in card for each in found.modules)
    (key, value), *_ = settings.items()
    assert f"# cuvee extract {tmp_path}/base {tmp_path}/tuned --{key} {value}\n" in card


def test_others_are_saved_where_asked(tmp_path: Path) -> None:
    pair(tmp_path)
    found = cuvee.extract(tmp_path / "base", tmp_path / "tuned", tmp_path / "out", rank=2, save_others=True)
    assert all(each.saved for each in found.others)
    stored, tuned = (
        load_file(p)
        for p in ((tmp_path / "out" / "adapter_model.safetensors"), tmp_path / "tuned" / "model.safetensors")
    )
    assert torch.equal(stored["base_model.model.embed.weight"], tuned["embed.weight"])
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["modules_to_save"] == ["embed", "norm"]


def test_wrong_calls_are_refused(tmp_path: Path) -> None:
    pair(tmp_path)
    with pytest.raises(RecipeError, match="needs a rank or an error"):
        cuvee.extract(tmp_path / "base", tmp_path / "tuned", tmp_path / "out")
    save_file({"l.0.a.weight": torch.zeros(2, 2)}, tmp_path / "tuned" / "model.safetensors")
    with pytest.raises(PlanError, match="expected a base and a model that was trained from it"):
        cuvee.extract(tmp_path / "base", tmp_path / "tuned", tmp_path / "out", rank=2)


def test_the_command_prints_the_error_of_every_matrix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pair(tmp_path)
    arguments = ["extract", tmp_path / "base", tmp_path / "tuned", "--out", tmp_path / "out", "--error", 0.5]
    monkeypatch.setattr(sys, "argv", ["cuvee", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in printed if line[0].startswith("l.0.")] == ["l.0.a", "l.0.b"]
    assert all(float(line[3]) <= 0.5 for line in printed if line[0].startswith("l.0."))
    assert ["norm.weight", "no"] in [[line[0], line[-1]] for line in printed]


@pytest.mark.parametrize("settings", [{"rank": 5}, {"error": 0.4}, {"rank": 2, "save_others": True}], ids=str)
def test_the_same_bytes_come_of_any_number_of_workers(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(difference, "PIECE", 8)  # tensors in several pieces, and several of these at a time
    monkeypatch.setattr(difference, "PIECES", 3)
    pair(tmp_path)
    found = {}
    for workers in (1, 2, 8):
        out = tmp_path / f"out{workers}"
        limits = Limits(workers=workers)
        found[workers] = cuvee.extract(tmp_path / "base", tmp_path / "tuned", out, limits=limits, **settings)
    first, *others = ((tmp_path / f"out{workers}" / "adapter_model.safetensors").read_bytes() for workers in found)
    assert others == [first, first]
    assert found[1].modules == found[8].modules
    assert found[1].others == found[8].others
    records = [json.loads((tmp_path / f"out{workers}" / "cuvee.json").read_text()) for workers in found]
    assert records[0]["inputs"] == records[1]["inputs"] == records[2]["inputs"]


def test_progress_tells_of_all_bytes_from_workers(tmp_path: Path) -> None:
    pair(tmp_path)
    told: list[tuple[int, int]] = []
    threads = set()

    def progress(moved: int, total: int) -> None:
        told.append((moved, total))
        threads.add(threading.current_thread().name)

    found = cuvee.extract(
        tmp_path / "base", tmp_path / "tuned", tmp_path / "out", rank=3, save_others=True, progress=progress
    )
    moved = sum(moved for moved, _ in told)
    assert moved == told[-1][1] == found.report.bytes_read + found.report.bytes_written
    assert any(name.startswith("cuvee-") for name in threads)
    sizes = {name: tensor.nbytes for name, tensor in load_file(tmp_path / "base" / "model.safetensors").items()}
    # All of both once; the tall matrix three times more, the wide one in one block likewise; what is saved once more.
    matrices = sizes["l.0.a.weight"] + sizes["l.0.b.weight"]
    assert found.report.bytes_read == (
        2 * sum(sizes.values()) + 2 * 3 * matrices + sizes["embed.weight"] + sizes["norm.weight"]
    )


def test_too_little_memory_is_refused_by_the_largest_matrix(tmp_path: Path) -> None:
    for number, name in enumerate(("base", "tuned")):
        (tmp_path / name).mkdir()
        tensors = {"small.weight": torch.full((4, 4), 1.0 + number), "large.weight": torch.full((3000, 1200), number)}
        save_file({n: x.bfloat16() for n, x in tensors.items()}, tmp_path / name / "model.safetensors")
    places = tmp_path / "base", tmp_path / "tuned"
    before = set(tmp_path.iterdir())
    with pytest.raises(PlanError, match=r"^large: this module needs [\d,]+ MB of memory") as refused:
        cuvee.extract(*places, tmp_path / "out", rank=4, limits=Limits(memory=1 << 20))
    assert set(tmp_path.iterdir()) == before
    (allowed,) = re.findall(r"Allow (\d+) MB", str(refused.value))
    limits = Limits(memory=int(allowed) * 1_000_000 + (64 << 20))  # what the process holds changes a little
    assert cuvee.extract(*places, tmp_path / "out", rank=4, limits=limits).modules


@pytest.mark.parametrize("settings", [{"rank": 5}, {"error": 0.4}, {"rank": 2, "save_others": True}], ids=str)
def test_an_extraction_is_verified_and_done_again(settings: dict[str, Any], tmp_path: Path) -> None:
    pair(tmp_path)
    cuvee.extract(tmp_path / "base", tmp_path / "tuned", tmp_path / "out", **settings)
    states = {each.part: each.state for each in verify(tmp_path / "out", replay=True)}
    assert states == dict.fromkeys(["output", "base", "finetuned", "replay"], "same")
    record = json.loads((tmp_path / "out" / "cuvee.json").read_text())
    assert record["recipe"]["extract"] == {
        "base": str(tmp_path / "base"), "finetuned": str(tmp_path / "tuned"), "save_others": False, **settings
    }  # fmt: skip
    tensors = load_file(tmp_path / "tuned" / "model.safetensors")
    save_file({n: x + x.abs().max() * torch.eye(*x.shape) if x.ndim == 2 else x for n, x in tensors.items()},
              tmp_path / "tuned" / "model.safetensors")  # fmt: skip
    states = {each.part: each.state for each in verify(tmp_path / "out", replay=True)}
    assert states == {"output": "same", "base": "same", "finetuned": "changed", "replay": "changed"}
    config = tmp_path / "out" / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": ', '"lora_alpha": 1'))
    (finding,) = [each for each in verify(tmp_path / "out") if each.part == "adapter_config.json"]
    assert finding.state == "changed"


def test_a_record_of_an_extraction_that_was_changed_is_refused(tmp_path: Path) -> None:
    pair(tmp_path)
    cuvee.extract(tmp_path / "base", tmp_path / "tuned", tmp_path / "out", rank=2)
    path = tmp_path / "out" / "cuvee.json"
    record = json.loads(path.read_text())
    for change, said in (
        ({"base": 7}, "A int is no source"),
        ({"rank": "many"}, "rank is 'many'"),
        ({"rank": None}, "needs a rank or an error"),
        ({"finetuned": str(tmp_path / "gone")}, "is not a local folder"),
    ):
        path.write_text(json.dumps({**record, "recipe": {"extract": {**record["recipe"]["extract"], **change}}}))
        (finding,) = [each for each in verify(tmp_path / "out", replay=True) if each.part == "replay"]
        assert finding.state == "missing"
        assert said in finding.text
