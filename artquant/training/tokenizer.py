"""A small tokenizer of Llama's kind (BPE with byte fallback and SentencePiece's word mark), trained on given texts."""

import json
from collections.abc import Iterable

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import LlamaTokenizer

from artquant.core.schema import LEVELS

SPECIAL_TOKENS = ("<unk>", "<s>", "</s>")


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> LlamaTokenizer:
    """Train at most `vocab_size` tokens: 3 special ones, 256 bytes, then the words' merges; each level is one token whatever the texts."""
    texts = list(texts)
    levels = " ".join(LEVELS)
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token=SPECIAL_TOKENS[0], fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always"), pre_tokenizers.Punctuation("isolated")]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[*SPECIAL_TOKENS, *(f"<0x{byte:02X}>" for byte in range(256))], show_progress=False
    )
    # The levels must be tokens even if the budget is small: they are repeated as often as there are texts.
    tokenizer.train_from_iterator([*texts, *[levels] * (len(texts) + 1)], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return LlamaTokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]], pad_token="<unk>")
