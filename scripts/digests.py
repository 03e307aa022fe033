"""Write the digests of a suite's data anew, after its version has grown: python scripts/digests.py glyphs."""

import json
import sys
from importlib import import_module
from pathlib import Path


def main() -> None:
    """Draw the data of the suites named, and write what they are."""
    for name in sys.argv[1:]:
        folder = Path(__file__).resolve().parent.parent / "src/cuvee/studies/suites" / name.replace("-", "_")
        found: dict[str, str] = {}

        def keep(_: str, drawn: dict[str, str], __: object, into: dict[str, str] = found) -> dict[str, str]:
            into.update(drawn)
            return drawn

        module = import_module(f"cuvee.studies.suites.{folder.name}.suite")
        module.checked = keep
        import_module(f"cuvee.studies.suites.{folder.name}").open_suite().digests()
        (folder / "digests.json").write_text(json.dumps(found, indent=1) + "\n")
        print(f"{name}: {len(found)} parts")


if __name__ == "__main__":
    main()
