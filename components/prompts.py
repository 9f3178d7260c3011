"""Prompts in MLflow's registry: versions, what changed between them, and aliases.

    python -m components.prompts list
    python -m components.prompts show answer@production
    python -m components.prompts diff answer/1 answer/3
    python -m components.prompts publish pipelines/prompts/templates/answer.txt --note 'asks for the number alone'
    python -m components.prompts alias answer/3 production

A prompt is a text with {{ variables }}, named by its file. A text that is there already makes no new version.
The pipeline `prompts` publishes what it asks with; `make ui` shows them under Prompts.
"""

import argparse
import sys
from pathlib import Path

from components.mlflow_store import BadAnswer, StoreError
from components.prompting.registry import look_up, names, point, publish, versions
from components.prompting.template import TemplateError, difference, read_template


def listing() -> str:
    """Every prompt with its versions."""
    lines = [
        f"{each.address:40} {each.template.digest}  {', '.join(sorted(each.template.variables))}"
        + (f"  @{' @'.join(each.aliases)}" if each.aliases else "")
        for name in names()
        for each in versions(name)
    ]
    return "\n".join(lines) or "no prompts yet: `python -m components.prompts publish FILE` makes one"


def changes(old: str, new: str) -> str:
    """What changed between two versions."""
    first, second = look_up(old), look_up(new)
    return difference(first.template, second.template, (first.address, second.address)) or "they are the same"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every prompt with its versions")
    commands.add_parser("show", help="a version's text").add_argument("address", help="NAME, NAME/3 or NAME@alias")
    diff = commands.add_parser("diff", help="what changed between two versions")
    diff.add_argument("old")
    diff.add_argument("new")
    publishing = commands.add_parser("publish", help="register files whose text is new")
    publishing.add_argument("files", nargs="+", type=Path)
    publishing.add_argument("--note", help="why it changed")
    alias = commands.add_parser("alias", help="have a name point at a version")
    alias.add_argument("address")
    alias.add_argument("alias")
    arguments = parser.parse_args()
    try:
        if arguments.command == "list":
            print(listing())
        elif arguments.command == "show":
            print(look_up(arguments.address).template.text)
        elif arguments.command == "diff":
            print(changes(arguments.old, arguments.new))
        elif arguments.command == "publish":
            for template in [read_template(path) for path in arguments.files]:
                print(publish(template, note=arguments.note).address)
        else:
            found = look_up(arguments.address)
            point(found.name, arguments.alias, found.version)
            print(f"{found.name}@{arguments.alias} is {found.address}")
    except (TemplateError, LookupError, StoreError, BadAnswer) as error:
        sys.exit(str(error.args[0]))


if __name__ == "__main__":
    main()
