"""A model in the form of Hugging Face: ``python -m agents.reasoner.huggingface --model tiny.gguf --out DIR``.

The folder holds ``config.json``, ``model.safetensors`` in half precision, ``tokenizer.json`` and their like, as vLLM
and ``transformers`` read them.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.reasoner.export import TEMPLATE, loaded, tensors
from agents.reasoner.model import CONTEXT, EPSILON, ROPE_BASE, Reasoner
from agents.reasoner.vocabulary import BEGIN, END, SPECIAL, TOKENS, UNKNOWN
from agents.settings import Settings, read_command_line, setting
from autotts_gym.cli import ending
from autotts_gym.errors import AutottsError
from autotts_gym.files import write_atomically

NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "token_embd": "embed_tokens",
    "output_norm": "norm",
}
"""Names of weights there, by their names in llama.cpp."""


def files(model: Reasoner) -> dict[str, bytes]:
    """The files of a model by name."""
    ends = {"bos_token_id": BEGIN, "eos_token_id": END}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(TOKENS),
        "hidden_size": model.shape.width,
        "intermediate_size": model.shape.hidden,
        "num_hidden_layers": model.shape.layers,
        "num_attention_heads": model.shape.heads,
        "num_key_value_heads": model.shape.heads,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": EPSILON,
        "rope_theta": ROPE_BASE,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": "float16",
        **ends,
    }
    names = {"unk_token": SPECIAL[UNKNOWN], "bos_token": SPECIAL[BEGIN], "eos_token": SPECIAL[END]}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
        **names,
    }
    weights = {_name(name): _ordered(name, weight, model.shape.heads) for name, weight in tensors(model).items()}
    return {
        "config.json": _json(config),
        "generation_config.json": _json(ends),
        "tokenizer_config.json": _json(settings),
        "special_tokens_map.json": _json(names),
        "tokenizer.json": _json(tokenizer()),
        "model.safetensors": safetensors(weights),
    }


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _name(name: str) -> str:
    *block, kind, _ = name.split(".")
    layer = f"layers.{block[1]}." if block else ""
    return f"model.{layer}{NAMES[kind]}.weight"


def _ordered(name: str, weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """A weight as it is there: the pairs that positions rotate are the halves of a head, not neighbours."""
    if not name.endswith(("attn_q.weight", "attn_k.weight")):
        return weight
    size, width = weight.shape
    return weight.reshape(heads, size // heads // 2, 2, width).swapaxes(1, 2).reshape(size, width)


def safetensors(weights: dict[str, NDArray[np.float32]]) -> bytes:
    """The bytes of a safetensors file, in half precision."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    parts, end = [], 0
    for name, weight in weights.items():
        parts.append(np.ascontiguousarray(weight, np.float16).tobytes())
        header[name] = {"dtype": "F16", "shape": weight.shape, "data_offsets": [end, end := end + len(parts[-1])]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(parts)


def tokenizer() -> dict[str, Any]:
    """The content of ``tokenizer.json``: words are found first, and any other text falls back to its bytes."""
    words = [i for i, token in enumerate(TOKENS) if not token.startswith("<0x")]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [{"id": i, "content": TOKENS[i], **flags, "special": i < len(SPECIAL)} for i in words]
    model: dict[str, Any] = {
        "type": "BPE",
        "dropout": None,
        "unk_token": SPECIAL[UNKNOWN],
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": True,
        "ignore_merges": False,
        "vocab": {token: i for i, token in enumerate(TOKENS)},
        "merges": [],
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": model,
    }


@dataclass(frozen=True)
class Options(Settings):
    """Options of the command; ``--help`` lists them."""

    model: str = setting("a file of agents.reasoner.train, .gguf", "")
    out: str = setting("folder to write", "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; see ``autotts_gym.cli.ending.run``."""

    def work() -> int:
        options = Options(**read_command_line("agents.reasoner.huggingface", __doc__, Options, {}, arguments))
        if not (options.model and options.out):
            raise AutottsError("--model, --out: expected both")
        for name, data in files(loaded(options.model)).items():
            write_atomically(Path(options.out) / name, data)
        print(options.out)
        return 0

    return ending.run(work)


if __name__ == "__main__":
    sys.exit(main())
