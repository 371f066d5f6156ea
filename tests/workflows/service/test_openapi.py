"""The service is as its OpenAPI document says; schemathesis makes up what is asked of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import requests
import schemathesis
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.generation import GenerationMode
from schemathesis.schemas import BaseSchema

from admf.workflows.experiment import Experiment
from admf.workflows.service import ServiceLimits
from tests.workflows.service.serving import Host, experiment, serving

OPERATIONS = [
    "GET /healthz",
    "GET /readyz",
    "POST /runs",
    "GET /runs",
    "GET /runs/{run_id}",
    "DELETE /runs/{run_id}",
    "GET /runs/{run_id}/events",
    "GET /runs/{run_id}/results",
    "GET /runs/{run_id}/results/metrics",
    "GET /runs/{run_id}/results/phases/{phase}",
    "GET /runs/{run_id}/results/phases/{phase}/metrics",
    "GET /runs/{run_id}/results/phases/{phase}/containers",
    "GET /runs/{run_id}/results/phases/{phase}/containers/{container}",
    "GET /runs/{run_id}/results/phases/{phase}/containers/{container}/trades",
    "GET /runs/{run_id}/results/phases/{phase}/containers/{container}/equity",
    "GET /openapi.json",
]
LIMITS = ServiceLimits(progress_s=0.0, burst=100_000, replay_s=0.0)
EXAMPLES = 12


class Client:
    """A client of a service that runs in an event loop of its own."""

    def __init__(self, host: Host, portal: BlockingPortal) -> None:
        self._host = host
        self._portal = portal

    def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        return self._portal.call(partial(self._host.client.request, method, url, **options))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("service")
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serving(folder, limits=LIMITS)) as host,
    ):
        yield Client(host, portal)


@pytest.fixture(scope="module")
def document(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = client.request("GET", "/openapi.json").json()
    return found


@pytest.fixture(scope="module")
def described(document: dict[str, Any]) -> BaseSchema:
    """The document as schemathesis reads it, which takes a while."""
    return schemathesis.openapi.from_dict(document)


@pytest.fixture(scope="module")
def places(client: Client) -> dict[str, str]:
    """What the path parameters of a run that is over may be."""
    run_id = client.request("POST", "/runs", json=experiment()).json()["id"]
    client.request("GET", f"/runs/{run_id}/events")
    return {"run_id": run_id, "phase": "backtest", "container": "portfolio_001"}


def test_the_document_has_all_that_can_be_asked_and_nothing_else(document: dict[str, Any]) -> None:
    found = [f"{method.upper()} {path}" for path, it in document["paths"].items() for method in it]
    assert sorted(found) == sorted(OPERATIONS)


def test_the_document_is_valid_and_complete(
    document: dict[str, Any], described: BaseSchema
) -> None:
    assert document["openapi"] == "3.1.0"
    described.validate()
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for path in document["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            assert "500" in operation["responses"]


async def asked(tmp_path: Path, token: str | None) -> dict[str, Any]:
    host = Host(tmp_path, token=token)
    headers = {"authorization": f"Bearer {token}"}
    found: dict[str, Any] = (await host.client.get("/openapi.json", headers=headers)).json()
    return found


@pytest.mark.anyio
async def test_the_document_says_what_needs_a_token(tmp_path: Path) -> None:
    free, guarded = await asked(tmp_path, None), await asked(tmp_path, "x")
    assert "securitySchemes" not in free["components"]
    assert guarded["components"]["securitySchemes"] == {
        "token": {"type": "http", "scheme": "bearer"}
    }
    for name, path in guarded["paths"].items():
        for operation in path.values():
            is_open = name in ("/healthz", "/readyz")
            assert ("401" in operation["responses"]) is not is_open
            assert ("security" in operation) is not is_open


def test_the_schema_of_an_experiment_is_that_of_its_file(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert set(schemas["Experiment"]["properties"]) == set(Experiment.__struct_fields__)
    assert "description" in schemas["Experiment"]["properties"]["workflow"]
    schema = {"$ref": "#/components/schemas/Experiment", "components": document["components"]}
    jsonschema.validate(experiment(), schema)


def cases() -> Iterator[Any]:
    """Yield operations, how right they are asked, and whether of a run that there is."""
    for label in OPERATIONS:
        yield pytest.param(label, GenerationMode.POSITIVE, False, id=f"{label} rightly")
        if "{" in label:
            yield pytest.param(label, GenerationMode.POSITIVE, True, id=f"{label} of a run")
        if label not in ("GET /healthz", "GET /readyz", "GET /openapi.json"):
            yield pytest.param(label, GenerationMode.NEGATIVE, False, id=f"{label} wrongly")


@pytest.mark.parametrize(("label", "mode", "known"), [*cases()])
def test_every_answer_is_as_described(
    client: Client,
    described: BaseSchema,
    places: dict[str, str],
    label: str,
    mode: GenerationMode,
    known: bool,
) -> None:
    method, path = label.split(" ")
    operation = described[path][method]
    there = {name: it for name, it in places.items() if f"{{{name}}}" in path}
    options = {"path_parameters": there} if known else {}

    @settings(
        max_examples=EXAMPLES,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
        derandomize=True,
        database=None,
    )
    @given(case=operation.as_strategy(mode, **options))
    def ask(case: Any) -> None:
        sent = requests.Request(**case.as_transport_kwargs(base_url="http://service")).prepare()
        response = client.request(
            str(sent.method), str(sent.url), headers=dict(sent.headers), content=sent.body
        )
        excluded = [schemathesis.checks.CHECKS.get_one("positive_data_acceptance")]
        case.validate_response(response, excluded_checks=excluded)

    ask()
