"""The examples of docs/api.md, as somebody would type them, against a real server."""

import os
import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from serving import served
from visiting import visiting

from policy_store.lifecycle import State
from policy_store.records import Role, Scope
from policy_store.review.bodies import MAX_BODY_BYTES

PAGE = Path(__file__).resolve().parents[3] / "docs" / "api.md"
BLOCK = re.compile(r"```bash\n(.*?)```", re.DOTALL)


@pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("bash")), reason="curl or bash is not installed"
)
def test_the_examples_run_as_they_stand(store, measured):
    policy = measured()
    store.accounts.add("ada", Role.REVIEWER, by="root")
    token, _ = store.accounts.make_token(
        "ada", "examples", {Scope.READ, Scope.DECIDE}, timedelta(days=1), by="ada"
    )
    with served(visiting(store).app) as port:
        known = {"EVOLVER_REVIEW": f"http://127.0.0.1:{port}", "EVOLVER_TOKEN": token}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(BLOCK.findall(PAGE.read_text()))],
            env={**os.environ, **known}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    did = [entry.action for entry in store.audit.entries(actor="ada")]
    assert did[-5:] == ["approved", "placed", "activated", "rolled_back", "proposed"]
    assert store.show(policy).version.state is State.ROLLED_BACK


def test_the_page_names_the_limits_that_there_are():
    assert f"{MAX_BODY_BYTES // 1024} KiB" in PAGE.read_text()
