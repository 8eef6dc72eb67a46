"""The stock `openai` package's training half against a node's gateway and the head's.

    openai_training_client.py NODE/v1 OTHER_NODE/v1 HEAD/v1 OUT.json

Gives each of two sites a file, makes a job, follows it to its end and asks the model that it made.
OUT.json gets that model's name. Ends with 0 if every case passed.
"""
import json
import pathlib
import sys
import time
import traceback

import openai

ADAPTER, ROUNDS, SECONDS_MAX = "assistant", 1, 420
STATUSES = ("validating_files", "queued", "running", "succeeded", "failed", "cancelled")


def rows(site, count=120):
    return "".join(json.dumps({"messages": [
        {"role": "user", "content": f"{site} order {i}"},
        {"role": "assistant", "content": f"DONE {i % 7}"}]}) + "\n" for i in range(count))


def connect(url):
    return openai.OpenAI(base_url=url, api_key="none", max_retries=2, timeout=120)


class Cases:
    """In the order of their names: a job needs its files."""

    def __init__(self, node, other, head):
        self.node, self.other, self.head = connect(node), connect(other), connect(head)
        self.addresses = [node.removesuffix("/v1"), other.removesuffix("/v1")]
        self.file = self.job = self.model = None

    def upload(self, to, site, text):
        return to.files.create(file=(site + ".jsonl", text.encode()), purpose="fine-tune")

    def case_1_a_site_takes_a_file_and_names_its_bad_lines(self):
        text = rows("kitchen") + "this is no JSON\n"
        self.file = self.upload(self.node, "kitchen", text)
        assert self.file.object == "file" and self.file.purpose == "fine-tune"
        assert self.file.bytes == len(text) and self.file.status == "processed"
        lines = self.file.model_extra["lines"]
        assert lines["added"] == 120 and lines["bad"] == 1, lines
        assert lines["first_bad"][0]["line"] == 121, lines

    def case_2_files_are_listed_and_found(self):
        assert self.file.id in [f.id for f in self.node.files.list()]
        assert self.node.files.retrieve(self.file.id).filename == "kitchen.jsonl"
        assert self.file.id not in [f.id for f in self.other.files.list()], "it left its site"

    def case_3_the_head_takes_no_file_and_names_who_does(self):
        try:
            self.upload(self.head, "kitchen", rows("kitchen", 1))
        except openai.PermissionDeniedError as refused:
            assert all(a in str(refused) for a in self.addresses), refused
        else:
            raise AssertionError("the head took a site's data")

    def case_4_what_a_federation_has_no_place_for_is_refused_by_name(self):
        epochs = {"hyperparameters": {"n_epochs": 3}}
        for more, name in (({"validation_file": "file-x"}, "validation_file"),
                           ({"seed": 7}, "seed"), (epochs, "hyperparameters.n_epochs")):
            try:
                self.node.fine_tuning.jobs.create(model=ADAPTER, training_file=self.file.id, **more)
            except openai.BadRequestError as refused:
                assert refused.param == name, refused
            else:
                raise AssertionError(f"{more} was taken")
        try:
            self.node.fine_tuning.jobs.create(model=ADAPTER, training_file="file-missing")
        except openai.APIStatusError as refused:
            assert refused.status_code in (400, 404) and "file-missing" in str(refused), refused
        else:
            raise AssertionError("a job of a file that is not there was made")

    def case_5_a_job_is_made_at_a_node_and_seen_at_the_head(self):
        self.job = self.node.fine_tuning.jobs.create(
            model=ADAPTER, training_file=self.file.id,
            extra_body={"federation": {"rounds": ROUNDS}})
        assert self.job.object == "fine_tuning.job" and self.job.id.startswith("ftjob-")
        assert self.job.status in STATUSES and self.job.training_file == self.file.id
        for client in (self.node, self.other, self.head):
            found = client.fine_tuning.jobs.retrieve(self.job.id)
            assert (found.id, found.model) == (self.job.id, ADAPTER), found
            assert self.job.id in [j.id for j in client.fine_tuning.jobs.list()]

    def case_6_a_job_made_at_the_head_is_cancelled_at_a_node(self):
        second = self.head.fine_tuning.jobs.create(model=ADAPTER, training_file=self.file.id)
        cancelled = self.node.fine_tuning.jobs.cancel(second.id)
        assert cancelled.status == "cancelled" and cancelled.finished_at, cancelled
        assert self.head.fine_tuning.jobs.retrieve(second.id).status == "cancelled"
        page = self.head.fine_tuning.jobs.list(limit=1)
        assert len(page.data) == 1 and page.has_more

    def case_7_the_job_succeeds_and_says_how(self):
        self.upload(self.other, "workshop", rows("workshop"))
        end = time.monotonic() + SECONDS_MAX
        job = self.job
        while job.status in ("queued", "running") and time.monotonic() < end:
            time.sleep(1)  # a poll of another process
            job = self.head.fine_tuning.jobs.retrieve(job.id)
        assert job.status == "succeeded", job
        assert job.fine_tuned_model == ADAPTER + "@1", job
        assert job.trained_tokens > 0 and job.finished_at >= job.created_at and job.error is None
        for client in (self.node, self.head):
            events = list(client.fine_tuning.jobs.list_events(job.id))
            assert all(e.object == "fine_tuning.job.event" for e in events)
            assert "succeeded" in events[0].message and "was made" in events[-1].message, events
        self.model = job.fine_tuned_model

    def case_8_the_model_that_it_made_answers(self):
        end = time.monotonic() + 30
        for client, more in ((self.node, {}), (self.other, {}),
                             (self.head, {"extra_body": {"site": "kitchen"}})):
            while True:
                try:
                    answer = client.chat.completions.create(
                        model=self.model, messages=[{"role": "user", "content": "kitchen order 3"}],
                        max_tokens=4, temperature=0, **more)
                    break
                except openai.NotFoundError:  # its node fetches the version now
                    assert time.monotonic() < end, "the node never got the version"
                    time.sleep(0.2)
            assert answer.model == self.model and answer.choices[0].message.content

    def case_9_a_file_is_forgotten(self):
        assert self.node.files.delete(self.file.id).deleted
        assert self.file.id not in [f.id for f in self.node.files.list()]

    def run(self):
        names = sorted(n for n in dir(self) if n.startswith("case_"))
        for name in names:
            try:
                getattr(self, name)()
                print(f"ok    {name[7:]}", flush=True)
            except Exception:  # what follows needs it
                print(f"FAIL  {name[7:]}\n{traceback.format_exc()}", flush=True)
                return 1
        print(f"openai {openai.__version__}, training: {len(names)} of {len(names)} passed")
        return 0


def main(node, other, head, out):
    cases = Cases(node, other, head)
    failed = cases.run()
    pathlib.Path(out).write_text(json.dumps({"model": cases.model}))
    return failed


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
