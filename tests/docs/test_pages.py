"""Every block of code in the documents runs, and every link leads somewhere.

In each document the blocks run from top to bottom in one folder. A yaml block whose first line is ``# NAME.yaml`` is
written to that file; one that is a part of a recipe is completed. Lines of bash are run by the function behind the
command, each must end as its comment says; a text block after them is what they print. A block that is not run has its
reason in the comment before it.
"""

import doctest
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import cuvee
from cuvee.cli import main
from cuvee.recipe.several import recipes_of
from cuvee.studies.external.reading import load

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs/errors").glob("*.md")),
    *sorted((ROOT / "docs/studies").glob("*.md")),
]
FENCE = re.compile(
    r"(?:<!-- (?P<comment>[^\n]*) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
FILE_NAME = re.compile(r"# ([\w.-]+\.yaml)\n")
EXITS = re.compile(r"# exits with (\d)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
WHOLE = {
    "cuvee": 1,
    "method": "task_arithmetic",
    "models": {"math": "models/math", "code": "models/code"},
    "base": "models/base",
}
# What CONTRIBUTING shows are files and parts of files; test_examples runs them.
ELSEWHERE = {"toml", "markdown"}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)
each_page_that_runs = pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CONTRIBUTING.md"], ids=name_of
)


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    comment: str
    line: int

    @property
    def excused(self) -> bool:
        return self.comment.startswith("not run: ")


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start("text")) + 1
        yield Block(found["language"], found["text"], found["comment"] or "", line)


class Run:
    """Runs the blocks of one document, each with what those before it left."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.names: dict[str, Any] = {"__name__": "__docs__"}
        self.printed: str | None = None
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def run(self, block: Block) -> None:
        printed, self.printed = self.printed, None
        if block.language == "text":
            assert printed is not None, "a text block shows what the commands before it print"
            assert lines_of(printed) == lines_of(block.text)
        else:
            getattr(self, block.language)(block)

    def yaml(self, block: Block) -> None:
        name = FILE_NAME.match(block.text)
        path = self.folder / (name[1] if name else "part.yaml")
        content = yaml.safe_load(block.text)
        if "suite" in content:  # a declared suite
            path.write_text(block.text)
            load(path)
            return
        whole = "cuvee" in content or "merge_method" in content
        path.write_text(block.text if whole else yaml.safe_dump(WHOLE | content))
        if block.comment == "wrong on purpose":
            with pytest.raises(cuvee.CuveeError):
                recipes_of(path)
            return
        assert [note for note in cuvee.plan(path).warnings if "no effect" in note] == []

    def bash(self, block: Block) -> None:
        self._capsys.readouterr()
        for line in block.text.splitlines():
            words = shlex.split(line, comments=True)
            assert words[0] == "cuvee", f"{words[0]} is not run: say why in a comment before the block"
            expected = int(found[1]) if (found := EXITS.search(line)) else 0
            self._monkeypatch.setattr(sys, "argv", words)
            with pytest.raises(SystemExit) as leaving:
                main()
            assert (leaving.value.code or 0) == expected, line
        self.printed = "".join(self._capsys.readouterr())

    def python(self, block: Block) -> None:
        if ">>>" not in block.text:
            exec(compile(block.text, f"block at line {block.line}", "exec"), self.names)
            return
        example = doctest.DocTestParser().get_doctest(block.text, self.names, "block", None, block.line - 1)
        report: list[str] = []
        doctest.DocTestRunner(verbose=False).run(example, out=report.append, clear_globs=False)
        assert "".join(report) == ""
        self.names.update(example.globs)


def lines_of(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


@each_page_that_runs
def test_the_blocks_of_a_page_run_from_top_to_bottom(
    page: Path, with_models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, forget: None
) -> None:
    run = Run(with_models, capsys, monkeypatch)
    for block in blocks(page):
        if not block.excused:
            try:
                run.run(block)
            except BaseException as error:
                error.add_note(f"in the {block.language} block at {page.name}:{block.line}")
                raise


@each_page
def test_every_block_has_a_language_and_an_excuse_is_a_sentence(page: Path) -> None:
    assert page.read_text().count("\n```") % 2 == 0
    assert 2 * len(list(blocks(page))) == page.read_text().count("\n```")
    for block in blocks(page):
        assert block.language in {"python", "bash", "yaml", "text", *ELSEWHERE}, f"{page.name}:{block.line}"
        assert not block.comment.startswith("not run") or len(block.comment.split()) >= 4, f"{page.name}:{block.line}"


@each_page
def test_links_between_pages_lead_to_a_file_and_a_heading(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


@each_page
def test_the_targets_of_make_that_a_page_names_exist(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:`|^ {4}|^)make ([a-z][a-z-]*)", page.read_text(), re.MULTILINE)) <= set(targets)


def anchors(page: Path) -> set[str]:
    """The names that a hosting site gives to headings."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
