"""The known formats, and which of them a checkpoint's own template is."""

import re
from dataclasses import replace

from components.data.chat_format import ChatFormat, Messages
from components.data.templates import chatml, lineage, llama2, llama3, plain, zephyr

KNOWN = {
    "lineage": lineage.FORMAT,
    "chatml": chatml.FORMAT,
    "llama2": llama2.FORMAT,
    "llama3": llama3.FORMAT,
    "zephyr": zephyr.FORMAT,
    "plain": plain.FORMAT,
}
ASKED: Messages = ({"role": "user", "content": "Why?"},)
TALK: Messages = (
    {"role": "system", "content": "Be kind."}, *ASKED, {"role": "assistant", "content": "So."},
    {"role": "user", "content": "I see"},
)  # fmt: skip
ANY = "\N{OBJECT REPLACEMENT CHARACTER}"  # stands for a default system message


def recognise(template: str, *, bos: str = "", eos: str = "") -> tuple[str, ChatFormat] | None:
    """The known format that a Jinja chat template writes, its default system message included; None for none of them.

    bos, eos: the special tokens that templates call so.
    """
    from jinja2.exceptions import TemplateError  # noqa: PLC0415 (only where a checkpoint is read)
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)

    def written(messages: Messages, *, cue: bool) -> str:
        said = {"messages": list(messages), "add_generation_prompt": cue, "bos_token": bos, "eos_token": eos}
        return environment.from_string(template).render(**said)

    for name, known in KNOWN.items():
        try:
            whole, asked = written(TALK, cue=True), written(ASKED, cue=True)
        except (TemplateError, TypeError, ValueError):
            return None
        if whole != known.write(TALK, cue=True):
            continue
        pattern = re.escape(replace(known, default_system=ANY).write(ASKED, cue=True)).replace(re.escape(ANY), "(.+)")
        default = re.fullmatch(pattern, asked, re.DOTALL)
        if asked == known.write(ASKED, cue=True):
            return name, known
        if default:
            return name, replace(known, default_system=default[1])
    return None
