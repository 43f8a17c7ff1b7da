import socket

import pytest

from llm_canary.gateway.validity import asks_for_json, is_valid


def schema(**fields):
    return {"type": "json_schema", "json_schema": {"name": "n", "schema": fields}}


CITY = schema(type="object", required=["city"], properties={"city": {"type": "string"}})


@pytest.mark.parametrize(
    ("text", "response_format", "verdict"),
    [
        pytest.param('{"city": "Graz"}', CITY, True, id="fits"),
        pytest.param('{"city": 1}', CITY, False, id="wrong-type"),
        pytest.param("{}", CITY, False, id="field-missing"),
        pytest.param('```json\n{"city":"x"}\n```', CITY, False, id="fenced"),
        pytest.param("", CITY, False, id="empty"),
        pytest.param('{"city": "Gr', CITY, False, id="cut-off"),
        pytest.param("{}", {"type": "json_object"}, True, id="an-object"),
        pytest.param("[]", {"type": "json_object"}, False, id="no-object"),
        pytest.param('"\ud800"', {"type": "json_object"}, False, id="surrogate"),
        pytest.param("{}", {"type": "json_schema"}, True, id="no-schema-given"),
        pytest.param("{}", schema(type="nonsense"), None, id="a-schema-that-is-none"),
        pytest.param("{}", schema(**{"$ref": "http://127.0.0.1:1/x"}), None, id="remote-ref"),
        pytest.param("{}", schema(**{"$ref": "#/$defs/none"}), None, id="dangling-ref"),
        pytest.param('{"a":1}', schema(patternProperties={"(a+)+$": {}}), None, id="pattern-names"),
    ],
)
def test_the_verdict_on_an_answer(text, response_format, verdict):
    assert is_valid(text, response_format) is verdict


@pytest.mark.timeout(10)
def test_a_reference_is_never_fetched():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        is_valid("{}", schema(**{"$ref": url}))

        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.timeout(5)
def test_a_regular_expression_without_end_is_not_run():
    evil = schema(type="string", pattern="^(a+)+$")

    assert is_valid('"' + "a" * 40 + '!"', evil) is True


@pytest.mark.parametrize(
    ("response_format", "asks"),
    [
        ({"type": "json_object"}, True),
        (CITY, True),
        ({"type": "text"}, False),
        (None, False),
        (7, False),
    ],
)
def test_what_asks_for_json(response_format, asks):
    assert asks_for_json(response_format) is asks
