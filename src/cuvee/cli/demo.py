"""``cuvee demo``."""

from pathlib import Path

from cuvee.errors import MissingLibraryError

__all__ = ["run"]


def run(out: Path, seed: int) -> None:
    """Run the demonstration.

    Raises:
        MissingLibraryError: its data come with a library that is not installed.
    """
    try:
        import sklearn  # noqa: F401 - the demonstration's images come with it
    except ImportError as error:
        raise MissingLibraryError(
            "the demo takes its images from scikit-learn, which is not installed; run: pip install 'cuvee[demo]'"
        ) from error
    from cuvee.studies.demo.run import demo

    demo(out, seed)
