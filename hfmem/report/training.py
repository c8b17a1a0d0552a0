"""An answer about training for a person: the total, what it is made of, and where it fits."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from hfmem.memory.training_estimate import TRAINING_PARTS
from hfmem.memory.training_rollout import completion_tokens, generated_at_once
from hfmem.memory.training_run import ONLINE, TrainingRun
from hfmem.report import explain
from hfmem.report.grids import INDENT, bar, bar_width, grid, labelled
from hfmem.report.phrases import SOURCES, plural, share, size, span
from hfmem.report.screen import Screen
from hfmem.report.training_fits import fits_table, methods_table
from hfmem.text import clean
from hfmem.training import Plan
from hfmem.units import count, gb, gib


def render(plan: Plan, screen: Screen, *, explained: bool) -> RenderableType:
    """The whole answer of one model."""
    blocks: list[RenderableType] = [_headline(plan), _total(plan), _breakdown(plan, screen)]
    blocks.append(labelled(fact_rows(plan)))
    if plan.fit:
        blocks.append(fits_table(plan.fit, screen))
    if plan.methods:
        blocks.append(methods_table(plan.methods, screen))
    if plan.rules:
        from hfmem.report.rules import rules_table

        blocks.append(rules_table(plan.rules, screen))
    if plan.notes:
        notes = (("note", clean(note.message, limit=1000)) for note in plan.notes)
        blocks.append(labelled(notes, style="yellow"))
    if explained:
        blocks.append(_explained(plan))
    spaced: list[RenderableType] = []
    for block in blocks:
        spaced += [block, Text()]
    return Group(*spaced[:-1])


def _headline(plan: Plan) -> Text:
    model = plan.model
    words = [clean(name) for name in (model.class_name or model.model_type,) if name]
    if model.parameters is not None and model.parameters.total is not None:
        words.append(f"{count(model.parameters.total)} parameters")
    if "weights" not in plan.memory.unknown:
        total = model.parameters.total if model.parameters else None
        part = f" ({100 * plan.memory.trainable / total:.2f} %)" if total else ""
        if plan.run.objective == "ppo":
            part = ", those of the value model among them"
        words.append(f"{plan.memory.trainable:,} trained{part}")
    words.append(SOURCES[model.source])
    return Text.assemble((clean(model.name, limit=200), "bold"), "\n", (" · ".join(words), "dim"))


def _total(plan: Plan) -> RenderableType:
    memory = plan.memory
    peak = memory.peak.memory
    figure = Text()
    if memory.unknown:
        figure.append("at least ", style="bold")
    figure.append(gib(peak.bytes), style="bold")
    figure.append(f"   {gb(peak.bytes)}", style="dim")
    low, high = peak.range_bytes
    if memory.unknown:
        figure.append(f"   without {' and '.join(memory.unknown)}, not known", style="yellow")
    elif low != high:
        figure.append(f"   {span(low, high)}", style="dim")
    if memory.gpus > 1:
        whole = f"   on each of {memory.gpus:,} GPUs, {gib(memory.whole.bytes)} on all"
        figure.append(whole, style="dim")
    return Group(figure, Text(question(plan.run, seq_len=memory.seq_len), style="dim"))


def question(run: TrainingRun, *, seq_len: int) -> str:
    """What was asked, in a line: ``full · bf16 · adamw · 2,048 tokens × 1 sequence``."""
    words = [run.method if run.objective == "sft" else f"{run.method} {run.objective}"]
    words += [run.precision, run.optimizer]
    words.append(f"{seq_len:,} tokens × {plural(run.micro_batch, _counted(run))}")
    if run.grad_accum > 1:
        words.append(f"{run.grad_accum} steps accumulated")
    words.append(
        "no checkpointing" if run.checkpointing == "none" else f"{run.checkpointing} checkpointing"
    )
    if run.adapted:
        words.append(f"rank {run.lora.rank}")
    layout = run.parallel
    for name, degree in (
        ("dp", layout.dp),
        ("tp", layout.tp),
        ("pp", layout.pp),
        ("ep", layout.ep),
    ):
        if degree > 1:
            words.append(f"{name} {degree}")
    if layout.zero:
        words.append(f"ZeRO-{layout.zero}")
    if layout.fsdp is not None:
        words.append(f"FSDP {layout.fsdp}")
    if layout.offload != "none":
        words.append(f"{layout.offload} offloaded")
    return " · ".join(words)


def _counted(run: TrainingRun) -> str:
    """What a micro-batch is counted in: a preference is a pair of sequences."""
    return "pair" if run.objective == "dpo" else "sequence"


def _breakdown(plan: Plan, screen: Screen) -> RenderableType:
    peak = plan.memory.peak
    width = bar_width(screen.columns)
    table = grid()
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    if width:
        table.add_column(no_wrap=True, style="cyan")
    table.add_column(style="dim")
    for name in TRAINING_PARTS:
        if name in plan.memory.unknown:
            table.add_row(name, "unknown")
            continue
        term = peak.part(name)
        drawn = [bar(term.bytes, peak.memory.bytes, width=width)] if width else []
        part = share(term.bytes, peak.memory.bytes)
        table.add_row(name, size(term.bytes), part, *drawn, term.basis)
    return Padding(table, INDENT)


def fact_rows(plan: Plan) -> Iterator[tuple[str, Text]]:
    """Label and value of what is not in the breakdown."""
    memory, run = plan.memory, plan.run
    yield (
        "phases",
        Text(" · ").join(
            Text(
                f"{phase.name} {size(phase.memory.bytes)}",
                style="bold" if phase is memory.peak else "",
            )
            for phase in memory.phases
        ),
    )
    if not memory.unknown:
        yield "peak", Text(f"{memory.peak.name}, {memory.peak.instant}")
    batch = run.micro_batch * run.grad_accum * run.parallel.dp
    tokens = run.sequences * run.grad_accum * run.parallel.dp * memory.seq_len
    words = f"{plural(batch, _counted(run))} a step, {tokens:,} tokens"
    if run.grad_accum > 1 or run.parallel.dp > 1:
        words += f" ({run.micro_batch} × {run.grad_accum} accumulated × "
        words += f"{plural(run.parallel.dp, 'rank')})"
    yield "batch", Text(words)
    if run.objective in ONLINE:
        yield "rollout", Text(_rollout(run, seq_len=memory.seq_len))
    if memory.host is not None:
        yield "host", Text(f"{size(memory.host.bytes)} in the host's memory, of all nodes")
    if plan.recipe is not None:
        yield "recipe", Text(plan.recipe)


def _rollout(run: TrainingRun, *, seq_len: int) -> str:
    """``8 completions of 512 tokens at once, by transformers``."""
    number = generated_at_once(run)
    words = f"{plural(number, 'completion')} of {completion_tokens(run, tokens=seq_len):,} tokens"
    share = run.rollout.vllm_share
    if share is None:
        return f"{words} at once on a rank, by transformers"
    sleeps = ", asleep while it trains" if run.rollout.vllm_sleeps else ""
    return f"{words}, by vLLM in {share:.0%} of each card{sleeps}"


def _explained(plan: Plan) -> RenderableType:
    """The largest phase, and of the others what differs from it."""
    memory = plan.memory
    peak = memory.peak
    blocks: list[RenderableType] = []
    for phase in (peak, *(phase for phase in memory.phases if phase is not peak)):
        heading = Text.assemble((f"{phase.name}  {size(phase.memory.bytes)}", "bold"))
        heading.append(f"  at: {phase.instant}", style="dim")
        same = [
            part for part in phase.memory.parts if phase is not peak and part in peak.memory.parts
        ]
        told = [part for part in phase.memory.parts if part not in same]
        blocks += [heading, explain.tree(explain.steps(told, unknown=memory.unknown))]
        if same:
            names = ", ".join(part.name for part in same)
            blocks.append(Padding(Text(f"{names}: as in {peak.name}", style="dim"), INDENT))
        blocks.append(Text())
    return Group(*blocks, *explain.tensors(plan.model), explain.legend())
