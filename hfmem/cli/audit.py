"""``hfmem audit LIST``: every model of a list, one row each."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hfmem.cli import asking, audit_options, command, groups, options
from hfmem.errors import UsageError

if TYPE_CHECKING:
    from hfmem.answer import Failure
    from hfmem.auditing import Announce, ListItem

app = command.new_app("audit")


@app.command()
@command.with_groups(
    question=groups.QUESTION, access=groups.ACCESS, form=groups.FORM, engine=command.ENGINE
)
def audit_list(
    models: audit_options.List = None,
    *,
    author: audit_options.Author = None,
    search: audit_options.Search = None,
    filters: audit_options.Filters = None,
    collection: audit_options.Collection = None,
    limit: audit_options.Limit = None,
    question: Mapping[str, object],
    gpu: options.Gpus = None,
    fail_over: options.FailOver = None,
    access: Mapping[str, object],
    form: Mapping[str, object],
    rules: options.Rules = False,
    quota_share: audit_options.QuotaShare = 1.0,
    resume: audit_options.Resume = False,
    baseline: audit_options.Baseline = None,
    engine: Mapping[str, object],
) -> int:
    """What every model of a list needs in memory; a failed model is a row, never the end."""
    # Late, so that --help and usage errors need not wait for the arithmetic.
    from hfmem import auditing
    from hfmem.cli.audit_run import Plan, announce, partial_of, run_audit
    from hfmem.cli.delivery import Delivery, deliver
    from hfmem.report import changes

    source = cast("groups.AccessWords", access)
    delivery = Delivery.of(**cast("groups.FormWords", form), fail_over=fail_over, single=False)
    workload = asking.workload_of(**cast("groups.QuestionWords", question), engine=engine)
    if resume and delivery.target is None:
        raise UsageError("--resume needs a file.", hint="Name the file of the audit: -o FILE")
    earlier = None if baseline is None else changes.baseline(baseline)
    asked = auditing.Options(
        workload=workload,
        gpus=tuple(gpu or ()),
        rules=rules,
        quota_share=auditing.share(quota_share),
        **source,
    )
    items, query = _items(
        models,
        author=author,
        search=search,
        filters=tuple(filters or ()),
        collection=collection,
        limit=limit,
        token=source["token"],
        offline=source["offline"],
        announce=announce,
        partial=partial_of(delivery.target) if resume and delivery.target else None,
    )
    if delivery.format == "jsonl" and delivery.target is None and earlier is None:
        answers = auditing.audit(items, asked, announce=announce, expected=len(items))
        return deliver(answers, delivery, workload=workload, expected=len(items))
    plan = Plan(delivery=delivery, resume=resume, baseline=earlier, query=query)
    return run_audit(items, asked, plan)


def _items(
    path: str | None,
    *,
    author: str | None,
    search: str | None,
    filters: tuple[str, ...],
    collection: str | None,
    limit: int | None,
    token: str | None,
    offline: bool,
    announce: Announce,
    partial: Path | None,
) -> tuple[Sequence[ListItem | Failure], dict[str, object] | None]:
    """The models, and the query that they come from where it is no list of the user's.

    What the Hub lists may change from hour to hour: a resumed audit keeps to what was listed then.
    """
    if path is not None and not (author or search or filters or collection or limit):
        from hfmem.lists import read_list

        return read_list(path, stdin=sys.stdin.buffer), None
    if path is not None:
        raise UsageError(
            "There are both a LIST and a listing of the Hub.", hint="Leave out one of them."
        )
    if not (author or search or filters or collection):
        raise UsageError(
            "Missing argument 'LIST'.",
            hint="For example: hfmem audit list.txt, or hfmem audit --author Qwen",
        )
    from hfmem.auditing import ListItem
    from hfmem.cli.journal import listed_before
    from hfmem.source.search import Query, models

    query = Query(author=author, search=search, filters=filters, collection=collection, limit=limit)
    names = None if partial is None else listed_before(partial, query.to_dict())
    if names is None:
        names = models(query, token=token, offline=offline, announce=announce)
    return [ListItem(model=name) for name in names], query.to_dict()
