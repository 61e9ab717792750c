from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.contract.contract import Contract, Feature, Identifier, Kind, Role, Target
from assay.core.discovery import discover
from assay.core.finding import Severity
from assay.data.privacy.base import PrivacyCheck, check_privacy
from assay.data.privacy.patterns import DIRECT_NAMES, PATTERNS, QUASI_NAMES, names_people, says, words_of
from assay.data.validity import voids

RNG = np.random.default_rng(5)
N = 300
CARD = next(p for p in PATTERNS if p.name == "card")
# One of each, made up so that its check digits are right; none belongs to anybody.
REAL = {
    "email": "anna.b+x@mail.example.org", "phone": "+49 (170) 123-4567", "phone-us": "(202) 555-0143",
    "phone-national": "020 7946 0123",
    "iban": "DE89 3704 0044 0532 0130 00", "card": "4111 1111 1111 1111", "ipv4": "203.0.113.7",
    "ipv6": "2001:db8:0:0:1:0:0:1", "mac": "00:1B:44:11:3a:B7", "imei": "490154203237518".replace("49", "35", 1),
    "us-ssn": "123-45-6789", "uk-nino": "AB 12 34 56 C", "uk-nhs": "943 476 5919", "de-tax": "86095742719",
    "fr-nir": "1 84 12 76 451 089 46", "es-dni": "12345678Z", "it-codice": "RSSMRA85T10A562S", "nl-bsn": "111222333",
    "pl-pesel": "44051401359", "se-personnummer": "811228-9874", "br-cpf": "529.982.247-25", "vin": "1M8GDM9AXKP042788",
}  # fmt: skip
WRONG = {
    "email": "anna at mail.example", "phone": "12 34", "phone-us": "123-45-67890", "phone-national": "05/12/2021 14:30", "iban": "DE88370400440532013000",
    "card": "4111 1111 1111 1112", "ipv4": "300.1.2.3", "ipv6": "12:34", "mac": "00:1B:44:11", "imei": "356938035643800",
    "us-ssn": "000-45-6789", "uk-nino": "QQ123456C", "uk-nhs": "9434765918", "de-tax": "86095742718",
    "fr-nir": "184127645108947", "es-dni": "12345678A", "it-codice": "RSSMRA85T10A562T", "nl-bsn": "111222334",
    "pl-pesel": "44051401358", "se-personnummer": "811228-9873", "br-cpf": "529.982.247-26", "vin": "1M8GDM9A1KP042788",
}  # fmt: skip


def valid(pattern):
    """Return one that passes, with its check digit corrected where the sample above has been altered."""
    text = REAL[pattern.name]
    if pattern.name == "imei":
        body = "35693803564380"
        text = next(body + d for d in "0123456789" if pattern.found(body + d)[1])
    return text


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.name)
def test_each_pattern_knows_its_own_and_checks_its_digits(pattern):
    assert pattern.found(f"call {valid(pattern)} now")[1] == 1
    assert pattern.found(valid(pattern)) == (1, 1)
    assert pattern.found(WRONG[pattern.name])[1] == 0


@pytest.mark.parametrize("number", ["0171/1234567", "030 12345678", "06 12 34 56 78", "06.12.34.56.78", "03-1234-5678"])
def test_national_numbers_in_running_text(number):
    pattern = next(p for p in PATTERNS if p.name == "phone-national")
    for text in (number, f"Rückruf unter {number}, danke", f"tel:{number}"[4:], f"({number})", f"à {number}."):
        assert pattern.found(text)[1] == 1


@pytest.mark.parametrize(
    "text",
    [
        "2021-01-02 03-04-2021",
        "DE89 0123 4567 8901",
        "a5-0123-45678-99",
        "10.01.2020 0123",
        "1/0123 45678",
        "0.1234 56789",
    ],
)
def test_what_is_no_national_number(text):
    assert next(p for p in PATTERNS if p.name == "phone-national").found(text)[1] == 0


@pytest.mark.parametrize(
    ("values", "severity"),
    [
        (np.arange(1000, 1000 + N), Severity.MEDIUM),
        (7 * RNG.permutation(N) + 10_000, Severity.MEDIUM),
        (np.arange(10**18, 10**18 + N), Severity.MEDIUM),
        (RNG.permutation(10 * N)[:N], Severity.MEDIUM),
        (np.unique(np.exp(RNG.normal(11, 1, 10 * N)).astype(int))[::10][:N], Severity.LOW),
        (RNG.integers(10**8, 10**9, N), Severity.LOW),
    ],
)
def test_whole_numbers_without_repeats_are_numbers_that_were_given_out_only_where_they_lie_close(values, severity):
    frame = pd.DataFrame({"nr": values, "y": np.arange(len(values)) % 2})
    contract = Contract(Target("y", ("0", "1")), (Feature("nr", Kind.INTEGER),))
    found = [f for f in check_privacy(frame, contract).findings if f.rule == "unique-values"]
    assert [f.severity for f in found] == [severity]


@pytest.mark.parametrize("pattern", [p for p in PATTERNS if p.chance], ids=lambda p: p.name)
def test_the_stated_chance_is_that_of_random_strings(pattern):
    shape = valid(pattern)
    tries = []
    for _ in range(3000):
        made = "".join(
            str(RNG.integers(10)) if c.isdigit() else chr(65 + RNG.integers(26)) if c.isupper() else c for c in shape
        )
        tries.append(pattern.found(made))
    parts, passed = np.sum(tries, axis=0)
    if parts > 150:
        spread = np.sqrt(pattern.chance * (1 - pattern.chance) / parts)
        assert passed / parts <= pattern.chance + 4 * spread


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80), st.sampled_from(PATTERNS))
def test_any_text_is_read(text, pattern):
    parts, passed = pattern.found(text)
    assert 0 <= passed <= parts


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(PATTERNS), st.data())
def test_whatever_fits_a_pattern_can_be_checked(pattern, data):
    text = data.draw(st.from_regex(re.compile(pattern.expression, re.ASCII)))
    parts, passed = pattern.found(text)
    assert 0 <= passed <= parts


def test_expressions_read_long_texts_in_linear_time_and_are_known_to_both_engines():
    import pyarrow as pa
    import pyarrow.compute as pc

    hard = ["1" * 1000, "a." * 500, "1 " * 500, "A1" * 500, "+1 " * 300, "1:" * 500, "a@" * 500]
    for pattern in PATTERNS:
        assert re.compile(pattern.expression).groups == 1
        pc.match_substring_regex(pa.array(hard), pattern.expression)
        for text in hard:
            assert pattern.found(text)[1] >= 0


def frame(**columns):
    return pd.DataFrame({"a": RNG.normal(size=N), "y": RNG.integers(0, 2, N).astype(str), **columns})


def contract(table, **changes):
    """Return a contract in which every column is a feature, with changes by column."""
    columns = []
    for name in table.columns.drop("y"):
        numeric = pd.api.types.is_numeric_dtype(table[name])
        columns.append(Feature(name, Kind.NUMBER if numeric else Kind.TEXT, **changes.get(name, {})))
    return Contract(Target("y", ("0", "1")), tuple(columns))


def rules(evidence, column):
    return {f.rule: f.severity for f in evidence.findings if f.location == column}


def test_a_plain_table_gives_nothing_away():
    table = frame(
        b=RNG.integers(0, 9, N), code=RNG.choice(["x1", "x2", "x3"], N), amount=RNG.integers(0, 10**6, N) / 100
    )
    evidence = check_privacy(table, contract(table))
    assert evidence.findings == ()
    assert [n.what for n in evidence.not_checked] == ["k-anonymity"]


def test_identifiers_are_found_and_never_shown():
    people = [f"p{i}@clinic.example.org" for i in range(N)]
    table = frame(contact=people, kept=people)
    evidence = check_privacy(table, contract(table, kept={"role": Role.IGNORE}))
    assert rules(evidence, "contact") == {"personal-email": Severity.HIGH, "unique-values": Severity.HIGH}
    assert set(rules(evidence, "kept").values()) == {Severity.NOTE}
    assert evidence.measure("rows_with_email@contact").estimate == 1.0
    assert "p17@" not in str(evidence.to_json())


def test_one_address_in_many_notes_is_found():
    notes = [f"seen on day {i} for pain in the back" for i in range(N)]
    notes[123] += ", write to jo@example.org"
    table = frame(notes=notes)
    evidence = check_privacy(table, contract(table))
    assert rules(evidence, "notes") == {"personal-email": Severity.HIGH, "free-text": Severity.MEDIUM}
    assert evidence.measure("rows_with_email@notes").estimate == 1 / N


def test_numbers_that_pass_a_check_by_chance_are_left_alone():
    table = frame(reference=RNG.integers(4 * 10**15, 5 * 10**15, N), serial=RNG.integers(10**8, 10**9, N))
    found = check_privacy(table, contract(table))
    assert not [f for f in found.findings if f.rule.startswith("personal")]


def test_numbers_that_all_pass_are_accused_even_beside_missing_ones():
    cards = []
    while len(cards) < N - 10:
        body = f"4{RNG.integers(10**14):014d}"
        cards.append(int(next(body + d for d in "0123456789" if CARD.found(body + d)[1] or d == "9")))
    table = frame(paid_by=[*cards, *[None] * 10])
    evidence = check_privacy(table, contract(table))
    assert rules(evidence, "paid_by")["personal-card"] is Severity.HIGH
    assert evidence.measure("rows_with_card@paid_by").n == N - 10


def test_a_lone_number_that_may_pass_by_chance_weighs_little():
    notes = [f"took {i} steps today and again tomorrow" for i in range(N)]
    notes[3] += " paid with 4111111111111111"
    table = frame(notes=notes)
    assert rules(check_privacy(table, contract(table)), "notes")["personal-card"] is Severity.LOW


def test_large_tables_are_sampled_and_say_so():
    size = 25_000
    mails = [f"u{i}@x.example" if i % 4 else "none" for i in range(size)]
    table = pd.DataFrame({"m": mails, "y": RNG.integers(0, 2, size).astype(str)})
    measure = check_privacy(table, contract(table)).measure("rows_with_email@m")
    assert measure.n == 20_000 and measure.low < 0.75 < measure.high and measure.low < measure.estimate


@pytest.mark.parametrize(
    ("name", "direct", "quasi"),
    [
        ("patientName", True, False), ("last_name", True, False), ("customer_email_address", True, False), ("Vorname", True, False),
        ("home.phone.number.2", True, False), ("zip_code", False, True), ("Age", False, True), ("date_of_birth", False, True),
        ("product_name", False, False), ("file_name", False, False), ("mean radius", False, False), ("usage", False, False),
        ("country_risk_score", False, False), ("page", False, False),
    ],
)  # fmt: skip
def test_names_of_columns(name, direct, quasi):
    assert (says(name, DIRECT_NAMES), says(name, QUASI_NAMES)) == (direct, quasi)
    assert words_of("patientName2") == ("patient", "name")


def test_what_the_contract_declares_is_not_told_again():
    table = frame(age=RNG.integers(20, 90, N), email=["x"] * N)
    assert set(rules(check_privacy(table, contract(table)), "age")) == {"undeclared-quasi-identifier"}
    told = contract(table, age={"identifier": Identifier.QUASI}, email={"identifier": Identifier.DIRECT})
    evidence = check_privacy(table, told)
    assert not rules(evidence, "age") and not rules(evidence, "email") and evidence.complete


def test_anonymity_equals_a_count_by_hand():
    table = pd.DataFrame(
        {
            "age": [30, 30, 30, 40, 40, 50, None, None], "town": ["a", "a", "a", "b", "b", "a", "c", "c"],
            "ill": ["x", "x", "z", "x", "x", "z", "x", "z"], "y": ["0", "1", "0", "1", "1", "0", "0", "1"],
        }
    )  # fmt: skip
    told = Contract(
        Target("y", ("0", "1")),
        (
            Feature("age", Kind.NUMBER, identifier=Identifier.QUASI), Feature("town", Kind.TEXT, identifier=Identifier.QUASI),
            Feature("ill", Kind.TEXT, sensitive=True),
        ),
    )  # fmt: skip
    test = pd.DataFrame({"age": [50, 30, 99], "town": ["a", "a", "a"], "ill": ["x"] * 3, "y": ["0"] * 3})
    evidence = check_privacy(table, told, test=test)
    got = {m.name: m.estimate for m in evidence.measures}
    assert got["k_anonymity"] == 1
    assert got["rows_alone"] == 1 / 8
    assert got["rows_in_groups_below@5"] == 1.0
    assert got["l_diversity@ill"] == 1
    assert got["rows_in_uniform_groups@ill"] == 2 / 8
    assert got["rows_in_uniform_groups@y"] == 2 / 8
    assert got["test_rows_that_fit_one_train_row"] == pytest.approx(1 / 3)
    assert rules(evidence, "train") == {"singled-out": Severity.MEDIUM}


def test_k_of_a_coarse_table_is_large_and_numbers_are_cut_for_diversity():
    table = frame(sex=np.tile(["f", "m"], N // 2), income=RNG.normal(size=N))
    told = contract(table, sex={"identifier": Identifier.QUASI}, income={"sensitive": True})
    evidence = check_privacy(table, told)
    assert evidence.measure("k_anonymity").estimate == N // 2
    assert evidence.measure("l_diversity@income").estimate == 10
    assert evidence.findings == ()


def test_the_same_people_on_both_sides_void_the_split():
    told = Contract(Target("y", ("0", "1")), (Feature("a", Kind.NUMBER), Feature("who", Kind.INTEGER, Role.GROUP)))
    table = frame(who=np.arange(N) // 3)
    evidence = check_privacy(table[:200], told, test=table[200:])
    assert evidence.measure("test_people_in_train@who").estimate == pytest.approx(1 / 100)
    assert "same-person" in voids(evidence)
    clean = check_privacy(table[:198], told, test=table[198:])
    assert clean.measure("test_people_in_train@who").estimate == 0
    assert voids(clean) == ""


def test_keys_match_however_they_are_stored_and_missing_ones_are_nobodys():
    told = Contract(Target("y", ("0", "1")), (Feature("a", Kind.NUMBER), Feature("who", Kind.TEXT, Role.ID)))
    train, test = frame(who=np.arange(N) + 7), frame(who=[9.0, *[None] * (N - 1)])
    evidence = check_privacy(train, told, test=test)
    assert (evidence.measure("test_people_in_train@who").estimate, evidence.measure("test_people_in_train@who").n) == (
        1,
        1,
    )
    blank = check_privacy(frame(who=[None] * N), told, test=test)
    assert blank.measure("test_people_in_train@who").estimate == 0


def test_a_running_number_in_each_table_names_no_one():
    told = Contract(Target("y", ("0", "1")), (Feature("a", Kind.NUMBER), Feature("row", Kind.INTEGER, Role.ID)))
    evidence = check_privacy(frame(row=np.arange(N)), told, test=frame(row=np.arange(N)))
    assert rules(evidence, "row") == {"same-person": Severity.NOTE}
    assert voids(evidence) == ""


def test_near_copies_are_part_of_it_and_too_few_rows_are_not_checked():
    table = pd.DataFrame({f"f{i}": RNG.normal(size=N) for i in range(5)} | {"y": ["0", "1"] * (N // 2)})
    told = contract(table)
    copied = table.sample(100, random_state=0).assign(f0=lambda t: t.f0 + 1e-3)
    assert "near-duplicates" in {f.rule for f in check_privacy(table, told, test=copied).findings}
    few = check_privacy(table[:20], told, test=table[20:40])
    assert "data.privacy.near-duplicates" in {n.what for n in few.not_checked}


def test_same_seed_same_evidence_and_every_check_takes_part():
    table = frame(note=[f"word {i} and three more" for i in range(N)])
    made = [check_privacy(table, contract(table), test=table, clock=_moment).to_json() for _ in range(2)]
    assert made[0] == made[1]
    assert {"anonymity", "identifiers", "near-duplicates", "same-people"} <= set(discover(PrivacyCheck))


def _moment():
    from datetime import datetime, timezone

    return datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("name", "people"),
    [
        ("patient", True),
        ("customerId", True),
        ("nr_kunde", True),
        ("USER-ID", True),
        ("patient_age", False),
        ("id", False),
    ],
)
def test_names_of_keys_of_people(name, people):
    assert names_people(name) is people


def test_a_key_of_people_that_the_contract_does_not_name_is_found():
    who = np.array([f"P{i}" for i in RNG.integers(0, 80, 2 * N)])
    table = pd.DataFrame({"patient": who, "a": RNG.normal(size=2 * N), "y": np.arange(2 * N) % 2})
    unnamed = Contract.infer(table, target="y")
    evidence = check_privacy(table[:N], unnamed, test=table[N:])
    assert {f.rule: f.severity for f in evidence.findings if f.location == "patient"} == {
        "undeclared-group": Severity.LOW, "same-person": Severity.HIGH,
    }  # fmt: skip
    assert evidence.measure("test_people_in_train@patient").estimate > 0.9
    named = unnamed.with_column("patient", role=Role.GROUP)
    assert "undeclared-group" not in {f.rule for f in check_privacy(table[:N], named, test=table[N:]).findings}
    apart = check_privacy(table[:N], unnamed, test=table[N:].assign(patient="Q" + table["patient"]))
    assert {f.rule for f in apart.findings if f.location == "patient"} == {"undeclared-group"}


@pytest.mark.parametrize(
    ("values", "found"),
    [(["yes", "no"] * (N // 2), False), ([f"{n:07d}" for n in range(N)], True), ([True, False] * (N // 2), False)],
)
def test_a_name_of_an_identifier_needs_values_that_can_be_one(values, found):
    table = pd.DataFrame({"telephone": values, "y": np.arange(N) % 2})
    contract = Contract(Target("y", ("0", "1")), (Feature("telephone", Kind.TEXT),))
    assert ("identifier-name" in {f.rule for f in check_privacy(table, contract).findings}) is found
