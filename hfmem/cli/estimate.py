"""``hfmem MODEL...``: what models need, and where they fit."""

from __future__ import annotations

from hfmem.cli import options
from hfmem.errors import UsageError

app = options.new_app("estimate")


@app.command(
    epilog="Other verbs: hfmem audit LIST (many models), hfmem gpus (the catalogue of "
    "accelerators), hfmem record MODEL (facts for use without a network). Each has its --help."
)
def estimate(
    models: options.Models,
    ctx: options.Ctx = None,
    batch: options.Batch = "1",
    runtime: options.Runtime = "transformers",
    kv_dtype: options.KvDtype = "auto",
    dtype: options.Dtype = None,
    attention: options.Attention = None,
    encoder_ctx: options.EncoderCtx = None,
    device: options.Device = "cuda",
    gpu: options.Gpus = None,
    fail_over: options.FailOver = None,
    revision: options.Revision = None,
    token: options.Token = None,
    offline: options.Offline = False,
    source: options.Source = "auto",
    recorded: options.Recorded = None,
    json: options.Json = False,
    format: options.Format = None,
    output: options.Output = None,
    explain: options.Explain = False,
    rules: options.Rules = False,
    _version: options.Version = False,
) -> int:
    """What a Hugging Face model needs in memory, before the download."""
    if "-" in models:
        raise UsageError("- is not a model.", hint="For a list on standard input: hfmem audit -")
    # Late, so that --help and usage errors need not wait for the arithmetic.
    from hfmem import auditing
    from hfmem.cli.delivery import Delivery, deliver

    delivery = Delivery.of(
        format=format,
        json=json,
        output=output,
        explain=explain,
        fail_over=fail_over,
        single=len(models) == 1,
    )
    workload = options.workload_of(
        ctx=ctx,
        batch=batch,
        runtime=runtime,
        kv_dtype=kv_dtype,
        dtype=dtype,
        attention=attention,
        device=device,
        encoder_ctx=encoder_ctx,
    )
    asked = auditing.Options(
        workload=workload,
        gpus=tuple(gpu or ()),
        source=source,
        recorded=recorded,
        revision=revision,
        token=token,
        offline=offline,
        rules=rules,
    )
    items = tuple(auditing.ListItem(model=model) for model in models)
    return deliver(auditing.run(items, asked), delivery, workload=workload, expected=len(items))
