"""Everything that the OpenAPI schema allows: no response is our own error, and all fit the schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.helpers import people
from tests.helpers import service as helpers

from georgia.monitor.people.roles import Role
from georgia.web.access import ROUTES

pytestmark = [
    pytest.mark.slow,
    # Warnings of schemathesis and hypothesis themselves.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(autouse=True)
def _brief_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    helpers.end_streams_early(monkeypatch)


def test_every_allowed_request_is_handled(tmp_path: Path) -> None:
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    many = 10**6
    app = helpers.make_app(tmp_path, 5, uploads_per_minute=many, requests_per_minute=many)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers={"Host": "localhost"})
    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
    ]
    quick = settings(
        max_examples=25,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    n_operations = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        n_operations += 1

        @quick
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            headers = {"Host": "localhost", "Authorization": f"Bearer {helpers.TOKEN}"}
            response = case.call(headers=headers)
            case.validate_response(response, checks=checks, headers=headers)

        ask()
    # The page itself is no operation of the schema.
    assert n_operations == len(ROUTES) - 1


def test_every_request_of_every_role_is_handled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

    people.hash_quickly(monkeypatch)
    many = 10**6
    failures = dict.fromkeys(("login_failures", "login_failures_of_address", "login_failures_of_user"), many)
    with people.serving(tmp_path, requests_per_minute=many, **failures) as (service, app):
        schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers={"Host": "127.0.0.1"})
        checks = [not_a_server_error, status_code_conformance, response_schema_conformance]
        quick = settings(
            max_examples=2,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        operations = [each.ok() for each in schema.get_all_operations()]
        # Logging out is last: what comes after it would be asked by nobody.
        operations.sort(key=lambda each: each.path == "/api/session/end")
        assert len(operations) == len(ROUTES) - 1
        clients = {role: people.visit(app, role) for role in Role}
        cookies = {
            role: "; ".join(f"{name}={value}" for name, value in client.cookies.items())
            for role, client in clients.items()
        }
        for operation in operations:
            if operation.path == "/api/session/end":
                for role, client in clients.items():
                    assert client.get("/api/status").status_code == 200, f"the session of the {role} ended"

            @quick
            @given(case=operation.as_strategy())
            def ask(case: Any) -> None:
                for cookie in cookies.values():
                    headers = {"Host": "127.0.0.1:8420", "Origin": people.LOCAL, "Cookie": cookie}
                    response = case.call(headers=headers)
                    case.validate_response(response, checks=checks, headers=headers)

            ask()
        assert {client.get("/api/status").status_code for client in clients.values()} == {401}
        assert service.store.audit_log(limit=1, action="access denied")
