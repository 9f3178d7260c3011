"""Labelling in a real browser, by keys alone; battles by their keys; what the lineage shows."""

import pytest
from selenium.webdriver.common.keys import Keys

from components.web.desk import Desk
from tests.components.labels import make_task
from tests.web.browser import Person
from tests.web.serving import serving, wait_until


def labelling(visitor, desk, *tasks):
    desk.journal.add(tasks)
    visitor.arrive("label")
    wait_until(lambda: visitor.all("#next"))
    visitor.run("document.getElementById('next').focus()")
    visitor.press(Keys.ENTER)
    wait_until(lambda: visitor.all(".task .asked"))


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path / "labels.sqlite")


@pytest.fixture
def person(registry, window, desk):
    with serving(desk=desk) as running:
        visitor = Person(window, running)
        yield visitor
        assert not visitor.foreign() and not visitor.errors()


def step(person):
    return person.text("#step")[:1]


def test_four_replies_are_rated_and_ranked_with_a_tie_by_keys_alone(person, desk):
    labelling(person, desk, make_task("one"))
    shown = person.texts(".reply .text")
    assert sorted(shown) == ["four", "one", "three", "two"] and step(person) == "1"
    person.press("7", "5", "5", "2")
    person.press(Keys.ENTER)
    wait_until(lambda: step(person) == "2")
    person.press("1", "2", "2", "4")
    assert person.text(".order") == "A > B = C > D"
    # A reload in the middle loses nothing: neither the task nor what was pressed.
    person.window.refresh()
    wait_until(lambda: person.all(".order"))
    assert person.text(".order") == "A > B = C > D" and person.texts(".reply .text") == shown
    # The focus moves by keys, too: D is made the best, then the last again.
    person.press("j", "j", "j", "j", "1")
    assert person.text(".order") == "A = D > B = C"
    person.press(Keys.ARROW_UP, Keys.ARROW_DOWN, "4", Keys.ENTER)
    wait_until(lambda: desk.journal.answers())
    (given,) = desk.journal.answers()
    assert [given.ranks[place] for place in given.shown_order] == [1, 2, 2, 4]
    assert [given.quality[place] for place in given.shown_order] == [7, 5, 5, 2]
    assert given.seconds > 0 and len(given.page_version) == 8
    drafts = "return Object.keys(localStorage).filter(key => key.includes('draft:'))"
    wait_until(lambda: not person.run(drafts))

    # Undo, change it, send it again.
    wait_until(lambda: person.all("#next"))
    person.press("u")
    wait_until(lambda: person.all("#step") and step(person) == "1")
    person.press(Keys.ENTER)
    wait_until(lambda: step(person) == "2")
    assert person.text(".order") == "A > B = C > D"
    person.press("1", "1", "1", "1", "x", Keys.ENTER)
    wait_until(lambda: desk.journal.answers()[0].id != given.id)
    (changed,) = desk.journal.answers()
    assert (changed.supersedes, set(changed.ranks), changed.all_bad) == (given.id, {1}, True)
    withdraw(person, desk, changed.id)


def withdraw(person, desk, record):
    wait_until(lambda: person.all("#next"))  # the page has come to rest
    person.one("#mine summary").click()
    person.click("Withdraw", f"[data-record='{record}']")
    wait_until(lambda: not [each for each in desk.journal.answers() if each.id == record])


def test_a_skip_gives_the_task_to_others_and_a_reason_needs_consent(person, desk):
    labelling(person, desk, make_task("skipped"))
    person.press("s")
    person.one("#skipping textarea").send_keys("I do not know this language")
    person.click("Skip", "#skipping")
    person.click("I agree", "dialog")
    wait_until(lambda: [each.reason for each in desk.journal.answers()] == ["I do not know this language"])
    assert desk.journal.take("somebody-else").task.id == "skipped"


def test_a_demonstration_is_written_and_its_draft_survives(person, desk):
    labelling(person, desk, make_task("written", kind="demonstration"))
    person.one("#demonstration").send_keys("my own <b>words</b>")
    person.window.refresh()
    wait_until(lambda: person.all("#demonstration"))
    assert person.run("return document.getElementById('demonstration').value") == "my own <b>words</b>"
    person.one("#demonstration").send_keys(Keys.CONTROL, Keys.ENTER)
    person.click("I agree", "dialog")
    wait_until(lambda: desk.journal.answers() and desk.journal.answers()[-1].text == "my own <b>words</b>")


def test_a_blind_battle_is_voted_on_by_key_and_then_named(person, desk):
    person.arrive("compare")
    wait_until(lambda: len(person.all(".fields option")) > 2)
    person.run(
        "document.querySelectorAll('.fields select').forEach((select, place) => {"
        "select.value = ['gpt-ppo/1', 'gpt-long/1'][place]; });"
        "document.querySelectorAll('[name=mode]')[1].click();"
    )
    person.say("hello")
    wait_until(lambda: person.all(".votes button"))
    wait_until(lambda: person.one(".votes").is_displayed())
    assert person.texts(".columns h3") == ["A", "B"] and "gpt-" not in " ".join(person.texts(".columns"))
    person.press("b")
    person.click("I agree", "dialog")
    wait_until(lambda: desk.journal.votes())
    (vote,) = desk.journal.votes()
    assert vote.outcome == "b" and list(vote.replies) == person.texts(".columns .text")
    wait_until(
        lambda: (
            person.texts(".columns h3") == [f"{side}: {s.model}" for side, s in zip("AB", vote.sources, strict=True)]
        )
    )
    wait_until(lambda: len(person.all("table tbody tr")) == 2)


def test_versions_answer_side_by_side(person):
    person.arrive("compare")
    person.click("Add a version")
    wait_until(lambda: [bool(text) for text in person.texts(".fields select")] == [True] * 3)
    person.run(
        "document.querySelectorAll('.fields select').forEach((select, place) => {"
        "select.value = ['gpt-ppo/1', 'gpt-ppo@champion', 'gpt-long/1'][place]; })"
    )
    person.say("hello")
    wait_until(lambda: len(person.all("[aria-busy=false]")) == 3)
    assert person.texts(".columns h3") == ["gpt-ppo/1", "gpt-ppo/1", "gpt-long/1"]
    first, second, third = person.texts(".columns .text")
    assert first == second != third  # one seed for all
    assert "gpt-reward" not in " ".join(person.texts("option"))  # it writes nothing


def test_the_lineage_shows_versions_with_their_aliases_and_the_pipelines(person):
    person.arrive("lineage")
    wait_until(lambda: person.all(".version"))
    ids = person.run("return [...document.querySelectorAll('.version')].map(each => each.id)")
    assert {"gpt-ppo/1", "gpt-ppo/2", "gpt-long/1", "gpt-reward/1"} <= set(ids)
    card = person.run("return document.getElementById('gpt-ppo/1').textContent")
    assert "champion" in card and "not evaluated yet" in card
    person.one("input[type=search]").send_keys("long")
    assert len(person.all(".version")) == 1
    assert "sft ← pretrain" in person.run("return document.querySelector('.nodes').textContent")


@pytest.mark.parametrize("page", ["chat", "compare", "label", "lineage"])
def test_every_control_has_a_name_and_nothing_is_wider_than_a_phone(person, page):
    person.window.set_window_size(500, 800)  # the narrowest window that Chromium makes
    try:
        person.arrive(page)
        wait_until(lambda: person.all("#view button, #view input"))
        nameless = person.run(
            "return [...document.querySelectorAll('button, input, select, textarea')].filter(each => !each.hidden && "
            "!(each.textContent.trim() && each.tagName === 'BUTTON') && !each.labels?.length && !each.ariaLabel)"
            ".map(each => each.outerHTML)"
        )
        assert nameless == []
        assert person.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    finally:
        person.window.set_window_size(1200, 900)
