"""How scores are asked for, and how files are read."""

from pathlib import Path
from typing import Any

import pytest

import scored
from cuvee.errors import ScoreError
from cuvee.evaluate.asked import asked
from cuvee.evaluate.data import read_table, read_text
from cuvee.evaluate.declare import REQUIRED
from cuvee.evaluate.registry import scores


def settings(wanted: Any) -> dict[str, Any]:
    (found,) = asked(wanted)
    return dict(found.settings)


def test_settings_are_read_in_their_types() -> None:
    found = settings("retrieval:queries=q.jsonl, documents=d.jsonl,k=1+5+10,query_prefix=,batch=4,pooling=last")
    assert found == {
        "queries": Path("q.jsonl"), "documents": Path("d.jsonl"), "query": "text", "relevant": "relevant",
        "document": "text", "id": "id", "k": (1, 5, 10), "query_prefix": "", "document_prefix": "", "pooling": "last",
        "batch": 4,
    }  # fmt: skip
    assert settings("lm_eval:tasks=a+b,chat=yes,num_fewshot=-1")["tasks"] == ("a", "b")
    assert settings("lm_eval:tasks=a,chat=true")["chat"] is True
    assert settings("lm_eval:tasks=a,chat=False")["chat"] is False
    assert settings("perplexity:text=~/t.txt")["text"] == Path.home() / "t.txt"


def test_values_in_quotes_may_hold_anything() -> None:
    found = settings(r'retrieval:queries="a, b=c.jsonl",documents=d,query_prefix="say \"x\\y\": "')
    assert found["queries"] == Path("a, b=c.jsonl")
    assert found["query_prefix"] == 'say "x\\y": '


def test_plain_values_are_taken_as_text_is() -> None:
    as_text = settings("retrieval:queries=q,documents=d,k=2+3,batch=4")
    as_values = {"queries": "q", "documents": Path("d"), "k": [2, 3], "batch": 4}
    assert settings({"retrieval": as_values}) == as_text
    one, other = asked({"lm_eval": {"tasks": ["a"]}, "perplexity": {"text": "t"}})
    assert (one.score.name, other.score.name, one.given) == ("lm_eval", "perplexity", "lm_eval")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("perplexty:text=t", r"'perplexty' is not known. Did you mean 'perplexity'\?"),
        ("perplexity", r"needs 'text': write perplexity:text=…"),
        ("retrieval:k=1", r"needs 'queries' and 'documents'"),
        ("perplexity:txt=t", r"no setting 'txt'. Did you mean 'text'\?"),
        ("perplexity:text=t,text=u", r"'text' is given twice"),
        ("perplexity:t", r"'t' is no setting; write NAME:SETTING=VALUE"),
        ('perplexity:text=a"b', r"is no setting"),
        ("perplexity:text=", r"'text' is ''; it can be the path of a file"),
        ("perplexity:text=t,stride=x", r"'stride' is 'x'; it can be a whole number from 0 on\."),
        ("perplexity:text=t,stride=-1", r"'stride' is '-1'"),
        ("lm_eval:tasks=t,num_fewshot=1001", r"a whole number from -1 to 1000\."),
        ("perplexity:text=t,batch=0", r"a whole number from 1"),
        ("exact_match:data=d,normalise=squat", r"it can be none or strip or squad. Did you mean 'squad'\?"),
        ("exact_match:data=d,chat=maybe", r"true or false"),
        ("retrieval:queries=q,documents=d,k=1++2", r"whole numbers with '\+' between them from 1"),
        ("retrieval:queries=q,documents=d,k=0+1", r"whole numbers with '\+' between them from 1"),
        ({"perplexity": {"text": "t", "stride": 1.5}}, r"'stride' is 1.5"),
        ({"perplexity": {"text": "t", "stride": True}}, r"'stride' is True"),
        ({"exact_match": {"data": "d", "prompt": True}}, r"'prompt' is True; it can be the name of a column"),
        ("exact_match:data=d,prompt=", r"'prompt' is ''; it can be the name of a column"),
        ("retrieval:queries=q,documents=d,id=", r"'id' is ''; it can be the name of a column"),
        (5, r"5 is no score"),
    ],
)
def test_what_cannot_be_asked_for_is_explained(wanted: Any, said: str) -> None:
    with pytest.raises(ScoreError, match=said):
        asked(wanted)


@pytest.mark.parametrize("name", sorted(scores()))
def test_what_a_score_must_be_given_is_what_has_no_default(name: str) -> None:
    parameters = scores()[name].parameters
    missing = [p.name for p in parameters.values() if p.default is REQUIRED]
    assert missing
    given = dict.fromkeys(missing, "x")
    assert set(settings({name: given})) == set(parameters)
    for left in missing:
        with pytest.raises(ScoreError, match=f"needs '{left}'"):
            asked({name: {key: value for key, value in given.items() if key != left}})


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.jsonl", '{"a": 1}\n\n{"b": 1}\n', r"t.jsonl:3 has no 'a'. It has: b."),
        ("t.jsonl", '{"a": null}\n', r"t.jsonl:1: 'a' is null"),
        ("t.jsonl", '{"A": 1}\n', r"has no 'a'. Did you mean 'A'\?"),
        ("t.jsonl", "{\n", r"t.jsonl:1 is not valid JSON"),
        ("t.jsonl", "[1]\n", r"t.jsonl:1 is JSON of type list"),
        ("t.jsonl", "\n", r"t.jsonl has no examples"),
        ("t.csv", "a,b\n", r"t.csv has no examples"),
        ("t.csv", "b\n1\n", r"t.csv:2 has no 'a'. It has: b."),
        ("t.csv", "a,b\n1\n", None),
        ("t.csv", "b,a\n1\n", r"t.csv:2 has no 'a'"),
        ("t.csv", "b,a\n1,2\n1,2,3\n", r"t.csv:3 has more cells than the 2 titles"),
        ("t.tsv", "a\ta\n1\t2\n", r"t.tsv:1 has two columns called 'a'"),
        ("t.csv", 'a\n"' + "x" * 200_000 + '"\n', r"t.csv:2 cannot be read as a table"),
        ("t.xlsx", "", r"is no table that is read here"),
        ("t.jsonl", b"\xff", r"is not UTF-8 text: invalid start byte at byte 0"),
    ],
)
def test_tables_that_are_none_are_explained(tmp_path: Path, name: str, content: Any, said: str | None) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    if said is None:
        assert len(read_table(tmp_path / name, ["a"]).rows) == 1
        return
    with pytest.raises(ScoreError, match=said):
        read_table(tmp_path / name, ["a"])


def test_texts_are_read_whole(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes("\ufeffone\r\ntwo\n".encode())
    assert read_text(tmp_path / "t.txt").text == "one\r\ntwo\n"
    (tmp_path / "t.txt").write_text(" \n")
    with pytest.raises(ScoreError, match="is empty"):
        read_text(tmp_path / "t.txt")
    with pytest.raises(ScoreError, match="cannot be read: No such file"):
        read_text(tmp_path / "none.txt")
    with pytest.raises(ScoreError, match="cannot be read: Is a directory"):
        read_text(tmp_path)


def test_rows_know_their_lines_and_the_limit_takes_the_first(tmp_path: Path) -> None:
    table = read_table(scored.lines(tmp_path / "t.jsonl", [{"a": i} for i in range(5)]), ["a"])
    assert [row.line for row in table.rows] == [1, 2, 3, 4, 5]
    assert [row.values["a"] for row in table.first(2).rows] == [0, 1]
    assert table.first(None) == table
    assert table.first(2).digest == table.digest
