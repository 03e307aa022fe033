"""Chat templates that go by a name, written from the formats' public descriptions.

Each formats a list of ``messages`` with ``role`` and ``content``; ``add_generation_prompt`` opens the answer.

========== ============================================================================================
``alpaca`` Stanford Alpaca: "### Instruction:", "### Response:" below a sentence that describes the task
``chatml`` OpenAI's chat markup, which Qwen and many others use
``exaone`` EXAONE 3, LG AI Research
``llama3`` Llama 3, Meta
``mistral`` Mistral's instruct models: ``[INST] … [/INST]``; turns alternate
========== ============================================================================================
"""

from collections.abc import Mapping

__all__ = ["NAMED"]

_ALPACA = """\
{%- for message in messages %}
{%- if message['role'] == 'system' %}
{{- message['content'] | trim + '\\n\\n' }}
{%- elif message['role'] == 'user' %}
{%- if loop.first %}
{{- 'Below is an instruction that describes a task. Write a response that appropriately completes the request.\\n\\n' }}
{%- endif %}
{{- '### Instruction:\\n' + message['content'] | trim + '\\n\\n' }}
{%- elif message['role'] == 'assistant' %}
{{- '### Response:\\n' + message['content'] | trim + eos_token + '\\n\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '### Response:\\n' }}
{%- endif %}
"""

_CHATML = """\
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

_EXAONE = """\
{%- for message in messages %}
{%- if message['role'] == 'user' %}
{{- '[|user|]' + message['content'] + '\\n' }}
{%- elif message['role'] == 'assistant' %}
{{- '[|assistant|]' + message['content'] + '[|endofturn|]\\n' }}
{%- else %}
{{- '[|' + message['role'] + '|]' + message['content'] + '[|endofturn|]\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '[|assistant|]' }}
{%- endif %}
"""

_LLAMA3 = """\
{{- bos_token }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

_MISTRAL = """\
{{- bos_token }}
{%- set ns = namespace(system='') %}
{%- for message in messages %}
{%- if message['role'] == 'system' %}
{%- set ns.system = message['content'] + '\\n\\n' %}
{%- elif message['role'] == 'user' %}
{{- '[INST] ' + ns.system + message['content'] + ' [/INST]' }}
{%- set ns.system = '' %}
{%- elif message['role'] == 'assistant' %}
{{- ' ' + message['content'] + eos_token }}
{%- endif %}
{%- endfor %}
"""

NAMED: Mapping[str, str] = {
    "alpaca": _ALPACA,
    "chatml": _CHATML,
    "exaone": _EXAONE,
    "llama3": _LLAMA3,
    "mistral": _MISTRAL,
}
"""Name to the text of the template."""
