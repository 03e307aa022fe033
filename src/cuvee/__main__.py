"""``python -m cuvee``."""

from cuvee.cli import main

main()
