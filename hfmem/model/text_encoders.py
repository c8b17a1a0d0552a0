"""The encoders of encoder-decoders that backward passes are described of: BART's heirs and Whisper.

Read from transformers 5.23 and compared with the tensors that autograd saves there.
"""

from __future__ import annotations

from hfmem.model.backward_families import Backward
from hfmem.model.config import Config
from hfmem.model.forward_family import ACTIVATION_COPIES
from hfmem.model.forward_shapes import Attention, LayerShape, Mlp, Stored
from hfmem.model.tower_layers import TowerLayers

_WHISPER = "whisper"
_OF_TEXT = ("bart", "mbart", "marian", "pegasus", "m2m_100", "blenderbot", "plbart")
CROSSING = frozenset({*_OF_TEXT, "blenderbot-small", _WHISPER})
"""Model types whose decoder's layers attend to an encoder's output between attention and MLP."""


def text_encoder(config: Config, *, tokens: int) -> TowerLayers | None:
    """The encoder of an encoder-decoder over ``tokens`` positions; None where it is not described.

    Whisper's convolutions keep the sound, and both sides of the activations of twice and of once
    as many positions. Raises MissingKeyError and InvalidValueError where a size is missing.
    """
    kind = config.model_type or ""
    if kind not in CROSSING:
        return None
    hidden = config.integer("d_model", low=1)
    heads = config.integer("encoder_attention_heads", low=1)
    each = max(1, hidden // heads)
    hears = kind == _WHISPER
    bands = config.integer("num_mel_bins", low=1) if hears else 0
    return TowerLayers(
        name="encoder",
        component="encoder",
        count=config.integer("encoder_layers", low=1),
        hidden=hidden,
        shape=LayerShape(
            mixer=Attention(heads=heads, kv_heads=heads, head_dim=each, v_head_dim=each),
            feed_forward=Mlp(
                width=config.integer("encoder_ffn_dim", low=1),
                form="plain",
                activation_copies=ACTIVATION_COPIES.get(
                    config.text("activation_function") or "gelu", 2
                ),
            ),
            parallel_mlp=None,
            stored=Stored(key=0, value=0),
        ),
        backward=Backward(norm="layer_norm", copies_attention=hears),
        scaled=False,
        hooked=True,
        eager=False,
        sequences=1,
        tokens=tokens,
        values=tokens * (2 * bands + 5 * hidden) if hears else 0,
        mask_pairs=0,
        source=f"transformers 5.23 models/{kind.replace('-', '_')}/modeling_"
        f"{kind.replace('-', '_')}.py",
    )
