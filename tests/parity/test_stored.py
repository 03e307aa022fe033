"""Configurations of mergekit with its outputs beside them (golden/mergekit): cuvee's are the same."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Import = Callable[[str], ModuleType]
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "mergekit"
SEED = 5  # of the weights, as in parity/store.py

each_case = pytest.mark.parametrize("folder", sorted(GOLDEN.glob("[0-9]*")), ids=lambda folder: folder.name)


@pytest.fixture(scope="session")
def pool(module: Import, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return module("pool").Pool(tmp_path_factory.mktemp("models"), SEED)


@each_case
def test_models_are_those_that_the_reference_was_given(module: Import, pool: Any, folder: Path) -> None:
    case, digests = module("stored").read(folder, pool.root)
    pool.provide(case.models)
    assert {path: module("stored").digest(Path(path)) for path in case.models} == digests


@pytest.mark.slow
@each_case
def test_reference_does_what_the_specification_says(module: Import, pool: Any, folder: Path) -> None:
    case, _ = module("stored").read(folder, pool.root)
    pool.provide(case.models)
    outcome = module("verdicts").decide(case, pool.find, (folder, refused(folder)), None)
    assert outcome.findings.remarks == []


@each_case
def test_cuvee_does_what_the_reference_does(module: Import, pool: Any, folder: Path, tmp_path: Path) -> None:
    case, _ = module("stored").read(folder, pool.root)
    pool.provide(case.models)
    config, out = tmp_path / "config.yml", tmp_path / "out"
    config.write_text(case.text)
    ours = out, module("verdicts").merge(config, out)
    assert module("verdicts").decide(case, pool.find, (folder, refused(folder)), ours).problems == []


def refused(folder: Path) -> str | None:
    file = folder / "refused.txt"
    return file.read_text() if file.exists() else None


def test_every_method_has_a_case(module: Import, pool: Any) -> None:
    cases = [module("stored").read(folder, pool.root)[0] for folder in sorted(GOLDEN.glob("[0-9]*"))]
    assert {case.method for case in cases if case.kind != "wrong"} == set(module("settings").DECLARED)
    assert len(cases) >= 40
