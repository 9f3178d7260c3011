"""What is made is of use: registered models answer, chat talks, figures are compared."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def repository(finished, tmp_path_factory):
    return finished.copy(tmp_path_factory.mktemp("made") / "home")


PREDICT = """
import json, sys
for name in ("prefect", "dvc", "lightning", "chitchat_dataset", "vaderSentiment"):
    sys.modules[name] = None  # an import of it fails
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/gpt-ppo@candidate")
chat = [{"role": "user", "content": "hello you"}]
print(json.dumps([model.predict(chat, params={"seed": 3}), model.predict([chat, chat], params={"max_new_tokens": 2})]))
judge = mlflow.pyfunc.load_model("models:/gpt-reward@candidate")
print(json.dumps(judge.predict([*chat, {"role": "assistant", "content": "fine"}])))
"""


def test_a_registered_model_answers_in_a_process_without_the_repository(repository, tmp_path):
    uri = f"sqlite:///{repository.root}/mlruns/mlflow.db"
    environment = {**repository.environment, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    output = subprocess.run(
        [sys.executable, "-c", PREDICT, uri], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    one, several = json.loads(output[0])
    assert one["role"] == "assistant" and isinstance(one["content"], str)
    assert len(several) == 2
    assert isinstance(json.loads(output[1]), float)


def test_chat_streams_a_reply_and_remembers_the_conversation(repository):
    chat = subprocess.run(
        ["python", "-m", "components.chat", "--model", "models:/gpt-ppo@candidate", "--max-new-tokens", "5"],
        cwd=repository.root, env=repository.environment, input="hello\nwhat do you think\n/quit\n",
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert chat.stdout.count("bot> ") == 2
    missing = subprocess.run(
        ["python", "-m", "components.chat", "--model", "models:/gpt-ppo@nobody"],
        cwd=repository.root, env=repository.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert missing.returncode != 0 and "no model at" in missing.stderr


def test_metrics_diff_right_after_a_run_compares_with_the_last_commit(repository):
    """And its table is narrow enough to read: the headline figures alone."""
    committed = {"ppo/gold_win_rate": 0.25}
    headline = repository.root / "artifacts/evaluate/headline.json"
    own = headline.read_text()
    headline.write_text(json.dumps(committed))
    repository.run("git", "add", "artifacts/evaluate/headline.json")
    repository.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "figures")
    headline.write_text(own)
    assert "up to date" in repository.dvc("status")
    found = json.loads(repository.dvc("metrics", "diff", "--json"))["artifacts/evaluate/headline.json"]
    assert found["ppo/gold_win_rate"]["old"] == 0.25
    assert found["ppo/gold_win_rate"]["new"] == json.loads(own)["ppo/gold_win_rate"]
    shown = json.loads(repository.dvc("metrics", "show", "--json"))[""]["data"]
    assert list(shown) == ["artifacts/evaluate/headline.json"] and len(own.splitlines()) < 25
