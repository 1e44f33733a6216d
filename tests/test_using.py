"""The unit test that docs/using.md shows works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from .test_readme import blocks
from .worker import CHECKOUT

USING = (CHECKOUT / "docs" / "using.md").read_text()


def test_the_test_of_an_app_that_the_guide_shows_passes(tmp_path: Path) -> None:
    (example,) = [
        block
        for block in re.findall(r"^```python\n(.*?)^```$", USING, re.MULTILINE | re.DOTALL)
        if "record_messages" in block
    ]
    shop = blocks("python")[0]
    # The README's app is made when its module is imported; the guide's takes a configuration.
    head, _, rest = shop.partition("app = Flask(__name__)\napp.config.from_prefixed_env()\n")
    assert rest
    body = "\n".join(f"    {line}" if line else "" for line in rest.splitlines())
    made = "def create_app(config):\n    app = Flask(__name__)\n    app.config.update(config)\n"
    factory = f"{made}{body}\n    return app\n"
    (tmp_path / "test_shop.py").write_text(f"import pytest\n{head}\n{factory}\n\n{example}")
    folder = tmp_path / "templates" / "thank_you"
    folder.mkdir(parents=True)
    (folder / "subject.txt").write_text("Thank you, {{ name }}!")
    (folder / "body.html").write_text("<p>Dear {{ name }}</p>")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
