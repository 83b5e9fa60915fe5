"""The service over HTTP: its answers and refusals, slow and hostile clients, and its end."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
from inference_kit import Brightness, Served, picture, png_of_size, served

from study.errors import UsageError
from study.inference import picture_upload
from study.inference.server import Limits, open_socket

FORM = "multipart/form-data; boundary=XX"
HURRIED = Limits(answer_s=3, head_s=3, drain_s=3)


@pytest.fixture(scope="module")
def service() -> Iterator[Served]:
    with served(Brightness()) as running:
        yield running


def form(contents: bytes, filename: str = "a.png", name: str = "file") -> bytes:
    head = f'--XX\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n'
    return head.encode() + contents + b"\r\n--XX--\r\n"


def test_a_picture_is_answered_raw_and_as_a_form(service: Served) -> None:
    status, answer = service.predict(picture(204))
    assert status == 200
    assert answer["class"] == "bright"
    assert answer["threshold"] == 0.25
    assert answer["probability"] == pytest.approx(0.8)
    assert answer["probabilities"] == {"dark": pytest.approx(0.2), "bright": pytest.approx(0.8)}
    assert service.predict(form(picture(204)), {"Content-Type": FORM}) == (200, answer)
    big = picture(204, "BMP", (1000, 1000))  # kept on disk by the form's parser
    assert len(big) > 2_000_000
    assert service.predict(form(big), {"Content-Type": FORM}) == (200, answer)


@pytest.mark.parametrize("filename", ["../../etc/passwd", "/etc/passwd", "a\\..\\b", "x" * 3000])
def test_the_name_of_an_upload_does_not_matter(service: Served, filename: str) -> None:
    assert service.predict(form(picture(9), filename), {"Content-Type": FORM})[0] == 200


@pytest.mark.parametrize(
    ("body", "law"),
    [
        (b"", "the body is empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (b"<!DOCTYPE html><script>alert(1)</script>", "not a picture"),
        (b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix", "not a picture"),
        (png_of_size(50_000, 50_000), "decompression bomb"),
        (png_of_size(8_000, 7_000), "at most 50,000,000 pixels, but has 8000 x 7000"),
        (picture(9, "JPEG", (64, 64))[:-200], "damaged"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused(service: Served, body: bytes, law: str) -> None:
    status, answer = service.predict(body, {"Content-Type": "image/jpeg"})
    assert status == 422
    assert law in answer["error"]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"xx", "multipart/form-data"),
        (b"xx", FORM),
        (b"--XX\r\nbroken", FORM),
        (b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--XX--\r\n', FORM),
        (form(b"a")[:-6] + b"XX" + form(b"b"), FORM),
        (b"".join(form(b"", "", f"f{k}")[:-8] + b"\r\n" for k in range(40)) + b"--XX--\r\n", FORM),
    ],
)  # fmt: skip
def test_a_form_without_one_picture_is_refused(service: Served, body: bytes, content_type: str) -> None:
    status, answer = service.predict(body, {"Content-Type": content_type})
    assert status == 422
    assert answer["error"]


def test_a_body_over_20_mb_is_refused(service: Served) -> None:
    too_large = bytes(picture_upload.MAX_BODY_BYTES + 1)
    status, answer = service.predict(too_large)
    assert (status, answer["error"]) == (413, "a body must have at most 20 MB; send a smaller picture")
    pieces = iter([too_large[:15_000_000], too_large[15_000_000:]])
    connection = service.connect()  # without Content-Length
    connection.request("POST", "/predict", pieces, {"Transfer-Encoding": "chunked"}, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()
    assert service.predict(picture(9))[0] == 200


def test_the_bodies_of_all_clients_are_bounded() -> None:
    budget = picture_upload.BodyBudget(100)
    with budget.account() as parts:
        budget.add(parts, bytes(60))
        with budget.account() as others, pytest.raises(picture_upload.TooManyBytesError):
            budget.add(others, bytes(41))
        budget.add(parts, bytes(40))
    assert budget.held == 0


def test_pages_about_the_service(service: Served) -> None:
    service.predict(picture(9))
    service.predict(b"x")
    response, body = service.request("GET", "/health")
    assert json.loads(body) == {"status": "ok", "pending": 0, "queue": 64}
    response, body = service.request("GET", "/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = body.decode().splitlines()
    assert all(line.startswith("# ") or len(line.rsplit(" ", 1)) == 2 for line in lines)
    assert any(line.startswith('study_requests_total{status="422"} ') for line in lines)
    assert any(line.startswith('study_predictions_total{class="dark"} ') for line in lines)
    assert "study_held_bytes 0" in lines
    schema = json.loads(service.request("GET", "/openapi.json")[1])
    assert set(schema["paths"]["/predict"]["post"]["responses"]) == {"200", "413", "422", "503", "504"}
    assert set(schema["paths"]["/predict"]["post"]["requestBody"]["content"]) == {"image/*", "multipart/form-data"}
    page = service.request("GET", "/docs")[1].decode()
    assert "POST /predict" in page
    assert "src=" not in page
    assert "Content-Security-Policy" in page
    assert json.loads(service.request("GET", "/")[1])["classes"] == ["dark", "bright"]
    assert service.request("GET", "/predict")[0].status == 405
    assert service.request("GET", "/../../etc/passwd")[0].status == 404


def test_a_full_queue_is_503_and_health_answers_still() -> None:
    classifier = Brightness()
    classifier.may_classify.clear()
    with served(classifier, limit=2) as running, ThreadPoolExecutor(2) as clients:
        waiting = [clients.submit(running.predict, picture(9)) for _ in range(2)]
        for _ in range(6000):
            if running.service.is_full:
                break
            time.sleep(0.01)
        response, body = running.request("POST", "/predict", picture(9))
        assert response.status == 503
        assert response.headers["Retry-After"] == "1"
        assert "try again" in json.loads(body)["error"]
        assert json.loads(running.request("GET", "/health")[1])["pending"] == 2
        classifier.may_classify.set()
        assert [each.result()[0] for each in waiting] == [200, 200]
        assert running.predict(picture(9))[0] == 200


def test_an_answer_that_takes_too_long_is_504() -> None:
    classifier = Brightness()
    classifier.may_classify.clear()
    with served(classifier, HURRIED) as running:
        started_s = time.monotonic()
        response, _ = running.request("POST", "/predict", picture(9))
        assert response.status == 504
        assert response.headers["Connection"] == "close"
        assert time.monotonic() - started_s > 2
        classifier.may_classify.set()
        assert running.predict(picture(9))[0] == 200


def test_a_fault_of_the_classifier_is_500_and_the_service_goes_on() -> None:
    classifier = Brightness(fails=True)
    with served(classifier) as running:
        assert running.predict(picture(9))[0] == 500
        classifier.fails = False
        assert running.predict(picture(9))[0] == 200


@contextmanager
def slow_clients(port: int, count: int, sent: bytes) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        clients = []
        for _ in range(count):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.settimeout(60)
            client.sendall(sent)
            clients.append(client)
        yield clients


def all_of(client: socket.socket) -> bytes:
    received = b""
    try:
        while part := client.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def test_80_slow_clients_neither_stay_nor_keep_others_out() -> None:
    body = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx"
    with (
        served(Brightness(), HURRIED, limit=4) as running,
        slow_clients(running.port, 27, body) as in_body,
        slow_clients(running.port, 27, b"P") as in_head,
        slow_clients(running.port, 26, b"") as silent,
    ):
        assert running.predict(picture(200))[0] == 200
        assert running.request("GET", "/health")[0].status == 200
        assert all(all_of(client).startswith(b"HTTP/1.1 504") for client in in_body)
        assert {all_of(client) for client in (*in_head, *silent)} == {b""}
        assert running.predict(picture(200))[0] == 200


def test_connections_over_the_limit_are_told_to_come_back() -> None:
    body = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx"
    limits = Limits(answer_s=3, head_s=3, drain_s=3, connections=60)
    with served(Brightness(), limits) as running, slow_clients(running.port, 59, body):
        kept = running.connect()
        kept.request("POST", "/predict", picture(200))
        response = kept.getresponse()
        assert (response.status, bool(response.read())) == (200, True)
        with slow_clients(running.port, 20, b"P") as in_head:
            response, answer = running.request("POST", "/predict", picture(200, "BMP", (500, 500)))
            assert (response.status, response.headers["Retry-After"], response.headers["Connection"]) == (
                503, "2", "close",
            )  # fmt: skip
            assert "60 connections are open, as many as may be" in json.loads(answer)["error"]
            assert running.request("GET", "/health")[0].status == 200
            kept.request("POST", "/predict", picture(200))  # one that was there before is served on
            assert kept.getresponse().status == 200
            kept.close()
            assert {all_of(client) for client in in_head} == {b""}
        assert running.predict(picture(200))[0] == 200  # the slow ones are gone
        metrics = running.request("GET", "/metrics")[1].decode()
        assert 'study_refused_total{what="connections"} 22' in metrics


def test_connections_far_over_the_limit_are_closed_at_once() -> None:
    limits = Limits(answer_s=60, head_s=60, drain_s=3, connections=2)
    with served(Brightness(), limits) as running, slow_clients(running.port, 80, b"") as silent:
        started_s = time.monotonic()
        assert [all_of(client) for client in silent[-10:]] == [b""] * 10
        assert time.monotonic() - started_s < 30  # not after the limit for a head
        for client in silent[2:]:
            client.close()
        assert running.request("POST", "/predict", picture(200))[0].status == 503


def test_a_client_that_dribbles_is_not_waited_for() -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
    limits = Limits(answer_s=0.5, head_s=3, drain_s=3)
    with served(Brightness(), limits) as running, slow_clients(running.port, 1, head) as (client,):
        stopped = threading.Event()

        def dribble() -> None:
            while not stopped.wait(0.1):
                try:
                    client.sendall(b"x")
                except OSError:
                    return

        thread = threading.Thread(target=dribble)
        thread.start()
        try:
            assert all_of(client).startswith(b"HTTP/1.1 504")
        finally:
            stopped.set()
            thread.join()


def test_the_rest_of_a_refused_body_is_not_waited_for_without_end() -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n\r\nxx"
    with served(Brightness(), HURRIED) as running, slow_clients(running.port, 1, head) as (client,):
        assert client.recv(65536).startswith(b"HTTP/1.1 413")
        client.sendall(b"more of it")
        all_of(client)  # returns, because the connection is closed
        assert running.predict(picture(9))[0] == 200


def test_a_connection_is_used_for_several_pictures(service: Served) -> None:
    connection = service.connect()
    for _ in range(3):
        connection.request("POST", "/predict", picture(9))
        response = connection.getresponse()
        assert (response.status, bool(response.read())) == (200, True)
    connection.close()


def test_the_end_answers_what_was_accepted_and_leaves_slow_clients() -> None:
    body = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx"
    classifier = Brightness()
    classifier.may_classify.clear()
    with ThreadPoolExecutor(2) as clients:
        with served(classifier, Limits(answer_s=60, head_s=60, drain_s=4)) as running:
            slow = socket.create_connection(("127.0.0.1", running.port))
            slow.sendall(body)
            accepted = clients.submit(running.predict, picture(200))
            while not classifier.batches:
                time.sleep(0.01)
            left = clients.submit(all_of, slow)
            threading.Timer(0.5, classifier.may_classify.set).start()
            started_s = time.monotonic()
        assert time.monotonic() - started_s < 30  # not as long as the slow client may take
        assert accepted.result()[0] == 200
        assert left.result().startswith(b"HTTP/1.1 504")
        slow.close()


def test_an_address_that_is_taken_is_said() -> None:
    with open_socket("127.0.0.1", 0) as first, pytest.raises(UsageError, match=r"must be free and of this machine"):
        open_socket("127.0.0.1", first.getsockname()[1])
