"""TGI's HTTP surface, once for each served model, under a path that starts with the model's id."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from http import HTTPStatus
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from stack.models import answers, wire
from stack.models.answers import Json
from stack.models.bodies import RefusedBodyError, read
from stack.models.errors import ModelServerError, ValidationError
from stack.models.generation import Finish, Prompt, Sampling, Token
from stack.models.served import Clock, ServedModel
from stack.models.streams import ClientGoneError, paired, stream, while_connected

_MOST_PROMPTS = 4
_CLIENT_CLOSED_REQUEST = 499
"""Nobody reads it; it only has to be some status."""

_Endpoint = Callable[[ServedModel, Request], Awaitable[Response]]


def routes(models: Mapping[str, ServedModel]) -> list[Route]:
    """Every route of the server."""

    def route(path: str, endpoint: _Endpoint, method: str) -> Route:
        async def call(request: Request) -> Response:
            served = models.get(request.path_params["model"])
            if served is None:
                return JSONResponse(
                    {"error": f"no model here; there are {', '.join(models)}",
                     "error_type": "not_found"},
                    HTTPStatus.NOT_FOUND,
                )  # fmt: skip
            return await _answered(served, request, endpoint)

        return Route("/{model}" + path, call, methods=[method])

    async def overview(request: Request) -> Response:
        del request
        return JSONResponse({"models": {name: _standing(one) for name, one in models.items()}})

    posts: dict[str, _Endpoint] = {
        "": _compat, "/": _compat, "/generate": _generate, "/generate_stream": _generate_stream,
        "/invocations": _compat, "/vertex": _compat,
        "/v1/chat/completions": _chat, "/v1/completions": _completions,
        "/tokenize": _tokenize, "/chat_tokenize": _chat_tokenize,
    }  # fmt: skip
    gets: dict[str, _Endpoint] = {
        "": _health, "/": _health, "/health": _health, "/ping": _health,
        "/info": _info, "/metrics": _metrics, "/v1/models": _models,
    }  # fmt: skip
    return [
        Route("/", overview),
        Route("/health", overview),
        *(route(path, endpoint, "POST") for path, endpoint in posts.items()),
        *(route(path, endpoint, "GET") for path, endpoint in gets.items()),
    ]


async def _answered(served: ServedModel, request: Request, endpoint: _Endpoint) -> Response:
    try:
        return await endpoint(served, request)
    except RefusedBodyError as refused:
        return PlainTextResponse(str(refused), refused.status)
    except ClientGoneError:
        served.counts.failed("dropped")
        return Response(status_code=_CLIENT_CLOSED_REQUEST)
    except ModelServerError as error:
        served.counts.failed(error.kind)
        return JSONResponse(_error_body(error), error.status)


async def _compat(served: ServedModel, request: Request) -> Response:
    body = await read(request, wire.CompatRequest)
    if body.stream:
        return await _native_stream(served, request, body)
    answer, headers = await _native(served, request, body)
    return JSONResponse([answer], headers=headers)


async def _generate(served: ServedModel, request: Request) -> Response:
    answer, headers = await _native(served, request, await read(request, wire.GenerateRequest))
    return JSONResponse(answer, headers=headers)


async def _generate_stream(served: ServedModel, request: Request) -> Response:
    return await _native_stream(served, request, await read(request, wire.GenerateRequest))


async def _native(
    served: ServedModel, request: Request, body: wire.GenerateRequest
) -> tuple[Json, dict[str, str]]:
    clock, asked = Clock(), body.parameters
    async with served.admission():
        sampling = wire.native_sampling(asked)
        prompt = await _truncated(served, body)
        limit = served.room_for(prompt, asked.max_new_tokens)
        generated = await while_connected(
            request, _whole(served, prompt, sampling, limit=limit, clock=clock)
        )
        prefill = await _prefill(served, prompt) if asked.decoder_input_details else []
    served.counts.successes += 1
    answer = answers.native_body(
        generated,
        full_text=bool(asked.return_full_text),
        details=asked.details or asked.decoder_input_details,
        prefill=prefill,
        top=bool(asked.top_n_tokens),
    )
    characters = len(body.inputs)
    return answer, answers.timing_headers(clock, prompt, generated.ended, characters=characters)


async def _native_stream(
    served: ServedModel, request: Request, body: wire.GenerateRequest
) -> Response:
    del request  # the server cancels a stream whose reader is gone

    async def events() -> AsyncGenerator[Json]:
        asked = body.parameters
        if asked.decoder_input_details:
            raise ValidationError("`decoder_input_details` == true is not supported when streaming")
        sampling = wire.native_sampling(asked)
        prompt = await _truncated(served, body)
        limit = served.room_for(prompt, asked.max_new_tokens)
        pieces = served.generate(prompt, sampling, max_tokens=limit, clock=Clock())
        text, top = "", bool(asked.top_n_tokens)
        async with aclosing(paired(pieces)) as pairs:
            index = 0
            async for token, ended in pairs:
                index += 1
                text += "" if token.special else token.text
                if ended is None:
                    yield answers.native_event(index, token, top=top)
                    continue
                details: Json = {
                    "finish_reason": ended.finish,
                    "generated_tokens": ended.generated_tokens,
                    "seed": sampling.seed,
                    "input_length": len(prompt.tokens),
                }
                lead = prompt.text if asked.return_full_text else ""
                yield answers.native_event(index, token, text=lead + text, details=details, top=top)

    return stream(served, events(), error=_error_body, characters=len(body.inputs))


async def _chat(served: ServedModel, request: Request) -> Response:
    body = await read(request, wire.ChatRequest)
    if body.stream:
        return await _openai_stream(
            served, body, wire.chat_sampling, _chat_prompt, kind="chat.completion.chunk"
        )
    clock = Clock()
    async with served.admission():
        sampling = wire.chat_sampling(body)
        prompt = await _chat_prompt(served, body)
        limit = served.room_for(prompt, body.max_tokens)
        generated = await while_connected(
            request, _whole(served, prompt, sampling, limit=limit, clock=clock)
        )
    served.counts.successes += 1
    model = body.model if body.model not in {None, "tgi"} else served.model.id
    answer = answers.chat_body(str(model), generated, logprobs=bool(body.logprobs))
    return JSONResponse(
        answer,
        headers=answers.timing_headers(clock, prompt, generated.ended, characters=len(prompt.text)),
    )


async def _completions(served: ServedModel, request: Request) -> Response:
    body = await read(request, wire.CompletionRequest)
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    if len(prompts) > _MOST_PROMPTS:
        raise ValidationError(
            f"Number of prompts exceeds the maximum allowed batch size of {_MOST_PROMPTS}",
            kind="batch size exceeded",
        )
    if body.stream:
        if len(prompts) != 1:
            raise ValidationError("one prompt at a time is streamed by this model server")
        return await _openai_stream(
            served, body, wire.completion_sampling, _first_prompt, kind="text_completion"
        )
    async with served.admission():
        sampling = wire.completion_sampling(body)
        generated = []
        for text in prompts:
            prompt = await (await served.llama()).prompt(text)
            limit = served.room_for(prompt, body.max_tokens)
            call = _whole(served, prompt, sampling, limit=limit, clock=Clock())
            generated.append(await while_connected(request, call))
    served.counts.successes += 1
    return JSONResponse(answers.completion_body(served.model.id, generated))


_Asked = TypeVar("_Asked", wire.ChatRequest, wire.CompletionRequest)


async def _openai_stream(
    served: ServedModel,
    body: _Asked,
    sampling_of: Callable[[_Asked], Sampling],
    prompt_of: Callable[[ServedModel, _Asked], Awaitable[Prompt]],
    *,
    kind: str,
) -> Response:
    model = served.model.id

    def chunk(token: Token, finish: Finish | None) -> Json:
        if isinstance(body, wire.ChatRequest):
            return answers.chat_chunk(model, token, finish=finish, logprobs=bool(body.logprobs))
        return answers.completion_chunk(model, token, finish=finish)

    async def events() -> AsyncGenerator[Json]:
        sampling = sampling_of(body)
        prompt = await prompt_of(served, body)
        limit = served.room_for(prompt, body.max_tokens)
        pieces = served.generate(prompt, sampling, max_tokens=limit, clock=Clock())
        async with aclosing(paired(pieces)) as pairs:
            async for token, ended in pairs:
                yield chunk(token, None if ended is None else ended.finish)
                if ended and body.stream_options and body.stream_options.include_usage:
                    yield answers.usage_chunk(kind, model, answers.usage(prompt, ended))

    def error_body(error: ModelServerError) -> Json:
        # 422 whatever the reason: the messages API's streams have always said so.
        return {"error": {"message": str(error), "http_status_code": 422}}

    return stream(served, events(), error=error_body, characters=0, done=True)


async def _tokenize(served: ServedModel, request: Request) -> Response:
    body = await read(request, wire.TokenizeRequest)
    return JSONResponse(answers.token_spans(await (await served.llama()).tokenize(body.inputs)))


async def _chat_tokenize(served: ServedModel, request: Request) -> Response:
    body = await read(request, wire.ChatRequest)
    prompt = await _chat_prompt(served, body)
    spans = answers.token_spans(await (await served.llama()).tokenize(prompt.text))
    return JSONResponse({"tokenize_response": spans, "templated_text": prompt.text})


async def _health(served: ServedModel, request: Request) -> Response:
    del request
    if (reason := served.why_not()) is not None:
        raise reason
    return Response()


async def _info(served: ServedModel, request: Request) -> Response:
    del request
    total = served.model.context_tokens
    return JSONResponse({
        "model_id": served.model.id, "model_sha": served.model.sha256,
        "model_pipeline_tag": "text-generation",
        "max_concurrent_requests": served.admitted, "max_best_of": wire.MAX_BEST_OF,
        "max_stop_sequences": wire.MAX_STOP_SEQUENCES, "max_input_tokens": total - 1,
        "max_total_tokens": total, "validation_workers": 1,
        "max_client_batch_size": _MOST_PROMPTS, "router": "text-generation-router",
        "version": answers.VERSION, "sha": None, "docker_label": None,
    })  # fmt: skip


async def _models(served: ServedModel, request: Request) -> Response:
    del request
    name = served.model.id
    entry = {"id": name, "object": "model", "created": 0, "owned_by": name}
    return JSONResponse({"object": "list", "data": [entry]})


async def _metrics(served: ServedModel, request: Request) -> Response:
    del request
    counts = served.counts
    lines = [
        f"tgi_request_count {counts.requests}",
        f"tgi_request_success {counts.successes}",
        *(f'tgi_request_failure{{err="{kind}"}} {n}' for kind, n in counts.failures.items()),
        f"tgi_queue_size {counts.waiting}",
        f"tgi_batch_current_size {counts.computing}",
    ]
    return PlainTextResponse("\n".join(lines) + "\n")


async def _truncated(served: ServedModel, body: wire.GenerateRequest) -> Prompt:
    prompt = await (await served.llama()).prompt(body.inputs)
    keep = body.parameters.truncate
    if not keep or keep >= len(prompt.tokens):
        return prompt
    return Prompt(text=prompt.text, tokens=prompt.tokens[-keep:])


async def _chat_prompt(served: ServedModel, body: wire.ChatRequest) -> Prompt:
    messages = [message.model_dump(exclude_none=True) for message in body.messages]
    return await (await served.llama()).chat_prompt(messages)


async def _first_prompt(served: ServedModel, body: wire.CompletionRequest) -> Prompt:
    text = body.prompt if isinstance(body.prompt, str) else body.prompt[0]
    return await (await served.llama()).prompt(text)


async def _prefill(served: ServedModel, prompt: Prompt) -> list[Json]:
    pieces = await (await served.llama()).tokenize(prompt.text)
    return [
        {"id": number, "text": piece.decode(errors="replace"), "logprob": None}
        for number, piece in pieces
    ]


async def _whole(
    served: ServedModel, prompt: Prompt, sampling: Sampling, *, limit: int, clock: Clock
) -> answers.Generated:
    served.counts.requests += 1
    async with aclosing(served.generate(prompt, sampling, max_tokens=limit, clock=clock)) as pieces:
        return await answers.gather(pieces, prompt, sampling.seed)


def _error_body(error: ModelServerError) -> Json:
    body: Json = {"error": str(error), "error_type": error.kind}
    percent = getattr(error, "percent", None)
    return body if percent is None else body | {"percent": percent}


def _standing(served: ServedModel) -> Json:
    reason = served.why_not()
    return {"ready": reason is None, "reason": None if reason is None else str(reason)}
