"""``hfmem audit LIST``: every model of a list, one row each."""

from __future__ import annotations

import sys

from hfmem.cli import options

app = options.new_app("audit")


@app.command()
def audit_list(
    models: options.ModelList,
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
) -> int:
    """What every model of a list needs in memory; a failed model is a row, never the end."""
    # Late, so that --help and usage errors need not wait for the arithmetic.
    from hfmem import auditing
    from hfmem.cli.delivery import Delivery, deliver
    from hfmem.lists import read_list

    delivery = Delivery.of(
        format=format,
        json=json,
        output=output,
        explain=explain,
        fail_over=fail_over,
        single=False,
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
    items = read_list(models, stdin=sys.stdin.buffer)
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
    return deliver(auditing.run(items, asked), delivery, workload=workload, expected=len(items))
