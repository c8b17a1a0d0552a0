"""Encoders of text, and encoder-decoders."""

from __future__ import annotations

from hfmem.model.forward_family import Family

ENCODERS: tuple[Family, ...] = (
    Family(
        model_types=(
            *("bert", "roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "electra", "ernie"),
            *("data2vec-text", "roc_bert", "roberta-prelayernorm"),
        ),
        mixer_residents=2,
        mlp_residents=3,
        mlp="plain",
        norm="fused",
        rotary="none",
        flags=frozenset({"encoder"}),
        source="models/bert/modeling_bert.py: BertLayer norms after attention and after the MLP",
    ),
    Family(
        model_types=("distilbert",),
        mixer_residents=2,
        mlp_residents=3,
        mlp="plain",
        activation="activation",
        norm="fused",
        rotary="none",
        flags=frozenset({"encoder"}),
        source="models/distilbert/modeling_distilbert.py: TransformerBlock",
    ),
    Family(
        model_types=("albert",),
        mixer_residents=2,
        mlp_residents=2,
        mlp="plain",
        norm="fused",
        rotary="none",
        flags=frozenset({"encoder"}),
        source="models/albert/modeling_albert.py: AlbertLayer",
    ),
    Family(
        model_types=("nomic_bert",),
        mixer_residents=2,
        norm="fused",
        flags=frozenset({"encoder"}),
        source="models/nomic_bert/modeling_nomic_bert.py: NomicBertLayer keeps attention's output",
    ),
    Family(
        model_types=("bart", "mbart", "pegasus", "marian", "m2m_100", "blenderbot", "plbart"),
        mixer_residents=3,
        mlp="plain",
        activation="activation_function",
        norm="fused",
        rotary="none",
        flags=frozenset({"seq2seq"}),
        source="models/bart/modeling_bart.py: BartDecoderLayer; the encoder's output stands apart",
    ),
    Family(
        model_types=("whisper",),
        mlp="plain",
        activation="activation_function",
        norm="fused",
        rotary="none",
        position_embeddings=True,
        flags=frozenset({"seq2seq"}),
        source="models/whisper/modeling_whisper.py: WhisperDecoderLayer",
    ),
    Family(
        model_types=("t5", "mt5"),
        mixer_residents=3,
        mlp="plain",
        activation="feed_forward_proj",
        rotary="none",
        flags=frozenset({"seq2seq", "position_bias"}),
        source="models/t5/modeling_t5.py: T5Attention.compute_bias, T5LayerSelfAttention",
    ),
    Family(
        model_types=("clip_text_model", "siglip_text_model"),
        mlp="plain",
        norm="fused",
        rotary="none",
        flags=frozenset({"encoder"}),
        source="models/clip/modeling_clip.py: CLIPEncoderLayer",
    ),
)
