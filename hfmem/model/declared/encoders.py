"""Encoders of text: BERT's line, as embedding models and rerankers publish it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from hfmem.model.config import Config
from hfmem.model.declared.blocks import (
    NotDeclaredError,
    Part,
    Parts,
    embedding,
    layer_count,
    layers,
    linear,
    norm,
    norms,
    under,
    weight,
)
from hfmem.model.declared.family import Family
from hfmem.model.declared.style import Rule, hidden, none, said

Task = Literal["model", "masked", "score"]
"""The encoder alone; with a head over the vocabulary; with one over labels."""
Finish = Callable[[Config, Task], Parts]


def labels(config: Config) -> int:
    """Rows of a classifier: ``id2label``'s, or two."""
    named = config.values.get("id2label")
    count = config.integer_or_none("num_labels", low=1)
    return len(named) if isinstance(named, dict) else count or 2


def _embeddings(config: Config, size: int, *, types: bool = True) -> Parts:
    rows = config.integer("vocab_size", low=1)
    parts = (
        *weight("word_embeddings", rows, size),
        *weight("position_embeddings", config.integer("max_position_embeddings", low=1), size),
    )
    if types:
        parts += weight("token_type_embeddings", config.integer("type_vocab_size", low=1), size)
    return under("embeddings", parts, norm("LayerNorm", size, bias=True))


def _layer(config: Config) -> Parts:
    size, inner = hidden(config), config.integer("intermediate_size", low=1)
    return (
        *under(
            "attention.self",
            *(linear(name, size, size, bias=True) for name in ("query", "key", "value")),
        ),
        *linear("attention.output.dense", size, size, bias=True),
        *linear("intermediate.dense", inner, size, bias=True),
        *linear("output.dense", size, inner, bias=True),
        *norms("attention.output.LayerNorm", "output.LayerNorm", size=size, bias=True),
    )


def _bert_body(config: Config) -> Parts:
    return (
        *_embeddings(config, hidden(config)),
        *layers("encoder.layer", range(layer_count(config)), _layer(config)),
    )


def _electra_body(config: Config) -> Parts:
    narrow, size = config.integer("embedding_size", low=1), hidden(config)
    return (
        *_embeddings(config, narrow),
        *(linear("embeddings_project", size, narrow, bias=True) if narrow != size else ()),
        *layers("encoder.layer", range(layer_count(config)), _layer(config)),
    )


def _mpnet_body(config: Config) -> Parts:
    """MPNet: one table of relative positions for all layers."""
    renamed = {"attention.self.query": "attention.attn.q", "attention.self.key": "attention.attn.k"}
    renamed |= {"attention.self.value": "attention.attn.v"}
    renamed |= {"attention.output.dense": "attention.attn.o"}
    renamed |= {"attention.output.LayerNorm": "attention.LayerNorm"}
    layer = tuple(
        part._replace(name=f"{renamed.get(stem, stem)}.{last}")
        for part in _layer(config)
        for stem, _, last in (part.name.rpartition("."),)
    )
    buckets = config.integer("relative_attention_num_buckets", low=1)
    heads = config.integer("num_attention_heads", low=1)
    return (
        *_embeddings(config, hidden(config), types=False),
        *layers("encoder.layer", range(layer_count(config)), layer),
        *weight("encoder.relative_attention_bias", buckets, heads),
    )


def _distilbert_body(config: Config) -> Parts:
    size, inner = config.integer("dim", low=1), config.integer("hidden_dim", low=1)
    names = ("q_lin", "k_lin", "v_lin", "out_lin")
    return (
        *_embeddings(config, size, types=False),
        *layers(
            "transformer.layer",
            range(layer_count(config)),
            under("attention", *(linear(name, size, size, bias=True) for name in names)),
            norms("sa_layer_norm", "output_layer_norm", size=size, bias=True),
            linear("ffn.lin1", inner, size, bias=True),
            linear("ffn.lin2", size, inner, bias=True),
        ),
    )


def _vocabulary_bias(config: Config, name: str) -> Parts:
    return (Part(name, (config.integer("vocab_size", low=1),)),)


def _bert_finish(config: Config, task: Task) -> Parts:
    size = hidden(config)
    pooler = linear("bert.pooler.dense", size, size, bias=True)
    match task:
        case "model":
            return pooler
        case "score":
            return (*pooler, *linear("classifier", labels(config), size, bias=True))
        case "masked":
            return under(
                "cls.predictions",
                _vocabulary_bias(config, "bias"),
                linear("transform.dense", size, size, bias=True),
                norm("transform.LayerNorm", size, bias=True),
            )


def _roberta_finish(config: Config, task: Task) -> Parts:
    size = hidden(config)
    dense = linear("dense", size, size, bias=True)
    match task:
        case "model":
            return under("roberta.pooler", dense)
        case "score":
            output = linear("out_proj", labels(config), size, bias=True)
            return under("classifier", dense, output)
        case "masked":
            bias = _vocabulary_bias(config, "bias")
            return under("lm_head", bias, dense, norm("layer_norm", size, bias=True))


def _electra_finish(config: Config, task: Task) -> Parts:
    narrow, size = config.integer("embedding_size", low=1), hidden(config)
    match task:
        case "model":
            return ()
        case "score":
            dense = linear("dense", size, size, bias=True)
            output = linear("out_proj", labels(config), size, bias=True)
            return under("classifier", dense, output)
        case "masked":
            return (
                *norm("generator_predictions.LayerNorm", narrow, bias=True),
                *linear("generator_predictions.dense", narrow, size, bias=True),
                *_vocabulary_bias(config, "generator_lm_head.bias"),
            )


def _distilbert_finish(config: Config, task: Task) -> Parts:
    size = config.integer("dim", low=1)
    match task:
        case "model":
            return ()
        case "score":
            dense = linear("pre_classifier", size, size, bias=True)
            return (*dense, *linear("classifier", labels(config), size, bias=True))
        case "masked":
            return (
                *linear("vocab_transform", size, size, bias=True),
                *norm("vocab_layer_norm", size, bias=True),
                *_vocabulary_bias(config, "vocab_projector.bias"),
            )


class Encoder(Struct, frozen=True, kw_only=True):
    """One class of a line of encoders; calling it gives the tensors."""

    prefix: str
    body: Rule
    finish: Finish
    task: Task

    def __call__(self, config: Config) -> Parts:
        """The encoder and what the class puts behind it, named as the class saves it."""
        if config.flag("is_decoder") or config.flag("add_cross_attention"):
            raise NotDeclaredError
        if self.task == "masked" and not config.flag("tie_word_embeddings", default=True):
            raise NotDeclaredError
        ends = self.finish(config, self.task)
        if self.task == "model":
            # The base class has no prefix; what its pooler is below goes with it.
            own = tuple(part._replace(name=part.name.partition(".")[2]) for part in ends)
            return (*self.body(config), *own)
        return (*under(self.prefix, self.body(config)), *ends)


def modernbert(task: Task) -> Rule:
    """ModernBERT: gated MLPs, norms without a shift, none before the first attention."""

    def parts(config: Config) -> Parts:
        size, inner = hidden(config), config.integer("intermediate_size", low=1)
        shift, count = said(config, "norm_bias"), layer_count(config)
        bias, mlp_bias = config.flag("attention_bias"), config.flag("mlp_bias")
        body = (
            *embedding(config, "embeddings.tok_embeddings"),
            *norm("embeddings.norm", size, bias=shift),
            *layers(
                "layers",
                range(count),
                linear("attn.Wqkv", 3 * size, size, bias=bias),
                linear("attn.Wo", size, size, bias=bias),
                norm("mlp_norm", size, bias=shift),
                linear("mlp.Wi", 2 * inner, size, bias=mlp_bias),
                linear("mlp.Wo", size, inner, bias=mlp_bias),
            ),
            *layers("layers", range(1, count), norm("attn_norm", size, bias=shift)),
            *norm("final_norm", size, bias=shift),
        )
        if task == "model":
            return body
        classifier = config.flag("classifier_bias")
        top = (
            *linear("head.dense", size, size, bias=classifier),
            *norm("head.norm", size, bias=shift),
        )
        if task == "score":
            end = linear("classifier", labels(config), size, bias=True)
        else:
            if not config.flag("tie_word_embeddings", default=True):
                raise NotDeclaredError
            wanted = config.flag("decoder_bias", default=True)
            end = _vocabulary_bias(config, "decoder.bias") if wanted else none(config)
        return (*under("model", body), *top, *end)

    return parts


def _line(
    stem: str, types: tuple[str, ...], encoder: Callable[[Task], Rule], source: str
) -> tuple[Family, ...]:
    """The three classes of a line of encoders."""
    tasks: tuple[tuple[Task, tuple[str, ...]], ...] = (
        ("masked", (f"{stem}ForMaskedLM", f"{stem}ForCausalLM", f"{stem}LMHeadModel")),
        ("model", (f"{stem}Model",)),
        ("score", (f"{stem}ForSequenceClassification",)),
    )
    return tuple(
        Family(model_types=types, classes=classes, parts=encoder(task), source=source)
        for task, classes in tasks
    )


def _bert(task: Task) -> Rule:
    return Encoder(prefix="bert", body=_bert_body, finish=_bert_finish, task=task)


def _roberta(task: Task) -> Rule:
    return Encoder(prefix="roberta", body=_bert_body, finish=_roberta_finish, task=task)


def _electra(task: Task) -> Rule:
    return Encoder(prefix="electra", body=_electra_body, finish=_electra_finish, task=task)


def _mpnet(task: Task) -> Rule:
    return Encoder(prefix="mpnet", body=_mpnet_body, finish=_roberta_finish, task=task)


def _distilbert(task: Task) -> Rule:
    return Encoder(prefix="distilbert", body=_distilbert_body, finish=_distilbert_finish, task=task)


ROWS: tuple[Family, ...] = (
    *_line("Bert", ("bert",), _bert, "bert/modeling_bert.py"),
    *_line("Roberta", ("roberta",), _roberta, "roberta/modeling_roberta.py"),
    *_line("XLMRoberta", ("xlm-roberta",), _roberta, "xlm_roberta/modeling_xlm_roberta.py"),
    *_line("Camembert", ("camembert",), _roberta, "camembert/modeling_camembert.py"),
    *_line("Data2VecText", ("data2vec-text",), _roberta, "data2vec/modeling_data2vec_text.py"),
    *_line("Electra", ("electra",), _electra, "electra/modeling_electra.py"),
    *_line("MPNet", ("mpnet",), _mpnet, "mpnet/modeling_mpnet.py"),
    *_line("DistilBert", ("distilbert",), _distilbert, "distilbert/modeling_distilbert.py"),
    *_line("ModernBert", ("modernbert",), modernbert, "modernbert/modeling_modernbert.py"),
)
"""Three classes a line."""
