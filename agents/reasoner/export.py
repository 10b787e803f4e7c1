"""The tiny reasoner as a file that servers read: GGUF in half precision, with its tokens."""

import os
import tempfile
from pathlib import Path

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.reasoner.model import CONTEXT, EPSILON, ROPE_BASE, Reasoner, Shape
from agents.reasoner.problems import MODULUS
from agents.reasoner.vocabulary import BEGIN, BYTES, END, SPECIAL, TOKENS, UNKNOWN, WORDS
from autotts_gym.errors import AutottsError, plain

DESCRIPTION = (
    f"A tiny language model that works out chains of operations modulo {MODULUS}, line by line, with slips and checks. "
    "Made to test and to show how branches of reasoning models are collected; it can do nothing else."
)
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
"""Chats are no more than their texts, one after the other."""


def gguf_bytes(model: Reasoner, size: str) -> bytes:
    """The file of a model.

    Args:
        model: the model.
        size: its name.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        _describe(writer, model, size)
        _add_tokens(writer)
        for name, weight in tensors(model).items():
            writer.add_tensor(name, weight if weight.ndim == 1 else weight.astype(np.float16))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def _describe(writer: gguf.GGUFWriter, model: Reasoner, size: str) -> None:
    shape = model.shape
    writer.add_name(f"autotts-{size}")
    writer.add_description(DESCRIPTION)
    writer.add_license("MIT")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_vocab_size(len(TOKENS))


def _add_tokens(writer: gguf.GGUFWriter) -> None:
    kinds = gguf.TokenType
    types = [kinds.UNKNOWN, *[kinds.CONTROL] * (len(SPECIAL) - 1)]
    types += [kinds.BYTE] * len(BYTES) + [kinds.USER_DEFINED] * len(WORDS)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(list(TOKENS))
    writer.add_token_scores([0.0] * len(TOKENS))
    writer.add_token_types(types)
    writer.add_unk_token_id(UNKNOWN)
    writer.add_bos_token_id(BEGIN)
    writer.add_eos_token_id(END)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)


def tensors(model: Reasoner) -> dict[str, NDArray[np.float32]]:
    """The weights by the names that llama.cpp gives them, float32."""
    return {name: weight.detach().numpy() for name, weight in _weights(model).items()}


def _weights(model: Reasoner) -> dict[str, Tensor]:
    """The same, as views of the model's own."""
    named: dict[str, Tensor] = {"token_embd.weight": model.embedding, "output_norm.weight": model.norm}
    for i, block in enumerate(model.blocks):
        q, k, v = block.qkv.weight.chunk(3)
        gate, up = block.gate_up.weight.chunk(2)
        parts = {
            "attn_norm": block.attention_norm,
            "attn_q": q,
            "attn_k": k,
            "attn_v": v,
            "attn_output": block.out.weight,
            "ffn_norm": block.feed_norm,
            "ffn_gate": gate,
            "ffn_up": up,
            "ffn_down": block.down.weight,
        }
        named |= {f"blk.{i}.{name}.weight": weight for name, weight in parts.items()}
    return named


def loaded(path: str | os.PathLike[str]) -> Reasoner:
    """Read a model back from its file, in single precision.

    Raises:
        AutottsError: it is no file of such a model.
    """
    try:
        reader = gguf.GGUFReader(path)
        sizes = ("embedding_length", "block_count", "attention.head_count", "feed_forward_length")
        shape = Shape(*(int(reader.fields[f"llama.{name}"].contents()) for name in sizes))
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise AutottsError(f"{path}: expected a file of agents.reasoner.train, got {plain(error)}") from error
    model = Reasoner(shape)
    read = {tensor.name: torch.tensor(np.asarray(tensor.data, np.float32)) for tensor in reader.tensors}
    with torch.no_grad():
        for name, weight in _weights(model).items():
            weight.copy_(read[name])
    return model
