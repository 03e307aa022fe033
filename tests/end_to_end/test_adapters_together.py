"""Adapters made within limits, planned, and made together with others and with checkpoints."""

import json
import re
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import cuvee
from cuvee import Limits
from cuvee.cli import main
from cuvee.errors import MergeError, OutputError, PlanError, RecipeError
from cuvee.execute.describe import predict
from end_to_end.adapter_pairs import exact

WAYS: dict[str, dict[str, Any]] = {
    "joined": {"method": "linear"},
    "cut": {"method": "linear", "output": {"rank": 3}},
    "cut to an error": {"method": "task_arithmetic", "output": {"error": 0.2}},
    "factored": {"method": "ties", "parameters": {"density": 0.5, "trim_scope": "model"}, "output": {"rank": 4}},
    "random": {"method": "dare_linear", "parameters": {"density": 0.5}, "output": {"error": 0.1}},
}
FILE = "adapter_model.safetensors"


def many(folder: Path, shape: tuple[int, int] = (40, 30), rank: int = 4, modules: int = 9) -> list[Path]:
    """Make three random adapters of several modules, with a whole tensor each."""
    generator = torch.Generator().manual_seed(7)
    found = []
    for number in range(3):
        path = folder / f"lora{number}"
        path.mkdir(parents=True)
        tensors = {}
        for i in range(modules):
            name = f"base_model.model.layers.{i}.q"
            tensors[f"{name}.lora_A.weight"] = torch.randn(rank, shape[1], generator=generator)
            tensors[f"{name}.lora_B.weight"] = torch.randn(shape[0], rank, generator=generator)
        tensors["base_model.model.norm.weight"] = torch.randn(shape[1], generator=generator)
        save_file(tensors, path / FILE)
        config = {"peft_type": "LORA", "r": rank, "lora_alpha": 4, "target_modules": ["q"], "modules_to_save": ["norm"]}
        (path / "adapter_config.json").write_text(json.dumps(config))
        found.append(path)
    names = {f"layers.{i}.q.weight": torch.zeros(shape) for i in range(modules)} | {"norm.weight": torch.ones(shape[1])}
    (folder / "base").mkdir()
    save_file(names, folder / "base" / "model.safetensors")
    (folder / "base" / "config.json").write_text("{}")
    return found


def recipe(folder: Path, way: str, models: list[Path] | None = None) -> dict[str, Any]:
    content = WAYS[way]
    output = {"adapter": True, **content.get("output", {})}
    return {"cuvee": 1, **content, "models": models or many(folder), "base": folder / "base", "output": output}


@pytest.mark.parametrize("way", WAYS)
def test_the_same_bytes_come_of_any_number_of_workers(way: str, tmp_path: Path) -> None:
    given = recipe(tmp_path, way)
    for workers in (1, 2, 8):
        cuvee.merge(given, tmp_path / f"out{workers}", limits=Limits(workers=workers))
    first, *others = ((tmp_path / f"out{workers}" / FILE).read_bytes() for workers in (1, 2, 8))
    assert others == [first, first]
    configs = {(tmp_path / f"out{workers}" / "adapter_config.json").read_text() for workers in (1, 2, 8)}
    assert len(configs) == 1


@pytest.mark.parametrize("way", WAYS)
def test_progress_tells_of_all_bytes_from_workers(way: str, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    threads = set()

    def progress(moved: int, total: int) -> None:
        told.append((moved, total))
        threads.add(threading.current_thread().name)

    report = cuvee.merge(recipe(tmp_path, way), tmp_path / "out", limits=Limits(workers=2), progress=progress)
    moved, total = sum(moved for moved, _ in told), told[-1][1]
    assert moved == total if "error" not in WAYS[way].get("output", {}) else 0.5 * total < moved <= total
    assert moved == report.bytes_read + report.bytes_written
    assert any(name.startswith("cuvee-") for name in threads)
    assert report.bytes_written == sum(x.nbytes for x in load_file(tmp_path / "out" / FILE).values())


@pytest.mark.parametrize("way", ["cut", "factored"])
def test_too_little_memory_is_refused_by_the_largest_module(way: str, tmp_path: Path) -> None:
    models = many(tmp_path, modules=2)
    for each in models:
        tensors = load_file(each / FILE)
        del tensors["base_model.model.norm.weight"]
        tensors["base_model.model.large.q.lora_A.weight"] = torch.ones(4, 3000)
        tensors["base_model.model.large.q.lora_B.weight"] = torch.ones(2000, 4)
        save_file(tensors, each / FILE)
    given = {**recipe(tmp_path, way, models)}
    del given["base"]
    with pytest.raises(PlanError, match=r"large\.q: this module needs [\d,]+ MB") as refused:
        cuvee.merge(given, tmp_path / "out", limits=Limits(memory=1 << 20))
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))
    (allowed,) = re.findall(r"Allow (\d+) MB", str(refused.value))
    with pytest.raises(PlanError, match=r"large\.q"):
        predict(given, Limits(memory=1 << 20))
    memory = int(allowed) * 1_000_000 + (64 << 20)  # what the process holds changes a little between two calls
    described: Any = predict(given, Limits(memory=memory, workers=8))
    assert described["peak_memory"] <= memory


# Plans


def test_a_plan_says_ranks_bytes_and_memory_from_headers(tmp_path: Path) -> None:
    adapters = exact(tmp_path)
    models = [f"{tmp_path}/base+{each}" for each in adapters]
    plans = {
        way: cuvee.plan({"cuvee": 1, "method": method, "models": models, "output": {"adapter": True, **output}})
        for way, (method, output) in {
            "joined": ("linear", {}),
            "cut": ("linear", {"rank": 5}),
            "cut to an error": ("linear", {"error": 0.1}),
            "factored": ("ties", {"rank": 20}),
        }.items()
    }
    found = {way: plan.adapters[0].modules for way, plan in plans.items()}
    for own in found.values():
        assert [each.module for each in own] == ["layers.0.q", "layers.1.q"]
    assert {way: own[0].way for way, own in found.items()} == {
        "joined": "joined", "cut": "cut", "cut to an error": "cut", "factored": "factored",
    }  # fmt: skip
    assert {way: (own[0].rank, own[0].rank_is_known) for way, own in found.items()} == {
        "joined": (6, True), "cut": (5, True), "cut to an error": (6, False), "factored": (10, True),
    }  # fmt: skip
    assert found["joined"][0].ranks == {"m0": 2, "m1": 2, "m2": 2}
    assert plans["joined"].rows == ()
    assert plans["joined"].bytes_written == 2 * 4 * 6 * (12 + 10)
    assert plans["joined"].bytes_read == 3 * 2 * 4 * 2 * (12 + 10)
    cuvee.merge({"cuvee": 1, "method": "linear", "models": models, "output": {"adapter": True}}, tmp_path / "out")
    assert plans["joined"].bytes_written == sum(x.nbytes for x in load_file(tmp_path / "out" / FILE).values())


def test_a_prediction_is_plain_values(tmp_path: Path) -> None:
    described: Any = json.loads(json.dumps(predict(recipe(tmp_path, "cut"), Limits(workers=2)), default=str))
    (adapter,) = described["adapters"]
    assert adapter["modules"][0]["shape"] == [40, 30]
    assert adapter["modules"][0]["ranks"] == {"m0": 4, "m1": 4, "m2": 4}
    assert adapter["whole"] == [{"tensor": "base_model.model.norm.weight", "shape": [30], "dtype": "F32"}]
    assert (described["rows"], described["variants"], described["seconds"]) == ([], [], None)
    assert described["peak_memory"] == max(adapter["peak_memory"], described["peak_memory"])
    assert described["workers"] == adapter["workers"] == 2
    assert described["bytes_written"] == adapter["bytes_written"] == 9 * 4 * 3 * 70 + 120


def test_the_command_prints_a_line_for_modules_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {**recipe(tmp_path, "cut to an error"), "base": str(tmp_path / "base")}
    given["models"] = [str(each) for each in given["models"]]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(given))
    monkeypatch.setattr(sys, "argv", ["cuvee", "plan", str(tmp_path / "recipe.yaml")])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    printed = capsys.readouterr().out.splitlines()
    (line,) = [line.split() for line in printed if line.startswith("layers")]
    assert line == ["layers.*.q", "9", "4", "+", "4", "+", "4", "at", "most", "12", "40", "×", "30",
                    "task_arithmetic", "cut"]  # fmt: skip
    assert any(line.startswith("9 modules of adapters. ") and "of memory with" in line for line in printed)
    assert "base_model.model.norm.weight, as a whole: 30, F32." in printed


# Several


def test_adapters_and_checkpoints_are_made_together(tmp_path: Path) -> None:
    models = many(tmp_path)
    checkpoint = {
        "cuvee": 1, "method": "linear", "models": [f"{tmp_path}/base+{each}" for each in models],
    }  # fmt: skip
    recipes: Mapping[Path, Any] = {
        tmp_path / "cut": recipe(tmp_path, "cut", models),
        tmp_path / "model": checkpoint,
        tmp_path / "joined": recipe(tmp_path, "joined", models),
    }
    told = []
    report = cuvee.merge_variants(recipes, progress=lambda moved, total: told.append((moved, total)))
    assert sum(moved for moved, _ in told) <= told[-1][1]
    for way in ("cut", "joined"):
        cuvee.merge(recipe(tmp_path, way, models), tmp_path / "alone" / way)
        assert (tmp_path / "alone" / way / FILE).read_bytes() == (tmp_path / way / FILE).read_bytes()
    cuvee.merge(checkpoint, tmp_path / "alone" / "model")
    name = "model.safetensors"
    assert (tmp_path / "alone" / "model" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()
    assert [set(digests) == set(load_file(tmp_path / place / file)) for digests, place, file in zip(
        report.outputs, ("cut", "model", "joined"), (FILE, name, FILE), strict=True
    )] == [True] * 3  # fmt: skip
    sizes = sum(x.nbytes for place in recipes for f in place.glob("*.safetensors") for x in load_file(f).values())
    assert report.bytes_written == sizes


def test_one_file_may_make_adapters_and_checkpoints(tmp_path: Path) -> None:
    models = [str(each) for each in many(tmp_path)]
    content = {
        "cuvee": 1,
        "recipes": {
            "lora": {"method": "linear", "models": models, "output": {"adapter": True}},
            "half": {"method": "linear", "models": [f"{tmp_path}/base+{models[0]}", f"{tmp_path}/base+{models[1]}"]},
            "full": {"method": "linear", "models": ["half", f"{tmp_path}/base+{models[2]}"]},
        },
    }
    (tmp_path / "recipes.yaml").write_text(yaml.safe_dump(content))
    plan = cuvee.plan(tmp_path / "recipes.yaml")
    assert (len(plan.adapters), len(plan.variants)) == (1, 1)
    described: Any = predict(tmp_path / "recipes.yaml")
    assert (len(described["adapters"]), len(described["variants"]), len(described["merges"])) == (1, 1, 1)
    cuvee.merge(tmp_path / "recipes.yaml", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["full", "lora"]
    assert (tmp_path / "out" / "lora" / "adapter_config.json").is_file()
    assert (tmp_path / "out" / "full" / "model.safetensors").is_file()


@pytest.mark.parametrize("bad", ["first", "last", "checkpoint"])
def test_all_appear_or_none(bad: str, tmp_path: Path) -> None:
    models = many(tmp_path)
    nan = many(tmp_path / "nan")
    tensors = load_file(nan[0] / FILE)
    tensors["base_model.model.layers.3.q.lora_A.weight"][0, 0] = float("nan")
    save_file(tensors, nan[0] / FILE)
    recipes: dict[Path, Any] = {
        tmp_path / name: recipe(tmp_path, "joined", nan if bad == name else models) for name in ("first", "last")
    }
    wrong = nan[0] if bad == "checkpoint" else models[0]
    recipes[tmp_path / "checkpoint"] = {"cuvee": 1, "method": "linear", "models": [f"{tmp_path}/base+{wrong}"]}
    before = set(tmp_path.iterdir())
    with pytest.raises(MergeError, match=r"layers\.3\.q"):
        cuvee.merge_variants(recipes)
    assert set(tmp_path.iterdir()) == before


def test_wrong_places_are_refused_before_anything_is_merged(tmp_path: Path) -> None:
    models = many(tmp_path)
    given = recipe(tmp_path, "joined", models)
    before = set(tmp_path.iterdir())
    with pytest.raises(OutputError, match="is one file; an adapter is a folder"):
        cuvee.merge(given, tmp_path / "out.safetensors")
    with pytest.raises(OutputError, match="would touch each other"):
        cuvee.merge_variants({tmp_path / "out": given, tmp_path / "out" / "inner": recipe(tmp_path, "cut", models)})
    with pytest.raises(OutputError, match="would touch the input"):
        cuvee.merge_variants({tmp_path / "a": given, models[0] / "inner": recipe(tmp_path, "cut", models)})
    assert set(tmp_path.iterdir()) == before
    cuvee.merge(given, tmp_path / "out")
    with pytest.raises(OutputError, match="exists already"):
        cuvee.merge(given, tmp_path / "out")
    cuvee.merge(recipe(tmp_path, "cut", models), tmp_path / "out", overwrite=True)
    assert load_file(tmp_path / "out" / FILE)["base_model.model.layers.0.q.lora_A.weight"].shape == (3, 30)


def test_merges_are_no_adapters_and_adapters_no_models(tmp_path: Path) -> None:
    models = [str(each) for each in many(tmp_path)]
    inner = {"method": "linear", "models": models[:2], "output": {"adapter": True}}
    content = {
        "cuvee": 1,
        "recipes": {"inner": inner, "all": {"method": "linear", "models": ["inner", models[2]]}},
    }
    with pytest.raises(PlanError, match="model 'm0': it is a merge to an adapter, which is no model by itself"):
        cuvee.merge(content, tmp_path / "out")
    content["recipes"]["all"]["output"] = {"adapter": True}  # type: ignore[index]
    with pytest.raises(RecipeError, match="model 'm0' is a merge, and adapters are merged as adapters from folders"):
        cuvee.merge(content, tmp_path / "out")
    with pytest.raises(RecipeError, match="the base of adapters must be named by its path"):
        cuvee.merge(
            {
                "cuvee": 1, "method": "linear", "models": models, "output": {"adapter": True},
                "base": {"method": "linear", "models": [f"{tmp_path}/base"]},
            },
            tmp_path / "out",
        )  # fmt: skip
