"""Contracts of four real tables, with what the person behind a row can change, for ``feasible_attacks.py``.

Ranges come from the training rows (``Contract.infer``); who can change what, and what columns owe to one another, is
written here. Every rule was checked to hold in at least 98 % of the rows; rows that break one are not attacked.
"""

from __future__ import annotations

from assay.contract.contract import Contract, Mutable
from assay.contract.relations import Condition, Implication, Relation

NO, UP, DOWN, FREE = Mutable.NO, Mutable.UP, Mutable.DOWN, Mutable.FREE


def gmsc(frame):
    """An applicant pays down, borrows, closes lines and shows more income; age, family and late payments are past."""
    late = ["NumberOfTime30-59DaysPastDueNotWorse", "NumberOfTime60-89DaysPastDueNotWorse", "NumberOfTimes90DaysLate"]
    used, lines, houses = (
        "RevolvingUtilizationOfUnsecuredLines",
        "NumberOfOpenCreditLinesAndLoans",
        "NumberRealEstateLoansOrLines",
    )
    return shaped(
        frame, "SeriousDlqin2yrs",
        mutable={**dict.fromkeys([*late, "age", "NumberOfDependents"], NO), "MonthlyIncome": UP},
        cost={"MonthlyIncome": 3.0, houses: 5.0, lines: 0.5},
        relations=(Relation({houses: 1, lines: -1}, 0, name="mortgages are loans"),),
        implications=(
            Implication((Condition(used, above=0),), (Condition(lines, least=1),), "who uses credit has a line"),
            Implication((Condition(houses, least=1),), (Condition("DebtRatio", above=0),), "who has a mortgage has debt"),
        ),
    )  # fmt: skip


def taiwan_default(frame):
    """A card holder plans half a year: pays sooner and more, runs smaller bills, asks for a higher limit."""
    months = range(1, 7)
    late = {f"PAY_{i}": DOWN for i in (0, 2, 3, 4, 5, 6)}
    return shaped(
        frame, "default",
        mutable={"SEX": NO, "EDUCATION": NO, "MARRIAGE": NO, "AGE": NO, "LIMIT_BAL": UP, **late, **{f"PAY_AMT{i}": UP for i in months}},
        cost={"LIMIT_BAL": 4.0, **dict.fromkeys(late, 2.0)},
        relations=tuple(Relation({f"BILL_AMT{i}": 1, "LIMIT_BAL": -1.1}, 20000, name=f"bill {i} within the limit") for i in months),
        implications=tuple(
            Implication((Condition(f"BILL_AMT{i}", most=0),), (Condition(f"PAY_{j}", most=2),), f"no bill {i}, not long late")
            for i, j in zip(months, (0, 2, 3, 4, 5, 6), strict=True)
        ),
    )  # fmt: skip


def clamp_malware(frame):
    """Who builds the file sets header fields, adds sections and pads; what the code does and how it is packed stays."""
    fixed = [
        "FH_char1", "FH_char12", "AddressOfEntryPoint", "BaseOfCode", "BaseOfData", "packer", "packer_type", "Subsystem", "ImageBase",
        "SectionAlignment", "FileAlignment", "sus_sections", "E_text", "e_lfanew", "SizeOfHeaders",
    ]  # fmt: skip
    grows = [
        "NumberOfSections",
        "non_sus_sections",
        "SizeOfCode",
        "SizeOfInitializedData",
        "SizeOfUninitializedData",
        "filesize",
        "SizeOfImage",
    ]
    return shaped(
        frame, "malware",
        mutable={**dict.fromkeys(fixed, NO), **dict.fromkeys(grows, UP)},
        cost={"NumberOfSections": 2.0, "filesize": 0.5},
        relations=(
            Relation({"sus_sections": 1, "non_sus_sections": 1, "NumberOfSections": -1}, 0, equal=True, name="sections add up"),
            Relation({"SizeOfStackCommit": 1, "SizeOfStackReserve": -1}, 0, name="stack committed is reserved"),
            Relation({"SizeOfHeapCommit": 1, "SizeOfHeapReserve": -1}, 0, name="heap committed is reserved"),
        ),
        implications=(
            Implication((Condition("E_file", above=7.9),), (Condition("filesize", least=4000),), "small files are not dense"),
        ),
    )  # fmt: skip


def phishing_url(frame):
    """Who sets the page up writes address and page; age, traffic, rank and what others say of the domain stay."""
    fixed = [
        "whois_registered_domain", "domain_age", "web_traffic", "dns_record", "google_index", "page_rank", "statistical_report",
        "random_domain", "suspecious_tld", "shortening_service", "length_hostname", "ip", "port", "nb_redirection", "domain_in_brand",
        "brand_in_subdomain", "prefix_suffix", "ratio_digits_host", "shortest_word_host", "longest_word_host", "avg_word_host",
    ]  # fmt: skip
    signs = [
        "dots",
        "hyphens",
        "at",
        "qm",
        "and",
        "eq",
        "underscore",
        "tilde",
        "percent",
        "slash",
        "star",
        "colon",
        "comma",
        "semicolumn",
        "dollar",
        "space",
    ]
    words = [
        ("shortest_words_raw", "avg_words_raw", "longest_words_raw"),
        ("shortest_word_path", "avg_word_path", "longest_word_path"),
    ]
    none = (Condition("nb_hyperlinks", most=0),)
    return shaped(
        frame, "phishing",
        mutable={**dict.fromkeys(fixed, NO), "domain_registration_length": UP},
        cost={"domain_registration_length": 3.0},
        relations=(
            Relation({**{f"nb_{s}": 1 for s in signs}, "length_url": -1}, 0, name="signs are part of the address"),
            Relation({"length_hostname": 1, "length_url": -1}, -7, name="the host is part of the address"),
            Relation({"ratio_intHyperlinks": 1, "ratio_extHyperlinks": 1}, 1.0001, name="shares of links"),
            Relation({"ratio_intMedia": 1, "ratio_extMedia": 1}, 100.01, name="shares of media"),
            *(Relation({a: 1, b: -1}, 0, name=f"{a} <= {b}") for s, m, g in words for a, b in ((s, m), (m, g))),
            Relation({"longest_words_raw": 1, "length_url": -1}, 0, name="words are part of the address"),
        ),
        implications=(
            *(
                Implication(none, (Condition(name, most=0),), f"no links, no {name}")
                for name in ("ratio_intHyperlinks", "ratio_extHyperlinks", "ratio_extRedirection", "links_in_tags", "nb_extCSS")
            ),
            Implication(none, (Condition("login_form", one_of=("0",)),), "no links, no form"),
            Implication((Condition("empty_title", one_of=("1",)),), (Condition("domain_in_title", one_of=("1",)),), "an empty title lacks the domain"),
            Implication((Condition("brand_in_path", one_of=("1",)),), (Condition("nb_slash", least=3),), "a brand in the path needs one"),
            Implication((Condition("tld_in_path", one_of=("1",)),), (Condition("nb_slash", least=3),), "a path has a slash"),
        ),
    )  # fmt: skip


def shaped(frame, target, *, mutable, cost, relations, implications):
    """Return the inferred contract with the given mutability, costs and rules; every column is a feature."""
    from dataclasses import replace

    from assay.contract.contract import Kind, Role

    contract = Contract.infer(frame, target)
    columns = []
    for column in contract.columns:
        if column.kind is Kind.CATEGORY:
            columns.append(replace(column, mutable=mutable.get(column.name, FREE), cost=cost.get(column.name, 1.0)))
            continue
        values = frame[column.name].dropna()
        # Spread of the middle half: outliers of a few rows are no unit of distance.
        spread = float(values.quantile(0.75) - values.quantile(0.25)) / 1.35 or float(values.std()) or 1.0
        columns.append(replace(
            column, role=Role.FEATURE, scale=1.0 if column.kind is Kind.BOOLEAN else spread,
            mutable=NO if column.constant else mutable.get(column.name, FREE), cost=cost.get(column.name, 1.0),
            low=float(values.min()) if column.kind is not Kind.BOOLEAN else None,
            high=float(values.max()) if column.kind is not Kind.BOOLEAN else None, unique=False,
        ))  # fmt: skip
    return replace(contract, columns=tuple(columns), relations=relations, implications=implications)


CONTRACTS = {f.__name__: f for f in (gmsc, taiwan_default, clamp_malware, phishing_url)}
