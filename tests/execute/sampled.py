"""How many bytes samples read, which a plan does not count."""

from cuvee.plan.plan import Plan
from cuvee.plan.rows import used
from cuvee.plan.sample import pieces

__all__ = ["sampled_bytes"]


def sampled_bytes(plan: Plan) -> int:
    """Bytes of the samples of a plan: one for each domain of several cells in which entries are trimmed."""
    total = 0
    for number, domain in enumerate(plan.domains):
        jobs = {id(row): (row, job) for row in plan.rows for job in row.jobs if job.domain == number}
        trims = any(job.method.passes(job.parameters) > job.method.usual(job.parameters) for _, job in jobs.values())
        if trims and not domain.whole:
            for row, _, size in pieces([row for row, _ in jobs.values()]):
                if jobs[id(row)][1].method.locality == "rows":
                    size = max(size - size % row.width, row.width)
                total += sum(size * row.inputs[i].spec.dtype.bits // 8 for i in used(jobs[id(row)][1]))
    return total
