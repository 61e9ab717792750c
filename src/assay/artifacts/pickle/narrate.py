"""What a pickle would do, told in the order of its stream, with offsets."""

from __future__ import annotations

from assay.artifacts.pickle.machine import Trace
from assay.artifacts.pickle.policy import Policy
from assay.artifacts.pickle.values import Build, Call, Global, show

_MOST_LINES = 2000


def narrate(trace: Trace, where: str, policy: Policy) -> list[str]:
    """Return one line for each import, call and attribute write, and one on how the stream ends."""
    steps: list[Global | Call | Build] = [*trace.globals, *trace.calls, *trace.builds]
    steps.sort(key=lambda s: s.at)
    lines = [f"{where}: pickle at offset {trace.start}, protocol {trace.protocol}"]
    lines += [f"  @{step.at:<8} {_line(step, policy)}" for step in steps[:_MOST_LINES]]
    if len(steps) > _MOST_LINES:
        lines.append(f"  ... and {len(steps) - _MOST_LINES} more steps")
    lines.append(f"  @{trace.end:<8} {trace.spent or trace.broken or 'ends'}")
    return lines


def _line(step: Global | Call | Build, policy: Policy) -> str:
    if isinstance(step, Global):
        rule = policy.judge(step.module, step.name)
        return f"import {step.path[:200]}   [{rule.rating.value}: {rule.reason}]"
    if isinstance(step, Call):
        return f"{step.kind.lower():<7}{show(step)}"
    return f"build  {show(step.target, 1)} <- {show(step.state)}"
