"""``hfmem train MODEL...``: what training and fine-tuning need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from hfmem.cli import command, groups, options
from hfmem.cli.train_options import RUN
from hfmem.units import parse_tokens

if TYPE_CHECKING:
    from hfmem import TrainKeywords

app = command.new_app("train")


@app.command()
@command.with_groups(run=RUN, access=groups.ACCESS, form=groups.FORM)
def train(
    models: options.Models,
    *,
    run: Mapping[str, object],
    device: options.Device = "cuda",
    gpu: options.Gpus = None,
    fail_over: options.FailOver = None,
    access: Mapping[str, object],
    form: Mapping[str, object],
    rules: options.Rules = False,
    sparse_attention: options.SparseAttention = False,
) -> int:
    """What training or fine-tuning a Hugging Face model needs in memory."""
    # Late, so that --help and usage errors need not wait for the arithmetic.
    from hfmem.cli.delivery import Delivery
    from hfmem.cli.training_delivery import deliver
    from hfmem.planning import answers, asked_of, with_sparse_note
    from hfmem.source import Access
    from hfmem.training_flags import flags_of

    delivery = Delivery.of(
        **cast("groups.FormWords", form),
        fail_over=fail_over,
        single=len(models) == 1,
        parquet=False,
    )
    said = dict(run)
    for name in ("seq_len", "completion_len"):
        said[name] = None if said[name] is None else parse_tokens(str(said[name]))
    said |= {"device": device, "gpu": tuple(gpu or ()), "rules": rules}
    asked = asked_of(flags_of(cast("TrainKeywords", said)))
    allowed = Access(**cast("groups.AccessWords", access), waits_for_quota=False)
    found = answers(models, asked, allowed)
    if sparse_attention:
        found = map(with_sparse_note, found)
    return deliver(found, delivery, run=asked.run, expected=len(models))
