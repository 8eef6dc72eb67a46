"""A cluster whose processes die by kill -9 at any of their durable calls and are started again
(tests/support/kill_at_write.cpp). Both nodes run elsewhere, so each process dies alone.

Whichever version a round starts from, it takes the rows that follow those of the round before: its
updates, its sum and its version are the same bytes in every cluster that nothing disturbs."""
import contextlib
import http.client
import os
import shutil
import signal
import sqlite3
import tempfile

from cluster import until
from learning_cluster import LEARNING, MAX_UNIT
from remote_nodes import RemoteLearningCluster

TERMS = LEARNING.replace(f"maxUnit: {MAX_UNIT}", "maxUnit: 1s").replace("2e-3", "2e-2")
UNANSWERED = (OSError, http.client.HTTPException, ValueError)
ROUND_MAX = 150  # s
# What a round has come to, by the newest of these records in its journal.
COURSE = {"opened": "opened", "assigned": "assigned", "began": "training",
          "uploading": "uploading", "accepted": "uploading", "closed": "closed",
          "summed": "summed", "candidate": "candidate", "gate": "at the gate",
          "passed": "passed", "serving": "promoted"}


class Killer:
    """Of one process, over all its lives."""

    def __init__(self, library, folder, below):
        os.makedirs(folder)
        self.folder = folder
        self.environment = {"LD_PRELOAD": library, "COLLM_KILL": folder,
                            "COLLM_KILL_BELOW": os.path.realpath(below)}

    def at(self, count, text=""):
        """It dies at the count-th durable call from now on whose name, file or bytes hold that
        text."""
        order = os.path.join(self.folder, "at")
        with open(order + ".new", "w", encoding="utf-8") as f:
            f.write(f"{count} {text}")
        os.rename(order + ".new", order)

    def nowhere(self):
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(self.folder, "at"))

    def calls(self):
        with open(os.path.join(self.folder, "calls"), encoding="utf-8") as f:
            return f.read().splitlines()


class KilledCluster(RemoteLearningCluster):
    remote = ("edge-a", "edge-b")

    def __init__(self, collm, library, steps):
        self.library, self.killers = library, {}
        super().__init__(collm, steps=steps, standing=False, terms=TERMS)

    def __enter__(self):
        super().__enter__()
        try:
            for node in self.remote:
                self.join(node)
            for node in self.remote:
                self.serves(node)
        except BaseException:
            self.__exit__()
            raise
        return self

    def killer(self, who):
        if who not in self.killers:
            below = os.path.join(self.dir.name, "state") if who == "head" else self.folder(who)
            self.killers[who] = Killer(self.library, os.path.join(self.dir.name, "kill", who),
                                       below)
        return self.killers[who]

    def start(self):
        self.environment.update(self.killer("head").environment)
        super().start()

    def run_node(self, node, *arguments):
        return super().run_node(node, *arguments, environment=self.killer(node).environment)

    # -- a round and its deaths

    def play(self, number, deaths=()):
        """Round `number`, the next one: at each of `deaths` (who, and as Killer.at) in turn that
        process dies and is started again. Returns what they died at; fewer where the round ended
        before."""
        died, gone = [], None
        for who, *at in deaths:
            self.killer(who).at(*at)  # before that process starts: later it may be past the call
            self.start_anew(gone)
            until(f"{who} dies at {at}, or round {number} ends",
                  lambda w=who: self.is_dead(w) or self.over(number), ROUND_MAX)
            self.killer(who).nowhere()
            gone = who if self.is_dead(who) else None
            if not gone:
                break
            died.append({"who": who, "call": self.killer(who).calls()[-1],
                         "state": self.state_at_death(who, number)})
        self.start_anew(gone)
        until(f"round {number} ends", lambda: self.over(number), ROUND_MAX)
        return died

    def over(self, number):
        """Whether the job of that round is done; asks for it, unless a life of the head took it
        already. False where nobody answers."""
        for node, process in self.started.items():
            assert process.poll() is None, self.node_log(node)
        try:
            states = [j["state"] for j in self.jobs()]
            if len(states) < number:
                self.call(self.head, "POST", "/admin/v1/jobs",
                          {"model": "assistant", "federation": {"rounds": 1}})
        except UNANSWERED:
            return False
        assert "failed" not in states, self.rounds()
        return states.count("succeeded") >= number

    def jobs(self):
        status, found = self.call(self.head, "GET", "/admin/v1/jobs")
        if status != 200:
            raise ConnectionError(found)
        return found.get("jobs", [])

    def process_of(self, who):
        return self.process if who == "head" else self.started[who]

    def is_dead(self, who):
        code = self.process_of(who).poll()
        assert code in (None, -signal.SIGKILL), f"{who} ended with {code}: {self.logged()}"
        return code is not None

    def start_anew(self, who):
        if who == "head":
            self.start()
            until("the head answers, or dies again",
                  lambda: self.is_dead("head") or self.answers(), 60)
        elif who:
            self.start_again(who)

    def answers(self):
        try:
            return self.status()
        except UNANSWERED:
            return None

    def state_at_death(self, who, number):
        """A dead head's: by its journal, which is looked at in a copy."""
        if who != "head":
            return self.round(number)["state"]
        with tempfile.TemporaryDirectory() as copy:
            for part in ("", "-wal"):
                shutil.copy(os.path.join(self.dir.name, "state", "rounds.db" + part), copy)
            with contextlib.closing(sqlite3.connect(os.path.join(copy, "rounds.db"))) as db:
                lines = db.execute("SELECT text FROM records WHERE round = ?", (number,)).fetchall()
        kinds = {text.split()[0] for text, in lines}
        return next((s for kind, s in reversed(COURSE.items()) if kind in kinds), "not opened")

    # -- what a round came to

    def sums(self, number):
        """All that counts of a round that is over, by digest."""
        r = self.round(number)
        made_of = self.get(self.head, "/admin/v1/explain?adapter=assistant&version="
                                      f"{r['version']}")
        again = self.call(self.head, "POST", "/admin/v1/rounds/replay", {
            "adapter": "assistant", "round": number, "without": "edge-b/0"})[1]
        return {"version": int(r["version"]), "digest": made_of["version"]["digest"],
                "sum": again["original"], "sum without edge-b": again["digest"],
                "updates": sorted((u["client"], u["digest"]) for u in made_of["updates"]),
                "clients": sorted((p["client"], p["state"], p["digest"], p["tokens"])
                                  for p in r["participants"])}

    def take_back(self, number):
        """What the round made, so that the next one starts where it did, far from all that can be
        learnt, and is promoted whatever else happens."""
        r = self.round(number)
        assert r["state"] == "serving", r
        status, now = self.call(self.head, "POST", "/admin/v1/rollback", {"adapter": "assistant"})
        assert status == 200 and int(now.get("number", 0)) == 0, now

    def said(self):
        """All logs."""
        return self.logged() + "".join(self.node_log(node) for node in self.remote)
