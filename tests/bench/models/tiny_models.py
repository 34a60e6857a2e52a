"""Models of transformers as small as can be, with random weights and tokenizers made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SENTENCES = (
    "a very good film, positive through and through", "what a bad film , negative in every way",
    "Classify the text as one of these categories: negative, positive. Text: Sentiment: Category:",
    "Let's think step by step. the cat sat on the mat", "utterly dull and mixed feelings",
)  # fmt: skip
CHAT = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def make_tokenizer(folder: Path, chat: bool = True) -> Any:
    """Save a byte-level tokenizer with 400 words to a folder."""
    import tokenizers as tk
    from transformers import PreTrainedTokenizerFast

    made = tk.Tokenizer(tk.models.BPE())
    made.pre_tokenizer = tk.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tk.decoders.ByteLevel()
    alphabet = tk.pre_tokenizers.ByteLevel.alphabet()
    special = ["<|end|>", "<|start|>"]
    trainer = tk.trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    made.train_from_iterator(SENTENCES, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>", bos_token="<|start|>")
    if chat:
        tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_language_model(folder: Path, *, chat: bool = True, length: int = 256, seed: int = 0) -> Path:
    """Save a Llama of two layers and its tokenizer to a folder; its logits spread well."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer(folder, chat)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=length, bos_token_id=1, eos_token_id=0, pad_token_id=None,
        initializer_range=0.4,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def make_classifier(folder: Path, labels: tuple[str, ...] = ("neg", "pos"), length: int = 32) -> Path:
    """Save a BERT of two layers and its tokenizer to a folder."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    words = sorted({word for sentence in SENTENCES for word in sentence.lower().replace(",", "").split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(3)  # of both labels, some texts get each
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=length, initializer_range=0.4, id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder
