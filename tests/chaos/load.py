"""The load: several clients who submit small tasks of all sorts over HTTP, for as long as the run lasts.

Seeded: who submits what in which order is a function of the seed; when it arrives is not. A submit that is not answered is repeated with the
same key, at the other API, as any sensible client does. At most so many requests are under way, so an outage does not pile up
work without end.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any, Final, NamedTuple

import httpx2

from daybook import clock

from .history import History, task_of

_CLIENTS: Final = 5
_UNDER_WAY: Final = 48
_TIMEOUT_SECONDS: Final = 3.0
_PAUSES_SECONDS: Final = (0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0)


class Order(NamedTuple):
    """What a client wants: the body of a submit, and after how long it changes its mind, if ever."""

    body: dict[str, Any]
    cancel_after_seconds: float | None = None


class Load:
    """Submits at a rate, while it is not told to rest."""

    def __init__(self, urls: list[str], token: str, history: History, *, seed: int, per_second: float) -> None:
        self._history = history
        self._seed = seed
        self._rate = per_second
        self._going = asyncio.Event()
        self._room = asyncio.Semaphore(_UNDER_WAY)
        self._under_way: set[asyncio.Task[None]] = set()
        self._errors: list[BaseException] = []
        self._clients: list[asyncio.Task[None]] = []
        headers = {"Authorization": f"Bearer {token}"}
        limits = httpx2.Limits(max_connections=100)
        self._apis = [httpx2.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT_SECONDS, trust_env=False, limits=limits) for url in urls]

    async def __aenter__(self) -> Load:
        self._clients = [asyncio.create_task(self._submit_all(f"client-{number}")) for number in range(_CLIENTS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, *self._under_way, return_exceptions=True)
        for api in self._apis:
            await api.aclose()

    def go(self) -> None:
        """Submit, from now on."""
        self._going.set()

    async def rest(self) -> None:
        """Submit nothing new, and return when everything that was asked is answered or given up."""
        self._going.clear()
        while self._under_way:
            await asyncio.wait(self._under_way)
        if self._errors:
            raise self._errors[0]

    async def _submit_all(self, client: str) -> None:
        chance = Random(f"{self._seed} {client}")
        number = 0
        while True:
            await self._going.wait()
            await self._room.acquire()
            key = f"{self._seed}-{client}-{number}"
            number += 1
            task = asyncio.create_task(self._carry_out(client, key, order(chance), twice=chance.random() < 0.05))
            self._under_way.add(task)
            task.add_done_callback(self._answered)
            await asyncio.sleep(chance.expovariate(self._rate / _CLIENTS))

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._room.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._errors.append(error)

    async def _carry_out(self, client: str, key: str, wanted: Order, *, twice: bool) -> None:
        self._history.attempt(key)
        first = hash_of(key) % len(self._apis)
        answered = await self._ask(client, "submit", key, wanted.body["app"], "/v1/tasks", wanted.body, first)
        if answered and twice:
            await self._ask(client, "submit", key, wanted.body["app"], "/v1/tasks", wanted.body, first + 1)
        if answered and wanted.cancel_after_seconds is not None:
            await asyncio.sleep(wanted.cancel_after_seconds)
            await self._ask(client, "cancel", key, wanted.body["app"], f"/v1/tasks/{task_of(key)}/cancel", {}, first)

    async def _ask(self, client: str, what: str, key: str, app: str, path: str, body: dict[str, Any], first: int) -> bool:
        """Ask until somebody answers, or patience ends. Whether it was granted."""
        told = {"client": client, "what": what, "key": key, "app": app}
        for turn, pause in enumerate(_PAUSES_SECONDS):
            asked_at = clock.now().timestamp()
            try:
                answer = await self._apis[(first + turn) % len(self._apis)].post(path, json=body, headers={"Idempotency-Key": key})
            except httpx2.HTTPError as error:
                self._history.note(**told, asked_at=asked_at, outcome="unknown", task=task_of(key), detail=type(error).__name__)
            else:
                found = answer.json() if answer.is_success else {}
                # A refusal of the server's own making says nothing about what happened before it.
                outcome = "ok" if answer.is_success else "unknown" if answer.is_server_error or answer.status_code == 429 else "refused"
                self._history.note(
                    **told,
                    asked_at=asked_at,
                    outcome=outcome,
                    status=answer.status_code,
                    task=found.get("id", task_of(key)),
                    detail="" if answer.is_success else answer.text[:300],
                )
                if outcome != "unknown":
                    return outcome == "ok"
            await asyncio.sleep(pause)
        return False


def order(chance: Random) -> Order:
    """What is wanted next."""
    dice = chance.random()
    body: dict[str, Any] = {"app": "chaos.work", "input": {"seconds": round(chance.uniform(0.01, 0.2), 3)}}
    cancel_after = None
    if dice < 0.10:
        body["input"] = {"seconds": round(chance.uniform(1, 3), 3)}
    elif dice < 0.17:
        body["input"] = {"seconds": round(chance.uniform(1.5, 3), 3)}
        cancel_after = chance.uniform(0.3, 1.2)
    elif dice < 0.23:
        body = {"app": "chaos.stumble", "input": {"failures": chance.choice((1, 1, 2))}}
    elif dice < 0.30:
        body["delay"] = round(chance.uniform(0.3, 2), 3)
    elif dice < 0.36:
        body["app"] = "chaos.plain"
    elif dice < 0.38:
        body["app"] = "chaos.apart"
    elif dice < 0.40:
        body = {"app": "chaos-command", "input": {"seconds": f"{chance.uniform(0.5, 2):.2f}"}}
    elif dice < 0.44:
        body |= {"input": {"seconds": round(chance.uniform(0.5, 2), 3)}, "delivery": "at_most_once"}
    elif dice < 0.52:
        # A cancel that meets the claim, or the end.
        cancel_after = chance.choice((0.0, 0.01, body["input"]["seconds"]))
    body["priority"] = chance.randint(1, 5)
    return Order(body, cancel_after)


def hash_of(key: str) -> int:
    """The same for a key in every run; Python's own `hash` is not."""
    return sum(key.encode())
