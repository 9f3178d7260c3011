"""Versions of prompts in MLflow's registry: a text that is there already makes no new one."""

from dataclasses import dataclass
from typing import Any

from components.mlflow_store import connect, register_prompt
from components.prompting.template import Template, TemplateError

DIGEST = "digest"


@dataclass(frozen=True)
class Version:
    """A registered prompt."""

    name: str
    version: int
    template: Template
    aliases: tuple[str, ...]

    @property
    def address(self) -> str:
        """By which MLflow finds it."""
        return f"prompts:/{self.name}/{self.version}"


def publish(template: Template, *, note: str | None = None, run_id: str | None = None) -> Version:
    """The version of a template's text: the one that has it already, or else a new one.

    Args:
        note: why it changed, as MLflow shows it.
        run_id: a run that asked with it, which is then linked to it.

    Raises:
        MlflowException: the server is down or refuses.
    """
    client, _ = connect()
    known = [each for each in versions(template.name) if each.template.digest == template.digest]
    if known:
        found = known[-1]
    else:
        version = register_prompt(template.name, template.text, note, {DIGEST: template.digest})
        found = Version(template.name, version, template, ())
    if run_id is not None:
        client.link_prompt_version_to_run(run_id, found.address)
    return found


def versions(name: str) -> list[Version]:
    """Every version of a prompt, the oldest first; none where there is no such prompt."""
    client, _ = connect()
    if client.get_prompt(name) is None:
        return []
    found: list[Any] = []
    page = client.search_prompt_versions(name)
    found += page
    while page.token:
        page = client.search_prompt_versions(name, page_token=page.token)
        found += page
    # A search tells no aliases.
    whole = [client.get_prompt_version(name, each.version) for each in found]
    own = [each for each in whole if _is_ours(each.template)]  # others have chats, or braces that mean nothing here
    return sorted((_version(each) for each in own), key=lambda each: each.version)


def names() -> list[str]:
    """All prompts of the registry."""
    client, _ = connect()
    page = client.search_prompts()
    found = [each.name for each in page]
    while page.token:
        page = client.search_prompts(page_token=page.token)
        found += [each.name for each in page]
    return sorted(found)


def look_up(address: str) -> Version:
    """The version at `name`, which is the newest, `name/3` or `name@alias`.

    Raises:
        LookupError: there is none; the message says which there are.
    """
    name, _, alias = address.partition("@")
    name, _, number = name.partition("/")
    known = versions(name)
    wanted = [
        each for each in known if (not alias or alias in each.aliases) and (not number or str(each.version) == number)
    ]
    if not wanted:
        there = ", ".join(f"{each.version}" for each in known) or f"no prompt {name!r}; prompts are {names()}"
        raise LookupError(f"no prompt at {address}: there is {there}")
    return wanted[-1]


def point(name: str, alias: str, version: int) -> None:
    """Have an alias name a version, and no other."""
    connect()[0].set_prompt_alias(name, alias, version)


def _is_ours(text: Any) -> bool:
    try:
        Template("", text)
    except (TemplateError, TypeError):
        return False
    return True


def _version(found: Any) -> Version:
    return Version(found.name, int(found.version), Template(found.name, found.template), tuple(found.aliases or ()))
