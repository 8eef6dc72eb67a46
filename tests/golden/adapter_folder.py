"""What peft writes beside an adapter's factors, made the same on every run and machine."""
import json


def settle(folder):
    """peft writes its sets in any order, and where the model lay."""
    file = folder / "adapter_config.json"
    config = json.loads(file.read_text())
    config["target_modules"].sort()
    config["base_model_name_or_path"] = None
    file.write_text(json.dumps(config, indent=2) + "\n")
    (folder / "README.md").unlink(missing_ok=True)
