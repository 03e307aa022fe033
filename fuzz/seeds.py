"""What fuzzing begins with: valid documents for each target, some that are nearly valid, and words worth trying."""

import io
import json
import pickle

import torch
import xxhash

__all__ = ["SEEDS", "WORDS"]

SPAN = {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}
HEADER = {"__metadata__": {"format": "pt"}, "a": SPAN, "b": {"dtype": "BF16", "shape": [], "data_offsets": [8, 10]}}
RECIPES = [
    "cuvee: 1\nmethod: linear\nmodels: [a, b]\n",
    "cuvee: 1\nmethod: ties\nmodels: {one: a, two: b}\nbase: c\nparameters:\n  density: {one: 0.5, two: .25}\n"
    "  weight: {over_depth: [0, 1e-1]}\nseed: 7\noutput: {dtype: bfloat16, shard_size: 5GB, custom_code: true}\n",
    "cuvee: 1\nmethod: slerp\nmodels:\n- &x a\n- *x\nparameters: {t: 0.5}\ntensors:\n- match: ['*.norm*', lm_head*]\n"
    "  copy: m0\n- match: '*'\n  method: linear\n  parameters: {weight: [1, 2]}\n  parts: 3\n- match: x\n"
    "  skip: true\n",
    "cuvee: 1\nrecipes:\n  one: {method: linear, models: [a, b]}\n"
    "  two: {method: ties, models: {x: one, y: c}, base: b}\n"
    "  three:\n    method: linear\n    models: [{method: slerp, models: [one, c]}, d]\n",
    "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n<<: {k: !!str 1}\n? [q]\n: |\n  text\n--- # two\n...\n",
]
RECORD = {
    "format": 1,
    "recipe": {"cuvee": 1, "method": "linear", "models": {"a": "/m"}},
    "inputs": {"a": {"reference": "a", "location": "/m", "licence": None, "digest": "0" * 32, "unused": ["w"]}},
    "output": {"digest": "0" * 32, "tensors": {"w": "0" * 32}},
}
CARD = "---\nlicense: other\nlicense_name: mine\ntags:\n- merge\n---\n# A model\n"


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _header(table: object, data: bytes) -> bytes:
    text = _json(table)
    return len(text).to_bytes(8, "little") + text + data


def _journal(*entries: object) -> bytes:
    lines = [json.dumps(entry, separators=(",", ":")).encode() for entry in entries]
    return b"".join(xxhash.xxh3_64_hexdigest(line).encode() + b" " + line + b"\n" for line in lines)


def _pickles() -> list[bytes]:
    """Files as torch writes them, new and old; and pickles alone, to be put into archives."""
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3, dtype=torch.bfloat16)}
    files = []
    for content in (tensors, {"state_dict": tensors, "epoch": 3}, {"a": torch.nn.Parameter(torch.ones(2))}):
        for is_new in (True, False):
            file = io.BytesIO()
            torch.save(content, file, _use_new_zipfile_serialization=is_new)
            files.append(file.getvalue())
    inner = [file[file.index(b"\x80\x02") : file.index(b"PK\x07\x08")] for file in files[::2]]
    plain = [pickle.dumps({"w": [1, 2.5, "x", None, True]}, protocol=protocol) for protocol in (0, 2, 4)]
    return [*files, *(b"P" + pickled for pickled in inner), *plain]


SEEDS: dict[str, list[bytes]] = {
    "header": [
        _header(HEADER, bytes(10)),
        _header({}, b""),
        b"L" + _json(HEADER) + b"\n\n" + bytes(10),
        b"version http",
    ],
    "index": [
        _json({"metadata": {"total_size": 2}, "weight_map": {"w": "model-1.safetensors", "v": "model-2.safetensors"}}),
        _json({"weight_map": {"w": "../model-1.safetensors"}}),
    ],
    "config": [_json({"model_type": "llama", "num_hidden_layers": 2, "rope_scaling": {"factor": 8.0}}), b'{"a": NaN}'],
    "json_object": [
        _json({"r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "peft_type": "LORA"}),
        b'{"a":[{}]}',
    ],
    "adapter": [
        _json({"peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": ["0", "1"], "bias": "none"}),
        _json({"peft_type": "LORA", "r": 8, "rank_pattern": {"a.*": 1}, "alpha_pattern": {"0": 3, "^a.1$": 4}}),
        _json({"peft_type": "LORA", "r": 1, "lora_alpha": 2, "use_rslora": True, "init_lora_weights": "pissa"}),
        _json({"peft_type": "IA3", "feedforward_modules": ".*[01]", "modules_to_save": ["a"]}),
    ],
    "pipeline": [
        _json({"_class_name": "Pipe", "unet": ["diffusers", "UNet"], "text": ["transformers", "T"], "x": [None, None]}),
        _json({"_class_name": "Pipe", "text": ["transformers", "T"], "scale": 0.5, "../unet": ["diffusers", "UNet"]}),
    ],
    "recipe": [text.encode() for text in RECIPES],
    "card": [CARD.encode(), CARD.replace("other", "[mit, apache-2.0]").encode(), b"# none"],
    "record": [_json(RECORD)],
    "journal": [_journal({"run": "run"}, {"merged": [0, 1], "notes": []}, {"asked": [0, 0], "sum": "AAAA"})],
    "pickled": _pickles(),
    "model_name": [b"a/b", b"a/b@main", b"s3://bucket/x", b"a+b+c", b"~/x", b"../x", b"C:\\x", b"~nobody"],
}

WORDS = [
    b"1e999", b"-0", b"NaN", b"Infinity", b"-Infinity", b"9223372036854775808", b"18446744073709551616", b"1e-400",
    b"\\ud800", b"\\u0000", b"\xe2\x80\xae", b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"../", b"..\\", b"/etc/", b"C:",
    b"{", b"}", b"[", b"]", b"[[[[[[[[", b'{"a":', b'"dtype"', b'"shape"', b'"data_offsets"', b'"__metadata__"',
    b'"F4"', b'"BOOL"', b'"weight_map"', b".safetensors", b"&a ", b"*a", b"<<: ", b"!!binary ", b"!!timestamp ",
    b"!!set", b"!!omap", b"!!float ", b"!!int ", b"!!null ", b"!!python/object/apply:os.system ", b"%YAML 9.9\n",
    b"%TAG ! tag:x,2000:\n", b"---\n", b"...\n", b"? ", b": ", b"- ", b"|\n", b">-\n", b"over_depth", b"parameters",
    b"tensors", b"recipes", b"rank_pattern", b"alpha_pattern", b"match", b"method", b"shard_size",
    b"cposix\nsystem\n", b"c__builtin__\neval\n", b"R", b"Q", b"}q\0",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b".", b"PK\3\4", b"PK\5\6", b"PK\6\6",
    b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00",
]  # fmt: skip
