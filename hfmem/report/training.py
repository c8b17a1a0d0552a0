"""An answer about training for a person: the total, what it is made of, and where it fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from hfmem.answer import Failure
from hfmem.hardware.catalogue import COMMON
from hfmem.hardware.training_fit import TrainingFit
from hfmem.memory.training_estimate import TRAINING_PARTS
from hfmem.memory.training_rollout import completion_tokens, generated_at_once
from hfmem.memory.training_run import ONLINE, TrainingRun
from hfmem.report import explain
from hfmem.report.phrases import SOURCES, plural, share, size, span
from hfmem.report.screen import Screen
from hfmem.report.table import bar, grid, rules_table, verdict_style
from hfmem.text import clean
from hfmem.training import MethodRow, Plan
from hfmem.units import count, gb, gib

_INDENT = (0, 0, 0, 2)


def render(plan: Plan, screen: Screen, *, explained: bool) -> RenderableType:
    """The whole answer of one model."""
    blocks: list[RenderableType] = [_headline(plan), _total(plan), _breakdown(plan, screen)]
    blocks.append(_facts(plan))
    if plan.fit:
        blocks.append(_fits(plan.fit))
    if plan.methods:
        blocks.append(_methods(plan.methods))
    if plan.rules:
        blocks.append(rules_table(plan.rules, screen))
    if plan.notes:
        blocks.append(_notes([clean(note.message, limit=1000) for note in plan.notes]))
    if explained:
        blocks.append(_explained(plan))
    spaced: list[RenderableType] = []
    for block in blocks:
        spaced += [block, Text()]
    return Group(*spaced[:-1])


def rows(answers: Sequence[Plan | Failure]) -> RenderableType:
    """Several models: one row each, and what failed."""
    table = grid(header=True)
    table.add_column("model", overflow="fold")
    for heading in ("trainable", "weights", "gradients", "optimizer", "activations", "total"):
        table.add_column(heading, justify="right", no_wrap=True)
    first = next((answer for answer in answers if isinstance(answer, Plan)), None)
    for fit in first.fit if first else ():
        table.add_column(clean(fit.group.gpu.id), no_wrap=True)
    for answer in answers:
        if isinstance(answer, Failure):
            table.add_row(clean(answer.model, limit=200), Text("failed", style="red"))
            continue
        memory = answer.memory
        sizes = {
            name: "unknown" if name in memory.unknown else size(memory.peak.part(name).bytes)
            for name in TRAINING_PARTS
        }
        table.add_row(
            clean(answer.model.name, limit=200),
            count(memory.trainable),
            *(sizes[name] for name in ("weights", "gradients", "optimizer", "activations")),
            ("> " if memory.unknown else "") + size(memory.peak.memory.bytes),
            *(
                Text(fit.verdict or "unknown", style=verdict_style(fit.verdict))
                for fit in answer.fit
            ),
        )
    return table


def _headline(plan: Plan) -> Text:
    model = plan.model
    words = [clean(name) for name in (model.class_name or model.model_type,) if name]
    if model.parameters is not None and model.parameters.total is not None:
        words.append(f"{count(model.parameters.total)} parameters")
    if "weights" not in plan.memory.unknown:
        total = model.parameters.total if model.parameters else None
        part = f" ({100 * plan.memory.trainable / total:.2f} %)" if total else ""
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
    words.append(f"{seq_len:,} tokens × {plural(run.micro_batch, 'sequence')}")
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


def _breakdown(plan: Plan, screen: Screen) -> RenderableType:
    peak = plan.memory.peak
    table = grid()
    table.add_column()
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(style="dim")
    width = max(8, min(40, screen.columns - 52))
    for name in TRAINING_PARTS:
        if name in plan.memory.unknown:
            table.add_row(name, "unknown", "", "", "")
            continue
        term = peak.part(name)
        drawn = Text(bar(term.bytes, peak.memory.bytes, width=width), style="cyan")
        table.add_row(
            name, size(term.bytes), share(term.bytes, peak.memory.bytes), drawn, term.basis
        )
    return Padding(table, _INDENT)


def _facts(plan: Plan) -> RenderableType:
    table = grid()
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in fact_rows(plan):
        table.add_row(label, value)
    return Padding(table, _INDENT)


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
    yield "peak", Text(f"{memory.peak.name}, {memory.peak.instant}")
    sequences = run.micro_batch * run.grad_accum * run.parallel.dp
    words = f"{plural(sequences, 'sequence')} a step, {sequences * memory.seq_len:,} tokens"
    if run.grad_accum > 1 or run.parallel.dp > 1:
        words += f" ({run.micro_batch} × {run.grad_accum} accumulated × {run.parallel.dp} ranks)"
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


def _fits(fits: tuple[TrainingFit, ...]) -> RenderableType:
    table = grid(header=True)
    table.add_column("gpu", overflow="fold")
    table.add_column("", no_wrap=True)
    table.add_column("headroom", justify="right", no_wrap=True)
    table.add_column("max micro-batch", justify="right", no_wrap=True)
    table.add_column("max seq-len", justify="right", no_wrap=True)
    table.add_column("step", justify="right", no_wrap=True)
    for fit in fits:
        times = f"{fit.group.count} × " if fit.group.count > 1 else ""
        name = clean(fit.group.gpu.id)
        table.add_row(
            times + name,
            Text(fit.verdict or "unknown", style=verdict_style(fit.verdict)),
            "" if fit.headroom_bytes is None else size(fit.headroom_bytes),
            "" if fit.max_micro_batch is None else f"{fit.max_micro_batch:,}",
            "" if fit.max_seq_len is None else f"{fit.max_seq_len:,}",
            "" if fit.step_seconds is None else f"{fit.step_seconds:,.2f} s",
        )
    lines = [Text(note, style="dim") for note in fit_notes(fits)]
    return Padding(Group(table, *lines), _INDENT)


def fit_notes(fits: tuple[TrainingFit, ...]) -> list[str]:
    """What would make it fit, the fewest GPUs, and what the time of a step supposes."""
    notes: list[str] = []
    for fit in fits:
        name = clean(fit.group.gpu.id)
        if fit.refusal:
            notes.append(f"{name}: {clean(fit.refusal, limit=300)}")
        if fit.support:
            notes.append(f"{name}: {clean(fit.support, limit=300)}")
        if fit.verdict == "no":
            change = f"it would fit with {fit.advice}" if fit.advice else "no change makes it fit"
            notes.append(f"{name}: {change}")
        if ranks := _ranks(fit):
            notes.append(f"fewest {name}: {ranks}")
    shares = [fit.mfu for fit in fits if fit.step_seconds is not None]
    if shares:
        notes.append(f"step: at {shares[0]:.0%} of the peak rate, communication aside")
    return notes


def _ranks(fit: TrainingFit) -> str:
    """The fewest GPUs by stage; nothing to say where one GPU does at every stage."""
    if all(ranks == 1 for _, ranks in fit.zero_ranks):
        return ""
    held = [
        f"{ranks:,} {f'with ZeRO-{stage}' if stage else 'without sharding'}"
        for stage, ranks in fit.zero_ranks
        if ranks is not None
    ]
    if not held:
        return "no number of them holds it at any ZeRO stage"
    never = [f"ZeRO-{stage}" for stage, ranks in fit.zero_ranks if ranks is None and stage]
    return ", ".join(held) + (f"; no number is enough with {' or '.join(never)}" if never else "")


def _methods(methods: tuple[MethodRow, ...]) -> RenderableType:
    table = grid(header=True)
    table.add_column("method", overflow="fold")
    table.add_column("trained", justify="right", no_wrap=True)
    table.add_column("needs", justify="right", no_wrap=True)
    table.add_column("fits on", overflow="fold")
    for row in methods:
        words = cards_words(row)
        table.add_row(
            row.name,
            count(row.trainable),
            size(row.need_bytes),
            Text(words, style="" if any(fits for _, fits in row.cards) else "red"),
        )
    return Padding(table, _INDENT)


def cards_words(row: MethodRow) -> str:
    """The cards that hold a method, those that were named or the common ones."""
    held = [card for card, fits in row.cards if fits]
    named = len(row.cards) < len(COMMON)
    return ", ".join(held) or ("not on one" if named else "none of the common cards")


def _notes(messages: Sequence[str]) -> RenderableType:
    table = grid()
    table.add_column(style="yellow", no_wrap=True)
    table.add_column(overflow="fold")
    for message in messages:
        table.add_row("note", message)
    return Padding(table, _INDENT)


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
            blocks.append(Padding(Text(f"{names}: as in {peak.name}", style="dim"), _INDENT))
        blocks.append(Text())
    return Group(*blocks, explain.legend())
