"""What has been measured already: one line of JSON a measurement, so that a run that was cut short
goes on where it stopped, and can be spread over several short quiet times."""
import json
import time


class OutOfTime(Exception):
    """The budget is spent; what was measured is kept."""


class Runs:
    def __init__(self, file, budget=None):
        self.file = file
        self.end = None if budget is None else time.monotonic() + budget
        self.known = {}
        if file.exists():
            text = file.read_text(encoding="utf-8")
            if text and not text.endswith("\n"):  # a killed run's half line stays alone
                file.write_text(text + "\n", encoding="utf-8")
            for line in text.splitlines():
                key, found = whole(line)
                if key is not None:
                    self.known[key] = found

    def of(self, key, measure):
        """What `measure()` gave for this key, now or in an earlier run."""
        name = json.dumps(key, sort_keys=True)
        if name not in self.known:
            if self.end is not None and time.monotonic() > self.end:
                raise OutOfTime(name)
            found = measure()
            with open(self.file, "a", encoding="utf-8") as out:
                out.write(json.dumps([name, found]) + "\n")
            self.known[name] = found
        return self.known[name]


def whole(line):
    """Key and value of a line; of one that a killed run left in half: none."""
    try:
        key, found = json.loads(line)
        return key, found
    except ValueError:
        return None, None
