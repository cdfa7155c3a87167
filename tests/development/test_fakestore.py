"""The local Fake Store over a real socket."""

import json
import zlib
from collections.abc import Iterator

import httpx2
import pytest

from development.fakestore.api import create_fakestore
from development.fakestore.catalog import PRODUCTS
from development.fakestore.server import RunningFakeStore, running_fakestore
from tests.plain_http import NO_TLS

# For the answer only: connecting may take longer on a busy machine.
SHORT_TIMEOUT = httpx2.Timeout(5, read=0.05)


@pytest.fixture(scope="module")
def running() -> Iterator[RunningFakeStore]:
    with running_fakestore() as store:
        yield store


@pytest.fixture
def store(running: RunningFakeStore) -> RunningFakeStore:
    running.control.reset()
    return running


@pytest.fixture
def client(store: RunningFakeStore) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=store.url, timeout=5, verify=NO_TLS, trust_env=False) as client:
        yield client


class TestContract:
    def test_lists_twenty_products(self, client: httpx2.Client, store: RunningFakeStore) -> None:
        products = client.get("/products").json()
        assert [product["id"] for product in products] == list(range(1, 21))
        for product in products:
            assert set(product) == {
                *("id", "title", "price", "description", "category", "image", "rating")
            }
            assert set(product["rating"]) == {"rate", "count"}
            assert product["image"] == f"{store.url}/img/{product['id']}.svg"

    def test_has_the_irregularities_of_the_public_store(self, client: httpx2.Client) -> None:
        products = client.get("/products").json()
        assert {type(product["price"]) for product in products} == {int, float}
        assert any(product["title"].endswith(" ") for product in products)

    def test_limits_and_sorts(self, client: httpx2.Client) -> None:
        products = client.get("/products", params={"limit": 3, "sort": "desc"}).json()
        assert [product["id"] for product in products] == [20, 19, 18]

    @pytest.mark.parametrize("limit", ["0", "-1", "many", "²", "9" * 30])
    def test_ignores_an_odd_limit(self, client: httpx2.Client, limit: str) -> None:
        assert len(client.get("/products", params={"limit": limit}).json()) == 20

    def test_answers_one_product(self, client: httpx2.Client) -> None:
        product = client.get("/products/5").json()
        assert (product["id"], product["title"]) == (5, PRODUCTS[5].title)

    def test_lists_categories(self, client: httpx2.Client) -> None:
        categories = client.get("/products/categories").json()
        assert categories == ["electronics", "jewelery", "men's clothing", "women's clothing"]

    def test_lists_a_category(self, client: httpx2.Client) -> None:
        products = client.get("/products/category/men's clothing").json()
        assert {product["category"] for product in products} == {"men's clothing"}
        assert client.get("/products/category/none").json() == []

    @pytest.mark.parametrize("unknown", ["0", "21", "99999999999", "x", "5.0", "٣"])
    def test_answers_null_for_an_unknown_id(self, client: httpx2.Client, unknown: str) -> None:
        answer = client.get(f"/products/{unknown}")
        assert (answer.status_code, answer.text) == (200, "null")

    @pytest.mark.parametrize(("switch", "status"), [("empty", 200), ("not_found", 404)])
    def test_answers_an_unknown_id_as_configured(
        self, client: httpx2.Client, store: RunningFakeStore, switch: str, status: int
    ) -> None:
        store.control.misbehave(unknown_id=switch)
        answer = client.get("/products/21")
        assert answer.status_code == status
        assert (answer.content == b"") is (switch == "empty")

    def test_draws_pictures(self, client: httpx2.Client) -> None:
        for product in client.get("/products").json():
            answer = client.get(product["image"])
            assert answer.headers["content-type"].startswith("image/svg+xml")
            assert answer.text.startswith("<svg ")
        assert client.get("/img/21.svg").status_code == 404

    def test_is_healthy_and_explains_itself(
        self, client: httpx2.Client, store: RunningFakeStore
    ) -> None:
        store.control.misbehave(status=503)
        assert client.get("/health").status_code == 200
        assert client.head("/health").status_code == 200
        assert "_control" in client.get("/").text

    async def test_serves_without_a_socket(self) -> None:
        transport = httpx2.ASGITransport(create_fakestore(public_url="https://store.example/"))
        async with httpx2.AsyncClient(transport=transport, base_url="http://store") as client:
            product = (await client.get("/products/1")).json()
            assert product["image"] == "https://store.example/img/1.svg"
            await client.put("/_control", json={"fault": "reset"})
            with pytest.raises(ConnectionResetError):
                await client.get("/products/1")


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "status", "body"),
        [
            ("null", 200, "null"),
            ("empty", 200, ""),
            ("empty_object", 200, "{}"),
        ],
    )
    def test_replaces_the_body(
        self,
        client: httpx2.Client,
        store: RunningFakeStore,
        fault: str,
        status: int,
        body: str,
    ) -> None:
        store.control.misbehave(fault=fault)
        answer = client.get("/products/5")
        assert (answer.status_code, answer.text) == (status, body)

    def test_answers_a_page(self, client: httpx2.Client, store: RunningFakeStore) -> None:
        store.control.misbehave(fault="html")
        answer = client.get("/products/5")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")

    def test_answers_a_status(self, client: httpx2.Client, store: RunningFakeStore) -> None:
        store.control.misbehave(status=429, retry_after="-7, soon")
        answer = client.get("/products/5")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "-7, soon")

    def test_answers_another_id(self, client: httpx2.Client, store: RunningFakeStore) -> None:
        store.control.misbehave(fault="wrong_id")
        assert client.get("/products/5").json()["id"] == 1005
        assert client.get("/products").json()[0]["id"] == 1001

    def test_answers_an_infinite_price(
        self, client: httpx2.Client, store: RunningFakeStore
    ) -> None:
        store.control.misbehave(fault="infinite_price")
        answer = client.get("/products/5")
        assert b'"price":1e9999' in answer.content
        assert answer.json()["price"] == float("inf")

    @pytest.mark.parametrize(
        ("fault", "field"), [("missing_field", "price"), ("no_rating", "rating")]
    )
    def test_omits_a_field(
        self, client: httpx2.Client, store: RunningFakeStore, fault: str, field: str
    ) -> None:
        store.control.misbehave(fault=fault)
        assert field not in client.get("/products/5").json()
        assert all(field not in product for product in client.get("/products").json())

    def test_redirects_to_a_link_local_address(
        self, client: httpx2.Client, store: RunningFakeStore
    ) -> None:
        store.control.misbehave(fault="redirect")
        answer = client.get("/products/5")
        assert answer.status_code == 302
        assert answer.headers["location"].startswith("http://169.254.169.254/")

    def test_answers_an_oversized_body(
        self, client: httpx2.Client, store: RunningFakeStore
    ) -> None:
        store.control.misbehave(fault="oversized")
        answer = client.get("/products/5")
        assert len(answer.content) > 1024**2
        assert answer.json()["id"] == 5

    def test_answers_a_gzip_bomb(self, client: httpx2.Client, store: RunningFakeStore) -> None:
        store.control.misbehave(fault="gzip_bomb")
        with client.stream("GET", "/products/5") as answer:
            assert answer.headers["content-encoding"] == "gzip"
            packed = b"".join(answer.iter_raw())
        assert len(packed) < 1024**2
        decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
        assert decoder.decompress(packed, 2 * 1024**2).startswith(b'{"id": 1')
        assert decoder.unconsumed_tail

    def test_truncates_the_body(self, client: httpx2.Client, store: RunningFakeStore) -> None:
        store.control.misbehave(fault="truncated")
        with pytest.raises(httpx2.RemoteProtocolError):
            client.get("/products/5")

    def test_resets_the_connection(self, client: httpx2.Client, store: RunningFakeStore) -> None:
        store.control.misbehave(fault="reset")
        with pytest.raises(httpx2.ReadError):
            client.get("/products/5")

    def test_never_answers(self, client: httpx2.Client, store: RunningFakeStore) -> None:
        store.control.misbehave(fault="hang")
        with pytest.raises(httpx2.ReadTimeout):
            client.get("/products/5", timeout=SHORT_TIMEOUT)

    def test_drips(self, client: httpx2.Client, store: RunningFakeStore) -> None:
        store.control.misbehave(fault="drip", drip_interval=0.001)
        with client.stream("GET", "/products/5") as answer:
            pieces = list(answer.iter_raw())
        assert len(pieces) > 1
        assert json.loads(b"".join(pieces))["id"] == 5

    def test_delays(self, client: httpx2.Client, store: RunningFakeStore) -> None:
        store.control.misbehave(delay=30)
        with pytest.raises(httpx2.ReadTimeout):
            client.get("/products/5", timeout=SHORT_TIMEOUT)
        store.control.misbehave(delay=0.001, jitter=0.001)
        assert client.get("/products/5").json()["id"] == 5


class TestSwitches:
    def test_affect_the_next_calls_only(
        self, client: httpx2.Client, store: RunningFakeStore
    ) -> None:
        store.control.misbehave(status=500, count=2)
        answers = [client.get("/products/5").status_code for _ in range(4)]
        assert answers == [500, 500, 200, 200]

    def test_affect_some_products_only(
        self, client: httpx2.Client, store: RunningFakeStore
    ) -> None:
        store.control.misbehave(status=500, product_ids=[5])
        paths = ["/products/5", "/products/6", "/products"]
        assert [client.get(path).status_code for path in paths] == [500, 200, 200]

    def test_affect_some_paths_only(self, client: httpx2.Client, store: RunningFakeStore) -> None:
        store.control.misbehave(status=500, paths=["/products", "/products/cat*"])
        paths = ["/products", "/products/categories", "/products/5"]
        assert [client.get(path).status_code for path in paths] == [500, 500, 200]

    def test_affect_a_share_of_the_calls(
        self, client: httpx2.Client, store: RunningFakeStore
    ) -> None:
        store.control.misbehave(error_rate=0)
        assert client.get("/products/5").status_code == 200
        store.control.misbehave(error_rate=1)
        assert client.get("/products/5").status_code == 503

    def test_are_set_one_by_one(self, client: httpx2.Client) -> None:
        client.put("/_control", json={"status": 500})
        switches = client.patch("/_control", json={"count": 3}).json()
        assert (switches["status"], switches["count"]) == (500, 3)
        assert client.delete("/_control").json()["status"] is None
        assert client.get("/_control").json()["fault"] is None

    @pytest.mark.parametrize(
        "body",
        [
            '{"delay": NaN}',
            '{"delay": 1e400}',
            '{"delay": -1}',
            '{"delay": "\\ud800"}',
            '{"error_rate": 1.1}',
            '{"status": 200}',
            '{"status": 999}',
            '{"retry_after": "a\\r\\nSet-Cookie: b"}',
            '{"redirect_to": "x\\u0000"}',
            '{"fault": "polite"}',
            '{"product_ids": [0]}',
            '{"paths": ["products"]}',
            '{"count": 99999999999999999999}',
            '{"unheard_of": 1}',
            "[" * 60_000,
            "[]",
            "null",
            "",
            '"%s"' % ("x" * 70_000),
        ],
    )
    def test_refuse_invalid_values(self, client: httpx2.Client, body: str) -> None:
        for path in ("/_control", "/_control/products/5"):
            answer = client.put(path, content=body, headers={"content-type": "application/json"})
            assert 400 <= answer.status_code < 500


class TestProducts:
    def test_are_changed_and_restored(
        self, client: httpx2.Client, store: RunningFakeStore
    ) -> None:
        store.control.change_product(5, price=599.9, rating=None)
        product = client.get("/products/5").json()
        assert product["price"] == 599.9
        assert "rating" not in product
        store.control.restore_products()
        assert client.get("/products/5").json()["price"] == PRODUCTS[5].price

    def test_are_removed(self, client: httpx2.Client, store: RunningFakeStore) -> None:
        store.control.remove_product(5)
        assert client.get("/products/5").text == "null"
        assert len(client.get("/products").json()) == 19
        store.control.change_product(5)
        assert client.get("/products/5").json()["title"] == PRODUCTS[5].title

    def test_are_added(self, client: httpx2.Client, store: RunningFakeStore) -> None:
        fields = {"title": "Kite", "price": 9, "description": "Flies.", "category": "toys"}
        store.control.change_product(77, **fields)
        assert client.get("/products/77").json()["title"] == "Kite"
        assert "toys" in client.get("/products/categories").json()
        assert client.get("/img/77.svg").status_code == 200

    def test_need_all_fields_when_new(self, client: httpx2.Client) -> None:
        assert client.put("/_control/products/78", json={"title": "Kite"}).status_code == 422


class TestCalls:
    def test_are_counted_and_kept(self, client: httpx2.Client, store: RunningFakeStore) -> None:
        client.get("/products/5", headers={"x-request-id": "abc"})
        client.get("/products?limit=1")
        calls = store.control.calls()
        assert calls["total"] == 2
        assert calls["by_path"] == {"/products/5": 1, "/products": 1}
        first, second = calls["last"]
        assert (first["request_id"], first["answer"]) == ("abc", "200")
        assert (second["path"], second["query"]) == ("/products", "limit=1")
        store.control.forget_calls()
        assert store.control.call_count() == 0

    def test_name_the_fault(self, client: httpx2.Client, store: RunningFakeStore) -> None:
        store.control.misbehave(fault="html")
        client.get("/products/5")
        assert store.control.calls()["last"][0]["answer"] == "html"
        assert store.control.call_count("/products/5") == 1
