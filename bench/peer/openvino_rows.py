"""OpenVINO GenAI from its own Python environment in the cache, where one has been made."""
import json
from pathlib import Path

from peer.process import measured, say

PACKAGE, VERSION = "openvino-genai", "2026.4.1.0"
PROGRAM = Path(__file__).with_name("openvino_genai_run.py")


def python_of(cache):
    """The environment's Python, or none, said with what would make one."""
    folder = cache / "openvino"
    python = folder / "bin/python"
    if list(folder.glob("lib/python*/site-packages/openvino_genai")):
        return python
    say(f"no OpenVINO GenAI in {folder}, so no rows of it: python3 -m venv {folder} && "
        f"{folder}/bin/pip install {PACKAGE}=={VERSION} numpy")
    return None


def speeds(python, model, threads, shape, others):
    """Tokens a second by our names, the version, and the peak memory. shape: prompt, context,
    steps, sequences at once."""
    prompt, context, steps, batches = shape
    text, _, peak = measured([python, PROGRAM, model, threads, prompt, context, steps,
                              ",".join(map(str, batches))], 900, others)
    found = json.loads(text.splitlines()[-1])
    return found["rates"], found["version"], peak
