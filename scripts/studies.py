"""Take results of studies into the documents: python scripts/studies.py RUN_FOLDER [RUN_FOLDER ...].

Each folder is one that `cuvee study NAME --out RUN_FOLDER` wrote. Its results go to docs/studies/NAME/, with figures
(SVG; sheets of samples as PNG) and tables (CSV), and `make docs` writes what docs/studies/NAME.md tells of them.
"""

import shutil
import sys
from pathlib import Path

from cuvee.report.write import write
from cuvee.studies.catalogue import find_study
from cuvee.studies.results import FILE, Results
from cuvee.studies.telling import report_of

DOCUMENTS = Path(__file__).resolve().parent.parent / "docs" / "studies"


def main() -> None:
    """Take the folders that were named."""
    for folder in map(Path, sys.argv[1:]):
        results = Results.load(folder / FILE)
        out = DOCUMENTS / results.study
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        shutil.copy(folder / FILE, out / FILE)
        write(report_of(find_study(results.study), results), out, with_page=False)
        for path in out.rglob("*.*"):
            is_drawn_twice = path.suffix == ".png" and path.with_suffix(".svg").exists()
            if is_drawn_twice or (path.parent.name == "tables" and path.suffix != ".csv"):
                path.unlink()
        print(f"{out}: {results.preset}, {len(results.rows)} rows")


if __name__ == "__main__":
    main()
