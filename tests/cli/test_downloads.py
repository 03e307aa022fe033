import io

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from cuvee.cli.downloads import show_downloads
from cuvee.sources import hub


def test_a_download_has_a_line_until_it_is_over() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    bar = Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), console=console)
    with bar, show_downloads(bar):
        advance = hub._listeners[-1]("org/model/a.safetensors", 1000)
        advance(400)
        (task,) = bar.tasks
        assert (task.description, task.completed, task.total, task.visible) == (
            "org/model/a.safetensors", 400, 1000, True,
        )  # fmt: skip
        advance(600)
        assert not task.visible
    assert not hub._listeners
