"""Talk to a registered model in the terminal: many turns, tokens as they are sampled.

    python -m components.chat                                   # the champion, or the candidate where there is none
    python -m components.chat --model models:/gpt-sft/3         # any registered version or alias
    python -m components.chat --model artifacts/ppo/model       # or a model folder

/new starts over, /quit (or Ctrl-D) leaves.
"""

import argparse
import sys
from pathlib import Path

from components import mlflow_store
from components.serving import ChatModel

DEFAULT = "models:/gpt-ppo@champion"
FALLBACK = "models:/gpt-ppo@candidate"


def load(address: str | None) -> tuple[ChatModel, str]:
    """The model of an address, and the address; without one, the champion or else the candidate.

    Raises:
        SystemExit: there is no such model; says what can be done.
    """
    for candidate in [address] if address else [DEFAULT, FALLBACK]:
        if Path(candidate).is_dir():
            return ChatModel(Path(candidate)), candidate
        folder = mlflow_store.download_model(candidate)
        if folder is not None:
            return ChatModel(folder), candidate
    raise SystemExit(
        f"no model at {address or DEFAULT}. `make run` trains and registers one; "
        "`make ui` shows the registered models under Models"
    )


def main() -> None:
    """The chat loop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help=f"registered model or model folder (default: {DEFAULT})")
    parser.add_argument("--temperature", type=float, default=0.7, help="below 1 is safer, above 1 wilder")
    parser.add_argument("--max-new-tokens", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0, help="same seed and same words, same replies")
    arguments = parser.parse_args()
    model, address = load(arguments.model)
    print(f"{address}. /new starts over, /quit leaves.")
    history: list[dict[str, str]] = []
    for turn in range(arguments.seed * 10_000, sys.maxsize):
        try:
            said = input("you> ").strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if said in {"/quit", "/exit"}:
            return
        if said in {"", "/new"}:
            history = [] if said else history
            continue
        history.append({"role": "user", "content": said})
        history.append({"role": "assistant", "content": _answer(model, history, arguments, turn)})


def _answer(model: ChatModel, history: list[dict[str, str]], arguments: argparse.Namespace, turn: int) -> str:
    """Stream one reply to the terminal; the reply."""
    pieces = []
    print("bot> ", end="", flush=True)
    stream = model.stream(
        history, max_new_tokens=arguments.max_new_tokens, temperature=arguments.temperature, seed=turn
    )
    for piece in stream:
        pieces.append(piece)
        print(piece, end="", flush=True)
    print()
    return "".join(pieces).strip() or "..."


if __name__ == "__main__":
    main()
