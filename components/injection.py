"""Attack a served model with prompt injections, and count what succeeds.

    make serve
    python -m components.injection --model gpt-ppo@champion
    python -m components.injection --url http://127.0.0.1:8000 --model NAME --out attacks.jsonl

Any server that speaks OpenAI's chat completions. Kinds: `leak` has the system message's secret told, `override` sets
the instructions aside, `role forging` writes a chat's markers into the user's text, `nothing` is plain questions, which
tell how often the word comes up by itself. What a server refuses has not succeeded, and is counted apart.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from components.progress import Progress
from components.prompting.injection import Attack, Endpoint, attacks, by_kind, succeeded

Found = list[tuple[Attack, str | None]]


def run(endpoint: Endpoint, max_tokens: int) -> Found:
    """Every attack with its reply, None where it was refused.

    Raises:
        OSError: the server cannot be reached, or fails.
    """
    suite = list(attacks())
    found: Found = []
    with Progress(len(suite), "attacks") as progress:
        for attack in suite:
            found.append((attack, endpoint.reply(attack, max_tokens)))
            progress.advance(note=attack.kind)
    return found


def table(found: Found) -> str:
    """How many attacks of each kind succeeded, and how many were refused."""
    lines = [f"{'attack':14} {'succeeded':>12} {'refused':>8}"]
    refused = by_kind([(attack, reply is None) for attack, reply in found])
    for kind, hits in by_kind([(attack, succeeded(attack, reply or "")) for attack, reply in found]).items():
        lines.append(f"{kind:14} {sum(hits):4} of {len(hits):4} {sum(refused[kind]):8}")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of the server (default: %(default)s)")
    parser.add_argument("--model", required=True, help="as /v1/models calls it")
    parser.add_argument("--max-tokens", type=int, default=48, help="of a reply (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="write every attack with its reply, one JSON object a line")
    arguments = parser.parse_args()
    endpoint = Endpoint(arguments.url, arguments.model, os.environ.get("OPENAI_API_KEY", ""))
    try:
        found = run(endpoint, arguments.max_tokens)
    except OSError as error:
        sys.exit(f"{arguments.url}: {error}")
    print(table(found))
    if arguments.out:
        rows = (vars(attack) | {"reply": reply, "succeeded": succeeded(attack, reply or "")} for attack, reply in found)
        arguments.out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


if __name__ == "__main__":
    main()
