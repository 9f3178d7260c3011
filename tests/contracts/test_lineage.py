"""What docs/lineage.md names is there, and its Korean edition names the same."""

import re

import pytest

from tests.contracts.imports import ROOT

EDITIONS = ("docs/lineage.md", "docs/lineage.ko.md")
NAMED = re.compile(r"`((?:components|docs|flows|pipelines|tests)/[\w./-]+)(?:::(\w+))?`")


def named(edition):
    return set(NAMED.findall((ROOT / edition).read_text()))


@pytest.mark.parametrize("edition", EDITIONS)
def test_files_and_names_are_there(edition):
    found = named(edition)
    assert len(found) > 40
    for path, name in found:
        assert (ROOT / path).exists(), path
        assert not name or re.search(rf"^(def|class) {name}\b", (ROOT / path).read_text(), re.MULTILINE), (path, name)


def test_both_editions_name_the_same():
    assert named(EDITIONS[0]) == named(EDITIONS[1])
