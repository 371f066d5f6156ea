"""Who may ask, and how often."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from pathlib import Path

import pytest

from admf.engine.clock import SimulatedClock
from admf.workflows.service import ServiceLimits, create_app
from admf.workflows.service.access import TokenBuckets, is_token
from tests.workflows import hosting
from tests.workflows.service.serving import Exchange, Host

pytestmark = pytest.mark.anyio

TOKEN = "correct horse battery staple"  # noqa: S105 - of no service
PATHS = ["/runs", "/runs/x", "/openapi.json", "/nope", "/runs/x/events"]
SECOND = 1_000_000_000


@pytest.mark.parametrize("path", PATHS)
async def test_nothing_is_told_without_a_token(tmp_path: Path, path: str) -> None:
    response = await Host(tmp_path, token=TOKEN).client.get(path)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Bearer realm="admf"'
    assert response.headers["content-type"] == "application/problem+json"
    assert TOKEN not in response.text


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_whether_it_is_alive_is_told_to_everybody(tmp_path: Path, path: str) -> None:
    host = Host(tmp_path, token=TOKEN)
    async with host.runner:
        assert (await host.client.get(path)).status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_right_token_opens(tmp_path: Path, scheme: str) -> None:
    headers = {"authorization": f"{scheme} {TOKEN}"}
    response = await Host(tmp_path, token=TOKEN).client.get("/runs", headers=headers)
    assert response.status_code == 200


WRONG = [
    b"",
    b"Bearer",
    b"Bearer ",
    TOKEN.encode(),
    b"Basic " + TOKEN.encode(),
    b"Bearer" + TOKEN.encode(),
    b"Bearer wrong",
    b"Bearer " + TOKEN[:-1].encode(),
    b"Bearer " + TOKEN.encode() + b"x",
    b"Bearer " + TOKEN.encode() + b"\x00",
    b"Bearer " + TOKEN.upper().encode(),
    b"Bearer " + TOKEN.replace("o", "\u03bf").encode(),
    b"Bearer \xff\xfe",
    b"Bearer " + b"x" * 10_000,
]


@pytest.mark.parametrize("value", WRONG, ids=lambda it: it[:40].decode("latin-1"))
async def test_any_other_token_does_not(tmp_path: Path, value: bytes) -> None:
    host = Host(tmp_path, token=TOKEN)
    exchange = Exchange(host.app, "/runs", headers={"authorization": value.decode("latin-1")})
    await exchange.task
    assert exchange.status == 401


async def test_two_tokens_are_none(tmp_path: Path) -> None:
    headers = [("authorization", f"Bearer {TOKEN}")] * 2
    response = await Host(tmp_path, token=TOKEN).client.get("/runs", headers=headers)
    assert response.status_code == 401


@pytest.mark.parametrize("given", [b"", b"x", TOKEN.encode(), TOKEN.encode() + b"x" * 1_000])
def test_the_constant_time_comparison_of_equal_lengths_decides(
    monkeypatch: pytest.MonkeyPatch, given: bytes
) -> None:
    compared: list[Sequence[bytes]] = []

    def compare(*digests: bytes) -> bool:
        compared.append(digests)
        return answer

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for answer in (True, False):
        assert is_token(given, TOKEN) is answer
    assert {len(it) for pair in compared for it in pair} == {32}
    assert all(isinstance(it, bytes) for pair in compared for it in pair)


async def test_the_token_is_compared_even_if_none_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hmac, "compare_digest", lambda *_: True)
    response = await Host(tmp_path, token=TOKEN).client.get("/runs")
    assert response.status_code == 401  # as it has no scheme


@pytest.mark.parametrize("token", ["", " ", "\u00e9", "a\nb"])
def test_a_token_is_plain(tmp_path: Path, token: str) -> None:
    with pytest.raises(ValueError, match="token"):
        create_app(hosting.runner(tmp_path), token=token, data_root=tmp_path)


async def test_who_asks_too_often_is_told_when_to_come_again(tmp_path: Path) -> None:
    clock = SimulatedClock()
    limits = ServiceLimits(requests_per_s=0.5, burst=3)
    host = Host(tmp_path, limits=limits, clock=clock)

    async def ask() -> int:
        return (await host.client.get("/runs")).status_code

    assert [await ask() for _ in range(4)] == [200, 200, 200, 429]
    response = await host.client.get("/runs")
    assert (response.status_code, response.headers["retry-after"]) == (429, "2")
    clock.advance_to(2 * SECOND)
    assert [await ask() for _ in range(2)] == [200, 429]
    assert (await host.client.get("/healthz")).status_code == 200


async def test_guesses_of_the_token_are_counted(tmp_path: Path) -> None:
    limits = ServiceLimits(burst=1)
    host = Host(tmp_path, limits=limits, clock=SimulatedClock(), token=TOKEN)
    codes = [(await host.client.get("/runs")).status_code for _ in range(2)]
    assert codes == [401, 429]


def test_clients_are_counted_each_for_itself_and_forgotten_in_the_end() -> None:
    buckets = TokenBuckets(ServiceLimits(burst=1, clients=2), SimulatedClock())
    assert [buckets.take(it) > 0 for it in ("a", "b", "a", "b")] == [False, False, True, True]
    assert not buckets.take("c")
    assert len(buckets) == 2
    assert not buckets.take("a")  # it was forgotten


async def test_clients_without_an_address_are_one(tmp_path: Path) -> None:
    host = Host(tmp_path, limits=ServiceLimits(burst=1), clock=SimulatedClock())
    codes: list[int] = []

    async def without_address(scope: object, receive: object, send: object) -> None:
        assert isinstance(scope, dict)
        await host.app({**scope, "client": None}, receive, send)  # type: ignore[arg-type]

    for _ in range(2):
        exchange = Exchange(without_address, "/runs")  # type: ignore[arg-type]
        await exchange.task
        codes.append(exchange.status)
    assert codes == [200, 429]
