"""``hfmem MODEL...``: what models need, and where they fit."""

from __future__ import annotations

from collections.abc import Mapping

from hfmem.cli import asking, command, options
from hfmem.errors import UsageError

app = command.new_app("estimate")


@app.command(
    epilog="Other verbs: hfmem audit LIST (many models), hfmem train MODEL (training), "
    "hfmem gpus (the catalogue of accelerators), hfmem record MODEL (facts for use without a "
    "network). Each has its --help."
)
@command.with_engine_flags
def estimate(
    models: options.Models,
    ctx: options.Ctx = None,
    batch: options.Batch = "1",
    runtime: options.Runtime = "transformers",
    kv_dtype: options.KvDtype = "auto",
    dtype: options.Dtype = None,
    quantize: options.Quantize = None,
    attention: options.Attention = None,
    encoder_ctx: options.EncoderCtx = None,
    images: options.Images = "0",
    image_size: options.ImageSize = None,
    frames: options.Frames = "0",
    audio_seconds: options.AudioSeconds = "0",
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
    plot: options.Plot = None,
    gradient_checkpointing: options.GradientCheckpointing = False,
    sparse_attention: options.SparseAttention = False,
    engine: Mapping[str, object] | None = None,
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
    picture = None
    if plot is not None:
        from hfmem.cli.plot import Plot

        picture = Plot.of(plot, delivery=delivery)
    workload = asking.workload_of(
        ctx=ctx,
        batch=batch,
        runtime=runtime,
        kv_dtype=kv_dtype,
        dtype=dtype,
        quantize=quantize,
        attention=attention,
        device=device,
        encoder_ctx=encoder_ctx,
        images=images,
        image_size=image_size,
        frames=frames,
        audio_seconds=audio_seconds,
        engine=engine or {},
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
    answers = auditing.run(items, asked)
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
