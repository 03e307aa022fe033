"""A record beside a merge that is not as it was written is refused, whatever it says."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import cuvee
from cuvee.errors import CuveeError
from cuvee.execute.provenance import SIDECAR
from cuvee.execute.verify import Finding, verify
from cuvee.writers.save import save_state_dict

TOP = ("format", "recipe", "inputs", "output")
plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in ("a", "b"):
        save_state_dict(folder / name, {"w": torch.ones(4), "b": torch.zeros(2)})
    cuvee.merge(cuvee.Recipe(method="linear", models=[str(folder / "a"), str(folder / "b")]), folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def record(merged: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((merged / SIDECAR).read_text())
    return content


def places(value: Any, where: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Keys and indices that lead to everything inside a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [where, *(place for key, inner in items for place in places(inner, (*where, key)))]


def states(findings: list[Finding]) -> set[str]:
    return {finding.state for finding in findings}


def test_record_as_it_was_written_is_the_same(merged: Path, record: dict[str, Any]) -> None:
    (merged / SIDECAR).write_text(json.dumps(record))
    assert states(verify(merged)) == {"same"}


@given(data=st.data())
def test_record_with_anything_put_anywhere_is_compared_or_refused(
    merged: Path, record: dict[str, Any], data: st.DataObject
) -> None:
    content = copy.deepcopy(record)
    choices = [place for place in places(content)[1:] if place[0] in TOP]
    *path, last = data.draw(st.sampled_from(choices))
    holder: Any = content
    for key in path:
        holder = holder[key]
    if data.draw(st.booleans()):
        holder[last] = data.draw(plain)
    else:
        del holder[last]
    (merged / SIDECAR).write_text(json.dumps(content))
    try:
        findings = verify(merged)
    except CuveeError as error:
        assert str(error)  # noqa: PT017  either is right; anything else fails the test
    else:
        assert states(findings) <= {"same", "changed", "missing", "unknown"}


@pytest.mark.parametrize("value", [None, 5, "recipe.yaml", [], {}, {"method": "linear"}, {"cuvee": 1, "method": 5}])
def test_recipe_that_is_none_is_no_replay(merged: Path, record: dict[str, Any], value: Any) -> None:
    (merged / SIDECAR).write_text(json.dumps(record | {"recipe": value}))
    try:
        findings = verify(merged, replay=True)
    except CuveeError as error:
        assert "'recipe' is" in str(error)  # noqa: PT017
    else:
        assert (findings[-1].part, findings[-1].state) == ("replay", "missing")


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{", b'{"format": 1}', b"{" * 10**5, b'{"a":' * 10**5, b'{"format": NaN}']
)
def test_file_that_is_no_record_is_refused(merged: Path, raw: bytes) -> None:
    (merged / SIDECAR).write_bytes(raw)
    with pytest.raises(CuveeError, match=SIDECAR):
        verify(merged)
