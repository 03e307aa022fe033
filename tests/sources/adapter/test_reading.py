"""Bytes of an adapted tensor are the same whichever part is read, by whom, and with how many threads."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from cuvee.errors import SourceError
from cuvee.sources.adapter.product import MOST_TERMS
from cuvee.sources.open import open_source
from cuvee.spec import Source
from sources.adapter.adapters import opened

# Several bands of rows and tiles of columns, none of them full; a product of many terms; one of one row or column.
SHAPES = {
    "wide": (70, 2100, 5),
    "tall": (500, 40, 33),
    "long": (40, 50, MOST_TERMS + 76),
    "row": (1, 90, 2),
    "column": (90, 1, 2),
}
SCALING = 0.75


def write(folder: Path, shapes: Mapping[str, tuple[int, int, int]], *, dora: bool = False) -> str:
    """Write a base and an adapter of random numbers; return the reference of both."""
    random = np.random.default_rng(7)
    base, adapter = {}, {}
    for name, (rows, columns, rank) in shapes.items():
        base[f"{name}.weight"] = random.standard_normal((rows, columns), np.float32)
        adapter[f"base_model.model.{name}.lora_A.weight"] = random.standard_normal((rank, columns), np.float32)
        adapter[f"base_model.model.{name}.lora_B.weight"] = random.standard_normal((rows, rank), np.float32)
        if dora:
            adapter[f"base_model.model.{name}.lora_magnitude_vector"] = random.random(rows, np.float32) + 1
    ranks = {name: rank for name, (_, _, rank) in shapes.items()}
    scalings = {name: SCALING * rank for name, (_, _, rank) in shapes.items()}
    settings = {"peft_type": "LORA", "r": 1, "rank_pattern": ranks, "alpha_pattern": scalings, "use_dora": dora}
    for part, tensors in (("base", base), ("adapter", adapter)):
        (folder / part).mkdir(parents=True)
        file = folder / part / ("model.safetensors" if part == "base" else "adapter_model.safetensors")
        safetensors.numpy.save_file(tensors, file)
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(settings))
    return f"{folder / 'base'}+{folder / 'adapter'}"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write all shapes."""
    return write(tmp_path_factory.mktemp("shapes"), SHAPES)


def whole(source: Source, name: str) -> np.ndarray:
    """Read a tensor at once."""
    data = np.empty(source.header[name].nbytes, np.uint8)
    source.read_into(data.data, name)
    return data


@pytest.mark.parametrize("name", SHAPES)
def test_sums_are_rounded_once(name: str, reference: str) -> None:
    """The sum in float64 is off by far less than half a unit: rounded, it is the nearest float32 or its neighbour."""
    base, adapter = reference.split("+")
    factors = safetensors.numpy.load_file(f"{adapter}/adapter_model.safetensors")
    weight = safetensors.numpy.load_file(f"{base}/model.safetensors")[f"{name}.weight"].astype(np.float64)
    a, b = (factors[f"base_model.model.{name}.lora_{letter}.weight"].astype(np.float64) for letter in "AB")
    expected = weight + SCALING * (b @ a)
    found = whole(opened(reference), f"{name}.weight").view(np.float32).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1.001 * 2**-24, atol=1e-12)


@given(data=st.data())
def test_any_range_has_the_same_bytes(data: st.DataObject, reference: str) -> None:
    name = f"{data.draw(st.sampled_from(list(SHAPES)))}.weight"
    with closing(open_source(reference)) as source:
        everything = whole(source, name)
        start = data.draw(st.integers(0, len(everything)))
        stop = data.draw(st.integers(start, len(everything)))
        part = np.empty(stop - start, np.uint8)
        source.read_into(part.data, name, start)
    assert np.array_equal(part, everything[start:stop])


@pytest.mark.parametrize("dora", [False, True])
def test_threads_read_the_same_bytes(dora: bool, tmp_path: Path) -> None:
    reference = write(tmp_path, {"wide": SHAPES["wide"], "tall": SHAPES["tall"]}, dora=dora)
    alone, together = opened(reference), opened(reference)
    pieces = [(name, start) for name in alone.header for start in range(0, alone.header[name].nbytes, 9_001)]

    def read(piece: tuple[str, int]) -> bytes:
        name, start = piece
        part = np.empty(min(9_001, together.header[name].nbytes - start), np.uint8)
        together.read_into(part.data, name, start)
        return part.tobytes()

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(read, pieces))
    assert b"".join(found) == b"".join(whole(alone, name).tobytes() for name in alone.header)


@pytest.mark.slow
def test_number_of_threads_of_the_blas_does_not_matter(tmp_path: Path) -> None:
    reference = write(tmp_path, {"w": (600, 3000, 64), "v": (600, 3000, 1)})
    script = (
        "import sys, hashlib; import numpy as np; from cuvee.sources.open import open_source\n"
        "source, total = open_source(sys.argv[1]), hashlib.sha256()\n"
        "for name in source.header:\n"
        "    data = np.empty(source.header[name].nbytes, np.uint8)\n"
        "    source.read_into(data.data, name); total.update(data)\n"
        "assert 'torch' not in sys.modules\n"
        "print(total.hexdigest())"
    )
    names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    digests = {
        subprocess.run(
            [sys.executable, "-c", script, reference],
            env={**os.environ, **dict.fromkeys(names, count)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for count in ("1", "2", "7")
    }
    source = opened(reference)
    here = hashlib.sha256(b"".join(whole(source, name).tobytes() for name in source.header)).hexdigest()
    assert digests == {f"{here}\n"}


def test_magnitudes_are_the_norms_of_rows(tmp_path: Path) -> None:
    reference = write(tmp_path, {"tall": SHAPES["tall"]}, dora=True)
    magnitudes = safetensors.numpy.load_file(f"{tmp_path}/adapter/adapter_model.safetensors")
    found = whole(opened(reference), "tall.weight").view(np.float32).reshape(SHAPES["tall"][:2]).astype(np.float64)
    expected = magnitudes["base_model.model.tall.lora_magnitude_vector"]
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), expected, rtol=1e-6)


def test_a_row_of_zeros_has_no_norm(tmp_path: Path) -> None:
    reference = write(tmp_path, {"w": (3, 4, 1)}, dora=True)
    base, adapter = tmp_path / "base" / "model.safetensors", tmp_path / "adapter" / "adapter_model.safetensors"
    safetensors.numpy.save_file({"w.weight": np.zeros((3, 4), np.float32)}, base)
    tensors = safetensors.numpy.load_file(adapter)
    tensors["base_model.model.w.lora_B.weight"][1] = 0
    safetensors.numpy.save_file(tensors, adapter)
    with pytest.raises(SourceError, match=r"w\.weight: row 1 is all zero with the adapter added.*does not fit"):
        whole(opened(reference), "w.weight")


def test_ranges_outside_a_tensor_are_errors(reference: str) -> None:
    source = opened(reference)
    with pytest.raises(SourceError, match=r"'row\.weight' has 360 bytes; bytes 356 to 364 were asked for"):
        source.read_into(memoryview(bytearray(8)), "row.weight", 356)
    with pytest.raises(SourceError, match=r"has no tensor 'rows\.weight'\. Did you mean 'row\.weight'"):
        source.read_into(memoryview(bytearray(8)), "rows.weight")
