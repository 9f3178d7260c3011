"""The files that docs/extending.md shows, by where they go: what the tests of additions add."""

import re

from tests.contracts.imports import ROOT

FILES = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", (ROOT / "docs/extending.md").read_text(), re.DOTALL))
