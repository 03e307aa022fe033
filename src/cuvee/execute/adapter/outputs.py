"""The adapters that a run makes: checked and planned together, made one after the other, put in place with the rest."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from cuvee.execute.adapter.folder import require_folder, write_adapter
from cuvee.execute.adapter.merge import AdapterMerge
from cuvee.execute.adapter.tasks import Count
from cuvee.execute.report import Meter, Report
from cuvee.plan.limits import Limits, Share
from cuvee.recipe.recipe import Recipe
from cuvee.writers.target import check_target

__all__ = ["AdapterOutputs"]


@dataclass(frozen=True, slots=True)
class _Output:
    """One adapter to make."""

    number: int
    out: Path
    merge: AdapterMerge
    share: Share


class AdapterOutputs:
    """Adapters to be made, opened and planned.

    Args:
        recipes: number, place and recipe of each output.
        limits: what each may use: they are made one after the other.
        stack: closes what is opened.

    Attributes:
        paths: files and folders that are read.

    Raises:
        CuveeError: see `AdapterMerge`; nothing was made.
    """

    def __init__(self, recipes: Sequence[tuple[int, Path, Recipe]], limits: Limits, stack: ExitStack) -> None:
        self._outputs: list[_Output] = []
        for number, out, recipe in recipes:
            require_folder(out)
            merge = AdapterMerge(recipe)
            stack.callback(merge.close)
            self._outputs.append(_Output(number, out, merge, merge.share(limits)))
        self.paths = [path for each in self._outputs for path in each.merge.paths]

    @property
    def nbytes(self) -> int:
        """Bytes that are read and written, at most."""
        plans = [each.merge.plan for each in self._outputs]
        return sum(plan.bytes_read + plan.bytes_written for plan in plans)

    def check_places(self, inputs: Sequence[Path], *, overwrite: bool) -> Sequence[Path]:
        """Verify that all may be put where they go; return their real paths.

        Raises:
            OutputError: one may not.
        """
        return [check_target(each.out, overwrite=overwrite, inputs=inputs) for each in self._outputs]

    def write(
        self, stack: ExitStack, count: Count, inputs: Sequence[Path], *, overwrite: bool, sync: bool
    ) -> dict[Sequence[int], Report]:
        """Make them; return what each cost, by its number alone.

        Args:
            stack: puts them in place when it is closed.
            count: called from workers with the bytes moved since the last call.
            inputs: files and folders that are read by this run.
            overwrite: replace what stands there.
            sync: make them last through a loss of power.

        Raises:
            CuveeError: one could not be made; see `cuvee.merge`.
        """
        reports: dict[Sequence[int], Report] = {}
        for each in self._outputs:
            meter = Meter()
            made = each.merge.run(each.out, each.share, count)
            reports[each.number,] = write_adapter(
                made, each.out, meter, count, stack, overwrite=overwrite, sync=sync, inputs=inputs
            )
            each.merge.close()
        return reports
