"""The one line in an application that has metrics of its own: nothing is counted twice, nothing is hidden."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any

import pytest
import torch
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, make_asgi_app
from prometheus_fastapi_instrumentator import Instrumentator, metrics
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from exporter import ConfigError, InferenceExporter
from tests.apps import Caller, Samples, samples_of, value

MODEL = {"model": "m", "version": ""}
N = 7
pytestmark = pytest.mark.usefixtures("default_registry")
Add = Callable[[Any], object]


@pytest.fixture
def exporters() -> Iterator[list[InferenceExporter]]:
    made: list[InferenceExporter] = []
    yield made
    for exporter in made:
        exporter.stop()


@pytest.fixture
def hook(exporters: list[InferenceExporter]) -> Callable[..., InferenceExporter]:
    def make(model: str = "m", **settings: Any) -> InferenceExporter:
        exporters.append(InferenceExporter(model=model, **settings))
        return exporters[-1]

    return make


def service(path: str = "/predict", **settings: Any) -> FastAPI:
    app = FastAPI(**settings)

    @app.post(path)
    async def predict() -> dict[str, Any]:
        return {"prediction": "cat", "probability": 0.9}

    return app


def requests(samples: Samples, handler: str = "/predict") -> float | None:
    return value(samples, "http_requests_total", handler=handler, method="POST", status="2xx")


def assert_everything_once(samples: Samples, n: int = N, handler: str = "/predict") -> None:
    assert requests(samples, handler) == n
    assert value(samples, "http_request_duration_seconds_count", handler=handler, method="POST") == n
    assert value(samples, "http_request_size_bytes_count", handler=handler) == n
    assert value(samples, "prediction_confidence_count", **MODEL) == n
    assert value(samples, "predicted_class_total", **MODEL, class_name="cat") == n
    assert value(samples, "inference_exporter_processed_total", **MODEL) == n
    assert any(name == "python_info" for name, _ in samples)
    assert any(name.startswith("process_") for name, _ in samples)


def theirs(app: FastAPI, **settings: Any) -> None:
    """As the documentation of prometheus-fastapi-instrumentator has it."""
    Instrumentator().instrument(app).expose(app, **settings)


def both(order: str, app: Any, ours: Add, others: Add) -> None:
    for step in {"before": (ours, others), "after": (others, ours), "instead": (ours,)}[order]:
        step(app)


@pytest.mark.parametrize("order", ["before", "after", "instead"])
async def test_an_instrumentator_and_the_one_line_in_either_order(
    order: str, hook: Any, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "exporter.hook")
    app = service()
    orders = Counter("orders_total", "The application's own.")
    exporter = hook()
    both(order, app, lambda app: exporter.instrument(app).expose(app), theirs)
    caller = Caller(app, exporter)
    await caller.predict(N)
    orders.inc(3)
    samples = await caller.scrape()
    assert_everything_once(samples)
    assert value(samples, "orders_total") == 3
    # Its own buckets show who counts.
    fine = value(
        samples, "http_request_duration_seconds_bucket", handler="/predict", method="POST", le="0.005"
    )
    assert (fine is None) == (order != "instead")
    said = "\n".join(record.getMessage() for record in caplog.records)
    assert said.count("has an Instrumentator of its own, which counts its requests") == (order != "instead")
    assert said.count("has a route of its own at /metrics, which is kept") == (order == "after")
    await caller.scrape()
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    # Theirs describes itself in the application's documentation, ours does not.
    assert ("/metrics" in app.openapi()["paths"]) == (order != "instead")


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("part", ["instrument", "expose"])
async def test_an_application_that_does_but_half_of_it(order: str, part: str, hook: Any):
    app = service()
    exporter = hook()
    both(
        order,
        app,
        lambda app: exporter.instrument(app).expose(app),
        getattr(Instrumentator(), part),
    )
    caller = Caller(app, exporter)
    await caller.predict(N)
    assert_everything_once(await caller.scrape())


async def test_a_route_that_is_added_at_the_start_is_kept_too(hook: Any):
    """expose() in a start-up handler, as old documentation has it."""
    app = service()
    instrumentator = Instrumentator().instrument(app)
    exporter = hook().instrument(app).expose(app)
    caller = Caller(app, exporter)
    await caller.predict(N)
    instrumentator.expose(app, tags=["operations"])
    response = await caller.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=1.0.0")
    assert_everything_once(await caller.scrape())


@pytest.mark.parametrize("order", ["before", "after"])
async def test_what_an_instrumentator_counts_otherwise_is_not_what_we_count(order: str, hook: Any):
    app = service()
    exporter = hook()

    def others(app: FastAPI) -> None:
        Instrumentator().instrument(app, metric_namespace="shop").expose(app)

    both(order, app, lambda app: exporter.instrument(app).expose(app), others)
    caller = Caller(app, exporter)
    await caller.predict(N)
    samples = await caller.scrape()
    assert_everything_once(samples)
    labels = {"handler": "/predict", "method": "POST", "status": "2xx"}
    assert value(samples, "shop_http_requests_total", **labels) == N


@pytest.mark.parametrize("order", ["before", "after"])
async def test_of_the_http_metrics_only_those_are_counted_that_nobody_else_counts(
    order: str, hook: Any, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "exporter.hook")
    app = service()
    exporter = hook()

    def others(app: FastAPI) -> None:
        Instrumentator().add(metrics.request_size()).instrument(app).expose(app)
        own = Counter("http_requests_total", "Counted by hand.", ["path"])

        @app.middleware("http")
        async def count(request: Request, call_next: Any) -> Any:
            own.labels(request.url.path).inc()
            return await call_next(request)

    both(order, app, lambda app: exporter.instrument(app).expose(app), others)
    caller = Caller(app, exporter)
    await caller.predict(N)
    samples = await caller.scrape()
    assert value(samples, "http_requests_total", path="/predict") == N
    assert requests(samples) is None
    assert value(samples, "http_request_duration_seconds_count", handler="/predict", method="POST") == N
    assert value(samples, "http_response_size_bytes_count", handler="/predict") == N
    labels = {"handler": "/predict", "method": "POST", "status": "2xx"}
    assert value(samples, "http_request_size_bytes_count", **labels) == N
    assert "the application counts http_requests_total, http_request_size_bytes itself" in caplog.text


def by_an_instrumentator(app: FastAPI, registry: CollectorRegistry) -> None:
    Instrumentator(registry=registry).instrument(app).expose(app)


def by_a_mounted_application(app: FastAPI, registry: CollectorRegistry) -> None:
    app.mount("/metrics", make_asgi_app(registry=registry))


def by_a_handler(app: FastAPI, registry: CollectorRegistry) -> None:
    @app.get("/metrics")
    def show() -> Response:
        return Response(generate_latest(registry))


def by_a_router(app: FastAPI, registry: CollectorRegistry) -> None:
    router = APIRouter(prefix="/metrics")
    router.get("")(partial(lambda held: PlainTextResponse(generate_latest(held)), registry))
    app.include_router(router)


def by_a_method(app: FastAPI, registry: CollectorRegistry) -> None:
    class Page:
        def __init__(self) -> None:
            self.held = registry

        async def show(self) -> Response:
            return Response(generate_latest(self.held))

    app.add_api_route("/metrics", Page().show)


WAYS = [by_an_instrumentator, by_a_mounted_application, by_a_handler, by_a_router, by_a_method]


@pytest.mark.parametrize("way", WAYS)
class TestAnotherRegistry:
    """A route that shows another registry than ours would hide every one of our metrics."""

    def path(self, way: Any) -> str:
        return "/metrics/" if way is by_a_mounted_application else "/metrics"

    def test_it_is_an_error_that_says_what_to_pass(self, way: Any, hook: Any):
        app = service()
        way(app, CollectorRegistry())
        exporter = hook().instrument(app)
        n_routes = len(app.routes)
        with pytest.raises(ConfigError) as error:
            exporter.expose(app)
        assert str(error.value) == (
            "expose: the route at /metrics that the application has already shows another registry than this "
            "exporter's; pass InferenceExporter(..., registry=) the one that is shown there (without "
            "registry=, it is prometheus_client.REGISTRY), or show these metrics elsewhere: "
            'expose(app, endpoint="/inference-metrics")'
        )
        assert len(app.routes) == n_routes

    async def test_passing_that_registry_helps(self, way: Any, hook: Any):
        app, registry = service(), CollectorRegistry()
        way(app, registry)
        exporter = hook(registry=registry).instrument(app).expose(app)
        caller = Caller(app, exporter)
        await caller.predict(N)
        samples = await caller.scrape(self.path(way))
        assert value(samples, "prediction_confidence_count", **MODEL) == N
        assert requests(samples) == N

    async def test_another_path_helps(self, way: Any, hook: Any, caplog: pytest.LogCaptureFixture):
        app = service()
        way(app, CollectorRegistry())
        exporter = hook().instrument(app).expose(app, endpoint="/inference-metrics")
        caller = Caller(app, exporter)
        await caller.predict(N)
        assert_everything_once(await caller.scrape("/inference-metrics"))
        assert value(await caller.scrape(self.path(way)), "prediction_confidence_count", **MODEL) is None
        assert not [record for record in caplog.records if record.levelno > logging.INFO]

    async def test_one_that_comes_later_is_kept_and_the_log_says_so(
        self, way: Any, hook: Any, caplog: pytest.LogCaptureFixture
    ):
        app = service()
        exporter = hook().instrument(app).expose(app)
        way(app, CollectorRegistry())
        caller = Caller(app, exporter)
        for _ in range(3):
            samples = await caller.scrape(self.path(way))
            assert not [name for name, _ in samples if name.startswith("inference_")]
        (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert "GET /metrics of the application does not show this exporter's metrics" in record.getMessage()
        assert 'expose(app, endpoint="/inference-metrics")' in record.getMessage()


def test_an_exporter_apart_beside_the_default_registry_is_the_same_error(hook: Any):
    app = service()
    theirs(app)
    with pytest.raises(ConfigError, match="shows another registry than this exporter's"):
        hook(registry=CollectorRegistry()).instrument(app).expose(app)


@pytest.mark.parametrize("order", ["before", "after"])
async def test_a_page_that_is_compressed_is_read(order: str, hook: Any, caplog: pytest.LogCaptureFixture):
    app = service()
    exporter = hook()
    both(
        order,
        app,
        lambda app: exporter.instrument(app).expose(app),
        lambda app: theirs(app, should_gzip=True),
    )
    caller = Caller(app, exporter)
    await caller.predict(N)
    assert (await caller.get("/metrics")).headers["content-encoding"] == "gzip"
    assert_everything_once(await caller.scrape())
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


PAGES = {"ours": generate_latest, "empty": lambda: b"# nothing\n"}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("order", ["before", "after"])
async def test_a_handler_that_cannot_be_read_is_looked_at_when_it_is_scraped(
    page: str, order: str, hook: Any, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "exporter.hook")
    app = service()
    exporter = hook()

    def others(app: FastAPI) -> None:
        @app.get("/metrics")
        def show() -> Response:
            return Response(PAGES[page]())

    both(order, app, lambda app: exporter.instrument(app).expose(app), others)
    assert ("the first scrape will tell" in caplog.text) == (order == "after")
    caller = Caller(app, exporter)
    await caller.get("/metrics", params={"name[]": "python_info"})  # a part of it tells nothing
    assert not [record for record in caplog.records if record.levelno == logging.ERROR]
    await caller.scrape()
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == (page == "empty")


def asks_for_login(credentials: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> None:
    if credentials.password != "secret":
        raise HTTPException(401)


@pytest.mark.parametrize("order", ["before", "after"])
async def test_a_route_that_asks_for_a_login_asks_for_it_still(
    order: str, hook: Any, caplog: pytest.LogCaptureFixture
):
    app = service()
    exporter = hook()
    both(
        order,
        app,
        lambda app: exporter.instrument(app).expose(app),
        lambda app: theirs(app, dependencies=[Depends(asks_for_login)]),
    )
    caller = Caller(app, exporter)
    await caller.predict(N)
    assert (await caller.get("/metrics")).status_code == 401
    assert (await caller.get("/metrics", auth=("scraper", "wrong"))).status_code == 401
    assert_everything_once(await caller.scrape(auth=("scraper", "secret")))
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_a_login_of_the_whole_application_holds_for_our_route(hook: Any):
    app = service(dependencies=[Depends(asks_for_login)])
    hook().expose(app)
    caller = Caller(app)
    assert (await caller.get("/metrics")).status_code == 401
    assert (await caller.get("/metrics", auth=("scraper", "secret"))).status_code == 200


async def test_a_route_for_something_else_is_no_scrape_route(hook: Any):
    """A POST of reports at the same path, and a route for all that is left over."""
    app = service()
    app.post("/metrics")(lambda: {"taken": True})
    app.get("/{rest:path}")(lambda rest: {"page": rest})
    exporter = hook().instrument(app).expose(app)
    caller = Caller(app, exporter)
    await caller.predict(N)
    assert_everything_once(await caller.scrape())
    assert (await caller.get("/other")).json() == {"page": "other"}


async def test_starlette_without_fastapi(hook: Any):
    async def predict(request: Any) -> JSONResponse:
        return JSONResponse({"prediction": "cat", "probability": 0.9})

    app = Starlette(routes=[Route("/predict", predict, methods=["POST"]), Mount("/", app=make_asgi_app())])
    exporter = hook().instrument(app).expose(app)
    caller = Caller(app, exporter)
    await caller.predict(N)
    assert_everything_once(await caller.scrape())


class TestNames:
    """The metrics that the source material has a reader define by hand carry the names of ours."""

    def test_one_that_the_application_has_is_an_error_that_says_what_to_do(self):
        Histogram("prediction_confidence", "Model prediction confidence", buckets=[0.5, 1.0])
        with pytest.raises(ConfigError) as error:
            InferenceExporter(model="m")
        assert str(error.value) == (
            "registry: it holds prediction_confidence already, a histogram with no labels ('Model prediction "
            "confidence'), and this exporter has a metric of that name; take the other out, if this one "
            "counts the same, or give the exporter a registry and a path of its own: "
            'registry=CollectorRegistry(), and expose(app, endpoint="/inference-metrics")'
        )

    async def test_both_are_shown_as_the_message_says(self, hook: Any):
        own = Histogram("prediction_confidence", "Model prediction confidence", buckets=[0.5, 1.0])
        app = service()
        theirs(app)
        exporter = hook(registry=CollectorRegistry()).instrument(app).expose(app, "/inference-metrics")
        caller = Caller(app, exporter)
        await caller.predict(N)
        own.observe(0.25)
        samples = await caller.scrape()
        assert value(samples, "prediction_confidence_count") == 1
        assert requests(samples) == N
        samples = await caller.scrape("/inference-metrics")
        assert value(samples, "prediction_confidence_count", **MODEL) == N
        assert requests(samples) == N


async def test_two_models_in_one_application(hook: Any, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "exporter.hook")
    app = service("/cats")
    app.post("/dogs")(lambda: {"prediction": "dog", "probability": 0.8})
    cats = hook("cats", capture={"paths": ["/cats"]}).instrument(app).expose(app)
    dogs = hook("dogs", capture={"paths": ["/dogs"]}).instrument(app).expose(app)
    assert [getattr(route, "path", None) for route in app.routes].count("/metrics") == 1
    caller = Caller(app, cats, dogs)
    await caller.predict(3, "/cats")
    await caller.predict(5, "/dogs")
    samples = await caller.scrape()
    assert requests(samples, "/cats") == 3
    assert requests(samples, "/dogs") == 5
    for model, class_name, n in (("cats", "cat", 3), ("dogs", "dog", 5)):
        assert value(samples, "inference_exporter_processed_total", model=model, version="") == n
        labels = {"model": model, "version": "", "class_name": class_name}
        assert value(samples, "predicted_class_total", **labels) == n
    # The route that the second finds is the first one's.
    assert not caplog.records


async def test_two_applications_in_one_process(hook: Any):
    one, two = service(), service()
    first = hook("one").instrument(one).expose(one)
    second = hook("two").instrument(two).expose(two)
    callers = Caller(one, first, second), Caller(two, first, second)
    await callers[0].predict(3)
    await callers[1].predict(5)
    for caller in callers:
        samples = await caller.scrape()
        assert requests(samples) == 8
        assert value(samples, "inference_exporter_processed_total", model="one", version="") == 3
        assert value(samples, "inference_exporter_processed_total", model="two", version="") == 5


async def test_an_instrumentator_of_a_second_application_finds_ours_there(hook: Any):
    """It makes no metrics then, and counts nothing: what it would have counted, ours does."""
    one, two = service(), service("/other")
    first = hook("one").instrument(one).expose(one)
    caller = Caller(one, first)
    await caller.predict(1)
    theirs(two)
    second = hook("two", capture={"paths": ["/other"]}).instrument(two).expose(two)
    await Caller(two, second).predict(4, "/other")
    samples = await caller.scrape()
    assert requests(samples) == 1
    assert requests(samples, "/other") == 4


async def test_two_calls_count_once_and_warn(hook: Any, caplog: pytest.LogCaptureFixture):
    app = service()
    exporter = hook().instrument(app).expose(app)
    assert not caplog.records
    exporter.instrument(app).expose(app)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the application is instrumented by this exporter already" in caplog.text
    assert [getattr(route, "path", None) for route in app.routes].count("/metrics") == 1
    caller = Caller(app, exporter)
    await caller.predict(N)
    assert_everything_once(await caller.scrape())


async def test_an_application_that_serves_already_is_an_error(hook: Any):
    app = service()
    await Caller(app).predict(1)
    with pytest.raises(ConfigError, match="instrument: the application has served a request"):
        hook().instrument(app)


class TestMounted:
    async def test_the_outer_application_is_instrumented(self, hook: Any):
        outer, inner = FastAPI(), service()
        outer.mount("/api", inner)
        exporter = hook().instrument(outer).expose(outer)
        caller = Caller(outer, exporter)
        await caller.predict(N, "/api/predict")
        # Patterns are matched with what the client sees: say the prefix, or `*/predict`.
        assert value(await caller.scrape(), "inference_exporter_processed_total", **MODEL) == 0

    @pytest.mark.parametrize("pattern", ["/api/predict", "/api/*"])
    async def test_with_the_prefix_in_its_pattern(self, pattern: str, hook: Any):
        outer, inner = FastAPI(), service()
        outer.mount("/api", inner)
        exporter = hook(capture={"paths": [pattern]}).instrument(outer).expose(outer)
        caller = Caller(outer, exporter)
        await caller.predict(N, "/api/predict")
        assert_everything_once(await caller.scrape(), handler="/api/predict")

    @pytest.mark.parametrize("pattern", ["/api/predict", "/predict"])
    async def test_the_inner_one_is(self, pattern: str, hook: Any):
        outer, inner = FastAPI(), service()
        exporter = hook(capture={"paths": [pattern]}).instrument(inner).expose(inner)
        outer.mount("/api", inner)
        caller = Caller(outer, exporter)
        await caller.predict(N, "/api/predict")
        assert_everything_once(await caller.scrape("/api/metrics"))

    @pytest.mark.parametrize("one", [True, False], ids=["one-exporter", "two"])
    async def test_both_are(self, one: bool, hook: Any):
        outer, inner = FastAPI(), service()
        patterns = {"paths": ["/api/predict"]}
        outside = hook(capture=patterns).instrument(outer).expose(outer)
        inside = (outside if one else hook("inner", capture=patterns)).instrument(inner)
        outer.mount("/api", inner)
        caller = Caller(outer, outside, inside)
        await caller.predict(N, "/api/predict")
        samples = await caller.scrape()
        assert_everything_once(samples, handler="/api/predict")
        assert requests(samples) is None
        assert value(samples, "inference_exporter_processed_total", model="inner", version="") == (
            None if one else N
        )

    async def test_both_are_on_registries_of_their_own(self, hook: Any):
        outer, inner = FastAPI(), service()
        outside = hook("outer", registry=CollectorRegistry()).instrument(outer).expose(outer)
        inside = hook().instrument(inner).expose(inner)
        outer.mount("/api", inner)
        caller = Caller(outer, outside, inside)
        await caller.predict(N, "/api/predict")
        assert requests(await caller.scrape(), "/api/predict") == N
        assert_everything_once(await caller.scrape("/api/metrics"))

    async def test_a_page_of_another_application_is_not_looked_at(
        self, hook: Any, caplog: pytest.LogCaptureFixture
    ):
        app = service()
        app.get("/other/metrics")(lambda: "of something else")
        hook().instrument(app).expose(app)
        assert (await Caller(app).get("/other/metrics")).status_code == 200
        assert not caplog.records

    async def test_the_outer_one_has_an_instrumentator(self, hook: Any):
        outer, inner = FastAPI(), service()
        theirs(outer)
        exporter = hook(capture={"paths": ["/api/predict"]}).instrument(inner)
        outer.mount("/api", inner)
        caller = Caller(outer, exporter)
        await caller.predict(N, "/api/predict")
        samples = await caller.scrape()
        assert_everything_once(samples, handler="/api/predict")
        assert requests(samples) is None

    @pytest.mark.parametrize("kept", [True, False], ids=["kept-in-the-path", "taken-away"])
    async def test_below_a_path_that_the_server_was_told_of(
        self, kept: bool, hook: Any, caplog: pytest.LogCaptureFixture
    ):
        app = service()
        exporter = hook().instrument(app).expose(app)
        caller = Caller(app, exporter, root_path="/shop")
        prefix = "/shop" if kept else ""
        await caller.predict(N, f"{prefix}/predict")
        assert_everything_once(await caller.scrape(f"{prefix}/metrics"))
        assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_switched_off_an_application_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ENABLE_METRICS", "false")
    Histogram("prediction_confidence", "Model prediction confidence")
    app = service()
    theirs(app)
    n = len(app.routes), len(app.user_middleware)
    exporter = InferenceExporter(model="m", registry=CollectorRegistry())
    exporter.instrument(app).expose(app)
    assert (len(app.routes), len(app.user_middleware)) == n
    assert not vars(exporter).keys() & {"runtime", "config"}
    samples = samples_of((await Caller(app).get("/metrics")).text)
    assert not [name for name, _ in samples if name.startswith("inference_exporter")]


class TestTheSameModelTwice:
    async def test_is_an_error(self, hook: Any):
        app = service()
        first = hook().instrument(app)
        for _ in range(2):
            with pytest.raises(ConfigError) as error:
                InferenceExporter(model="m")
            assert str(error.value) == (
                "model: 'm' is watched by another exporter on the same registry; give one of the two another "
                "model or version, stop() the other, or pass registry=CollectorRegistry()"
            )
            await Caller(app, first).predict(1)
        hook(version="canary")
        hook(registry=CollectorRegistry())

    async def test_a_module_that_is_imported_twice_uses_the_second(self, hook: Any):
        apps = [(app, hook().instrument(app).expose(app)) for app in (service(), service())]
        caller = Caller(*apps[1])
        await caller.predict(N)
        assert_everything_once(await caller.scrape())

    async def test_where_both_are_used_the_second_to_start_is_refused_and_says_so(
        self, hook: Any, caplog: pytest.LogCaptureFixture
    ):
        apps = [(app, hook().instrument(app).expose(app)) for app in (service(), service())]
        first, second = (Caller(*each) for each in apps)
        await first.predict(2)
        await second.predict(3)
        samples = await first.scrape()
        assert value(samples, "inference_exporter_processed_total", **MODEL) == 2
        assert value(samples, "inference_exporter_observations_total", **MODEL, source="hook") == 5
        assert value(samples, "inference_exporter_dropped_total", **MODEL, reason="stopped") == 3
        assert caplog.text.count("model: 'm' is watched by another exporter on the same registry") == 1

    def test_one_that_runs_without_an_application_does_not_yield(self, hook: Any):
        for exporter in (hook("alone"), hook("watching")):
            exporter.start()
        app = service()
        exporter.instrument(app).watch(torch.nn.Sequential(torch.nn.Linear(2, 2)))
        del app
        for model in ("alone", "watching"):
            with pytest.raises(ConfigError, match=f"model: '{model}' is watched by another exporter"):
                InferenceExporter(model=model)

    async def test_an_exporter_whose_application_is_gone_yields(self, hook: Any):
        """A test-suite that makes an application for each test, and does not run its lifespan."""

        async def test(n: int) -> None:
            app = service()
            exporter = hook().instrument(app).expose(app)
            caller = Caller(app, exporter)
            await caller.predict(2)
            samples = await caller.scrape()
            assert value(samples, "inference_exporter_processed_total", **MODEL) == 2 * n

        for n in (1, 2, 3):
            await test(n)
