"""Check digits, which chance rarely satisfies. Each takes ASCII digits, or says what else."""

from __future__ import annotations

from collections.abc import Container

_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
# Countries by the length of their IBANs (ISO 13616 registry).
_IBAN_COUNTRIES = {
    15: "NO",
    16: "BE",
    18: "DK FI FK FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU YE",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
_IBAN_LENGTHS = {
    country: length for length, names in _IBAN_COUNTRIES.items() for country in names.split()
}
# Begins of card numbers with their lengths. Without them every tenth long number would be a card.
_ANY = range(13, 20)
_CARDS: tuple[tuple[tuple[str, ...], Container[int]], ...] = (
    (("4",), (13, 16, 19)),  # Visa
    (("51", "52", "53", "54", "55", *map(str, range(2221, 2721))), (16,)),  # Mastercard
    (("34", "37"), (15,)),  # American Express
    (("30", "36", "38", "39"), range(14, 20)),  # Diners
    (("6011", "64", "65", "35", "62"), range(16, 20)),  # Discover, JCB, UnionPay
    (("50", "56", "57", "58", "60", "61", "63", "66", "67", "68", "69"), _ANY),  # Maestro
)
# By position: what a letter or digit of an Italian codice fiscale counts where its place is odd.
_CF_ODD = (
    *(1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18),
    *(20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23),
)


def iban_length(country: str) -> int:
    """Return how long the IBANs of `country` are, 0 where it has none."""
    return _IBAN_LENGTHS.get(country, 0)


def is_iban(text: str) -> bool:
    """Say whether `text`, upper case and without spaces, has the remainder of an IBAN."""
    turned = text[4:] + text[:4]
    return int("".join(str(int(mark, 36)) for mark in turned)) % 97 == 1


def is_card(digits: str) -> bool:
    """Say whether the number begins like a card's and satisfies Luhn's formula."""
    if len(digits) not in _ANY or not any(
        len(digits) in lengths and digits.startswith(begins) for begins, lengths in _CARDS
    ):
        return False
    numbers = [int(digit) for digit in digits]
    doubled = [number * 2 - 9 if number > 4 else number * 2 for number in numbers[-2::-2]]
    return (sum(numbers[-1::-2]) + sum(doubled)) % 10 == 0


def is_cpf(digits: str) -> bool:
    """Say whether eleven digits are a Brazilian CPF."""
    if len(digits) != 11 or len(set(digits)) == 1:
        return False
    numbers = [int(digit) for digit in digits]
    for place in (9, 10):
        weighted = sum(numbers[i] * (place + 1 - i) for i in range(place))
        if weighted * 10 % 11 % 10 != numbers[place]:
            return False
    return True


def is_tax_id(digits: str) -> bool:
    """Say whether eleven digits are a German Steuer-ID (ISO 7064 MOD 11,10)."""
    if len(digits) != 11 or digits[0] == "0":
        return False
    counts = [digits[:10].count(digit) for digit in set(digits[:10])]
    if sum(count > 1 for count in counts) != 1 or max(counts) > 3:
        return False  # exactly one of the first ten digits comes twice, or three times
    product = 10
    for digit in digits[:10]:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == int(digits[10])


def is_nir(digits: str) -> bool:
    """Say whether fifteen digits are a French NIR: sex, month and key are right."""
    return (
        len(digits) == 15
        and digits[0] in "12"
        and (1 <= int(digits[3:5]) <= 12 or 20 <= int(digits[3:5]) <= 42)
        and 97 - int(digits[:13]) % 97 == int(digits[13:])
    )


def is_dni(digits: str, letter: str) -> bool:
    """Say whether eight digits and a letter are a Spanish DNI, or its NIE with X, Y, Z as digit."""
    return _DNI_LETTERS[int(digits) % 23] == letter.upper()


def is_ssn(digits: str) -> bool:
    """Say whether nine digits may be a US social security number, which has no check digit."""
    return (
        digits[:3] not in {"000", "666"}
        and digits[0] != "9"
        and digits[3:5] != "00"
        and digits[5:] != "0000"
    )


def is_codice_fiscale(text: str) -> bool:
    """Say whether sixteen upper-case letters and digits have the check letter of a CF."""
    places = [int(mark) if mark.isdigit() else ord(mark) - ord("A") for mark in text]
    total = sum(_CF_ODD[place] for place in places[0:15:2]) + sum(places[1:15:2])
    return total % 26 == places[15]
