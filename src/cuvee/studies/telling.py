"""Results of a study as a report: the answers first, then tables and figures, then where every number comes from."""

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import fmean

from cuvee.report.content import Cell, Column, Figure, Item, Line, Number, Point, Report, Section, Sheet, Table
from cuvee.report.numbers import shown
from cuvee.studies.answers import answers
from cuvee.studies.curves import curves
from cuvee.studies.leaderboard import Board, Place, boards
from cuvee.studies.registry import find_suite
from cuvee.studies.requirements import requirements
from cuvee.studies.results import Finding, Results
from cuvee.studies.rows import Row
from cuvee.studies.standings import Standing, standings
from cuvee.studies.study import Study
from cuvee.studies.verdict import Estimate

__all__ = ["report_of"]


def report_of(study: Study, results: Results) -> Report:
    """Tell what a study found."""
    overall = standings(results.rows)
    return Report(
        title=study.title,
        lead=study.question,
        cards=answers(results.rows, overall),
        sections=list(_sections(study, results, overall)),
        foot=_foot(results),
    )


def _boards(results: Results) -> tuple[Sequence[Board], Sequence[Board]]:
    """Return the leaderboards of the most models of each arm, and those of other numbers."""
    counts = sorted({len(row.models) for row in results.rows if row.kind == "merge"}, reverse=True)
    found = [
        board
        for count in counts
        for board in boards(results.rows, count)
        if any(p.kind == "merge" for p in board.places)
    ]
    first = {board.arm: board for board in reversed(found)}
    return [b for b in found if b is first[b.arm]], [b for b in found if b is not first[b.arm]]


def _sections(study: Study, results: Results, overall: Sequence[Standing]) -> Iterator[Section]:
    largest, others = _boards(results)
    if len(largest) > 1 and overall:
        yield Section(title="Overall", text=[_ABOUT_OVERALL], items=[_overall(overall)])
    yield Section(
        title="Leaderboards",
        text=[
            _about_boards(results.rows),
            *([_ABOUT_ORACLE] if any(row.chosen == "oracle" for row in results.rows) else []),
        ],
        items=[item for board in largest for item in (_table(board), _scatter(board), _against_cost(board))],
    )
    if study.figures:
        items = [curves(figure, results.rows) for figure in study.figures]
        yield Section(title="Curves", items=[item for item in items if item.lines])
    if results.sheets:
        yield Section(title="Samples", text=[_ABOUT_SHEETS], items=list(_sheets(results)))
    yield _verdicts(results.findings)
    if others:
        yield Section(title="Other numbers of models", items=[_table(board) for board in others])
    yield Section(title="What each method needs", items=[requirements(results.rows)])
    yield Section(title="What it costs", text=[_ABOUT_COSTS], items=[_costs(board) for board in largest])
    yield Section(title="How this was done", text=[f"After {study.paper}.", *study.differences, _ABOUT_CHOICE])


_ABOUT_VERDICTS = (
    "Written down before the study ran. A statement is supported if the 95 % interval of its statistic, and the mean "
    "of every seed, lies on its side; not supported if both lie on the other; undecided otherwise. With fewer than "
    "three seeds there is no verdict. The smallest effect is what would have been found in four of five repetitions."
)
_ABOUT_OVERALL = (
    "Scores of different suites cannot be averaged; ratios can. Methods that were run in every arm (suite, network, "
    "base, way of training), each arm with its most models and counting the same: what a merge keeps of its "
    "constituents' held-in scores, what it has of its base's unseen ones (over the arms whose base can do something "
    "there), and in how many arms it keeps most of these methods."
)
_ABOUT_BOARDS = (
    "Held-in: the cells that the merged models were trained on. Unseen: other combinations of their attributes. "
    "Against multitask: held-in score less that of one model trained on {cells} with as many examples. Settings were "
    "chosen on validation examples of held-in cells; the test examples were read once, afterwards. ± is half a 95 % "
    "interval over seeds, and over sets of models where there are several; of shares it ends at 0 and 100 %. Touch a "
    "number to see what it is taken over."
)
_SAME_CELLS, _ALL_CELLS = "the same cells", "the cells of all constituents, merged or not,"
_ABOUT_ORACLE = (
    "The oracle chose by validation examples of unseen cells, which nobody has: it shows what the choice costs."
)
_ABOUT_SHEETS = "Images of cells, held-in ones first: drawn by models where a row names one, else examples of the data."
_ABOUT_COSTS = (
    "Processor time of one core, per merge of this set. Training is that of the merged models, without the base; "
    "tuning is making and scoring every setting that was tried. Operations are counted by formula where there is one."
)
_ABOUT_CHOICE = "No setting was chosen by a test score: the runner hands out none before the choice is kept."


def _about_boards(rows: Sequence[Row]) -> str:
    """Say what the columns of leaderboards are; there is a multitask model of each set, or one of all constituents."""
    found = [row for row in rows if row.kind == "multitask"]
    keys = {(row.arm, row.seed): row.key for row in found}
    is_one = len({row.models for row in found}) > 1 and all(keys[row.arm, row.seed] == row.key for row in found)
    return _ABOUT_BOARDS.format(cells=_ALL_CELLS if is_one else _SAME_CELLS)


def number(estimate: Estimate | None, origin: str = "", *, is_share: bool = False, scale: float = 1.0) -> Cell:
    """Return an estimate as what stands in a table; the interval of a share ends where shares do."""
    if estimate is None:
        return None
    low, high = estimate.low, estimate.high
    if low is not None and high is not None:
        low, high = (max(low, 0.0), min(high, 1.0)) if is_share else (scale * low, scale * high)
    said = f"{estimate.units}{f'; {origin}' if origin else ''}"
    return Number(value=scale * estimate.mean, low=low, high=high, origin=said)


def _overall(found: Sequence[Standing]) -> Table:
    """Make the table of methods over all arms."""
    columns = (
        Column(title="method"),
        Column(title="of constituents", is_better_high=True),
        Column(title="of base, unseen", is_better_high=True),
        Column(title="first", is_better_high=True),
        Column(title="arms"),
        Column(title="merge", unit="seconds", is_better_high=False),
        Column(title="tuning", unit="seconds", is_better_high=False),
    )
    rows = [
        (
            each.name,
            number(each.retained, f"{each.num_arms} arms"),
            number(each.gained, f"{each.num_gained} arms"),
            Number(value=float(each.num_firsts)),
            Number(value=float(each.num_arms)),
            Number(value=each.merge_seconds),
            Number(value=each.tuning_seconds) if each.num_settings > 1 else "none",
        )
        for each in found
    ]
    return Table(name="overall", title="All arms together", columns=columns, rows=rows)


def _verdicts(findings: Sequence[Finding]) -> Section:
    """Tell the hypotheses that something was measured for, and name the others."""
    tested = [each for each in findings if each.estimate]
    rest = ", ".join(each.name for each in findings if not each.estimate)
    text = [_ABOUT_VERDICTS, *([f"Not tested here, as no row has what they are about: {rest}."] if rest else [])]
    return Section(title="Hypotheses and verdicts", text=text, items=[_findings(tested)] if tested else [])


def _findings(findings: Sequence[Finding]) -> Table:
    """Make the table of hypotheses."""
    columns = (
        Column(title="hypothesis"), Column(title="verdict"), Column(title="statement"), Column(title="statistic"),
        Column(title="estimate"), Column(title="wanted above"), Column(title="smallest effect"), Column(title="source"),
    )  # fmt: skip
    rows = []
    for finding in findings:
        estimate, scale = finding.estimate, finding.scale
        smallest = Number(value=scale * estimate.smallest) if estimate and estimate.smallest is not None else None
        above = Number(value=scale * finding.above)
        rows.append((finding.name, finding.verdict, finding.statement, f"{finding.statistic} ({finding.unit})",
                     number(estimate, scale=scale), above, smallest, finding.source))  # fmt: skip
    return Table(name="hypotheses", title="What was expected, and what was found", columns=columns, rows=rows)


def _name(board: Board, what: str) -> str:
    """Name a file of a board."""
    arm = "-".join(part for part in board.arm if part != "full")
    return f"{what}-{arm}-{board.num_models}"


_GROUPS = {"merge": "Merges", "baseline": "Baselines", "oracle": "Settings chosen by an oracle"}


def _table(board: Board) -> Table:
    """Make a leaderboard."""
    metrics = find_suite(board.arm[0]).about.metrics[1:]
    columns = (
        Column(title="method"),
        Column(title="held-in", unit="percent", is_better_high=True),
        Column(title="unseen", unit="percent", is_better_high=True),
        Column(title="worst cell", unit="percent", is_better_high=True),
        Column(title="of constituents", is_better_high=True),
        Column(title="of base, unseen", is_better_high=True),
        Column(title="against multitask", unit="percent", is_better_high=True),
        *(
            Column(title=metric.name, unit="percent" if metric.is_share else "", is_better_high=metric.is_better_high)
            for metric in metrics
        ),
        Column(title="merge", unit="seconds", is_better_high=False),
        Column(title="tuning", unit="seconds", is_better_high=False),
        Column(title="settings"),
    )
    rows = []
    for place in board.places:
        origin = _origin(place)
        scores = [number(each, origin, is_share=True) for each in (place.held_in, place.unseen, place.worst)]
        scores += [number(each, origin) for each in (place.retained, place.gained, place.against_multitask)]
        scores += [number(place.more[metric.name], origin, is_share=metric.is_share) for metric in metrics]
        is_merge = place.kind != "baseline"
        tuning = Number(value=place.tuning_seconds) if place.num_settings > 1 else "none"
        costs = [Number(value=place.merge_seconds), tuning] if is_merge else [None, None]
        rows.append((place.name, *scores, *costs, _settings(place)))
    return Table(
        name=_name(board, "leaderboard"),
        title=f"{board.title}: {board.num_models} models",
        columns=columns,
        rows=rows,
        groups=[_GROUPS[place.kind] for place in board.places],
        note=_left_out(board),
    )


def _left_out(board: Board) -> str:
    """Say which cells are in no ratio."""
    if not board.left_out:
        return ""
    named = ", ".join(f"{name} ({count})" for name, count in board.left_out.items())
    why = "as the constituent, or on unseen cells the base, is not one point above chance there"
    return f"Left out of ratios, {why} (of how many sets and seeds): {named}."


def _origin(place: Place) -> str:
    """Say what a place's numbers are taken over."""
    row = place.rows[0]
    chosen = {"fixed": "no setting chosen", "validation": "settings by held-in validation",
              "oracle": "settings by validation of unseen cells"}[row.chosen]  # fmt: skip
    seeds = sorted({each.seed for each in place.rows})
    keys = ", ".join(each.key[:8] for each in place.rows[:3])
    more = f" and {len(place.rows) - 3} more" if len(place.rows) > 3 else ""
    return f"test split of {row.suite} {row.version}; {chosen}; seeds {seeds}; models {keys}{more}"


def _settings(place: Place) -> str:
    """Say which settings were chosen most often, and how often."""
    if place.kind == "baseline" or not place.rows[0].tried:
        return ""
    chosen = Counter(", ".join(f"{name} {value}" for name, value in row.settings.items()) for row in place.rows)
    settings, times = chosen.most_common(1)[0]  # of those as frequent as each other the first
    given = f"; {place.rows[0].given}" if place.rows[0].given else ""
    return settings + ("" if times == len(place.rows) else f" ({times} of {len(place.rows)})") + given


def _point(place: Place, x: float, x_range: tuple[float, float] | None, estimate: Estimate) -> Point:
    has_range = estimate.low is not None and estimate.high is not None
    y_range = (estimate.low, estimate.high) if has_range else None
    return Point(x=x, y=estimate.mean, x_range=x_range, y_range=y_range, label=_origin(place))  # type: ignore[arg-type]


def _scatter(board: Board) -> Figure:
    """Draw held-in against unseen scores, a point per method and baseline."""
    lines = []
    for place in board.places:
        if place.held_in and place.unseen and place.kind != "oracle":
            ends = (place.held_in.low, place.held_in.high)
            x_range = None if None in ends else ends
            lines.append(Line(name=place.name, points=[_point(place, place.held_in.mean, x_range, place.unseen)]))  # type: ignore[arg-type]
    return Figure(
        name=_name(board, "scatter"),
        title=f"Held-in against unseen: {board.title}, {board.num_models} models",
        x="held-in score",
        y="score on unseen combinations",
        lines=lines,
        is_joined=False,
    )


def _against_cost(board: Board) -> Figure:
    """Draw held-in scores against processor time."""
    lines = [
        Line(name=place.name, points=[_point(place, place.merge_seconds + place.tuning_seconds, None, place.held_in)])
        for place in board.places
        if place.kind == "merge" and place.held_in
    ]
    return Figure(
        name=_name(board, "cost"),
        title=f"Held-in score against cost: {board.title}, {board.num_models} models",
        x="seconds of one core, merge and choice of settings",
        y="held-in score",
        lines=lines,
        is_joined=False,
        is_log_x=True,
    )


def _sheets(results: Results) -> Iterator[Item]:
    for i, sheet in enumerate(results.sheets):
        if sheet["rows"]:
            columns = sheet["rows"][0]["cells"]
            rows = [(row["name"], row["images"]) for row in sheet["rows"]]
            held_in = [name for name in columns if name in sheet["held_in"]]
            yield Sheet(
                name=f"samples-{i}",
                title=sheet["title"],
                columns=columns,
                rows=rows,
                note=f"Held-in: {', '.join(held_in)}.",
            )


STAGES = ("training", "statistics", "tuning", "merge", "evaluation")
COUNTED = ("training", "merge")  # stages whose operations are shown


def _costs(board: Board) -> Table:
    """Make the ledger of costs."""
    columns = (
        Column(title="method"),
        *(Column(title=stage, unit="seconds") for stage in STAGES),
        *(Column(title=f"{stage} FLOPs", unit="flops") for stage in COUNTED),
        Column(title="memory beyond the models", unit="bytes"),
    )
    rows = []
    for place in board.places:
        if place.kind == "merge":
            costs = [_mean([row.costs[stage] for row in place.rows]) for stage in STAGES]
            flops = [_mean([row.flops[stage] for row in place.rows if stage in row.flops]) for stage in COUNTED]
            rows.append((place.name, *costs, *flops, Number(value=float(place.peak_bytes))))
    title = f"{board.title}, {board.num_models} models"
    return Table(name=_name(board, "costs"), title=title, columns=columns, rows=rows)


def _mean(values: Sequence[float]) -> Cell:
    """Return a mean as what stands in a table; nothing where nothing was counted."""
    return Number(value=fmean(values)) if values else None


def _foot(results: Results) -> str:
    """Say where the results come from."""
    made = results.provenance
    libraries = ", ".join(f"{name} {version}" for name, version in made.libraries.items())
    commit = f", commit {made.commit}" if made.commit else ""
    return (
        f"cuvee {made.version}{commit}; {made.machine}; {made.system}; {libraries}. Command: {made.command}. "
        f"Training, merges and scores took {shown(results.total_cpu_seconds, 'seconds')} of one core."
    )
