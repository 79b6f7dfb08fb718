from __future__ import annotations

import re
from pathlib import Path


def test_the_example_on_the_statistics_page_runs() -> None:
    page = Path(__file__).parents[2] / "docs" / "statistics.md"
    examples = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert examples
    for text in examples:
        exec(compile(text, "statistics.md", "exec"), {})
