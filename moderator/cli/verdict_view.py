"""How verdicts and summaries look to people. Content of users is escaped: it may hold control characters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from moderator.cli.terminal import visible
from moderator.types import Action, PluginFailure, Verdict

if TYPE_CHECKING:
    from moderator.scan.runner import Summary
    from moderator.sources import Record, Skipped

_STYLE = {Action.ALLOW: "green", Action.REVIEW: "yellow", Action.BLOCK: "bold red"}


def failure_lines(failures: Sequence[PluginFailure]) -> Iterator[str]:
    for failure in failures:
        yield f"plugin {failure.plugin} not usable ({failure.stage}): {visible(failure.error)}"


def verdict_table(rows: Sequence[tuple[Record, Verdict]], total: int) -> RenderableType:
    """One line per verdict: what, action, highest scores, why."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in ("item", "action", "highest scores", "why"):
        table.add_column(column, overflow="fold")
    for record, verdict in rows:
        table.add_row(
            Text(visible(record.id)),
            Text(verdict.action.value, style=_STYLE[verdict.action]),
            Text(top_scores(verdict.scores)),
            Text("; ".join(visible(reason) for reason in verdict.reasons)),
        )
    if total > len(rows):
        table.add_row(Text(f"… and {total - len(rows)} more", style="dim"))
    return table


def top_scores(scores: Mapping[str, float], count: int = 2) -> str:
    highest = sorted(scores.items(), key=lambda pair: -pair[1])[:count]
    return "  ".join(f"{label} {score:.2f}" for label, score in highest)


def verdict_detail(verdict: Verdict) -> RenderableType:
    """Everything about one verdict, with a bar per score."""
    head = Text.assemble((verdict.action.value, _STYLE[verdict.action]))
    for reason in verdict.reasons:
        head.append(f"\n  {visible(reason)}")
    table = Table(box=None, pad_edge=False, show_header=False)
    for label, score in sorted(verdict.scores.items(), key=lambda pair: -pair[1]):
        table.add_row(
            label, f"{score:.3f}", Text("█" * round(score * 30), style="red" if score >= 0.5 else "dim")
        )
    lines: list[RenderableType] = [head, table]
    for name, value in sorted(verdict.signals.items()):
        lines.append(Text(f"signal {name} = {value:.2f}"))
    for found in verdict.evidence:
        span = "–".join(f"{edge:g}" for edge in found.span)
        lines.append(
            Text(
                f"evidence {found.source} at {span} of part {found.part}: {visible(found.detail)}",
                style="dim",
            )
        )
    for part, share in verdict.coverage.items():
        lines.append(Text(f"looked at {share:.0%} of {part}"))
    return Group(*lines)


def summary_table(summary: Summary, skipped: Skipped, unused: Sequence[str]) -> RenderableType:
    """Actions × labels, then time and rate, degraded reasons and what was skipped."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for action in Action:
        table.add_column(action.value, justify="right", style=_STYLE[action])
    table.add_row("all items", *(str(summary.actions.get(action.value, 0)) for action in Action))
    for label, counts in sorted(summary.labels.items(), key=lambda pair: -pair[1].total()):
        table.add_row(f"{label} ≥ 0.5", *(str(counts.get(action.value, 0)) for action in Action))
    lines: list[RenderableType] = [Text(), table, Text()]
    share = summary.store_seconds / summary.seconds if summary.seconds else 0.0
    lines.append(
        Text(
            f"{summary.items} items in {summary.seconds:.1f} s, {summary.rate:.1f} items/s, "
            f"{share:.1%} of it writing to the database" + (" — interrupted" if summary.interrupted else "")
        )
    )
    for reason, count in summary.degraded.most_common(10):
        lines.append(Text(f"not fully judged: {count} × {visible(reason)}", style="yellow"))
    for reason, count in skipped.counts.most_common():
        samples: Any = ", ".join(visible(path) for path in skipped.samples[reason])
        lines.append(Text(f"skipped: {count} × {visible(reason)} ({samples})", style="dim"))
    if unused:
        lines.append(Text(f"installed but unused by this model: {', '.join(unused)}", style="dim"))
    return Group(*lines)
