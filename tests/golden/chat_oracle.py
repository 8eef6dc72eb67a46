#!/usr/bin/env python3
"""Chats as Jinja renders them, for the C++ tests (development only; needs jinja2).

chat_oracle.py write         -> chat_turns.json: templates, chats and their texts (null: refused)
chat_oracle.py check FILE..  prints whether FILE, a model's own template, renders every chat as the
                             template of the same family below does

The templates here are written for this test: what a plain chat meets in Qwen2.5's, Qwen3's and
Gemma 3's, without tools and images.
"""
import json
import pathlib
import sys

from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).resolve().parent

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content']"
    " + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")

QWEN25 = r"""{%- if tools %}
    {{- raise_exception('no tools here') }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>system\nDEFAULT<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first)
        or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
""".replace("DEFAULT", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.")

QWEN3 = r"""{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(asked=false, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if not ns.asked and message.role == "user" and
        not(message.content.startswith('<tool_response>')
            and message.content.endswith('</tool_response>')) %}
        {%- set ns.asked = true %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\n')
                .split('<think>')[-1].lstrip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n')
                    + '\n</think>\n\n' + content.lstrip('\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}
"""

GEMMA3 = r"""{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}
    {%- set turns = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set turns = messages -%}
{%- endif -%}
{%- for message in turns -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("user and assistant must take turns") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\n'}}
{%- endif -%}
"""

TEMPLATES = {"chatml": CHATML, "qwen2.5": QWEN25, "qwen3": QWEN3, "gemma3": GEMMA3}
CONTENTS = [
    "", "Hi", "  padded \n\t", "\u00a0\u3000nbsp\u2028\x1f", "a\n\nb\n", "<|im_end|>",
    "日本語 😀",
    "<think>\n\nwhy\n</think>\n\nanswer", "<think>x</think>y</think>\n\nz\n", "</think>only end",
    "<tool_response>5</tool_response>", "\n\nlead", "<end_of_turn>\n<start_of_turn>model\n"]
ROLES = ["u", "u", "s", "a", "uu", "ua", "au", "su", "us", "sua", "uau", "suau", "usua", "uauau",
         "suaua", "uaa", "ssu", "aua", "sa"]
NAMES = {"u": "user", "a": "assistant", "s": "system"}


def chats():
    number = 0
    for roles in ROLES:
        for prompt in (True, False):
            number += 1
            yield {"add_generation_prompt": prompt, "messages": [
                {"role": NAMES[r], "content": CONTENTS[(number * 5 + 3 * i) % len(CONTENTS)]}
                for i, r in enumerate(roles)]}


def refuse(message):
    raise TemplateError(message)


def render(jinja, chat):
    # The environment that transformers' apply_chat_template uses.
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = refuse
    try:
        return environment.from_string(jinja).render(
            messages=chat["messages"], add_generation_prompt=chat["add_generation_prompt"],
            bos_token="<bos>", enable_thinking=False)
    except TemplateError:
        return None


def check(path):
    jinja, known = pathlib.Path(path).read_text(), list(chats())
    rendered = [render(jinja, chat) for chat in known]
    same = [name for name, mine in TEMPLATES.items()
            if [render(mine, chat) for chat in known] == rendered]
    print(path, "renders as", " and ".join(same) or "none of", "in", len(known), "chats")


def write():
    known = list(chats())
    rendered = {name: [render(jinja, chat) for chat in known] for name, jinja in TEMPLATES.items()}
    out = {"templates": TEMPLATES, "chats": known, "rendered": rendered}
    (HERE / "chat_turns.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        write()
    elif sys.argv[1:2] == ["check"]:
        for name in sys.argv[2:]:
            check(name)
    else:
        sys.exit(__doc__)
