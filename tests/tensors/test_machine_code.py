"""Compiled kernels: made once, kept, and left out without harm where they cannot be made or loaded."""

import json
import logging
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from threading import Barrier, Thread
from time import sleep
from types import SimpleNamespace

import llvmlite.binding as llvm
import numpy as np
import pytest

from cuvee.errors import CuveeWarning
from cuvee.spec import DTYPES
from cuvee.tensors.kernels import machine_code
from cuvee.tensors.kernels.machine_code import Kernel, cache_folder, kernel, write
from cuvee.tensors.kernels.program import Chain, Program, address_of

LOAD = (
    "import sys\n"
    "from cuvee.tensors.kernels import machine_code\n"
    "machine_code.on_compile(lambda: print('compiled'))\n"
    "print(machine_code.kernel() is not None, 'numba' in sys.modules)\n"
)
# Two functions that need numba's runtime: one raises, one takes memory.
USE_NUMBA = (
    "import numba, numpy\n"
    "@numba.njit\n"
    "def fill(count):\n"
    "    if count < 0:\n"
    "        raise ValueError('negative')\n"
    "    return numpy.full(count, 2.0)\n"
    "assert fill(3).tolist() == [2, 2, 2]\n"
    "try:\n"
    "    fill(-1)\n"
    "except ValueError as error:\n"
    "    assert str(error) == 'negative'\n"
    "else:\n"
    "    raise AssertionError\n"
)
# A compiler that makes nothing but says what it was given.
PROBE = (
    "import json, os, sys\n"
    "from pathlib import Path\n"
    "from cuvee.tensors.kernels import machine_code\n"
    "print('noise')\n"
    "told = {'path': sys.path, 'folder': os.listdir(), 'cuvee': machine_code.__file__}\n"
    "machine_code.write(Path(sys.argv[1]), json.dumps(told), b'code')\n"
)


def run(script: str, cache: Path | str, folder: Path | None = None, **variables: str) -> str:
    """Run a script that does not look for modules in the current folder; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        env={**os.environ, "CUVEE_CACHE": str(cache), **variables},
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def works(call: Kernel | None) -> bool:
    """Say whether this is a kernel, by an inner product."""
    data = np.ones(5, np.float32)
    ones = SimpleNamespace(data=data.view(np.uint8), dtype=DTYPES["F32"], rows=1, address=address_of(data))
    return call is not None and Program(call, [Chain(ones)]).gram() == 5


@pytest.fixture(scope="module")
def made() -> tuple[str, bytes]:
    """Return the name and machine code of this machine's kernels."""
    assert kernel() is not None, "numba is missing, and these tests with it"
    return machine_code._read(cache_folder() / f"kernels-{machine_code._fingerprint(llvm)}.o")


@pytest.fixture
def fresh(made: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have this process look for kernels anew, in an empty cache; return the file that it looks for."""
    monkeypatch.setattr(machine_code, "_found", [])
    monkeypatch.setattr(machine_code, "_listeners", [])
    monkeypatch.setenv("CUVEE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / f"kernels-{machine_code._fingerprint(llvm)}.o"


@pytest.fixture
def compiled(made: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have kernels compiled in no time; return a list with one entry for each time."""
    times: list[str] = []

    def compile_quickly() -> tuple[str, bytes]:
        times.append("compiled")
        sleep(0.02)
        return made

    monkeypatch.setattr(machine_code, "_compile", compile_quickly)
    return times


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have another compiler asked; return its file, which is a probe."""
    file = tmp_path / "modules" / "other_compiler.py"
    file.parent.mkdir()
    file.write_text(PROBE)
    monkeypatch.setattr(machine_code, "COMPILER", file.stem)
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}{file.parent}")
    return file


@pytest.mark.slow
def test_kernels_are_compiled_once_and_a_damaged_or_foreign_cache_is_not_used(tmp_path: Path) -> None:
    assert run(LOAD, tmp_path) == "compiled\nTrue False\n"
    assert run(LOAD, tmp_path) == "True False\n"
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    assert run(LOAD, tmp_path) == "compiled\nTrue False\n"
    assert run(LOAD, tmp_path, NUMBA_OPT="1") == "compiled\nTrue False\n"
    assert len(list(tmp_path.iterdir())) == 2
    assert run(LOAD, "/dev/null/nowhere") == "compiled\nTrue False\n"


@pytest.mark.slow
def test_neither_the_current_folder_nor_what_is_printed_has_a_say_in_compiling(tmp_path: Path) -> None:
    model, site = tmp_path / "model", tmp_path / "site"
    model.mkdir()
    site.mkdir()
    for name in ("numba.py", "numpy.py", "cuvee.py"):
        (model / name).write_text("raise SystemExit('a module of the current folder was executed')\n")
    (model / ".numba_config.yaml").write_text("disable_jit: 1\n")
    (site / "sitecustomize.py").write_text("print('hello')\n")
    variables = {"PYTHONPATH": str(site), "NUMBA_DUMP_OPTIMIZED": "1"}
    assert run(LOAD, tmp_path / "cache", model, **variables) == "hello\ncompiled\nTrue False\n"
    assert run(LOAD, tmp_path / "cache", model, **variables) == "hello\nTrue False\n"


@pytest.mark.slow
def test_a_numba_that_asks_for_symbols_we_do_not_know_is_not_used(tmp_path: Path) -> None:
    script = (
        "import runpy, sys\n"
        "from cuvee.tensors.kernels import machine_code\n"
        "machine_code.UNUSED = machine_code.UNUSED[1:]\n"
        "sys.argv[1:] = ['nothing']\n"
        "try:\n"
        "    runpy.run_module(machine_code.COMPILER, run_name='__main__')\n"
        "except SystemExit as error:\n"
        "    print(error)\n"
    )
    assert run(script, tmp_path, tmp_path) == "this numba asks for NRT_Free\n"
    assert not list(tmp_path.iterdir())


IN_USE, IMPORTED, LATER = f"{USE_NUMBA}{LOAD}{USE_NUMBA}", f"import numba\n{LOAD}{USE_NUMBA}", f"{LOAD}{USE_NUMBA}"


@pytest.mark.parametrize(
    ("script", "imported"),
    [
        pytest.param(IN_USE, True, id="in use"),
        pytest.param(IMPORTED, True, id="imported", marks=pytest.mark.slow),
        pytest.param(LATER, False, id="later", marks=pytest.mark.slow),
    ],
)
def test_numba_works_before_and_after_kernels_are_loaded(made: object, script: str, imported: bool) -> None:
    assert run(script, cache_folder()) == f"True {imported}\n"


def test_what_was_compiled_is_kept_and_loaded_by_the_next(fresh: Path, compiled: list[str]) -> None:
    first = kernel()
    assert works(first)
    assert kernel() is first
    machine_code._found.clear()
    assert works(kernel())
    assert compiled == ["compiled"]
    assert list(fresh.parent.iterdir()) == [fresh]


def test_threads_wait_for_the_one_that_compiles(fresh: Path, compiled: list[str]) -> None:
    together, found = Barrier(8), []

    def look() -> None:
        together.wait()
        found.append(kernel())

    threads = [Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert compiled == ["compiled"]
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


def test_a_kept_file_that_is_damaged_or_cannot_be_loaded_is_compiled_anew(
    fresh: Path, compiled: list[str], made: tuple[str, bytes]
) -> None:
    _, code = made
    write(fresh, "nothing", code)
    assert works(kernel())
    assert machine_code._read(fresh) == made
    machine_code._found.clear()
    fresh.write_bytes(fresh.read_bytes()[:-1])
    assert works(kernel())
    assert machine_code._read(fresh) == made
    assert compiled == ["compiled"] * 2


def test_where_nothing_can_be_kept_kernels_are_compiled_for_this_process(
    fresh: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUVEE_CACHE", "/dev/null/nowhere")
    with pytest.warns(CuveeWarning, match="cannot be kept in /dev/null/nowhere .*every process compiles them anew"):
        assert works(kernel())
    machine_code._found.clear()

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    for variable in ("CUVEE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    assert works(kernel())
    assert compiled == ["compiled"] * 2


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        write(tmp_path / "taken", "name", b"code")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_the_compiler_finds_this_cuvee_and_nothing_in_the_current_folder(
    compiler: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(compiler.parent)
    link = tmp_path / "link"
    link.symlink_to(Path(machine_code.__file__).parents[3])
    monkeypatch.setattr(machine_code, "__file__", str(link / Path(machine_code.__file__).relative_to(link.resolve())))
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}{tmp_path}{os.pathsep}.")
    name, code = machine_code._compile()
    told = json.loads(name)
    assert told["cuvee"] == machine_code.__file__
    assert told["path"][:3] == [str(link), str(tmp_path), str(compiler.parent)]  # as given, but for the empty part
    assert told["folder"] == []
    assert code == b"code"


def test_site_packages_do_not_come_before_the_standard_library(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Path(machine_code.sysconfig.get_path("purelib"))
    monkeypatch.setattr(machine_code, "__file__", str(site / "cuvee" / "tensors" / "kernels" / "machine_code.py"))
    monkeypatch.setenv("PYTHONPATH", "/more")
    assert machine_code._search_path() == "/more"


def test_who_asked_is_told_of_compiling_and_else_the_log_is(
    fresh: Path, compiler: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="cuvee")
    machine_code._compile()
    ((logger, level, message),) = caplog.record_tuples
    assert (logger, level) == ("cuvee", logging.INFO)
    assert message.startswith("Compiling kernels for this machine")
    caplog.clear()
    told: list[str] = []
    machine_code.on_compile(lambda: told.append("told"))
    machine_code._compile()
    assert told == ["told"]
    assert not caplog.records


@pytest.mark.parametrize(
    ("executable", "cause"),
    [
        (None, "there is no Python to compile with"),
        ("", "there is no Python to compile with"),
        ("/nowhere/python", "No such file"),
        ("/dev/null", "Permission denied"),
        ("/bin/sh", ".*"),
        ("true", "made none and gave exit code 0"),
        ("false", "made none and gave exit code 1"),
        ("sleep 9", "timed out"),
    ],
)
def test_where_there_is_no_python_to_compile_with_it_is_done_in_torch(
    executable: str | None, cause: str, fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if executable and not executable.startswith("/"):
        script = tmp_path / "program"
        script.write_text(f"#!/bin/sh\nexec {executable}\n")
        script.chmod(0o700)
        executable = str(script)
        monkeypatch.setattr(machine_code, "PATIENCE", 0.2 if "sleep" in script.read_text() else 9)
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.warns(CuveeWarning, match=rf"could not be compiled or loaded \(.*{cause}.*\); computing in torch"):
        assert kernel() is None
    assert kernel() is None  # without a second warning
    assert not fresh.parent.exists()


def test_a_frozen_program_is_not_started_again(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.warns(CuveeWarning, match="there is no Python to compile with"):
        assert kernel() is None


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("raise OSError('the disk is full')", "the disk is full"),
        ("import sys; open(sys.argv[1], 'w').write('something else')", "is damaged"),
        ("import os; os.abort()", "exit code -6"),
    ],
)
def test_a_compiler_that_fails_is_warned_of(script: str, cause: str, fresh: Path, compiler: Path) -> None:
    compiler.write_text(script)
    with pytest.warns(CuveeWarning, match=cause):
        assert kernel() is None
    assert not fresh.parent.exists()


def test_machine_code_without_the_function_is_neither_called_nor_kept(
    fresh: Path, made: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_code, "_compile", lambda: ("nothing", made[1]))
    with pytest.warns(CuveeWarning, match="the machine code has no function 'nothing'"):
        assert kernel() is None
    assert not fresh.parent.exists()


def test_without_numba_everything_is_done_in_torch(
    fresh: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    import cuvee

    models = [{"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 6.0])}]
    with monkeypatch.context() as patch:
        for module in ("llvmlite", "llvmlite.binding"):
            patch.setitem(sys.modules, module, None)
        assert cuvee.merge_state_dicts("linear", models)["w"].tolist() == [2.0, 4.0]
        assert cuvee.merge_state_dicts("ties", models, models[0], density=0.5)["w"].tolist() == [1.0, 6.0]
        assert machine_code._found == [None]
    machine_code._found.clear()

    def no_numba(package: str) -> str:
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", no_numba)
    assert kernel() is None
    assert not compiled


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"CUVEE_CACHE": "kept"}, "kept"),
        ({"CUVEE_CACHE": "", "XDG_CACHE_HOME": "/cache"}, "/cache/cuvee"),
        ({"XDG_CACHE_HOME": ""}, "/home/ada/.cache/cuvee"),
        ({"XDG_CACHE_HOME": "cache"}, "/home/ada/.cache/cuvee"),
        ({}, "/home/ada/.cache/cuvee"),
    ],
)
def test_an_empty_or_relative_variable_does_not_lead_to_the_current_folder(
    variables: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("CUVEE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == Path(folder)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() in {Path("/home/ada/Library/Caches/cuvee"), Path(variables.get("CUVEE_CACHE") or "none")}
