"""Write the parts of the documentation that are made from code: the methods, and the examples' files.

    make docs, or .venv/bin/python scripts/docs.py [--check]

In some documents everything between ``<!-- begin: WHAT -->`` and ``<!-- end -->`` is replaced; WHAT is ``methods``,
``suites``, ``external-suites`` or ``scores`` for a table of these, ``score-pages`` for a section of each score,
``study:NAME`` for the results of a study, or the path of a file. docs/methods.md is written as a whole. With
``--check`` nothing is written, and the exit status is 1 if something would change.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from cuvee.evaluate.declare import Score
from cuvee.evaluate.page import section as score_page
from cuvee.evaluate.page import table as score_table
from cuvee.evaluate.registry import scores
from cuvee.methods.declare import Method
from cuvee.methods.page import section, table
from cuvee.methods.registry import methods
from cuvee.report.markdown import as_document
from cuvee.studies.catalogue import find_study
from cuvee.studies.external.page import external_table
from cuvee.studies.external.shipped import find_declaration, shipped_names
from cuvee.studies.pages import suites_table
from cuvee.studies.registry import find_suite, suite_names
from cuvee.studies.results import FILE, Results
from cuvee.studies.telling import report_of

ROOT = Path(__file__).resolve().parent.parent
PAGE = "docs/methods.md"
LANGUAGES = {".py": "python", ".yaml": "yaml"}
HEAD = """# Methods

<!-- Written by scripts/docs.py from the methods' declarations: do not edit. -->

A page of this kind is also printed by `cuvee methods NAME`. In formulas theta_t is a model, theta_0 the base, tau_t =
theta_t - theta_0 a task vector. A parameter given *per model* takes one value for all models, a list, or a mapping from
labels ([recipes](recipes.md#parameters)). Cells and readings are explained in [how it works](how-it-works.md#passes).
"""


def main() -> None:
    """Write what has changed, or, with ``--check``, say what would."""
    stale = {path: text for path, text in generated().items() if not path.exists() or path.read_text() != text}
    for path, text in stale.items():
        print(f"{'stale' if '--check' in sys.argv else 'wrote'}: {path.relative_to(ROOT)}")
        if "--check" not in sys.argv:
            path.write_text(text)
    sys.exit("--check" in sys.argv and bool(stale))


def generated() -> dict[Path, str]:
    """Return every document that has generated parts, as it should be."""
    known = own_methods()
    documents = {ROOT / PAGE: "\n".join([HEAD, *map(section, known.values())])}
    studies = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs/studies").glob("*.md"))
    pages = ("README.md", "CONTRIBUTING.md", "docs/evaluation.md", "docs/external-suites.md", "docs/studies.md")
    for name in (*pages, *studies):
        text = (ROOT / name).read_text()
        documents[ROOT / name] = re.sub(
            r"(<!-- begin: (\S+) -->\n).*?(<!-- end -->)",
            lambda found: found[1] + _part(found[2], known) + found[3],
            text,
            flags=re.DOTALL,
        )
    return documents


def own_methods() -> Mapping[str, Method]:
    """Return the methods that come with cuvee; those of other packages that are installed here are not ours."""
    package = methods.__module__.rpartition(".")[0]
    return {name: each for name, each in methods().items() if each.function.__module__.startswith(f"{package}.")}


def own_scores() -> Mapping[str, Score]:
    """Return the scores that come with cuvee."""
    return {name: each for name, each in scores().items() if each.function.__module__.startswith("cuvee.")}


def _part(what: str, known: Mapping[str, Method]) -> str:
    """Make one generated part."""
    if what == "methods":
        return table(known, PAGE)
    if what == "scores":
        return score_table(own_scores())
    if what == "score-pages":
        return "\n".join(map(score_page, own_scores().values()))
    if what == "suites":
        return suites_table(find_suite(name).about for name in suite_names())
    if what == "external-suites":
        return external_table(find_declaration(name) for name in shipped_names())
    if what.startswith("study:"):
        results = Results.load(ROOT / "docs/studies" / what.removeprefix("study:") / FILE)
        return as_document(report_of(find_study(results.study), results), results.study)
    path = ROOT / what
    return f"```{LANGUAGES[path.suffix]}\n{path.read_text()}```\n"


if __name__ == "__main__":
    main()
