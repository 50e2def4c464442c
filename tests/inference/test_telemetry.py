"""What onnxruntime counts for its maker is switched off before it is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COUNTED = """
import sys, time
if sys.argv[1] == "ours":
    import flyweight
import onnxruntime
onnxruntime.InferenceSession(sys.argv[2])
time.sleep(0.5)
"""


@pytest.mark.parametrize("whose", ["ours", "alone"])
def test_nothing_is_kept_in_the_users_home(sprint_export, tmp_path, whose):
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        environment.pop(name, None)
    environment["HOME"] = str(tmp_path / "home")
    Path(environment["HOME"]).mkdir()
    graph = next(Path(sprint_export).rglob("*.onnx"))
    image = tmp_path / "noise.png"
    from PIL import Image

    Image.effect_noise((32, 32), 60).convert("RGB").save(image)
    call = [sys.executable, "-c", COUNTED, whose, str(graph)]
    if whose == "alone":
        call = [sys.executable, str(next(Path(sprint_export).rglob("predict.py"))), str(image)]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(Path(environment["HOME"]).rglob("*")) == []
