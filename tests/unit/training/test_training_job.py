"""A recipe runs confined: it can compute, and every way out is refused in one line that leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from assay.core.errors import DataError, JobError, MissingError, SettingError
from assay.training.isolation import Limits, choose
from assay.training.job import refit, train

ENGINES = [
    name
    for name in ("bubblewrap", "landlock", "none")
    if not choose.__globals__["named"](choose.__globals__["Engine"], name)().available()
]
CONFINED = [name for name in ENGINES if name != "none"] or [
    pytest.param("auto", marks=pytest.mark.skip(reason="no isolation engine works on this machine"))
]
each_engine = pytest.mark.parametrize("engine", CONFINED)

GOOD = """
from sklearn.linear_model import LogisticRegression
def build(seed=0):
    return LogisticRegression()
"""


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 3))
    return x, (x[:, 0] > 0).astype(int)


def recipe(folder: Path, text: str) -> str:
    (folder / "recipe.py").write_text(text)
    return f"{folder / 'recipe.py'}:build"


@pytest.mark.parametrize("engine", ENGINES)
def test_trains(tmp_path, rows, engine):
    trained = train(recipe(tmp_path, GOOD), *rows, output=tmp_path / "out", engine=engine)
    assert trained.model.is_file()
    assert trained.isolation["engine"] == engine
    assert sorted(os.listdir(tmp_path / "out")) == ["model.joblib"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "recipe.py"]


def test_the_same_seed_gives_the_same_model(tmp_path, rows):
    text = "from sklearn.ensemble import RandomForestClassifier\ndef build():\n    return RandomForestClassifier(5)\n"
    made = [
        train(recipe(tmp_path, text), *rows, output=tmp_path / str(n), engine=ENGINES[0], seed=seed).model.read_bytes()
        for n, seed in enumerate((3, 3, 4))
    ]
    assert made[0] == made[1] != made[2]


def test_refits_on_parts(tmp_path, rows):
    x, y = rows
    sets = [(np.arange(0, 60), y[:60]), (np.arange(60, 120), y[60:])]
    answer = refit(recipe(tmp_path, GOOD), sets, x, x[:7], classes=2, work=tmp_path / "w", engine=ENGINES[0])
    assert answer.shape == (2, 7, 2)
    assert np.allclose(answer.sum(axis=2), 1)


BODIES = {
    "raise ValueError('no such column')": "the recipe failed at recipe.py:3: ValueError: no such column",
    "import socket; socket.create_connection(('192.0.2.1', 9), 2)": "tried to reach the network",
    "import urllib.request; urllib.request.urlopen('http://192.0.2.1/', timeout=2)": "tried to reach the network",
    "open('/tmp/assay-canary', 'w')": "tried to write outside its folder",
    "open('../escaped.txt', 'w')": "tried to write outside its folder",
    "open('/usr/escaped.txt', 'w')": "tried to write outside its folder",
    "return 3": "returned a int",
    "import os; os.symlink('/etc/passwd', 'result.json'); os._exit(0)": "no plain file",
    "import os; open('result.json', 'w').write('[]'); os._exit(0)": "no record of ours",
    "import os; os._exit(7)": "ended with code 7",
    "x = bytearray(10**10)": "more memory than its limit",
}


@each_engine
@pytest.mark.parametrize("body", BODIES)
def test_every_way_out_is_one_line(tmp_path, rows, body, engine):
    reference = recipe(tmp_path, f"\ndef build(seed=0):\n    {body}\n")
    with pytest.raises(JobError) as caught:
        train(reference, *rows, output=tmp_path / "out", engine=engine, limits=Limits(memory_mb=4096))
    assert BODIES[body] in caught.value.line()
    assert "\n" not in caught.value.line()
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.py"]
    assert not Path("/tmp/assay-canary").exists()


@each_engine
def test_secrets_of_the_caller_are_out_of_sight(tmp_path, rows, monkeypatch, engine):
    monkeypatch.setenv("ASSAY_SECRET", "hunter2")
    (tmp_path / "secret.key").write_text("hunter2")
    text = f"""
import os, pathlib
def build(seed=0):
    try:
        read = pathlib.Path({str(tmp_path / "secret.key")!r}).read_text() == "hunter2"
    except OSError:
        read = False
    seen = "ASSAY_SECRET" in os.environ or read
    raise ValueError(f"seen={{seen}}")
"""
    with pytest.raises(JobError, match="seen=False"):
        train(recipe(tmp_path, text), *rows, output=tmp_path / "out", engine=engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_job_out_of_time_is_stopped(tmp_path, rows, engine):
    reference = recipe(tmp_path, "import time\ndef build(seed=0):\n    time.sleep(60)\n")
    with pytest.raises(JobError, match="longer than 1"):
        train(reference, *rows, output=tmp_path / "out", engine=engine, limits=Limits(seconds=1))
    assert not (tmp_path / "out").exists()


def test_a_failed_job_leaves_the_former_model(tmp_path, rows):
    output = tmp_path / "out"
    train(recipe(tmp_path, GOOD), *rows, output=output, engine=ENGINES[0])
    before = (output / "model.joblib").read_bytes()
    with pytest.raises(JobError):
        train(recipe(tmp_path, "def build():\n    raise KeyError('x')\n"), *rows, output=output, engine=ENGINES[0])
    assert (output / "model.joblib").read_bytes() == before


def test_a_missing_recipe_is_refused(tmp_path, rows):
    with pytest.raises(DataError, match="recipe does not exist"):
        train(f"{tmp_path / 'absent.py'}:build", *rows, output=tmp_path / "out", engine="none")


def test_a_recipe_without_the_function_is_refused(tmp_path, rows):
    with pytest.raises(JobError, match="no function 'build'"):
        train(recipe(tmp_path, "x = 1\n"), *rows, output=tmp_path / "out", engine="none")


def test_no_rows_are_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be trained on"):
        train("r.py:build", np.empty((0, 2)), np.empty(0, int), output=tmp_path / "out", engine="none")


def test_without_an_engine_the_job_is_refused(monkeypatch):
    from assay.training.engines import bubblewrap

    monkeypatch.setattr(bubblewrap.shutil, "which", lambda _: None)
    with pytest.raises(MissingError, match="isolation by bubblewrap does not work"):
        choose("bubblewrap")


def test_an_unknown_engine_is_refused():
    with pytest.raises(SettingError, match="Use one of"):
        choose("chroot")
