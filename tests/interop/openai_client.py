"""The stock `openai` package against a gateway: what its users call, and the exceptions they catch.

    openai_client.py http://127.0.0.1:8081/v1 [--model assistant] [--parallel 16] [--api-key KEY]

The model is the first adapter that the gateway lists, else its base. Ends with 0 if every case
passed.
"""
import argparse
import asyncio
import sys
import traceback

import openai

QUESTION = [{"role": "user", "content": "Switch the kitchen light on."}]
PROMPT = "Once upon a time"


class Cases:
    def __init__(self, url, model, key, parallel):
        self.url, self.key, self.parallel = url, key, parallel
        self.client = openai.OpenAI(base_url=url, api_key=key, max_retries=2, timeout=120)
        self.models = list(self.client.models.list())
        adapters = [m.id for m in self.models if m.parent and "@" not in m.id]
        self.model = model or (adapters or [self.models[0].id])[0]

    def chat(self, **more):
        settings = dict(model=self.model, messages=QUESTION, max_tokens=12, temperature=0)
        return self.client.chat.completions.create(**{**settings, **more})

    def complete(self, **more):
        settings = dict(model=self.model, prompt=PROMPT, max_tokens=12, temperature=0)
        return self.client.completions.create(**{**settings, **more})

    def answered_by_this_model(self, name):
        return name == self.model or name.startswith(self.model + "@")

    # -- cases ---------------------------------------------------------------------------------

    def case_models_list_and_retrieve(self):
        assert self.models and all(m.object == "model" and m.owned_by for m in self.models)
        bases = [m for m in self.models if not m.parent]
        assert bases and all(m.root for m in self.models)
        assert self.client.models.retrieve(self.models[0].id).id == self.models[0].id

    def case_chat(self):
        answer = self.chat()
        choice = answer.choices[0]
        assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-")
        assert self.answered_by_this_model(answer.model), answer.model
        assert answer.system_fingerprint == answer.model
        assert choice.message.role == "assistant" and isinstance(choice.message.content, str)
        assert choice.finish_reason in ("stop", "length")
        usage = answer.usage
        assert 0 < usage.completion_tokens <= 12
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        assert 0 <= usage.prompt_tokens_details.cached_tokens <= usage.prompt_tokens

    def case_chat_stream_with_usage(self):
        whole = self.chat().choices[0].message.content
        chunks = list(self.chat(stream=True, stream_options={"include_usage": True}))
        assert len({(c.id, c.created) for c in chunks}) == 1
        assert chunks[0].choices[0].delta.role == "assistant"
        assert all(c.usage is None for c in chunks[:-1])
        assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0
        assert chunks[-2].choices[0].finish_reason in ("stop", "length")
        assert chunks[-2].choices[0].delta.content is None
        text = "".join(c.choices[0].delta.content or "" for c in chunks[:-1])
        assert text == whole, (text, whole)

    def case_stream_without_usage_has_none(self):
        chunks = list(self.chat(stream=True))
        assert all(c.choices and c.usage is None for c in chunks)

    def case_stream_helper_of_the_package(self):
        with self.client.chat.completions.stream(model=self.model, messages=QUESTION,
                                                 max_tokens=8, temperature=0) as stream:
            for _ in stream:
                pass
            try:
                final = stream.get_final_completion()
            except openai.LengthFinishReasonError as e:  # the package's way to say "length"
                final = e.completion
        whole = self.chat(max_tokens=8)
        assert final.choices[0].message.content == whole.choices[0].message.content

    def case_completion_and_its_stream(self):
        whole = self.complete()
        assert whole.object == "text_completion" and whole.id.startswith("cmpl-")
        streamed = "".join(c.choices[0].text for c in self.complete(stream=True))
        assert streamed == whole.choices[0].text

    def case_token_ids_as_prompt(self):
        answer = self.complete(prompt=[10, 11, 12], max_tokens=2)
        assert answer.usage.prompt_tokens == 3

    def case_n_choices(self):
        answer = self.chat(n=3, temperature=1, seed=1)
        assert [c.index for c in answer.choices] == [0, 1, 2]
        seen = {c.choices[0].index for c in self.chat(n=3, temperature=1, stream=True)}
        assert seen == {0, 1, 2}

    def case_seed_repeats_and_choice_i_is_seed_plus_i(self):
        def text(**more):
            return [c.message.content for c in self.chat(temperature=1, **more).choices]
        first = text(seed=1234, n=2)
        assert first == text(seed=1234, n=2)
        assert first[1:] == text(seed=1235)

    def case_drawn_seed_is_told_and_repeats(self):
        raw = self.client.chat.completions.with_raw_response.create(
            model=self.model, messages=QUESTION, max_tokens=12, temperature=1)
        seed = int(raw.headers["x-collm-seed"])
        again = self.chat(temperature=1, seed=seed)
        assert raw.parse().choices[0].message.content == again.choices[0].message.content

    def case_stop(self):
        text = self.complete(max_tokens=24).choices[0].text
        stop = text[2:3]
        cut = self.complete(max_tokens=24, stop=stop).choices[0]
        assert cut.finish_reason == "stop" and cut.text == text.split(stop)[0], (text, stop, cut)

    def case_max_tokens_is_kept(self):
        answer = self.complete(max_tokens=3, extra_body={"ignore_eos": True})
        assert answer.usage.completion_tokens == 3 and answer.choices[0].finish_reason == "length"

    def case_chat_logprobs(self):
        answer = self.chat(logprobs=True, top_logprobs=3, max_tokens=4)
        content = answer.choices[0].logprobs.content
        assert len(content) == answer.usage.completion_tokens
        for entry in content:
            assert entry.logprob <= 0 and len(entry.top_logprobs) == 3
            assert entry.top_logprobs[0].logprob >= entry.top_logprobs[-1].logprob
            assert entry.bytes is not None
        streamed = [e for c in self.chat(logprobs=True, top_logprobs=3, max_tokens=4, stream=True)
                    if c.choices and c.choices[0].logprobs
                    for e in c.choices[0].logprobs.content]
        assert [e.logprob for e in streamed] == [e.logprob for e in content]

    def case_completion_logprobs(self):
        answer = self.complete(logprobs=2, max_tokens=4)
        logprobs = answer.choices[0].logprobs
        lengths = {len(logprobs.tokens), len(logprobs.token_logprobs), len(logprobs.top_logprobs),
                   len(logprobs.text_offset)}
        assert lengths == {answer.usage.completion_tokens}
        assert all(2 <= len(top) <= 3 for top in logprobs.top_logprobs)
        assert logprobs.text_offset[0] == 0

    def case_content_parts(self):
        parts = [{"role": "user", "content": [{"type": "text", "text": QUESTION[0]["content"]}]}]
        assert self.chat(messages=parts).choices[0].message == self.chat().choices[0].message

    def case_errors_are_the_packages_own(self):
        for error, more in [(openai.NotFoundError, {"model": "missing-model"}),
                            (openai.BadRequestError, {"temperature": 9}),
                            (openai.BadRequestError, {"messages": []}),
                            (openai.BadRequestError, {"max_tokens": 10 ** 6}),
                            (openai.BadRequestError, {"response_format": {"type": "json_object"}})]:
            for stream in (False, True):
                try:
                    self.chat(stream=stream, **more)
                except error as e:
                    assert e.type == "invalid_request_error" and e.request_id, e
                else:
                    raise AssertionError(f"{more} raised nothing")

    def case_errors_name_param_and_code(self):
        def failure(**more):
            try:
                self.chat(**more)
            except openai.APIStatusError as e:
                return e
            raise AssertionError(f"{more} raised nothing")
        assert failure(temperature=9).param == "temperature"
        assert failure(n=1000).param == "n"
        assert failure(max_tokens=10 ** 6).code == "context_length_exceeded"
        assert failure(model="missing-model").code == "model_not_found"

    def case_many_in_parallel_equal_one_alone(self):
        async def ask(client, i):
            answer = await client.completions.create(
                model=self.model, prompt=f"{PROMPT} {i % 4}", max_tokens=8, temperature=0)
            return answer.choices[0].text

        async def all_at_once():
            # Beyond capacity a client is told when to come back, and the package does.
            async with openai.AsyncOpenAI(base_url=self.url, api_key=self.key, timeout=300,
                                          max_retries=20) as client:
                return await asyncio.gather(*(ask(client, i) for i in range(self.parallel)))
        texts = asyncio.run(all_at_once())
        for i, text in enumerate(texts):
            alone = texts[i % 4] if i >= 4 else self.complete(
                prompt=f"{PROMPT} {i % 4}", max_tokens=8).choices[0].text
            assert text == alone, (i, text, alone)

    def case_leaving_a_stream_leaves_the_gateway_well(self):
        for _ in range(3):
            stream = self.chat(stream=True, max_tokens=200)
            next(iter(stream))
            stream.close()
        assert self.chat(max_tokens=1).choices

    def run(self):
        failed = 0
        names = [n for n in dir(self) if n.startswith("case_")]
        for name in names:
            try:
                getattr(self, name)()
                print(f"ok    {name[5:]}", flush=True)
            except Exception:  # each case is reported, the next still runs
                failed += 1
                print(f"FAIL  {name[5:]}\n{traceback.format_exc()}", flush=True)
        passed = len(names) - failed
        print(f"openai {openai.__version__}, {self.model}: {passed} of {len(names)} passed")
        return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base_url")
    parser.add_argument("--model", default="")
    parser.add_argument("--api-key", default="none")
    parser.add_argument("--parallel", type=int, default=16)
    args = parser.parse_args()
    return Cases(args.base_url, args.model, args.api_key, args.parallel).run()


if __name__ == "__main__":
    sys.exit(main())
