"""The data plane stands alone: no database, statistics, templates, web framework or litellm."""

import subprocess
import sys

BANNED = ("sqlalchemy", "sqlmodel", "fastapi", "starlette", "jinja2", "numpy", "scipy", "litellm")


def test_the_data_plane_imports_nothing_heavy():
    code = f"import sys, llm_canary.gateway.app; print([n for n in {BANNED} if n in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
