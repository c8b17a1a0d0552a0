"""``hfmem train MODEL...``: what training and fine-tuning need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from hfmem.cli import command, options
from hfmem.cli.train_options import with_training_flags
from hfmem.units import parse_tokens

if TYPE_CHECKING:
    from hfmem import TrainKeywords

app = command.new_app("train")


@app.command()
@with_training_flags
def train(
    models: options.Models,
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
    sparse_attention: options.SparseAttention = False,
    run: Mapping[str, object] | None = None,
) -> int:
    """What training or fine-tuning a Hugging Face model needs in memory."""
    # Late, so that --help and usage errors need not wait for the arithmetic.
    from hfmem.cli.training_delivery import TrainingDelivery, deliver
    from hfmem.planning import answers, asked_of, flags_of, with_sparse_note
    from hfmem.source import Access

    delivery = TrainingDelivery.of(
        format=format,
        json=json,
        output=output,
        explain=explain,
        fail_over=fail_over,
        single=len(models) == 1,
    )
    said = dict(run or {})
    tokens = said.pop("seq_len", None)
    said["seq_len"] = None if tokens is None else parse_tokens(str(tokens))
    said |= {"device": device, "gpu": tuple(gpu or ()), "rules": rules}
    asked = asked_of(flags_of(cast("TrainKeywords", said)))
    access = Access(
        source=source,
        recorded=recorded,
        revision=revision,
        token=token,
        offline=offline,
        waits_for_quota=False,
    )
    found = answers(models, asked, access)
    if sparse_attention:
        found = map(with_sparse_note, found)
    return deliver(found, delivery, run=asked.run, expected=len(models))
