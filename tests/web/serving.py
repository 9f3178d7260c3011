"""Real servers on ports of their own, over tiny models in a registry of their own."""

import asyncio
import contextlib
import http.client
import json
import threading
import time
from functools import partial

import torch
import uvicorn

from components.checkpoints import save_model
from components.data.tokenizer import train_tokenizer
from components.inference.catalogue import Catalogue
from components.inference.pool import Pool, load_version
from components.mlflow_store import connect
from components.models.config import GPTConfig
from components.models.heads import ScalarGPT
from components.models.transformer import GPT
from components.web.app import make_app
from components.web.connection import PromptH11
from components.web.service import Service
from flows.server import free_port

USER = [{"role": "user", "content": "hello"}]
END_LOGIT = 4.5  # of the end marker where all others are about 0: replies of about five tokens


def make_folders(root):
    """`chat` ends by itself and says anything; `long` says the same for ever; `reward` scores."""
    tokenizer = train_tokenizer(["hello hi bye"] * 20, vocab_size=300)
    tokenizer.save(str(root / "tokenizer.json"))
    for name, context, favoured, logit in (
        ("chat", 128, "<|end|>", END_LOGIT), ("long", 2048, "Ġhi", 30.0),
    ):  # fmt: skip
        torch.manual_seed(0)
        gpt = GPT(GPTConfig(tokenizer.get_vocab_size(), context, num_layers=1, width=16, num_heads=2))
        with torch.no_grad():
            embedding = torch.nn.init.normal_(gpt.token_embedding.weight, std=0.15)[tokenizer.token_to_id(favoured)]
            gpt.final_norm.bias.copy_(logit * embedding / embedding.square().sum())
        save_model(root / name, gpt, root / "tokenizer.json")
    save_model(root / "reward", ScalarGPT(gpt.config), root / "tokenizer.json")
    return root


def register(name, folder, alias=None):
    """A version in the store of this process, its files where a stage puts them."""
    client, experiment = connect()
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    run = client.create_run(experiment)
    client.log_artifacts(run.info.run_id, str(folder), "model/data/model")
    version = client.create_model_version(name, source=f"{run.info.artifact_uri}/model", run_id=run.info.run_id).version
    if alias:
        client.set_registered_model_alias(name, alias, version)


class Running:
    """A server in a thread."""

    def __init__(self, port, service, desk=None):
        self.port, self.service, self.desk = port, service, desk

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def live(self):
        return sum(each.engine.live + each.engine.waiting for each in self.service.pool.loaded())

    def ask(self, method="GET", path="/health", body=None, **headers):
        """Status, headers and body of a plain request; header names are written with underscores."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        data = json.dumps(body).encode() if isinstance(body, dict | list) else body
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        connection.request(method, path, data, {"content-type": "application/json"} | named)
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), said

    def chat(self, model="gpt-ppo", messages=USER, **fields):
        """A chat completion: status and body."""
        status, _, body = self.ask("POST", "/v1/chat/completions", {"model": model, "messages": messages, **fields})
        return status, json.loads(body)


@contextlib.contextmanager
def serving(*, slots=8, queue=64, models=4, protocol=PromptH11, **options):
    """A server of the registered models, until the end of the block."""
    port, ready = free_port(), threading.Event()
    made = []

    async def run():
        post = asyncio.get_running_loop().call_soon_threadsafe
        pool = Pool(partial(load_version, slots=slots, queue=queue, post=post), models=models)
        service = Service(pool, Catalogue(fresh=0.2))
        config = uvicorn.Config(
            make_app(service, **options), host="127.0.0.1", port=port, http=protocol, ws="none", lifespan="on",
            log_level="critical", access_log=False, timeout_graceful_shutdown=1,
        )  # fmt: skip
        server = uvicorn.Server(config)
        made.extend((server, service))
        ready.set()
        await server.serve()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    ready.wait(30)
    server, service = made
    wait_until(lambda: server.started)
    try:
        yield Running(port, service, options.get("desk"))
    finally:
        server.should_exit = True
        thread.join(30)


def wait_until(holds, seconds=20.0):
    """Wait for something, and say how long it took."""
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < seconds
        time.sleep(0.005)
    return time.monotonic() - begun
