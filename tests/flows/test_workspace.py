"""Copies of the repository that other values run in: DVC settings, data and code are those of the repository."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from dvc.config import Config

from components.pipelines import open_pipeline
from flows.checks import SetupError, check, check_place
from flows.doctor import findings
from flows.variants import remove, variants
from flows.workspace import open_workspace, refresh
from tests.flows.repository import make_repository

OTHER = {"ppo.kl_coef": 0.3}


@pytest.fixture
def repository(tmp_path, monkeypatch):
    repository = make_repository(tmp_path / "here, #1 50% off")
    monkeypatch.chdir(repository.root)
    return repository


def variant(repository, **overrides):
    workspace = open_workspace(repository.root, "default", overrides or OTHER, open_pipeline(root=repository.root))
    refresh(workspace)
    return workspace.root


def test_a_users_own_settings_of_dvc_hold_in_a_variant(repository):
    """A second section of a name, or a comma or # in a path without quotes, and DVC reads nothing at all."""
    for setting in ("config --local core.autostage true", "cache dir --local ../my,cache",
                    "remote add -d seed ../seed", "remote add --local mine ../mine"):  # fmt: skip
        repository.dvc(*setting.split())
    root = variant(repository)
    settings = Config(str(root / ".dvc"))
    assert settings["core"]["autostage"] is True and settings["core"]["no_scm"] is True
    assert settings["core"]["remote"] == "seed"
    above = repository.root.parent
    assert Path(settings["cache"]["dir"]).resolve() == above / "my,cache"
    assert {name: Path(remote["url"]).resolve() for name, remote in settings["remote"].items()} == {
        "seed": above / "seed", "mine": above / "mine",
    }  # fmt: skip
    repository.dvc("config", "--local", "--unset", "core.autostage")
    assert "autostage" not in (variant(repository) / ".dvc/config.local").read_text()


def test_without_settings_a_variant_shares_the_repositorys_cache(repository):
    settings = Config(str(variant(repository) / ".dvc"))
    assert Path(settings["cache"]["dir"]) == repository.root / ".dvc/cache"


def test_a_variant_follows_the_repositorys_data(repository):
    pointer = repository.root / "data.dvc"
    pointer.write_text("outs:\n- md5: aaa.dir\n  path: data\n")
    root = variant(repository)
    pointer.write_text("outs:\n- md5: bbb.dir\n  path: data\n")
    assert "bbb.dir" in (variant(repository) / "data.dvc").read_text()
    pointer.unlink()
    assert variant(repository) == root and not (root / "data.dvc").exists()


def test_a_variant_with_a_source_of_its_own_keeps_out_of_the_repositorys_data(repository):
    (repository.root / "data.dvc").write_text("outs:\n- md5: aaa.dir\n  path: data\n")
    root = variant(repository, **{"ingest.source": {"kind": "folder", "path": "elsewhere"}})
    assert not (root / "data.dvc").exists()


def test_a_variant_takes_code_and_leaves_folders_of_data_where_they_are(repository):
    home = repository.root
    (home / "corpus").mkdir()
    (home / "corpus/large.txt").write_text("text")
    (home / "components/losses/new.py").write_text('"""New."""\n')
    (home / "flows/old.py").write_text('"""Old."""\n')
    root = variant(repository)
    assert (root / "components/losses/new.py").exists() and (root / "flows/old.py").exists()
    assert not (root / "corpus").exists()
    (home / "flows/old.py").unlink()
    assert not (variant(repository) / "flows/old.py").exists()


def test_without_git_a_sentence_says_what_to_do_and_dvcs_own_switch_is_enough(repository):
    shutil.rmtree(repository.root / ".git")
    with pytest.raises(SetupError, match=r"no git repository.*git init.*core\.no_scm true"):
        check("default", {}, until=None)
    repository.dvc("config", "--local", "core.no_scm", "true")
    assert check("default", OTHER, until=None).is_variant
    root = variant(repository)
    assert (root / "components/stages/ppo.py").exists() and (root / "dvc.yaml").exists()


def test_a_repository_of_another_owner_is_a_sentence_with_the_way_out(repository, monkeypatch):
    git = repository.root.parent / "bin" / "git"
    git.parent.mkdir()
    git.write_text("#!/bin/sh\necho \"fatal: detected dubious ownership in repository at '$2'\" >&2\nexit 128\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(git.parent))
    with pytest.raises(SetupError, match=r"another user.*git config --global --add safe\.directory"):
        check_place(repository.root)


def test_a_path_at_which_database_addresses_end_is_refused_before_anything_is_written(tmp_path):
    for name in ("what?", "it's"):
        with pytest.raises(SetupError, match="rename that folder"):
            check_place(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_variants_are_listed_with_what_asked_for_them_and_removed(repository):
    root = variant(repository)
    (root / "artifacts").mkdir()
    (root / "artifacts/model").write_bytes(bytes(3_000_000))
    (listed,) = variants(repository.root)
    assert listed.root == root and listed.asked == "python -m flows.lineage --set ppo.kl_coef=0.3"
    assert 3_000_000 < listed.size < 9_000_000
    with open_workspace(repository.root, "default", OTHER, open_pipeline(root=repository.root)).exclusive(print):
        assert not remove(root) and root.exists()
    assert "there are " + root.name in repository.run(
        "python", "-m", "flows.variants", "--remove", "../..", check=False
    )
    assert f"removed {root.name}" in repository.run("python", "-m", "flows.variants", "--all")
    assert not root.exists() and (repository.root / "components").exists()


def test_the_health_check_names_what_blocks(repository, monkeypatch):
    def found():
        return {finding.matter: finding for finding in findings(repository.root, 1, 2)}

    assert not [finding for finding in found().values() if finding.blocks and not finding.ok]
    (repository.root / ".prefect").mkdir()
    (repository.root / ".prefect/prefect.db").write_text("no database at all, whatever its name says")
    (repository.root / "params.yaml").write_text("seed: [")
    shutil.rmtree(repository.root / ".git")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    blocked = {matter for matter, finding in found().items() if finding.blocks and not finding.ok}
    assert blocked == {"place and git", "params.yaml", "Prefect's home", "Prefect's server"}
    command = subprocess.run(["python", "-m", "flows.doctor"], cwd=repository.root, env=repository.environment,
                             capture_output=True, text=True, check=False)  # fmt: skip
    assert command.returncode == 1 and "PROBLEM" in command.stdout


def test_a_file_that_a_parameter_names_is_a_dependency_and_comes_along(repository):
    home = repository.root
    (home / "items").mkdir()
    (home / "items/pairs.jsonl").write_text("1\n")
    task = {"kind": "minimal_pairs", "name": "pairs", "file": "./items/pairs.jsonl"}
    usual = yaml.safe_load((home / "params.yaml").read_text())["evaluate"]["tasks"]
    root = variant(repository, **{"evaluate.tasks": [*usual, task]})
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    assert "items/pairs.jsonl" in stages["evaluate"]["deps"]
    assert "components/tasks/minimal_pairs.py" in stages["evaluate"]["deps"]
    assert "items/pairs.jsonl" not in stages["reward"]["deps"]
    (home / "items/pairs.jsonl").write_text("2\n")
    variant(repository, **{"evaluate.tasks": [*usual, task]})
    assert (root / "items/pairs.jsonl").read_text() == "2\n"
