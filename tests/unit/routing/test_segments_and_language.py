import pytest

from llm_canary.language import detect_language
from llm_canary.routing.segment import (
    SegmentSource,
    clean,
    default_source,
    derived,
    is_eligible,
    length_class,
)

MONDAY_NOON_S = 1795435200.0  # 2026-11-23T12:00Z


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("How do I reset my password?", "en"),
        ("Wie kann ich mein Passwort ändern?", "de"),
        ("Comment puis-je changer mon mot de passe ?", "fr"),
        ("¿Cómo puedo cambiar mi contraseña?", "es"),
        ("Come posso cambiare la mia password? Non mi fa entrare", "it"),
        ("Como eu posso mudar a minha senha? Não consigo, você pode", "pt"),
        ("パスワードを変更するには", "ja"),
        ("如何修改密码", "zh"),
        ("비밀번호를 어떻게 바꾸나요", "ko"),
        ("Как изменить пароль?", "ru"),
        ("كيف أغير كلمة المرور", "ar"),
        ("", None),
        ("ok", None),
        ("x = 1 + 2", None),
        ("🐤🐤🐤", None),
        ("“How do I reset my password?”, he asked", "en"),  # signs that no script has
        ("Der Befehl heißt привет und ist nicht gut", "de"),  # half a script decides nothing
        ("漢字かな交じり文", "ja"),
        ("the das", None),  # one hit each
    ],
)
def test_language_is_told_or_left_open(text, language):
    assert detect_language(text) == language


@pytest.mark.parametrize(
    ("rules", "values", "holds"),
    [
        pytest.param({}, {}, True, id="no-rules"),
        pytest.param({"geo": ["de", "at"]}, {"geo": "at"}, True, id="listed"),
        pytest.param({"geo": ["de", "at"]}, {"geo": "fr"}, False, id="not-listed"),
        pytest.param({"geo": ["de"]}, {"geo": None}, False, id="unknown"),
        pytest.param({"geo": ["de"]}, {}, False, id="absent"),
        pytest.param({"beta": [True]}, {"beta": "true"}, True, id="a-truth"),
        pytest.param({"level": [3]}, {"level": "3"}, True, id="a-number"),
        pytest.param({"level": "gold"}, {"level": "gold"}, True, id="a-single-value"),
        pytest.param({"age": {"min": 30}}, {"age": "30"}, True, id="at-the-minimum"),
        pytest.param({"age": {"min": 30}}, {"age": "29.9"}, False, id="under-the-minimum"),
        pytest.param({"age": {"max": 30}}, {"age": "31"}, False, id="over-the-maximum"),
        pytest.param({"age": {"min": 30}}, {"age": "nan"}, False, id="not-a-number"),
        pytest.param({"age": {"min": 30}}, {"age": "old"}, False, id="no-number"),
        pytest.param({"a": ["1"], "b": ["1"]}, {"a": "1", "b": "2"}, False, id="all-must-hold"),
    ],
)
def test_eligible_rules(rules, values, holds):
    assert is_eligible(rules, values) is holds


def test_hour_and_weekday_are_utc():
    assert derived("hour", MONDAY_NOON_S) == "12"
    assert derived("weekday", MONDAY_NOON_S) == "mon"
    assert derived("moon", MONDAY_NOON_S) is None


def test_an_undeclared_segment_comes_from_its_header():
    source = default_source("account_age_days")

    headers = {b"x-canary-segment-account-age-days": b"31"}
    assert source.value(headers, 0.0, lambda: "") == "31"


def test_a_header_that_is_absent_or_empty_has_no_value():
    source = SegmentSource("tier", "header:X-Tier")

    assert source.value({}, 0.0, lambda: "") is None
    assert source.value({b"x-tier": b" "}, 0.0, lambda: "") is None


def test_values_are_short_and_without_control_characters():
    assert clean("a\x00b\x1f" + "x" * 100) == "ab" + "x" * 62


@pytest.mark.parametrize(
    ("characters", "label"),
    [(0, "short"), (199, "short"), (200, "medium"), (1_000, "long"), (4_000, "very_long")],
)
def test_length_classes(characters, label):
    assert length_class(characters) == label
