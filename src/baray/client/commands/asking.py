"""`baray ask`: a prompt to a model Service, or a question to a desk."""

from __future__ import annotations

from baray.client.cli import Cli, Leaf, argument, option
from baray.client.commands.desk import answer_lines
from baray.client.output import clean
from baray.client.sdk.completing import Completion, complete
from baray.client.sdk.transport import Endpoint, Json
from baray.core import Refused, parse_ref


def _ask(cli: Cli, service: str, prompt: str, *, stream: bool, chat: bool, max_tokens: int, temperature: float) -> None:
    name = parse_ref(service, kind="service").name
    found = cli.client.get(f"services/{name}")
    if found["kind"] == "desk":
        answer = cli.client.ask_desk(name, prompt)
        cli.screen.show(answer, lambda: answer_lines(cli, answer))
        return
    if "replicas" not in found:
        fix = f'POST {cli.client.status()["router_url"]}/v1/classify {{"model": "{name}", "input": "..."}}'
        raise Refused("wrong_kind", f"'{name}' is a classifier: it takes letters.", fix=fix)
    known = cli.client.status()
    endpoint = Endpoint(url=str(known["router_url"]), token=cli.client.endpoint.token)
    model = f"{cli.project}/{name}" if cli.project else name
    body: Json = {"model": model, "max_tokens": max_tokens, "temperature": temperature, "prompt": prompt}
    path = "/v1/completions"
    if chat:
        path = "/v1/chat/completions"
        del body["prompt"]
        body["messages"] = [{"role": "user", "content": prompt}]
    told = _follow(cli, endpoint, path, body, stream=stream and not cli.screen.as_json)
    document: Json = {"service": f"service:{name}", "id": told.id, "prompt": prompt, "answer": told.text}
    document |= {"finish": told.finish, "usage": told.usage}
    lines = [] if stream else [clean(told.text)]
    cli.screen.show(document, lambda: [*lines, cli.screen.style(f"  {told.finish}  {told.id}", "dim")])


def _follow(cli: Cli, endpoint: Endpoint, path: str, body: Json, *, stream: bool) -> Completion:
    told, shown = Completion(), 0
    for told in complete(endpoint, path, body):
        if stream:
            cli.screen.out.write(clean(told.text[shown:]))
            cli.screen.out.flush()
            shown = len(told.text)
    if stream:
        cli.screen.out.write("\n")
    return told


ASK = Leaf(
    run=_ask,
    params=(
        argument("service"),
        argument("prompt"),
        option("--stream", is_flag=True, help="Show the answer as it is made."),
        option("--chat", is_flag=True, help="Ask as a turn of a chat, for Models that were taught to answer."),
        option("--max-tokens", type=int, default=128, help="Tokens of the answer at most."),
        option("--temperature", type=float, default=0.0, help="0 takes the likeliest token each time."),
    ),
    example='baray ask chat "ភ្នំពេញ" --stream',
)
