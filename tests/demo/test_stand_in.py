"""What stands in for a language model: it picks sentences, and speaks the protocol of the models."""

from collections.abc import Iterator

import httpx2
import openai
import pytest
from demo import extractive, web

SPEECH = (web.TEXTS / "gettysburg.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with web.serving() as url:
        yield url


def test_a_summary_is_sentences_of_the_text_in_their_order() -> None:
    text = " ".join(SPEECH.split())
    found = [text.find(sentence) for sentence in extractive.summarise(SPEECH).replace(". ", ".\n").splitlines()]
    assert len(found) == 3
    assert -1 not in found
    assert found == sorted(found)


def test_the_sentences_are_those_about_what_the_rest_is_about() -> None:
    text = "Lunch was late. The river rose. The river flooded the road. Somebody sang. The road beside the river closed."
    assert extractive.summarise(text, 2) == "The river flooded the road. The road beside the river closed."


@pytest.mark.parametrize("text", ["", "no sentence at all", "One. Two! Three?"])
def test_a_text_that_is_short_already_is_its_own_summary(text: str) -> None:
    assert extractive.summarise(text) == text


def test_it_answers_a_chat_in_pieces_under_a_name_that_claims_nothing(site: str) -> None:
    with openai.OpenAI(base_url=f"{site}/v1", api_key="none", max_retries=0) as client:
        asked = client.chat.completions.create(
            model="extractive", stream=True, messages=[{"role": "system", "content": "…"}, {"role": "user", "content": f"Summarise this text:\n\n{SPEECH}"}]
        )
        pieces = list(asked)
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == extractive.summarise(SPEECH)
    assert len(pieces) > 50
    assert pieces[-1].choices[0].finish_reason == "stop"
    assert {piece.model for piece in pieces} == {"extractive-summariser-no-language-model"}


@pytest.mark.parametrize("body", ["", "no JSON", "[]", '{"messages": []}', '{"messages": [{"role": "user"}]}'])
def test_what_is_no_chat_is_refused(site: str, body: str) -> None:
    answer = httpx2.post(f"{site}/v1/chat/completions", content=body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("path", ["/", "/nothing.txt", "/../web.py", "//etc/passwd", "/%2e%2e/web.py"])
def test_it_serves_its_texts_and_nothing_else(site: str, path: str) -> None:
    assert httpx2.get(f"{site}/gettysburg.txt").text == SPEECH
    assert httpx2.get(httpx2.URL(site).copy_with(raw_path=path.encode())).status_code == 404
    assert httpx2.post(site + path).status_code == 404
