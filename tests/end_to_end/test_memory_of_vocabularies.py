"""Models that are given one vocabulary take the memory that the plan says. Measured on the whole process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers

from cuvee.tensors.kernels import machine_code
from end_to_end.test_memory import COMMAND, MEASURE, write_checkpoint

TOO_CAUTIOUS = 2  # a prediction may be this many times what is measured
WORKERS = ("--workers", "8")


def write_model(folder: Path, number: int, tokens: int, width: int, apart: int) -> str:
    """Write a model whose words are some of its own, and some that the one before it has, too."""
    rows = tokens + 64
    shapes = {"model.embed_tokens.weight": (rows, width), "lm_head.weight": (rows, width)}
    write_checkpoint(folder, shapes, number, 1 << 40)
    words = ["<unk>", *(f"w{number * apart + i}" for i in range(tokens - 1))]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(folder / "tokenizer.json"))
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    config = {"model_type": "llama", "vocab_size": rows, "tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


@pytest.mark.parametrize(
    ("tokens", "width", "padding"),
    [
        (8_000, 512, 50_000),
        pytest.param(8_000, 512, 1, marks=pytest.mark.slow),
        pytest.param(150_000, 256, 50_000, marks=pytest.mark.slow),
    ],
)
def test_a_union_of_many_vocabularies_takes_the_memory_that_the_plan_says(
    tokens: int, width: int, padding: int, tmp_path: Path
) -> None:
    machine_code.kernel()
    folders = [write_model(tmp_path / f"m{i}", i, tokens, width, tokens // 50) for i in range(9)]
    path = tmp_path / "recipe.yaml"
    tokenizer = {"source": "union", "pad_to_multiple_of": padding}
    path.write_text(yaml.safe_dump({"cuvee": 1, "method": "linear", "models": folders, "tokenizer": tokenizer}))
    plan = subprocess.run([*COMMAND, "plan", str(path), "--json", *WORKERS], capture_output=True, text=True, check=True)
    command = [*COMMAND, "merge", str(path), "--out", str(tmp_path / "out"), "--quiet", *WORKERS]
    run = subprocess.run([sys.executable, "-S", "-c", MEASURE, *command], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    measured, predicted = int(run.stdout), json.loads(plan.stdout)["peak_memory"]
    assert measured <= predicted <= TOO_CAUTIOUS * measured
