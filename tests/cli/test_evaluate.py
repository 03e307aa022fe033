"""``cuvee evaluate`` and ``cuvee scores``."""

from pathlib import Path
from typing import Any

import pytest

import scored
from cuvee.evaluate.registry import scores

TITLES = "model metric value error 95 % interval examples time processor memory"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for expert, name in enumerate("ab", 1):
        scored.language_model(tmp_path / name, expert=expert)
    scored.text(tmp_path / "t.txt", 200)
    (tmp_path / "r.yaml").write_text("cuvee: 1\nmethod: linear\nmodels: [a, b]\n")
    scored.lines(tmp_path / "d.jsonl", [{"prompt": f"w{i + 4}", "target": "w4"} for i in range(8)])
    return tmp_path


@pytest.mark.usefixtures("here")
def test_models_and_recipes_make_one_table(cuvee: Any) -> None:
    answer = cuvee(
        "evaluate", "a", "r.yaml", "--score", "perplexity:text=t.txt", "--score", "exact_match:data=d.jsonl",
        "--limit", 6,
    )  # fmt: skip
    assert (answer.code, answer.err) == (0, "")
    titles, *rows = answer.out.splitlines()
    assert titles.split() == TITLES.split()
    assert [row.split()[:2] for row in rows[:4]] == [
        ["a", "perplexity"], ["a", "exact"], ["r.yaml", "perplexity"], ["r.yaml", "exact"],
    ]  # fmt: skip
    said = "\n".join(rows[4:])
    assert "Interval of perplexity: bootstrap over the examples." in said
    assert "Interval of exact match: Wilson's interval of a share." in said
    assert "a: LlamaForCausalLM, float32 on cpu; read in" in said
    assert "r.yaml: LlamaForCausalLM, float32 on cpu; merged in" in said


@pytest.mark.usefixtures("here")
def test_json_has_what_the_table_shows(cuvee: Any) -> None:
    words = ("evaluate", "a", "r.yaml", "--score", "perplexity:text=t.txt")
    found = cuvee(*words, "--json", "--device", "cpu", "--dtype", "float32").json
    table = cuvee(*words).out.splitlines()[1:]
    for row, line in zip(found["results"], table, strict=False):
        assert line.split()[:3] == [row["model"], "perplexity", f"{row['value']:#.4g}".rstrip(".")]
        assert f"{row['low']:#.4g} to {row['high']:#.4g}" in line
    assert [model["label"] for model in found["models"]] == ["a", "r.yaml"]


@pytest.mark.usefixtures("here")
def test_the_same_score_twice_is_told_apart(cuvee: Any) -> None:
    one, other = "perplexity:text=t.txt,stride=4", "perplexity:text=t.txt,stride=8"
    out = cuvee("evaluate", "a", "--score", one, "--score", other).out
    assert [line.split()[1:4] for line in out.splitlines()[1:3]] == [
        ["perplexity", "of", one],
        ["perplexity", "of", other],
    ]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["a"], 2, "Missing option '--score'"),
        (["--score", "perplexity:text=t.txt"], 2, "Missing argument 'MODEL...'"),
        (["a", "--score", "perplexty:text=t.txt"], 2, "Did you mean 'perplexity'? `cuvee scores` lists them"),
        (["a", "--score", "perplexity:test=t.txt"], 2, "no setting 'test'. Did you mean 'text'?"),
        (
            ["a", "--score", "perplexity:text=no.txt"],
            2,
            "no.txt, which a score needs, cannot be read: No such file",
        ),
        (["no", "--score", "perplexity:text=t.txt"], 1, "'no'"),
        (["a", "--score", "perplexity:text=t.txt", "--dtype", "int8"], 2, "dtype 'int8' is not known"),
    ],
)
def test_wrong_commands_are_explained(cuvee: Any, words: list[str], code: int, said: str) -> None:
    answer = cuvee("evaluate", *words)
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err
    assert answer.err.count("\n") == 1


def test_scores_are_listed_with_what_they_need(cuvee: Any) -> None:
    answer = cuvee("scores")
    assert (answer.code, answer.err) == (0, "")
    for name, score in scores().items():
        assert f"{score.summary}" in answer.out
        (row,) = [line for line in answer.out.split("What each needs:")[1].splitlines() if line.split()[:1] == [name]]
        assert all(p.name in row for p in score.parameters.values())
    assert [entry["name"] for entry in cuvee("scores", "--json").json] == list(scores())


@pytest.mark.parametrize("name", sorted(scores()))
def test_a_score_has_a_page(cuvee: Any, name: str) -> None:
    score = scores()[name]
    page = cuvee("scores", name).out
    assert page.startswith(f"{name}\n\n{score.summary}")
    for parameter in score.parameters.values():
        assert f"\n  {parameter.name} (" in page
        assert parameter.help in page
    assert "pip install 'cuvee[hf" in page
    entry = cuvee("scores", name, "--json").json
    assert [p["name"] for p in entry["parameters"]] == list(score.parameters)
    assert [p["required"] for p in entry["parameters"]] == [p.is_required for p in score.parameters.values()]


def test_misspelt_score_gets_the_nearest(cuvee: Any) -> None:
    answer = cuvee("scores", "perplexty")
    assert (answer.code, answer.out) == (2, "")
    assert "Did you mean 'perplexity'?" in answer.err
