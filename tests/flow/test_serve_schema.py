"""Everything that the OpenAPI schema allows: no response is our own error, and all fit the schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.helpers import service as helpers

pytestmark = [
    pytest.mark.slow,
    # Warnings of schemathesis and hypothesis themselves.
    pytest.mark.filterwarnings("ignore"),
]


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
        if operation.path == "/api/events":  # never ends
            continue
        n_operations += 1

        @quick
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            headers = {"Host": "localhost", "Authorization": f"Bearer {helpers.TOKEN}"}
            response = case.call(headers=headers)
            case.validate_response(response, checks=checks, headers=headers)

        ask()
    assert n_operations >= 18
