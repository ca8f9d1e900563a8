"""The safety benchmark counts refusals by code, and its quantiles are those of its numbers."""

import pytest
from safety_stages import Stage, drafts

GOOD = '"""The first."""\n\n\ndef route(request, instances, memory):\n    return instances[0].id\n'


def test_drafts_are_counted_by_author_and_first_refusal(tmp_path):
    for name, text in (("a", GOOD), ("b", "import os\n"), ("c", GOOD)):
        (tmp_path / "somebody").mkdir(exist_ok=True)
        (tmp_path / "somebody" / f"{name}.py").write_text(text)
    (tmp_path / "nobody").mkdir()
    (found,) = drafts(tmp_path)
    assert (found.name, found.count, found.accepted) == ("somebody", 3, 2)
    assert dict(found.refused) == {"import": 1}


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 2.5), (1.0, 4.0)])
def test_quantiles_lie_between_the_numbers(share, value):
    assert Stage("x", "tries", (4.0, 1.0, 3.0, 2.0)).quantile(share) == value
