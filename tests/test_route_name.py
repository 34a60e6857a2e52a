"""A route's name is read from what code put into the scope, and holds nothing of what a client sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeninfer._route_name import MOUNTED, UNMATCHED, RouteNames, route_name


@dataclass
class Route:
    path: Any
    endpoint: object = None


@dataclass
class Mounted:
    """A route that has routes within."""

    path: str
    routes: list[Any] = field(default_factory=list)


@dataclass
class Context:
    original_route: object
    path_format: str


TEMPLATE = "/predict/{x}"


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize(
    ("scope", "name"),
    [
        ({"path_template": TEMPLATE}, TEMPLATE),
        ({"route": Route(TEMPLATE)}, TEMPLATE),
        ({"path_template": TEMPLATE, "route": Route("/other")}, TEMPLATE),
        ({"route": None}, None),
        ({"route": object()}, None),
        ({"path": "/raw/path", "raw_path": b"/raw/path"}, None),
        ({"endpoint": print}, None),
        ({"fastapi": {}}, None),
        ({"route": Route("/x"), "root_path": ""}, "/x"),
        ({"route": Route("/x"), "root_path": None}, "/x"),
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],
)
def test_where_the_template_may_be(scope: dict[str, Any], name: str | None, ended: bool) -> None:
    assert route_name(scope, "", ended=ended) == name


def test_a_route_of_an_included_router_has_its_prefix() -> None:
    route = Route("/x")
    scope = {"route": route, "fastapi": {"effective_route_context": Context(route, "/v1/x")}}
    assert route_name(scope, "", ended=True) == "/v1/x"


def test_the_context_of_another_route_is_nobodys() -> None:
    scope = {"route": Route("/x"), "fastapi": {"effective_route_context": Context(Route("/x"), "/v1/x")}}
    assert route_name(scope, "", ended=True) == "/x"


def test_a_mount_is_no_name_while_the_route_within_may_come() -> None:
    scope = {"route": Mounted("/m", [Route("/x")])}
    assert route_name(scope, "", ended=False) is None


@pytest.mark.parametrize("template", [5, b"/x", ["/x"], object()], ids=lambda each: type(each).__name__)
def test_a_template_that_is_not_a_string(template: object) -> None:
    with pytest.raises(TypeError, match=r"route template .* is not a string"):
        route_name({"path_template": template}, "", ended=True)
    with pytest.raises(TypeError, match=r"route template .* is not a string"):
        route_name({"route": Route(template)}, "", ended=True)


@pytest.mark.parametrize("client", ["acme", "../..", "{x}", "\n", "ä"])
def test_a_root_path_that_nothing_in_the_code_explains(client: str) -> None:
    scope = {"route": Route(TEMPLATE), "root_path": f"/{client}"}
    assert route_name(scope, "", ended=True) == MOUNTED + TEMPLATE


@given(
    root_path=st.text(max_size=8),
    now=st.text(max_size=8),
    parameters=st.dictionaries(st.text(max_size=4), st.text(max_size=8)),
    path=st.text(max_size=8),
)
def test_nothing_of_a_client_is_in_a_name(root_path: str, now: str, parameters: dict[str, str], path: str) -> None:
    scope = {"route": Route(TEMPLATE), "root_path": root_path + now, "path_params": parameters, "path": path}
    assert route_name(scope, root_path, ended=True) in (TEMPLATE, MOUNTED + TEMPLATE)


def test_names_are_looked_for_once_and_remembered_for_each_route() -> None:
    names = RouteNames("m")
    routes = [Route(f"/route{number}") for number in range(20)]
    for _ in range(3):
        for number, route in enumerate(routes):
            assert names.key({"route": route}, "") == (f"/route{number}", "m")
    assert names.key({}, "") == (UNMATCHED, "m")


def test_what_is_remembered_does_not_grow_without_end() -> None:
    """Even if somebody makes a route for each request, and each has its own name."""
    names = RouteNames("")
    for number in range(5000):
        assert names.key({"route": Route(f"/{number}")}, "") == (f"/{number}", "")
    assert len(names._known) <= 1000
