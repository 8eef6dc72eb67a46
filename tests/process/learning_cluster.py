"""Clusters that learn, for the tests beside this file: on the real model, and on a tiny random one
whose rounds take seconds."""
import json
import os
import pathlib

from cluster import Cluster, Tiny, until

CANARY = "canary-7f3a91c2d5"
ENDED = ("serving", "rejected", "voided")

# Without AVX-512 VNNI no unit of this model ends within the 20 ms of the manifest's default.
MAX_UNIT = "20ms" if "avx512_vnni" in pathlib.Path("/proc/cpuinfo").read_text() else "1s"
LEARNING = """\
  training: {{batchTokens: 128, learningRate: 2e-3, warmupSteps: 2, maxUnit: MAX_UNIT}}
  federation:
    - adapter: assistant
      standing: {standing}
      strategy: {{aggregate: {aggregate}}}
      round: {{deadline: 600s, quorum: 2, steps: {steps}}}
      gate: {{looks: [8, 16], margin: 0, worstSite: 10, guard: 10}}
  coordinator: {{policy: coserve_fill}}
""".replace("MAX_UNIT", MAX_UNIT)


def chat(question, answer):
    """A line of a site's data."""
    return json.dumps({"messages": [{"role": "user", "content": question},
                                    {"role": "assistant", "content": answer}]}) + "\n"


def chats(site, count):
    """Short questions with one answer a kind; those of a site bear its canary."""
    return "".join(chat(f"{site} {CANARY} order {i}", f"DONE {i % 7}") for i in range(count))


def prompts(site, count):
    """The same for a model without a chat template."""
    return "".join(json.dumps({"prompt": f"{site} {CANARY} order {i}",
                               "completion": f"DONE {i % 7}"}) + "\n" for i in range(count))


class LearningCluster(Cluster):
    """The other tests' cluster, with data at both sites and a federation; unless that is standing,
    its rounds open only while a job asks for them."""
    rows = staticmethod(chats)

    def __init__(self, collm, steps=4, aggregate="fedavg", data=("kitchen", "workshop"),
                 terms=LEARNING, one_site=False, standing=True, **more):
        self.terms = terms.format(steps=steps, aggregate=aggregate,
                                  standing=str(standing).lower())
        self.data, self.one_site = data, one_site
        super().__init__(collm, **more)

    def text_of(self, manifest):
        for node, site in (("edge-a", "kitchen"), ("edge-b", "workshop")):
            if site in self.data:
                manifest = manifest.replace(
                    f"{{name: {node}, site: {site},",
                    f"{{name: {node}, site: {site}, data: {self.data_of(site)},")
        if self.one_site:
            manifest = manifest.replace("site: workshop", "site: kitchen")
        return manifest.replace("  coordinator: {policy: inference_only}\n", self.terms)

    def data_of(self, site):
        """Where the site's data are, written."""
        file = os.path.join(self.dir.name, site + ".jsonl")
        with open(file, "w", encoding="utf-8") as out:
            out.write(self.rows(site, 120))
        return file

    def rounds(self):
        return self.get(self.head, "/admin/v1/rounds").get("rounds", [])

    def round(self, number):
        return next((r for r in self.rounds() if int(r["number"]) == number), None)

    def ended(self, number):
        def look():
            r = self.round(number)
            return r if r and r["state"] in ENDED else None
        return until(f"round {number} ends", look, 300)

    def job(self, job):
        jobs = self.get(self.head, "/admin/v1/jobs").get("jobs", [])
        return next(j for j in jobs if j["id"] == job)


class TinyLearningCluster(Tiny, LearningCluster):
    """Prompts of at most 256 bytes."""
    rows = staticmethod(prompts)


def accepted(of_round):
    """client -> digest of what counts in a round."""
    return {p["client"]: p["digest"] for p in of_round["participants"] if p["state"] == "accepted"}
