"""The chat in a real browser: it streams, stops, edits, regenerates, and what a text holds stays text."""

import json

import pytest
from selenium.webdriver.support.select import Select

from tests.web.serving import wait_until

XSS = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
# Every length that the last message's text had, as the browser saw it.
WATCH = """
window.lengths = new Set();
new MutationObserver(() => {
  const texts = document.querySelectorAll(".log .assistant .text");
  if (texts.length) window.lengths.add(texts[texts.length - 1].textContent.length);
}).observe(document.querySelector(".log"), {subtree: true, childList: true, characterData: true});
"""


@pytest.fixture
def person(visitor):
    visitor.arrive("chat")
    wait_until(lambda: visitor.all("#view option"))
    yield visitor
    assert not visitor.foreign() and not visitor.errors()


def choose(person, model, tokens=None):
    person.run(
        "const all = [...document.querySelectorAll('.bar select')]; all[0].value = arguments[0];"
        "all[0].dispatchEvent(new Event('change'));"
        "const most = document.getElementById('setting-max_tokens'); most.value = arguments[1];"
        "most.dispatchEvent(new Event('change'));", model, tokens or "")  # fmt: skip


def ended(person, replies):
    def holds():
        return len(person.all(".assistant")) == replies and not person.all("[aria-busy=true]")

    wait_until(holds)
    return person.texts(".assistant .text")


def test_a_reply_streams_and_stop_frees_its_row(person):
    choose(person, "gpt-long", 1900)
    person.run(WATCH)
    person.say("hello")
    wait_until(lambda: len(person.run("return [...window.lengths]")) >= 5)
    assert person.server.live() == 1
    person.click("Stop")
    assert wait_until(lambda: person.server.live() == 0) < 5
    (reply,) = ended(person, 1)
    lengths = sorted(person.run("return [...window.lengths]"))
    assert len(lengths) >= 5 and lengths[-1] == len(reply) > 0
    assert "Stopped." in person.texts(".note")


def test_messages_are_edited_and_replies_made_anew_as_branches(person):
    choose(person, "gpt-ppo")
    person.say("hello")
    ended(person, 1)
    person.say("and then?")
    ended(person, 2)
    person.click("Regenerate", ".assistant:last-of-type")
    ended(person, 2)
    assert person.texts(".branches span") == ["2/2"]
    person.click("Edit", ".user")
    person.one(".edit textarea").clear()
    person.one(".edit textarea").send_keys("bye")
    person.click("Send", ".edit")
    assert ended(person, 1) and person.texts(".user .text") == ["bye"] and person.texts(".branches span") == ["2/2"]
    person.one("[aria-label='The one before']").click()
    assert person.texts(".user .text") == ["hello", "and then?"]
    assert person.texts(".branches span") == ["1/2", "2/2"]
    person.window.refresh()
    wait_until(lambda: person.texts(".user .text") == ["hello", "and then?"])


def test_what_a_text_holds_stays_text(person):
    choose(person, "gpt-ppo")
    person.say(XSS)
    ended(person, 1)
    assert person.texts(".user .text") == [XSS]
    assert "owned" not in person.window.title and not person.all("#view img, #view script")
    assert XSS[:60] in person.texts(".talks .title")


def test_it_says_what_the_context_forgot(person):
    choose(person, "gpt-ppo", 10)
    for turn in range(1, 9):
        person.say("hello hello hello hello " * 3)
        ended(person, turn)
        if any("did not see the oldest" in note for note in person.texts(".note")):
            return
    pytest.fail("nothing was forgotten")


def test_a_thumb_is_stored_with_consent_and_taken_back(person, desk):
    choose(person, "gpt-ppo@champion")
    # Of these models some replies are empty, and on those nobody has an opinion.
    spoken = next(
        seed
        for seed in range(50)
        if person.server.chat("gpt-ppo@champion", seed=seed)[1]["choices"][0]["message"]["content"]
    )
    person.run(
        "const seed = document.getElementById('setting-seed'); seed.value = arguments[0];"
        "seed.dispatchEvent(new Event('change'));",
        spoken,
    )
    person.say("hello")
    ended(person, 1)
    person.one("[aria-label='Bad reply']").click()
    person.one(".feedback input[value=wrong]").click()
    person.one(".feedback textarea").send_keys("hi there")
    person.click("Send", ".feedback")
    person.click("Not now", "dialog")
    assert not desk.journal.feedback()
    person.one("[aria-label='Bad reply']").click()
    person.one(".feedback input[value=wrong]").click()
    person.one(".feedback textarea").send_keys("hi there")
    person.click("Send", ".feedback")
    person.click("I agree", "dialog")
    wait_until(lambda: person.all("[aria-label='Bad reply'][aria-pressed=true]"))
    (given,) = desk.journal.feedback()
    assert (given.value, given.tags, given.correction) == (-1, ("wrong",), "hi there")
    assert given.source.model == "gpt-ppo/1" and len(given.source.weights_sha256) == 64
    assert given.messages[0].content == "hello"
    # The record is enough to make the reply again.
    again = {"seed": given.source.seed, "temperature": given.source.temperature, "top_p": given.source.top_p}
    reply = person.server.chat("gpt-ppo/1", **again)[1]["choices"][0]["message"]["content"]
    assert reply == given.reply
    person.click("Withdraw")
    wait_until(lambda: not desk.journal.feedback())


def test_conversations_go_to_a_file_and_come_back(person, tmp_path):
    choose(person, "gpt-ppo")
    person.one("main details.settings summary").click()
    person.one("#system").send_keys("be kind")
    person.say("hello")
    ended(person, 1)
    exported = person.run(
        "const found = Object.keys(localStorage).filter(key => key.startsWith('gptlineage:talk:'));"
        "return found.map(key => localStorage[key])"
    )
    (talk,) = map(json.loads, exported)
    assert talk["system"] == "be kind" and [each["role"] for each in talk["nodes"]] == ["user", "assistant"]
    file = tmp_path / "conversations.json"
    file.write_text(json.dumps({"format": "gptlineage-conversations", "version": 1, "conversations": [talk]}))
    person.one("aside [aria-label^=Delete]").click()
    assert not person.texts(".talks .title")
    person.one("input[type=file]").send_keys(str(file))
    wait_until(lambda: person.texts(".talks .title") == ["hello"])
    person.one(".talks .title").click()
    assert person.texts(".user .text") == ["hello"]
    talk["nodes"][0]["parent"] = "nowhere"
    file.write_text(json.dumps({"format": "gptlineage-conversations", "version": 1, "conversations": [talk]}))
    person.one("input[type=file]").send_keys(str(file))
    wait_until(lambda: "no conversations" in person.text("#status"))


def test_it_speaks_korean(person):
    Select(person.one("#language")).select_by_value("ko")
    wait_until(lambda: person.run("return document.documentElement.lang") == "ko")
    assert person.texts("header nav a") == ["대화", "나란히", "라벨링", "계보"]
    Select(person.one("#language")).select_by_value("en")
    wait_until(lambda: person.run("return document.documentElement.lang") == "en")


def test_both_languages_say_everything(person):
    gaps = person.run("""
        return import("/i18n.js").then(async ({t, speak}) => {
          const text = await (await fetch("/i18n.js")).text();
          const keys = [...text.matchAll(/^  "?([\\w-]+)"?: \\[/gm)].map(found => found[1]);
          speak("en"); const english = keys.map(key => t(key));
          speak("ko"); const korean = keys.map(key => t(key));
          const holes = text => [...text.matchAll(/\\{\\w+\\}/g)].map(found => found[0]).sort().join();
          return keys.length < 100 ? ["too few"] : keys.filter((key, place) =>
            !korean[place] || korean[place] === key || holes(english[place]) !== holes(korean[place]));
        })""")
    assert gaps == []
