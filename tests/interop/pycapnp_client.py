"""The stock `pycapnp` package against a gateway's native port.

    pycapnp_client.py 127.0.0.1:8090 [--model assistant] [--site kitchen] [--schema FILE]

The model is the first adapter that the gateway lists, else its base; the site is the first that a
head asks for, none at a node. Ends with 0 if every case passed.
"""
import argparse
import asyncio
import pathlib
import re
import sys
import traceback

import capnp

TREE = pathlib.Path(__file__).resolve().parents[2]
SECONDS_MAX = 120  # of one case, on a slow machine


def make_sink(schema):
    class Sink(schema.TokenSink.Server):
        """Notes what it is sent, in the order of the protocol; `wait` seconds a chunk."""

        def __init__(self, wait=0.0):
            self.wait, self.text, self.chunks, self.tokens = wait, {}, 0, 0
            self.answered_by, self.finish = None, {}
            self.first = asyncio.Event()

        async def accepted(self, accepted, **_):
            assert self.answered_by is None and self.chunks == 0, "accepted comes once, first"
            self.answered_by = accepted.adapter or "base"
            self.prompt_tokens = accepted.promptTokens

        async def put(self, chunk, **_):
            assert self.answered_by is not None, "a chunk before accepted"
            assert chunk.seq == self.chunks, f"chunk {chunk.seq} after {self.chunks}"
            self.chunks += 1
            self.tokens += len(chunk.tokens)
            self.text[chunk.choice] = self.text.get(chunk.choice, "") + chunk.text
            if str(chunk.finish) != "none":
                self.finish[chunk.choice] = str(chunk.finish)
            self.first.set()
            if self.wait:
                await asyncio.sleep(self.wait)

    return Sink


class Cases:
    def __init__(self, schema, gateway, model, site):
        self.schema, self.gateway, self.model, self.site = schema, gateway, model, site
        self.sink = make_sink(schema)

    def call(self, sink, prompt="Once upon a time", tokens=12, messages=None, **more):
        request = self.gateway.generate_request()
        body = request.request
        body.model, body.maxTokens, body.site = self.model, tokens, self.site
        if messages:
            turns = body.input.init("messages", len(messages))
            for turn, (role, content) in zip(turns, messages):
                turn.role, turn.content = role, content
        else:
            body.input.prompt = prompt
        body.sampling.temperature = more.get("temperature", 0.0)
        body.sampling.seed = more.get("seed", 0)
        body.choices = more.get("choices", 1)
        body.ignoreEos = more.get("ignore_eos", False)
        if "stops" in more:
            body.stops = more["stops"]
        request.sink = sink
        return request.send()

    async def generate(self, **how):
        """Comes back when it is told to, as any client of a server at capacity should."""
        wait = how.pop("wait", 0.0)
        while True:
            sink = self.sink(wait)
            try:
                answer = await self.call(sink, **how)
                return sink, answer.finish
            except capnp.KjException as failure:
                told = re.search(r"overloaded: .*; retry after (\d+) ms", str(failure))
                if not told:
                    raise
                await asyncio.sleep(int(told[1]) / 1000)  # the server's own advice

    async def refused(self, **how):
        try:
            await self.generate(**how)
        except capnp.KjException as failure:
            return str(failure)
        raise AssertionError(f"was not refused: {how}")

    # -- cases ---------------------------------------------------------------------------------

    async def case_ping(self):
        for echo in (0, 7, 2**64 - 1):
            assert (await self.gateway.ping(echo)).echo == echo

    async def case_models(self):
        models = (await self.gateway.models()).models
        assert models and any(not m.parent for m in models), "no base among the models"
        assert all(m.id and m.root for m in models)

    async def case_generate(self):
        sink, finish = await self.generate()
        assert str(finish.reason) in ("stop", "length"), finish.reason
        assert finish.completionTokens == sink.tokens and 0 < sink.tokens <= 12
        assert finish.promptTokens > 0
        assert sink.finish[0] in ("stop", "length")
        assert sink.answered_by in ("base", self.model.split("@")[0]), sink.answered_by

    async def case_chat(self):
        sink, finish = await self.generate(messages=[("system", "Be brief."), ("user", "Hello!")])
        assert finish.completionTokens == sink.tokens > 0

    async def case_same_request_same_answer(self):
        first, _ = await self.generate(temperature=0.8, seed=5)
        second, _ = await self.generate(temperature=0.8, seed=5)
        assert first.text == second.text

    async def case_choices(self):
        sink, finish = await self.generate(choices=2, temperature=0.9, seed=3, tokens=6)
        assert set(sink.finish) == {0, 1} and finish.completionTokens == sink.tokens

    async def case_8_streams_on_one_connection(self):
        alone, _ = await self.generate()
        both = await asyncio.gather(*(self.generate() for _ in range(8)))
        for sink, finish in both:
            assert sink.text == alone.text, "an answer depends on what ran beside it"
            assert finish.completionTokens == sink.tokens

    async def case_slow_sink(self):
        fast, _ = await self.generate(tokens=24, ignore_eos=True)
        slow, _ = await self.generate(tokens=24, ignore_eos=True, wait=0.05)
        assert slow.text == fast.text and slow.tokens == 24

    async def case_cancel_by_dropping(self):
        sink = self.sink()
        running = asyncio.ensure_future(self.started(sink))
        await sink.first.wait()
        running.cancel()
        try:
            await running
        except asyncio.CancelledError:
            pass
        seen = sink.chunks
        after, _ = await self.generate()  # the same connection goes on
        assert after.tokens > 0
        await asyncio.sleep(0.2)
        assert sink.chunks <= seen + 16, "it went on after the cancel"

    async def started(self, sink):
        await self.call(sink, tokens=400, ignore_eos=True)

    async def case_errors_name_code_and_place(self):
        assert "not_found: " in await self.refused_model("no-such-model")
        assert "bad_request: " in await self.refused(messages=[("root", "x")])
        assert "bad_request: sampling.temperature" in await self.refused(temperature=-1.0)
        long = "word " * 20000
        assert "context_length_exceeded: " in await self.refused(prompt=long)

    async def refused_model(self, name):
        kept, self.model = self.model, name
        try:
            return await self.refused()
        finally:
            self.model = kept


async def site_asked_for(cases):
    """A head does not guess where a request must stay: it refuses, and names its sites."""
    try:
        await cases.generate(tokens=1)
        return ""
    except capnp.KjException as refusal:
        sites = re.search(r"sites: ([\w-]+)", str(refusal))
        if not sites:
            raise
        return sites[1]


async def run(address, model, site, schema):
    host, port = address.rsplit(":", 1)
    stream = await capnp.AsyncIoStream.create_connection(host=host, port=int(port))
    gateway = capnp.TwoPartyClient(stream).bootstrap().cast_as(schema.Gateway)
    models = [m.id for m in (await gateway.models()).models if m.parent and "@" not in m.id]
    bases = [m.id for m in (await gateway.models()).models if not m.parent]
    cases = Cases(schema, gateway, model or (models or bases)[0], site or "")
    cases.site = site or await site_asked_for(cases)
    failed = 0
    for name in [n for n in dir(cases) if n.startswith("case_")]:
        try:
            await asyncio.wait_for(getattr(cases, name)(), SECONDS_MAX)
            print(f"ok      {name[5:]}")
        except Exception:  # whatever a case throws is its failure
            failed += 1
            print(f"FAILED  {name[5:]}\n{traceback.format_exc()}")
    return failed


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("address")
    arguments.add_argument("--model")
    arguments.add_argument("--site")
    arguments.add_argument("--schema", default=TREE / "messages" / "link.capnp")
    given = arguments.parse_args()
    schema = capnp.load(str(given.schema), imports=["/usr/include"])
    cases = run(given.address, given.model, given.site, schema)
    sys.exit(1 if asyncio.run(capnp.run(cases)) else 0)


if __name__ == "__main__":
    main()
