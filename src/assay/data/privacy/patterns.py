"""What direct identifiers look like: a table of patterns, each with the check digits that its issuer defines.

Patterns are bounded and free of nested repetition, so that they are read in linear time. ``chance`` is how often a
random string of the pattern passes its check: a column is only accused when it passes more often than that.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from assay.core.finding import Severity

Check = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of identifier. expression: with one group, what is checked; numbers: it may stand in a column of numbers."""

    name: str
    what: str
    expression: str
    valid: Check
    chance: float = 0.0
    severity: Severity = Severity.HIGH
    numbers: bool = False

    def found(self, text: str) -> tuple[int, int]:
        """Return how many parts of a text fit the pattern, and how many of those pass the check."""
        parts = re.findall(self.expression, text, re.ASCII)
        return len(parts), sum(self.valid(part) for part in parts)


def digits(text: str) -> list[int]:
    """Return the digits of a text, separators left out."""
    return [int(c) for c in text if c.isascii() and c.isdigit()]


def luhn(text: str) -> bool:
    """Return whether the last digit is the Luhn check digit of the others (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits(text))):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def card(text: str) -> bool:
    """Return whether a number has the length and prefix of a payment card, a valid check digit, and is no one digit's run."""
    number = "".join(map(str, digits(text)))
    lengths = {"4": (13, 16, 19), "5": (16,), "2": (16,), "3": (14, 15, 16), "6": (16, 19)}
    return len(number) in lengths.get(number[:1], ()) and len(set(number)) > 1 and luhn(number)


def iban(text: str) -> bool:
    """Return whether an account number has remainder 1 modulo 97 (ISO 13616, ISO 7064 MOD 97-10)."""
    plain = text.replace(" ", "").upper()
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def ip4(text: str) -> bool:
    """Return whether an address is one of a machine that can be reached: no loopback, unspecified or broadcast one."""
    try:
        address = IPv4Address(text)
    except AddressValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_multicast or text.startswith("0."))


def ip6(text: str) -> bool:
    """Return whether an address is well-formed and not the loopback or unspecified one."""
    try:
        address = IPv6Address(text)
    except AddressValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)


def phone(text: str) -> bool:
    """Return whether an international number has 8 to 15 digits (ITU-T E.164)."""
    return 8 <= len(digits(text)) <= 15


def national(text: str) -> bool:
    """Return whether a number with its trunk prefix has 9 to 12 digits."""
    return 9 <= len(digits(text)) <= 12


def ssn(text: str) -> bool:
    """Return whether area, group and serial of a US social security number are ones that are given out."""
    area, group, serial = text.split("-")
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def weighted(weights: tuple[int, ...], modulus: int, passes: Callable[[int, int], bool]) -> Check:
    """Return the check that a weighted sum of the first digits, modulo ``modulus``, agrees with the last."""

    def check(text: str) -> bool:
        found = digits(text)
        if len(found) != len(weights) + 1 or len(set(found)) < 3:
            return False
        return passes(sum(w * d for w, d in zip(weights, found, strict=False)) % modulus, found[-1])

    return check


def nir(text: str) -> bool:
    """Return whether the key of a French social security number fits: 97 less the remainder of its 13 digits."""
    found = "".join(map(str, digits(text)))
    return len(found) == 15 and 97 - int(found[:13]) % 97 == int(found[13:])


def dni(text: str) -> bool:
    """Return whether the letter of a Spanish identity number is that of its remainder modulo 23."""
    plain = text.upper()
    number = {"X": "0", "Y": "1", "Z": "2"}.get(plain[0], plain[0]) + plain[1:8]
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == plain[-1]


def cpf(text: str) -> bool:
    """Return whether both check digits of a Brazilian taxpayer number fit, modulo 11."""
    found = digits(text)
    if len(found) != 11 or len(set(found)) < 3:
        return False
    for length in (9, 10):
        rest = sum(d * w for d, w in zip(found, range(length + 1, 1, -1), strict=False)) * 10 % 11
        if rest % 10 != found[length]:
            return False
    return True


def codice(text: str) -> bool:
    """Return whether the last letter of an Italian fiscal code is the check letter of the others."""
    odd = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
    plain = text.upper()
    total = 0
    for place, letter in enumerate(plain[:15]):
        value = int(letter) if letter.isdigit() else ord(letter) - 65
        total += value if place % 2 else odd[value]
    return chr(65 + total % 26) == plain[15]


def tax(text: str) -> bool:
    """Return whether the last digit of a German tax number is its check digit (ISO 7064 MOD 11,10)."""
    found = digits(text)
    if len(found) != 11 or found[0] == 0 or len(set(found[:10])) > 9:
        return False
    rest = 10
    for digit in found[:10]:
        rest = ((digit + rest) % 10 or 10) * 2 % 11
    return (11 - rest) % 10 == found[10]


def personal(text: str) -> bool:
    """Return whether the last of ten digits, the century left out, is their Luhn check digit."""
    return luhn("".join(map(str, digits(text)))[-10:])


def vin(text: str) -> bool:
    """Return whether the ninth place of a vehicle number is the remainder modulo 11 (ISO 3779, as used in North America)."""
    value = {c: (i % 9) + 1 for i, c in enumerate("ABCDEFGH")} | dict(
        zip("JKLMNPR", (1, 2, 3, 4, 5, 7, 9), strict=True)
    )
    value |= {c: i + 2 for i, c in enumerate("STUVWXYZ")} | {str(d): d for d in range(10)}
    weights = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
    plain = text.upper()
    if plain.isdigit():
        return False
    rest = sum(w * value[c] for w, c in zip(weights, plain, strict=True)) % 11
    return ("X" if rest == 10 else str(rest)) == plain[8]


def always(text: str) -> bool:  # noqa: ARG001 - as every check
    """Return True: the pattern says all there is to say."""
    return True


_ELEVEN = weighted((10, 9, 8, 7, 6, 5, 4, 3, 2), 11, lambda rest, last: (11 - rest) % 11 == last)
_BSN = weighted((9, 8, 7, 6, 5, 4, 3, 2), 11, lambda rest, last: rest == last)
_PESEL = weighted((1, 3, 7, 9, 1, 3, 7, 9, 1, 3), 10, lambda rest, last: (10 - rest) % 10 == last)
_DATE6 = r"\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"

PATTERNS: tuple[Pattern, ...] = (
    Pattern(
        "email", "e-mail addresses",
        r"\b([A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24})\b", always,
    ),
    Pattern(
        "phone", "telephone numbers",
        r"(\+[1-9]\d{0,3}[ ./-]?(?:\(\d{1,5}\)[ ./-]?)?\d{1,5}(?:[ ./-]?\d{2,5}){1,4})\b", phone,
    ),
    # With the trunk prefix 0, in the ways of Germany, France, Britain and Japan.
    Pattern(
        "phone-national", "telephone numbers",
        r"(?:^|^[^\w+.:/-]|\D[^\w+.:/-])"
        r"(0[1-9]\d{1,3}[ /-]\d{5,9}|0[1-9](?:[ .]\d{2}){4}|0[1-9]\d{1,3} \d{3,4} \d{3,4}|0[1-9]\d?-\d{3,4}-\d{4})"
        r"(?:$|[^\w ./-]|[ ./-]\D|[ ./-]$)",
        national,
    ),
    Pattern(
        "phone-us", "telephone numbers",
        r"(?:^|[^\d.+-])(\(?[2-9]\d{2}\)?[ .-][2-9]\d{2}[.-]\d{4})\b", always,
    ),
    Pattern(
        "iban", "bank account numbers (IBAN)",
        r"\b([A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?)\b", iban, 1 / 97,
    ),
    Pattern(
        "card", "payment card numbers",
        r"\b([2-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{1,7}|3\d{3}[ -]?\d{6}[ -]?\d{4,5})\b", card, 0.1, numbers=True,
    ),
    Pattern(
        "ipv4", "internet addresses",
        r"(?:^|[^\d.])(\d{1,3}(?:\.\d{1,3}){3})\b", ip4, severity=Severity.MEDIUM,
    ),
    Pattern(
        "ipv6", "internet addresses",
        r"(?:^|[^\w:])((?:[0-9A-Fa-f]{1,4}:){1,7}(?:[0-9A-Fa-f]{1,4}|:[0-9A-Fa-f]{1,4}))\b", ip6, severity=Severity.MEDIUM,
    ),
    Pattern(
        "mac", "addresses of devices (MAC)",
        r"\b([0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5})\b", always, severity=Severity.MEDIUM,
    ),
    Pattern(
        "imei", "numbers of mobile devices (IMEI)",
        r"\b((?:0[1-9]|35|86|9[89])\d{13})\b", luhn, 0.1, Severity.MEDIUM, numbers=True,
    ),
    Pattern(
        "us-ssn", "US social security numbers",
        r"(?:^|[^\d-])(\d{3}-\d{2}-\d{4})\b", ssn,
    ),
    Pattern(
        "uk-nino", "UK national insurance numbers",
        r"\b([A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D])\b", always,
    ),
    Pattern(
        "uk-nhs", "NHS numbers",
        r"\b(\d{3}[ -]?\d{3}[ -]?\d{4})\b", _ELEVEN, 1 / 11, numbers=True,
    ),
    Pattern(
        "de-tax", "German tax identification numbers",
        r"\b([1-9]\d ?\d{3} ?\d{3} ?\d{3})\b", tax, 0.1, numbers=True,
    ),
    Pattern(
        "fr-nir", "French social security numbers",
        r"\b([12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?\d{2} ?\d{3} ?\d{3} ?\d{2})\b", nir, 0.0104, numbers=True,
    ),
    Pattern(
        "es-dni", "Spanish identity numbers",
        r"\b([XYZ\d]\d{7}[A-Z])\b", dni, 1 / 23,
    ),
    Pattern(
        "it-codice", "Italian fiscal codes",
        r"\b([A-Z]{6}\d{2}[A-EHLMPR-T]\d{2}[A-Z]\d{3}[A-Z])\b", codice, 1 / 26,
    ),
    Pattern(
        "nl-bsn", "Dutch citizen service numbers",
        r"\b(\d{9})\b", _BSN, 1 / 11, numbers=True,
    ),
    Pattern(
        "pl-pesel", "Polish PESEL numbers",
        r"\b(\d{2}[0-3]\d(?:0[1-9]|[12]\d|3[01])\d{5})\b", _PESEL, 0.1, numbers=True,
    ),
    Pattern(
        "se-personnummer", "Swedish personal numbers",
        rf"\b((?:19|20)?{_DATE6}[-+]\d{{4}})\b", personal, 0.1,
    ),
    Pattern(
        "br-cpf", "Brazilian taxpayer numbers",
        r"\b(\d{3}\.?\d{3}\.?\d{3}-?\d{2})\b", cpf, 0.0125, numbers=True,
    ),
    Pattern(
        "vin", "vehicle identification numbers",
        r"\b([A-HJ-NPR-Z0-9]{8}[\dX][A-HJ-NPR-Z0-9]{8})\b", vin, 1 / 11, Severity.MEDIUM,
    ),
)  # fmt: skip


# Words of column names, split at capitals, underscores and spaces; the whole name, or two words side by side.
DIRECT_NAMES = frozenset(
    """name fullname full_name first_name last_name firstname lastname given_name family_name surname forename maiden_name
    middle_name person_name patient_name customer_name email e_mail mail_address email_address phone phone_number telephone
    mobile_number mobile_phone cell_phone fax street street_address home_address address postal_address ssn
    social_security nhs_number national_id passport passport_number driver_license drivers_license licence_number
    license_plate iban account_number card_number credit_card_number ip_address mac_address mrn medical_record
    patient_id customer_id user_id person_id member_id user_name username
    vorname nachname anschrift adresse strasse telefon steuernummer prenom nom_famille courriel nombre apellido apellidos
    direccion telefono correo nome cognome indirizzo codice_fiscale naam achternaam adres telefoon""".split()
)
# What a column is called that says whose row it is, alone or with one of the words after it.
PEOPLE_NAMES = frozenset(
    """patient person customer client user member subject participant employee student household respondent individual
    driver borrower applicant kunde patientin nutzer mitarbeiter cliente paciente usuario empleado utilisateur employe
    paziente utente""".split()
)
_KEYS = frozenset("id ids no nr nbr num number key code uid uuid hash ref".split())
QUASI_NAMES = frozenset(
    """age sex gender race ethnicity zip zipcode zip_code postcode postal_code post_code city town county district region
    birth birthday birth_date date_birth birth_year year_birth birthplace dob nationality citizenship country
    native_country marital_status     occupation profession job_title employer education household_size language religion
    alter geschlecht plz wohnort geburtsdatum geburtsjahr beruf ville sexe code_postal sexo edad ciudad sesso eta cap""".split()
)


def words_of(name: str) -> tuple[str, ...]:
    """Return the words of a column's name in small letters, as ``patientName2`` is patient, name."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return tuple(
        word for word in re.split(r"[\W_\d]+", spaced.lower()) if word and word not in ("of", "the", "de", "nr")
    )


def names_people(name: str) -> bool:
    """Return whether a column's name says whose row it is, as ``patient``, ``customerId`` and ``nr_kunde`` do."""
    words = [word for word in words_of(name) if word not in _KEYS]
    return len(words) == 1 and words[0] in PEOPLE_NAMES


def says(name: str, known: frozenset[str]) -> bool:
    """Return whether a column's name is one of ``known`` words, or has two of them side by side."""
    words = words_of(name)
    pairs = {f"{a}_{b}" for a, b in itertools.pairwise(words)}
    return "_".join(words) in known or bool(pairs & known)
