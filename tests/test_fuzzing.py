"""A sample of the bad inputs of benchmarks/bad_inputs.py, and what hypothesis finds in what reads text."""

import importlib
import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfcvae.files import one_line, web_page
from dfcvae.photos.celeba import _rows
from dfcvae.runs import read_config, read_metrics

EACH = {"images": 15, "celeba": 10, "weights": 15, "checkpoints": 10, "configuration": 10, "arguments": 10}
PAST = 1 / 3  # of the mutated inputs, at least


@pytest.mark.skipif(not hasattr(os, "fork"), reason="cases are forked")
@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", EACH)
def test_a_bad_input_is_read_rightly_or_told_in_one_line(kind, times, tmp_path, monkeypatch):
    from fuzzing.worker import run

    monkeypatch.setenv("DFCVAE_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a process that is forked has no other threads to wait for
    try:
        make = importlib.import_module(f"fuzzing.{kind}")
        make.prepare()
        (tmp_path / "cases").mkdir()
        # From the end of those that the script tries, so that the two are not the same.
        found = [run(kind, make.make, 1_000_000 + i, tmp_path / "cases") for i in range(EACH[kind] * times)]
    finally:
        torch.set_num_threads(threads)
    failures = [(o.number, o.failure, o.what, o.lines[-2:]) for o in found if o.failure]
    assert not failures, failures
    assert sum(o.past for o in found) > PAST * len(found)
    if times > 1:
        assert {o.status == 0 for o in found} == {True, False}, "some are read and some refused"


def a_failure(kind: str, make, folder: Path) -> str:
    from fuzzing.worker import run

    folder.mkdir()
    return run(kind, make, 0, folder).failure


@pytest.mark.skipif(not hasattr(os, "fork"), reason="cases are forked")
def test_the_harness_notices_what_it_is_there_for(tmp_path, monkeypatch):
    """A harness that notices nothing would pass as well."""
    from fuzzing import worker
    from fuzzing.worker import Case

    def raises():
        raise KeyError("a bug")

    def says(text, status):
        os.write(2, text.encode())
        return status

    def spins():
        while True:
            pass

    monkeypatch.setattr(worker, "SECONDS", 1)
    cases = {
        "KeyError": Case("", raises),
        "hung|ended with": Case("", spins),
        "0 lines": Case("", lambda: says("", 1)),
        "unclear": Case("", lambda: says("dfcvae: failed\n", 1)),
        "said": Case("", lambda: says("x.py:3: UserWarning: something\n", 0)),
        "wrong numbers": Case("", lambda: 0, lambda: "wrong numbers"),
        "outside": Case("", lambda: (Path("../evil").write_text(""), 0)[1]),
        "ended with": Case("", lambda: len(bytearray(8 << 30))),
    }
    import re

    for number, (expected, case) in enumerate(cases.items()):
        found = a_failure("x", lambda *_, case=case: case, tmp_path / str(number))
        assert re.search(expected, found), (expected, found)
    assert a_failure("x", lambda *_: Case("", lambda: 0), tmp_path / "good") == ""


quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(st.binary(max_size=400) | st.text(max_size=400).map(lambda text: text.encode("utf-8", "replace")))
def test_any_list_of_celeba_has_rows_or_names_itself(tmp_path, content):
    path = tmp_path / "list_attr_celeba.txt"
    path.write_bytes(content)
    try:
        names, rows = _rows(path)
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert rows and all(isinstance(value, list) for value in rows.values()) and isinstance(names, tuple)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@quick
@given(st.dictionaries(st.sampled_from(["model", "data", "training", "machine"]), json_values) | json_values)
def test_any_json_is_settings_or_names_itself(tmp_path, value):
    import json

    (tmp_path / "config.json").write_text(json.dumps(value))
    (tmp_path / "metrics.jsonl").write_text(json.dumps(value) + "\n{")
    assert all(isinstance(line, dict) for line in read_metrics(tmp_path))
    try:
        config = read_config(tmp_path)
    except ValueError as error:
        assert "config.json" in str(error)
    else:
        assert all(isinstance(config[section], dict) for section in ("model", "data", "training"))


@given(st.text(), st.integers(10, 50))
def test_a_line_is_one_and_printable(text, longest):
    line = one_line(text, longest)
    assert len(line) <= longest and line.isprintable() and len(line.splitlines()) <= 1


@given(st.binary(max_size=300))
def test_few_files_are_web_pages(content):
    assert web_page(content) == "" or b"<h" in content.lower() or b"<!" in content
    assert web_page(b"\xef\xbb\xbf \n<HTML>" + content).startswith("a web page")
