"""What installed packages say of themselves is read from their metadata, whatever state it is in."""

from __future__ import annotations

import pytest

from assay.supply.deps.metadata import installed_facts


def install(site, name, *lines):
    folder = site / f"{name}-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(
        "\n".join(("Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *lines)) + "\n"
    )


@pytest.mark.parametrize(
    ("lines", "licences"),
    [
        (("License-Expression: MIT OR Apache-2.0", "License: something else"), ("MIT OR Apache-2.0",)),
        (("License: BSD 3-Clause",), ("BSD 3-Clause",)),
        (("License: UNKNOWN", "Classifier: License :: OSI Approved :: MIT License"), ("MIT License",)),
        (
            ("License: " + "a long text " * 30, "Classifier: License :: OSI Approved :: ISC License (ISCL)"),
            ("ISC License (ISCL)",),
        ),
        ((), ()),
    ],
)
def test_a_licence_is_its_expression_or_short_field_or_classifier(tmp_path, lines, licences):
    install(tmp_path, "demo", *lines)
    assert installed_facts(tmp_path)["demo", "1.0"].licences == licences


def test_needs_are_those_of_this_environment(tmp_path):
    install(
        tmp_path, "My_Demo", "Requires-Dist: numpy>=1", "Requires-Dist: old; python_version < '3'",
        "Requires-Dist: pytest; extra == 'test'", "Requires-Dist: no requirement ((",
    )  # fmt: skip
    facts = installed_facts(tmp_path)["my-demo", "1.0"]
    assert facts.needs == ("numpy",)


def test_what_has_no_metadata_is_left_out(tmp_path):
    (tmp_path / "broken-1.0.dist-info").mkdir()
    install(tmp_path, "good")
    assert set(installed_facts(tmp_path)) == {("good", "1.0")}
    assert ("pytest", pytest.__version__) in installed_facts()
