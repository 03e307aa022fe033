"""A report with everything that a report can have, and text that tries to be more than text."""

from cuvee.report.content import Card, Column, Figure, Line, Number, Point, Report, Section, Sheet, Table

EVIL = "<script>alert(1)</script> & \"quoted\" | 'piped'"

TABLE = Table(
    name="board",
    title="Leaderboard",
    columns=(
        Column(title="method"),
        Column(title="held-in", unit="percent", is_better_high=True),
        Column(title="merge", unit="seconds", is_better_high=False),
        Column(title="settings"),
    ),
    rows=(
        ("linear", Number(value=0.7, low=0.65, high=0.75, origin="3 seeds"), Number(value=0.02), ""),
        ("ties", Number(value=0.8, low=0.7, high=0.9, origin="3 seeds; 4 sets"), Number(value=0.5), "scale 0.5"),
        (EVIL, Number(value=0.1), Number(value=300.0), EVIL),
        ("base", Number(value=0.9), None, ""),
    ),
    groups=("Merges", "Merges", "Merges", "Baselines"),
    note="± is half an interval.",
)
LINES = (
    Line(name="ties", points=(Point(x=2, y=0.9, y_range=(0.8, 1.0), label="a"), Point(x=8, y=0.7, y_range=(0.6, 0.8)))),
    Line(name=EVIL, points=(Point(x=2, y=0.5), Point(x=8, y=0.4))),
    Line(name="theirs", points=(Point(x=2, y=0.95), Point(x=8, y=0.9)), is_published=True),
)
CURVES = Figure(name="curves", title="Held-in by number", x="models", y="share", lines=LINES, note=EVIL)
SCATTER = Figure(
    name="scatter",
    title="Cost",
    x="seconds",
    y="score",
    lines=(Line(name="one", points=(Point(x=0.01, y=0.5, x_range=(0.005, 0.02)),)),),
    is_joined=False,
    is_log_x=True,
)
SHEET = Sheet(
    name="samples",
    title="Samples",
    columns=("g0-plain", "g1-plain"),
    rows=(("base", ([[[0, 255], [255, 0]]] * 2, [[[9, 9], [9, 9]]] * 2)), ("ties", ([[[1, 2], [3, 4]]] * 2,) * 2)),
)
REPORT = Report(
    title=EVIL,
    lead="What is it?",
    cards=(
        Card(question="Which?", answer="ties", detail="80 % held-in."),
        Card(question="Cost?", answer="1 s", detail=EVIL),
    ),
    sections=(
        Section(title="Leaderboards", text=("About.",), items=(TABLE, SCATTER)),
        Section(title="Curves", items=(CURVES,)),
        Section(title="Samples", items=(SHEET,)),
    ),
    foot="commit 123",
)
