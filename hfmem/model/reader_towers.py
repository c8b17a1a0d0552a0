"""What the encoders hold that cross-attention reads pictures with: Pix2Struct, PP-FormulaNet, BLIP,
Swin.

Read from transformers 5.23 and checked there with a tracer of live tensors: with bfloat16 at
published sizes the figures are the traced ones to the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hfmem.model.config import Config
from hfmem.model.forward_families import ACTIVATION_COPIES
from hfmem.model.media import EncoderPass, TowerPass

Rule = Callable[[Config, TowerPass], EncoderPass | None]


def reader_pass(section: Config, run: TowerPass) -> EncoderPass | None:
    """The widths behind a pass; None for an encoder that is not here.

    Raises MissingKeyError and InvalidValueError where its section lacks a size.
    """
    rule = _RULES.get(section.model_type or "")
    return None if rule is None else rule(section, run)


def _pix2struct(section: Config, run: TowerPass) -> EncoderPass:
    """A gated MLP, under a mask of the patches that fill up: one byte a pair.

    base: 2,048 × 2 bytes × (5 × 768 + 4 × 2,048) and 2,048² bytes, 53,477,376 traced.
    """
    hidden = section.integer("hidden_size", low=1)
    copies = ACTIVATION_COPIES.get(section.text("dense_act_fn") or "gelu_new", 2)
    return EncoderPass(
        name=run.section.removesuffix("_config"),
        positions=run.positions,
        values=run.values,
        hidden=hidden,
        inner=copies * section.integer("d_ff", low=1),
        residents=5,
        attention_residents=8,
        bool_mask_pairs=run.positions**2,
        source="transformers 5.23 models/pix2struct/modeling_pix2struct.py: Pix2StructVisionLayer",
    )


def _formulanet(section: Config, run: TowerPass) -> EncoderPass | None:
    """Layers of global attention spell their scores out: as multiplied, cast to fp32, softmaxed
    there, with the relative positions added.

    768 pixels: 12 heads × 2,304² × 12 bytes and 2,304 × 2 bytes × 5 × 768, 782,106,624 traced.
    """
    if not section.integer_list("global_attn_indexes"):
        return None
    hidden = section.integer("hidden_size", low=1)
    heads = section.integer("num_attention_heads", low=1)
    return EncoderPass(
        name=run.section.removesuffix("_config"),
        positions=run.positions,
        values=run.values,
        hidden=hidden,
        inner=2 * section.integer("mlp_dim", low=1),
        residents=4,
        attention_residents=5,
        attention_copies=3,
        scores=heads * run.positions**2,
        score_bytes=12,
        source="transformers 5.23 models/pp_formulanet/modeling_pp_formulanet.py: "
        "PPFormulaNetVisionAttention",
    )


def _blip(section: Config, run: TowerPass) -> EncoderPass:
    """Attention spells its scores out, and a copy of them for the product with the values.

    384 pixels, 768 wide: 577² × 12 × 2 × 2 bytes and 577 × 2 bytes × 8 × 768, 23,070,768 traced.
    """
    heads = section.integer("num_attention_heads", low=1)
    return EncoderPass(
        name=run.section.removesuffix("_config"),
        positions=run.positions,
        values=run.values,
        hidden=section.integer("hidden_size", low=1),
        inner=2 * section.integer("intermediate_size", low=1),
        residents=4,
        attention_residents=8,
        scores=heads * run.positions**2,
        score_copies=2,
        source="transformers 5.23 models/blip/modeling_blip.py: BlipAttention",
    )


def _swin(section: Config, run: TowerPass) -> EncoderPass | None:
    """The MLP of the first stage's second layer, whose windows are shifted: a mask of window² a
    position of one picture, and the tensors of the shift, are there meanwhile.

    Donut, 2,560 × 1,920 pixels: 307,200 × 2 bytes × (9 × 128 + 2 × 512 + 100), 1,398,374,400
    traced.
    """
    depths = section.integer_list("depths", low=1) or ()
    if not depths or depths[0] < 2:
        return None
    hidden = section.integer("embed_dim", low=1)
    ratio = section.number("mlp_ratio") or 4
    return EncoderPass(
        name=run.section.removesuffix("_config"),
        positions=run.positions,
        values=run.values,
        hidden=hidden,
        inner=2 * int(ratio * hidden),
        residents=9,
        shared_mask_pairs=run.positions * section.integer("window_size", low=1) ** 2,
        source="transformers 5.23 models/donut/modeling_donut_swin.py: DonutSwinLayer",
    )


_RULES: Mapping[str, Rule] = {
    "pix2struct_vision_model": _pix2struct,
    "pp_formulanet_vision": _formulanet,
    "blip_vision_model": _blip,
    "donut-swin": _swin,
}
