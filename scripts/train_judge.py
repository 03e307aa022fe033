"""Train the judge of the suite glyph-gen anew, after its data have changed: python scripts/train_judge.py.

What it prints goes into `judge.py` of the suite, whose version grows.
"""

import hashlib

from cuvee.studies.suites.glyph_gen.judge import FILE, accuracy, train_judge
from cuvee.writers.save import save_state_dict


def main() -> None:
    """Train, write and measure."""
    made = train_judge()
    FILE.unlink(missing_ok=True)
    save_state_dict(FILE, made.state_dict())
    shares = ", ".join(f"{name} {share:.4f}" for name, share in accuracy(made, "test").items())
    print(f"{FILE}: sha256 {hashlib.sha256(FILE.read_bytes()).hexdigest()}; right on test: {shares}")


if __name__ == "__main__":
    main()
