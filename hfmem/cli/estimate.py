"""``hfmem MODEL...``: what models need, and where they fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from hfmem.cli import asking, command, groups, options
from hfmem.errors import UsageError

app = command.new_app("estimate")


@app.command(
    epilog="Other verbs: hfmem audit LIST (many models), hfmem train MODEL (training), "
    "hfmem gpus (the catalogue of accelerators), hfmem record MODEL (facts for use without a "
    "network). Each has its --help."
)
@command.with_groups(
    question=groups.QUESTION, access=groups.ACCESS, form=groups.FORM, engine=command.ENGINE
)
def estimate(
    models: options.Models,
    *,
    question: Mapping[str, object],
    gpu: options.Gpus = None,
    fail_over: options.FailOver = None,
    access: Mapping[str, object],
    form: Mapping[str, object],
    rules: options.Rules = False,
    plot: options.Plot = None,
    gradient_checkpointing: options.GradientCheckpointing = False,
    sparse_attention: options.SparseAttention = False,
    engine: Mapping[str, object],
    _version: options.Version = False,
) -> int:
    """What a Hugging Face model needs in memory, before the download."""
    if "-" in models:
        raise UsageError("- is not a model.", hint="For a list on standard input: hfmem audit -")
    # Late, so that --help and usage errors need not wait for the arithmetic.
    from hfmem import auditing
    from hfmem.cli.delivery import Delivery, deliver

    delivery = Delivery.of(
        **cast("groups.FormWords", form), fail_over=fail_over, single=len(models) == 1
    )
    picture = None
    if plot is not None:
        from hfmem.cli.plot import Plot

        picture = Plot.of(plot, delivery=delivery)
    workload = asking.workload_of(**cast("groups.QuestionWords", question), engine=engine)
    asked = auditing.Options(
        workload=workload,
        gpus=tuple(gpu or ()),
        rules=rules,
        **cast("groups.AccessWords", access),
    )
    items = tuple(auditing.ListItem(model=model) for model in models)
    answers = auditing.run(items, asked)
    if models[0].isalpha():
        from hfmem.cli.suggestions import with_verbs

        answers = with_verbs(answers, first=models[0])
    if gradient_checkpointing or sparse_attention:
        from hfmem.cli.savers import told

        answers = told(
            answers, gradient_checkpointing=gradient_checkpointing, sparse=sparse_attention
        )
    if picture is None:
        return deliver(answers, delivery, workload=workload, expected=len(items))
    code = deliver(picture.watch(answers), delivery, workload=workload, expected=len(items))
    picture.draw()
    return code
