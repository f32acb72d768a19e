"""From tree to message: what `tests/spec/test_load.py` does not reach through a file."""

from tao_lite.spec.bind import MAX_PROBLEMS, bind, homes
from tao_lite.spec.text.syntax import parse


def test_binding_stops_where_nothing_fits() -> None:
    bound = bind(parse("no_such_field: 1\n" * 1000))
    assert len(bound.problems) == MAX_PROBLEMS + 1
    assert bound.problems[-1].text == "100 problems up to here; is it a spec file?"


def test_the_homes_of_a_name_are_all_its_paths() -> None:
    assert list(homes("top_k")) == ["eval_config.top_k"]
    assert list(homes("soft_start")) == [
        "train_config.lr_config.soft_anneal.soft_start",
        "train_config.lr_config.cosine.soft_start",
        "train_config.lr_config.exponential.soft_start",
    ]
    assert list(homes("no_such_field")) == []
